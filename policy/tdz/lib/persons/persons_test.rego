package tdz.lib.persons_test

import data.tdz.lib.persons

nobody := {
	"category": "vehicle",
	"my": {"subjects": 0, "sensitive_subjects": 0},
	"cn": {"subjects_non_sensitive": 0, "subjects_sensitive": 0, "spi_types": [], "hgr": {"persons": 0}},
	"columns": [{"name": "a", "tags": []}],
	"deid": {"method": "none"},
}

test_nobody_is_proven if {
	persons.nobody with input.dataset as nobody
	not persons.nobody with input.dataset as nobody with input.dataset.category as "personal"
	not persons.nobody with input.dataset as nobody with input.dataset.my.subjects as 1
	not persons.nobody with input.dataset as nobody with input.dataset.cn.hgr.persons as 1
	not persons.nobody with input.dataset as nobody with input.dataset.cn.spi_types as ["religion"]
	not persons.nobody with input as {}
}

tagged(tag) := [{"name": "a", "tags": [tag]}]

named := tagged("direct_identifier")

seen := tagged("face")

plates := tagged("plate")

test_columns_that_name_or_show_a_person if {
	not persons.nobody with input.dataset as nobody with input.dataset.columns as seen
	not persons.nobody with input.dataset as nobody with input.dataset.columns as plates
	not persons.nobody with input.dataset as nobody with input.dataset.columns as named
	persons.nobody with input.dataset as nobody with input.dataset.columns as tagged("vin")
}

test_what_was_blurred_shows_nobody if {
	persons.nobody with input.dataset as nobody
		with input.dataset.columns as seen
		with input.dataset.deid.method as "blurred"
	not persons.nobody with input.dataset as nobody
		with input.dataset.columns as plates
		with input.dataset.deid.method as "tokenised"
	not persons.nobody with input.dataset as nobody
		with input.dataset.columns as named
		with input.dataset.deid.method as "pseudonymised"
	persons.nobody with input.dataset as nobody
		with input.dataset.columns as named
		with input.dataset.deid.method as "aggregated"
}
