package tdz.lib.persons_test

import data.tdz.lib.persons

nobody := {
	"category": "vehicle",
	"my": {"subjects": 0, "sensitive_subjects": 0},
	"cn": {"subjects_non_sensitive": 0, "subjects_sensitive": 0, "spi_types": [], "hgr": {"persons": 0}},
	"columns": [{"name": "a", "tags": []}],
	"deid": {"method": "none"},
}

tagged(tag, method) := object.union(nobody, {"columns": [{"name": "a", "tags": [tag]}], "deid": {"method": method}})

test_nobody_is_proven if {
	persons.nobody with input.dataset as nobody
	not persons.nobody with input.dataset as object.union(nobody, {"category": "personal"})
	not persons.nobody with input.dataset as object.union(nobody, {"my": {"subjects": 1}})
	not persons.nobody with input.dataset as object.union(nobody, {"cn": {"hgr": {"persons": 1}}})
	not persons.nobody with input.dataset as object.union(nobody, {"cn": {"spi_types": ["religion"]}})
	not persons.nobody with input as {}
}

test_columns_that_name_or_show_a_person if {
	not persons.nobody with input.dataset as tagged("face", "none")
	not persons.nobody with input.dataset as tagged("plate", "tokenised")
	persons.nobody with input.dataset as tagged("face", "blurred")
	not persons.nobody with input.dataset as tagged("direct_identifier", "pseudonymised")
	persons.nobody with input.dataset as tagged("direct_identifier", "aggregated")
	persons.nobody with input.dataset as tagged("vin", "none")
}
