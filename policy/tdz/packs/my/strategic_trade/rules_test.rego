package tdz.packs.my.strategic_trade_test

import data.tdz.packs.my.strategic_trade as rules

device(country, eccn) := {"model": {"training": {"runs": [{"devices": [{"vendor_country": country, "eccn": eccn}]}]}}}

test_controlled_is_of_us_origin_and_listed if {
	rules.controlled with input as device("US", "3A090.a")
	rules.controlled with input as device("US", "4A090")
	rules.controlled with input as device("unknown", "unknown")
	not rules.controlled with input as device("US", "none")
	not rules.controlled with input as device("CN", "3A090.a")
}

test_no_input_is_no_verdict if rules.verdict == "incomplete" with input as {}
