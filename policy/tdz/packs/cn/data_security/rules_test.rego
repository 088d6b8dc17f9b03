package tdz.packs.cn.data_security_test

import data.tdz.packs.cn.data_security as rules

facts(class, notified) := {"dataset": {"cn": {"class": class, "notified_important": notified}}}

test_general_and_not_notified_is_harmless if rules.harmless with input as facts("general", "no")

test_unknown_is_not_harmless if {
	not rules.harmless with input as facts("general", "unknown")
	not rules.harmless with input as facts("unknown", "no")
}

test_unknown_notification_of_important_data_needs_the_assessment if {
	rules.assessable with input as facts("important", "unknown")
}

test_no_input_is_no_verdict if rules.verdict == "incomplete" with input as {}
