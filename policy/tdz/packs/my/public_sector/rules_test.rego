package tdz.packs.my.public_sector_test

import data.tdz.packs.my.public_sector as rules

test_only_a_statutory_body_is_reviewed if {
	rules.effect == "review" with input as {"dataset": {"gov_source": "statutory_body"}}
	rules.effect == "deny" with input as {"dataset": {"gov_source": "federal"}}
	rules.effect == "deny" with input as {}
}

test_no_input_is_no_verdict if rules.verdict == "incomplete" with input as {}
