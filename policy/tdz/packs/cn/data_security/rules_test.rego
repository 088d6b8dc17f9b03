package tdz.packs.cn.data_security_test

import data.tdz.packs.cn.data_security as rules

facts(class, notified) := {"dataset": {"cn": {"class": class, "notified_important": notified}}}

test_only_general_data_that_was_not_notified_is_free if {
	not rules.decided with input as facts("general", "no")
	not rules.perhaps_important.general
	rules.perhaps_important.unknown
}

test_unknown_notification_needs_the_assessment if {
	rules.assessable with input as facts("important", "unknown")
	rules.assessable with input as facts("general", "unknown")
	not rules.assessable with input as facts("important", "no")
}

test_core_data_is_decided_by_its_own_row if {
	rules.decided with input as facts("core", "no")
	not rules.assessable with input as facts("core", "yes")
}

test_no_input_is_no_verdict if rules.verdict == "incomplete" with input as {}
