# Generated from the policy input's schema by `python -m gateway.decisions.shape`; do not edit.
# A part counts only where every statement about it is proven: missing, extra, mistyped or outside of its
# enumeration leaves the part undefined, and an undefined part is named in `wrong`.
package tdz.lib.shape

default complete := false

complete if wrong == set()

whole(x, low, high) if {
	floor(x) == x
	x >= low
	x <= high
}

country("unknown") := true

country(x) if {
	count(x) == 2
	trim(x, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

words_request_flow_from_jurisdiction := {"CN", "MY"}

words_request_action := {"transfer_dataset", "transfer_model", "run_job", "release_output"}

words_request_purpose := {"research", "product_improvement", "service_delivery", "regulatory_reporting", "public_health", "judicial", "law_enforcement", "military", "unknown"}

words_exporter_kind := {"company", "university", "hospital", "statutory_body", "government", "unknown"}

words_exporter_ciio := {"yes", "no", "unknown"}

words_recipient_screening_result := {"clear", "hit", "unknown"}

words_dataset_my_sensitivity := {"none", "personal", "sensitive", "unknown"}

words_dataset_cn_hgr_kind := {"none", "sequence", "clinical", "image", "protein", "metabolic"}

words_dataset_cn_hgr_special := {"none", "important_family", "specific_region"}

words_dataset_cn_class := {"general", "important", "core", "unknown"}

words_dataset_cn_basis := {"none", "consent", "contract", "hr", "emergency", "legal_duty"}

words_dataset_cn_exemption := {"none", "contract", "hr", "emergency", "transit"}

words_dataset_cn_spi_types := {"biometric", "religion", "specific_identity", "health", "financial_account", "location_track", "under_14"}

words_dataset_deid_method := {"none", "pseudonymised", "k_anonymous", "blurred", "tokenised", "aggregated"}

words_dataset_origin := {"domestic", "foreign_in_transit", "mixed"}

words_dataset_gov_source := {"none", "federal", "state", "statutory_body", "open"}

words_dataset_category := {"none", "personal", "health", "genetic", "vehicle", "geo", "financial", "industrial"}

words_dataset_columns_tags := {"direct_identifier", "quasi_identifier", "sensitive", "face", "plate", "vin", "location", "free_text"}

words_model_training_runs_devices_eccn := {"3A090.a", "3A090.b", "4A090", "none", "unknown"}

words_model_training_runs_attestation := {"hardware", "signed", "none"}

words_model_format := {"safetensors", "onnx", "gguf"}

words_model_openness := {"closed", "gated", "published", "unknown"}

words_model_provenance := {"verified", "unverified", "missing"}

words_model_end_use := {"civil", "military", "military_intelligence", "wmd", "unknown"}

words_model_memorisation_test := {"passed", "failed", "none"}

words_job_kind := {"sql", "train", "algorithm"}

words_job_output_kind := {"aggregate", "model_update", "model", "rows"}

words_mechanisms_kind := {"standard_contract", "security_assessment", "certification", "pipia", "separate_consent", "hgr_report", "hgr_security_review", "general_list_filing", "dsl36_approval", "tia", "consent", "explicit_consent", "s40_ground", "my_clauses", "my_bcr", "my_certification", "contract", "legal_proceedings", "vital_interest", "public_interest", "sta_permit"}

words_mechanisms_verified_by := {"regulator_register", "certification_body", "zone_admin", "self", "unknown"}

wrong contains "input" if not part_document

part_document if {
	x := input
	count(x) == 9
	not x.mechanisms[32]
	is_array(x.mechanisms)
	every e in x.mechanisms {
		part_mechanisms_item(e)
	}
}

wrong contains "request" if not part_request

part_request if {
	x := input.request
	x.schema == "tdz.input/1"
	words_request_action[x.action]
	words_request_purpose[x.purpose]
	count(x) == 5
	whole(x.now, 1, 7258118400)
}

wrong contains "request.flow" if not part_request_flow

part_request_flow if {
	x := input.request.flow
	count(x) == 2
}

wrong contains "request.flow.from" if not part_request_flow_from

part_request_flow_from if {
	x := input.request.flow.from
	words_request_flow_from_jurisdiction[x.jurisdiction]
	count(x) == 3
	concat("", [x.zone, x.gateway_id])
}

wrong contains "request.flow.to" if not part_request_flow_to

part_request_flow_to if {
	x := input.request.flow.to
	words_request_flow_from_jurisdiction[x.jurisdiction]
	count(x) == 3
	concat("", [x.zone, x.gateway_id])
}

wrong contains "exporter" if not part_exporter

part_exporter if {
	x := input.exporter
	words_exporter_kind[x.kind]
	words_exporter_ciio[x.ciio]
	words_exporter_ciio[x.ftz_registered]
	words_exporter_ciio[x.lingang_activity]
	words_exporter_ciio[x.dpo_required]
	count(x) == 9
	concat("", [x.id, x.legal_name, x.sector, x.dpo_ref])
}

wrong contains "recipient" if not part_recipient

part_recipient if {
	x := input.recipient
	words_exporter_kind[x.kind]
	count(x) == 7
	country(x.hq_country)
	country(x.ultimate_parent_country)
	not x.owners[256]
	is_array(x.owners)
	every e in x.owners {
		part_recipient_owners_item(e)
	}
	concat("", [x.id, x.legal_name])
}

wrong contains "recipient.screening" if not part_recipient_screening

part_recipient_screening if {
	x := input.recipient.screening
	words_recipient_screening_result[x.result]
	count(x) == 2
	is_string(x.list_revision)
}

part_recipient_owners_item(x) if {
	words_exporter_ciio[x.listed]
	count(x) == 3
	whole(x.pct, 0, 100)
	is_string(x.id)
}

wrong contains "dataset" if not part_dataset

part_dataset := "stated" if {
	x := input.dataset
	words_dataset_origin[x.origin]
	words_dataset_gov_source[x.gov_source]
	words_dataset_category[x.category]
	count(x) == 14
	not x.origin_jurisdictions[256]
	x.origin_jurisdictions[0]
	[e | some e in x.origin_jurisdictions; country(e)] == x.origin_jurisdictions
	part_dataset_columns
	not x.onward[256]
	is_array(x.onward)
	every e in x.onward {
		part_dataset_onward_item(e)
	}
	whole(x.retention_until, 0, 7258118400)
	concat("", [x.id, x.digest, x.sector, x.controller])
} else := "null" if input.dataset == null

wrong contains "dataset.my" if not part_dataset_my

part_dataset_my := "stated" if {
	x := input.dataset.my
	words_dataset_my_sensitivity[x.sensitivity]
	count(x) == 3
	whole(x.subjects, 0, 10000000000)
	whole(x.sensitive_subjects, 0, 10000000000)
} else := "null" if input.dataset == null

wrong contains "dataset.cn" if not part_dataset_cn

part_dataset_cn := "stated" if {
	x := input.dataset.cn
	words_dataset_cn_class[x.class]
	words_exporter_ciio[x.notified_important]
	words_dataset_cn_basis[x.basis]
	words_dataset_cn_exemption[x.exemption]
	count(x) == 9
	not x.spi_types[256]
	[e | some e in x.spi_types; words_dataset_cn_spi_types[e]] == x.spi_types
	whole(x.subjects_non_sensitive, 0, 10000000000)
	whole(x.subjects_sensitive, 0, 10000000000)
	is_string(x.list_item_id)
} else := "null" if input.dataset == null

wrong contains "dataset.cn.hgr" if not part_dataset_cn_hgr

part_dataset_cn_hgr := "stated" if {
	x := input.dataset.cn.hgr
	words_dataset_cn_hgr_kind[x.kind]
	words_dataset_cn_hgr_special[x.special]
	count(x) == 3
	whole(x.persons, 0, 10000000000)
} else := "null" if input.dataset == null

wrong contains "dataset.deid" if not part_dataset_deid

part_dataset_deid := "stated" if {
	x := input.dataset.deid
	words_dataset_deid_method[x.method]
	count(x) == 4
	whole(x.k, 0, 1000000000000000)
	whole(x.l, 0, 1000000000000000)
	whole(x.reid_tested_at, 0, 7258118400)
} else := "null" if input.dataset == null

part_dataset_columns if {
	columns := input.dataset.columns
	is_array(columns)
	not columns[4096]
	columns[0]
	size := count(columns)
	names := [name | name := columns[_].name]
	types := [type | type := columns[_].arrow_type]
	tags := [list | list := columns[_].tags]
	count(names) == size
	count(types) == size
	count(tags) == size
	{count(x) | some x in columns} == {3}
	concat("", names)
	concat("", types)
	lists := {list | some list in tags}
	{[tag | some tag in list; words_dataset_columns_tags[tag]] | some list in lists} == lists
}

part_dataset_onward_item(x) if {
	count(x) == 2
	country(x.country)
	is_string(x.recipient_id)
}

wrong contains "usage" if not part_usage

part_usage if {
	x := input.usage
	count(x) == 1
}

wrong contains "usage.cn" if not part_usage_cn

part_usage_cn if {
	x := input.usage.cn
	count(x) == 3
	whole(x.year, 1970, 2200)
	whole(x.non_sensitive_after, 0, 10000000000)
	whole(x.sensitive_after, 0, 10000000000)
}

wrong contains "model" if not part_model

part_model := "stated" if {
	x := input.model
	words_model_format[x.format]
	words_model_openness[x.openness]
	words_model_provenance[x.provenance]
	words_model_end_use[x.end_use]
	words_model_memorisation_test[x.memorisation_test]
	count(x) == 9
	concat("", [x.id, x.digest])
} else := "null" if input.model == null

wrong contains "model.base" if not part_model_base

part_model_base := "stated" if {
	x := input.model.base
	count(x) == 3
	concat("", [x.id, x.licence, x.licence_version])
} else := "null" if input.model == null

wrong contains "model.training" if not part_model_training

part_model_training_runs_devices_item(x) if {
	words_model_training_runs_devices_eccn[x.eccn]
	count(x) == 8
	country(x.vendor_country)
	whole(x.count, 0, 1000000000000000)
	whole(x.tops, 0, 1000000000000000)
	whole(x.bits, 1, 128)
	whole(x.die_mm2, 0, 1000000000000000)
	concat("", [x.sku, x.vendor])
}

part_model_training_runs_item(x) if {
	words_exporter_ciio[x.hired]
	words_model_training_runs_attestation[x.attestation]
	count(x) == 7
	country(x.country)
	not x.devices[256]
	is_array(x.devices)
	every e in x.devices {
		part_model_training_runs_devices_item(e)
	}
	whole(x.device_hours, 0, 1000000000000000)
	whole(x.exaops, 0, 1000000000000000)
	is_string(x.site)
}

part_model_training_data_item(x) if {
	words_dataset_cn_class[x.class]
	count(x) == 3
	whole(x.subjects, 0, 10000000000)
	is_string(x.digest)
}

part_model_training := "stated" if {
	x := input.model.training
	count(x) == 2
	not x.runs[256]
	is_array(x.runs)
	every e in x.runs {
		part_model_training_runs_item(e)
	}
	not x.data[256]
	is_array(x.data)
	every e in x.data {
		part_model_training_data_item(e)
	}
} else := "null" if input.model == null

wrong contains "job" if not part_job

part_job := "stated" if {
	x := input.job
	words_job_kind[x.kind]
	words_job_output_kind[x.output_kind]
	count(x) == 6
	whole(x.min_group, 0, 1000000000000000)
	whole(x.rounds, 0, 1000000000000000)
	is_string(x.algorithm_digest)
} else := "null" if input.job == null

wrong contains "job.dp" if not part_job_dp

part_job_dp := "stated" if {
	x := input.job.dp
	count(x) == 2
	whole(x.epsilon_milli, 0, 1000000000000000)
	whole(x.remaining_milli, 0, 1000000000000000)
} else := "null" if input.job == null

wrong contains "release" if not part_release

part_release := "stated" if {
	x := input.release
	count(x) == 5
	whole(x.smallest_group, 0, 1000000000000000)
	whole(x.suppressed, 0, 1000000000000000)
	whole(x.rows, 0, 1000000000000000)
	whole(x.bytes, 0, 1000000000000000)
	is_string(x.digest)
} else := "null" if input.release == null

part_mechanisms_item(x) if {
	scope := x.scope
	words_mechanisms_kind[x.kind]
	words_mechanisms_verified_by[x.verified_by]
	count(x) == 6
	count(scope) == 3
	not scope.dataset_ids[256]
	concat("", scope.dataset_ids)
	not scope.purposes[256]
	[e | some e in scope.purposes; words_request_purpose[e]] == scope.purposes
	whole(x.issued_at, 0, 7258118400)
	whole(x.expires_at, 0, 7258118400)
	concat("", [x.ref, scope.recipient_id])
}
