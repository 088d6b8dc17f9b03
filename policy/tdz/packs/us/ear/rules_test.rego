package tdz.packs.us.ear_test

import data.tdz.packs.us.ear as rules

device(tops, die) := {"eccn": "none", "tops": tops, "bits": 16, "die_mm2": die}

# TPP 4,800 is 300 TOPS at 16 bits; 1,600 is 100 TOPS, whose density is 5.92 at 270.27 mm2.
test_performance_at_just_under_and_over_the_thresholds if {
	rules.powerful(device(300, 1000))
	not rules.powerful(device(299, 1000))
	rules.powerful(device(100, 270))
	not rules.powerful(device(100, 271))
	not rules.powerful(device(99, 1))
	rules.powerful(device(100, 0))
}

# From public specifications, dense TOPS at 8 or 16 bits.
test_devices_of_the_market if {
	rules.powerful({"eccn": "none", "tops": 312, "bits": 16, "die_mm2": 826}) # A100
	rules.powerful({"eccn": "none", "tops": 320, "bits": 16, "die_mm2": 665}) # Ascend 910B
	rules.powerful({"eccn": "none", "tops": 800, "bits": 16, "die_mm2": 1300}) # Ascend 910C
	not rules.powerful({"eccn": "none", "tops": 148, "bits": 16, "die_mm2": 814}) # H20
}

test_what_is_declared_or_not_known_counts if {
	rules.powerful({"eccn": "3A090.a", "tops": 1, "bits": 8, "die_mm2": 9000})
	rules.powerful({"eccn": "4A090", "tops": 0, "bits": 8, "die_mm2": 0})
	rules.powerful({"eccn": "unknown", "tops": 0, "bits": 8, "die_mm2": 0})
	not rules.powerful({"eccn": "3A090.b", "tops": 1, "bits": 8, "die_mm2": 9000})
}

run(hours, exaops) := {"devices": [{"tops": 1000}, {"tops": 10}], "device_hours": hours, "exaops": exaops}

# 1,000 device hours at 1,000 TOPS are 3,600 exaops.
test_operations_against_the_peak if {
	rules.plausible(run(1000, 3600))
	not rules.plausible(run(1000, 3601))
	rules.plausible(run(0, 0))
	not rules.plausible(run(0, 1))
	not rules.plausible({"devices": [], "device_hours": 1000, "exaops": 1})
	not rules.plausible(run(1000000000000000, 1000000000000000))
}

owners(held) := {"recipient": {"owners": [{"id": "o", "pct": pct, "listed": listed} | some [pct, listed] in held]}}

test_listed_owners_together if {
	rules.owned with input as owners([[25, "yes"], [25, "unknown"]])
	not rules.owned with input as owners([[25, "yes"], [24, "yes"], [51, "no"]])
	rules.owned with input as owners([[0, "yes"]])
	not rules.owned with input as owners([[0, "no"], [100, "no"]])
	not rules.owned with input as owners([])
}

test_a_country_is_outside_only_where_the_list_says_so if {
	asked := {"request": {"now": 1795305600}}
	rules.outside("MY") with input as asked
	not rules.outside("CN") with input as asked
	not rules.outside("MO") with input as asked
	not rules.outside("HK") with input as asked
	not rules.outside("unknown") with input as asked
	not rules.outside("MY") with input as {"request": {"now": 1830268800}}
	not rules.outside("MY") with input as asked with data.tdz.lists.us as {}
}

test_no_input_is_no_verdict if rules.verdict == "incomplete" with input as {}
