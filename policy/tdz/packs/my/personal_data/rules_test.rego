package tdz.packs.my.personal_data_test

import data.tdz.packs.my.personal_data as rules

test_nothing_proves_data_impersonal_or_plain if {
	not rules.impersonal with input as {}
	not rules.plain with input as {}
}

test_governments_stand_outside_of_the_act if {
	rules.governments.federal
	rules.governments.state
	not rules.governments.statutory_body
	not rules.governments.open
}

test_explicit_consent_is_no_basis_of_its_own if not "explicit_consent" in rules.bases

test_no_input_is_no_verdict if rules.verdict == "incomplete" with input as {}
