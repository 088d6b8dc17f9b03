package tdz.packs.cn.general_lists_test

import data.tdz.packs.cn.general_lists as rules

claim(now, id) := {"request": {"now": now}, "dataset": {"cn": {"list_item_id": id}}}

test_the_last_day_is_included if {
	rules.in_date with input as claim(1747497599, "lingang-general")
	not rules.in_date with input as claim(1747497600, "lingang-general")
}

test_an_absent_list_is_never_in_date if not rules.in_date with input as claim(1, "no-such-list")

test_a_condition_that_is_not_stated_is_not_met if {
	{"exporter.ciio", "exporter.ftz_registered", "exporter.lingang_activity", "mechanisms"} - rules.unmet == set() with input as {}
}

test_no_input_is_no_verdict if rules.verdict == "incomplete" with input as {}
