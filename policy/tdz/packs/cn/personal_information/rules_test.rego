package tdz.packs.cn.personal_information_test

import data.tdz.packs.cn.personal_information as rules

year(non_sensitive, sensitive, ciio) := {
	"exporter": {"ciio": ciio},
	"usage": {"cn": {"year": 2026, "non_sensitive_after": non_sensitive, "sensitive_after": sensitive}},
	"dataset": {"category": "personal", "cn": {"hgr": {"kind": "none"}}},
}

test_few_persons_need_no_mechanism if rules.route == set() with input as year(99999, 0, "no")

test_each_threshold_includes_its_number if {
	"standard_contract" in rules.route with input as year(100000, 0, "no")
	"standard_contract" in rules.route with input as year(0, 1, "no")
	rules.route == {"security_assessment"} with input as year(1000000, 0, "no")
	rules.route == {"security_assessment"} with input as year(0, 10000, "no")
}

test_a_ciio_is_assessed if {
	rules.route == {"security_assessment"} with input as year(1, 0, "yes")
	rules.route == {"security_assessment"} with input as year(1, 0, "unknown")
}

test_health_and_genes_are_sensitive_whatever_is_counted if {
	asked := year(1, 0, "no")
	rules.sensitive_after == 0 with input as asked
	rules.sensitive_after == 1 with input as asked with input.dataset.category as "health"
	rules.sensitive_after == 1 with input as asked with input.dataset.cn.hgr.kind as "sequence"
	rules.sensitive_after == 1 with input as {}
}

test_no_input_is_no_verdict if rules.verdict == "incomplete" with input as {}
