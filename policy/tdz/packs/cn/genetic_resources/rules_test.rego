package tdz.packs.cn.genetic_resources_test

import data.tdz.packs.cn.genetic_resources as rules

facts(persons, special) := {"dataset": {"cn": {"hgr": {"kind": "sequence", "persons": persons, "special": special}}}}

test_five_hundred_is_ordinary if rules.ordinary with input as facts(500, "none")

test_more_or_special_is_not if {
	not rules.ordinary with input as facts(501, "none")
	not rules.ordinary with input as facts(0, "none")
	not rules.ordinary with input as facts(1, "specific_region")
	not rules.ordinary with input as {}
}

test_no_input_is_no_verdict if rules.verdict == "incomplete" with input as {}
