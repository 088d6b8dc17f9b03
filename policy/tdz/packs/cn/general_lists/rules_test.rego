package tdz.packs.cn.general_lists_test

import data.tdz.packs.cn.general_lists as rules

claim(now, id) := {"request": {"now": now}, "dataset": {"cn": {"list_item_id": id}}}

test_the_last_day_is_included if {
	rules.in_date with input as claim(1747497599, "lingang-general")
	not rules.in_date with input as claim(1747497600, "lingang-general")
}

test_an_absent_list_is_never_in_date if not rules.in_date with input as claim(1, "no-such-list")

test_a_list_without_a_date_or_source_holds_nothing if {
	asked := claim(1, "l")
	rules.in_date with input as asked with data.tdz.lists.cn as {"l": {"source": "s", "valid_until": 2}}
	not rules.in_date with input as asked with data.tdz.lists.cn as {"l": {"source": "s", "valid_until": "9"}}
	not rules.in_date with input as asked with data.tdz.lists.cn as {"l": {"source": "s", "valid_until": [9]}}
	not rules.in_date with input as asked with data.tdz.lists.cn as {"l": {"source": 7, "valid_until": 2}}
	not rules.in_date with input as asked with data.tdz.lists.cn as {"l": {"source": "s"}}
}

test_vehicles_unless_the_list_or_the_item_says_otherwise if {
	rules.vehicles with input as claim(1, "vehicle-after-sales/repairs")
	rules.vehicles with input as claim(1, "lingang-general/vehicles")
	rules.vehicles with input as claim(1, "lingang-general")
	rules.vehicles with input as claim(1, "no-such-list/funds")
	not rules.vehicles with input as claim(1, "lingang-general/funds")
	not rules.vehicles with input as claim(1, "l") with data.tdz.lists.cn as {"l": {"scenarios": ["funds"]}}
	rules.vehicles with input as claim(1, "l") with data.tdz.lists.cn as {"l": {"scenarios": []}}
}

test_a_condition_that_is_not_stated_is_not_met if {
	{"exporter.ciio", "exporter.ftz_registered", "exporter.lingang_activity", "mechanisms"} - rules.unmet == set() with input as {}
}

test_no_input_is_no_verdict if rules.verdict == "incomplete" with input as {}
