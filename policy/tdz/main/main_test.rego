package tdz.main_test

import data.tdz.main

test_nothing_is_a_denial if main.decision.effect == "deny" with input as {}

test_an_unknown_zone_is_a_denial if main.decision.effect == "deny" with data.tdz.local as {"zone": "nowhere"}

test_a_pack_is_no_better_than_its_worst_part if {
	main.strictest({"pass", "deny"}) == "deny"
	main.strictest({"pass", "review"}) == "review"
	main.strictest({"pass", "not_applicable"}) == "pass"
	main.strictest({"not_applicable"}) == "not_applicable"
	main.strictest({"pass", "incomplete"}) == "incomplete"
	main.strictest({"deny", "hm"}) == "incomplete"
}

test_a_site_is_home_under_its_own_law_only if {
	main.home({"zone": "lingang", "jurisdiction": "CN"}) with data.tdz.local as {"zone": "lingang"}
	not main.home({"zone": "lingang", "jurisdiction": "MY"}) with data.tdz.local as {"zone": "lingang"}
	not main.home({"zone": "cyberjaya", "jurisdiction": "MY"}) with data.tdz.local as {"zone": "lingang"}
}

test_a_finding_that_lacks_a_part_is_told_as_such if {
	main.explained({"code": "MY-BASIS", "effect": "deny"}).code == "TDZ-NO-MATCH"
	main.explained({"code": "TDZ-ROWS", "effect": "deny", "fields": []}).code == "TDZ-ROWS"
}

test_what_is_no_effect_is_a_denial if {
	said := main.decision with data.tdz.main.effect as "perhaps"
	said.effect == "deny"
	said.findings[_].code == "TDZ-NO-MATCH"
}

zone_rules := {"lingang": {
	"findings": {{"code": "LG-1", "effect": "review", "fields": []}},
	"obligations": {{"kind": "no_onward", "params": {}}},
	"codes": {"LG-1": {"authority": "house", "cite": "c", "remedy": "r"}},
}}

test_a_zone_adds_findings_and_obligations if {
	{"code": "LG-1", "effect": "review", "fields": []} in main.findings with data.tdz.main.proven as true
		with data.tdz.local as {"zone": "lingang"}
		with data.tdz.zone as zone_rules
	{"kind": "no_onward", "params": {}} in main.obligations with data.tdz.main.effect as "review"
		with data.tdz.local as {"zone": "lingang"}
		with data.tdz.zone as zone_rules
	main.explained({"code": "LG-1", "effect": "review", "fields": []}).cite == "c" with data.tdz.zone as zone_rules
		with data.tdz.local as {"zone": "lingang"}
}
