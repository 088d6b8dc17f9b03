# Generated from the policy input's schema by `python -m gateway.decisions.shape`; do not edit.
# A part counts only where every statement about it is proven: missing, extra, mistyped or outside of its
# enumeration leaves the part undefined, and an undefined part is named in `wrong`.
package tdz.lib.shape

default complete := false

complete if count(wrong) == 0

whole(x, low, high) if {
	is_number(x)
	floor(x) == x
	x >= low
	x <= high
}

country("unknown") := true

country(x) if regex.match(`^[A-Z]{2}$`, x)

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
	count(input) == 9
	is_array(input.mechanisms)
	count(input.mechanisms) <= 32
	every e in input.mechanisms {
		part_mechanisms_item(e)
	}
}

wrong contains "request" if not part_request

part_request if {
	count(input.request) == 5
	input.request.schema == "tdz.input/1"
	whole(input.request.now, 1, 7258118400)
	input.request.action in words_request_action
	input.request.purpose in words_request_purpose
}

wrong contains "request.flow" if not part_request_flow

part_request_flow if {
	count(input.request.flow) == 2
}

wrong contains "request.flow.from" if not part_request_flow_from

part_request_flow_from if {
	count(input.request.flow.from) == 3
	input.request.flow.from.jurisdiction in words_request_flow_from_jurisdiction
	is_string(concat("", [input.request.flow.from.zone, input.request.flow.from.gateway_id]))
}

wrong contains "request.flow.to" if not part_request_flow_to

part_request_flow_to if {
	count(input.request.flow.to) == 3
	input.request.flow.to.jurisdiction in words_request_flow_from_jurisdiction
	is_string(concat("", [input.request.flow.to.zone, input.request.flow.to.gateway_id]))
}

wrong contains "exporter" if not part_exporter

part_exporter if {
	count(input.exporter) == 9
	input.exporter.kind in words_exporter_kind
	input.exporter.ciio in words_exporter_ciio
	input.exporter.ftz_registered in words_exporter_ciio
	input.exporter.lingang_activity in words_exporter_ciio
	input.exporter.dpo_required in words_exporter_ciio
	is_string(concat("", [input.exporter.id, input.exporter.legal_name, input.exporter.sector, input.exporter.dpo_ref]))
}

wrong contains "recipient" if not part_recipient

part_recipient if {
	count(input.recipient) == 7
	input.recipient.kind in words_exporter_kind
	country(input.recipient.hq_country)
	country(input.recipient.ultimate_parent_country)
	is_array(input.recipient.owners)
	count(input.recipient.owners) <= 256
	every e in input.recipient.owners {
		part_recipient_owners_item(e)
	}
	is_string(concat("", [input.recipient.id, input.recipient.legal_name]))
}

wrong contains "recipient.screening" if not part_recipient_screening

part_recipient_screening if {
	count(input.recipient.screening) == 2
	input.recipient.screening.result in words_recipient_screening_result
	is_string(concat("", [input.recipient.screening.list_revision]))
}

part_recipient_owners_item(x) if {
	count(x) == 3
	whole(x.pct, 0, 100)
	x.listed in words_exporter_ciio
	is_string(concat("", [x.id]))
}

wrong contains "dataset" if not part_dataset

part_dataset if {
	count(input.dataset) == 14
	is_array(input.dataset.origin_jurisdictions)
	count(input.dataset.origin_jurisdictions) <= 256
	count(input.dataset.origin_jurisdictions) >= 1
	every e in input.dataset.origin_jurisdictions {
		country(e)
	}
	input.dataset.origin in words_dataset_origin
	input.dataset.gov_source in words_dataset_gov_source
	input.dataset.category in words_dataset_category
	part_dataset_columns
	whole(input.dataset.retention_until, 0, 7258118400)
	is_array(input.dataset.onward)
	count(input.dataset.onward) <= 256
	every e in input.dataset.onward {
		part_dataset_onward_item(e)
	}
	is_string(concat("", [input.dataset.id, input.dataset.digest, input.dataset.sector, input.dataset.controller]))
}

part_dataset if is_null(input.dataset)

wrong contains "dataset.my" if not part_dataset_my

part_dataset_my if {
	count(input.dataset.my) == 3
	input.dataset.my.sensitivity in words_dataset_my_sensitivity
	whole(input.dataset.my.subjects, 0, 10000000000)
	whole(input.dataset.my.sensitive_subjects, 0, 10000000000)
}

part_dataset_my if is_null(input.dataset)

wrong contains "dataset.cn" if not part_dataset_cn

part_dataset_cn if {
	count(input.dataset.cn) == 9
	input.dataset.cn.class in words_dataset_cn_class
	input.dataset.cn.notified_important in words_exporter_ciio
	input.dataset.cn.basis in words_dataset_cn_basis
	input.dataset.cn.exemption in words_dataset_cn_exemption
	whole(input.dataset.cn.subjects_non_sensitive, 0, 10000000000)
	whole(input.dataset.cn.subjects_sensitive, 0, 10000000000)
	is_array(input.dataset.cn.spi_types)
	count(input.dataset.cn.spi_types) <= 256
	count({e | e := input.dataset.cn.spi_types[_]} - words_dataset_cn_spi_types) == 0
	is_string(concat("", [input.dataset.cn.list_item_id]))
}

wrong contains "dataset.cn.hgr" if not part_dataset_cn_hgr

part_dataset_cn_hgr if {
	count(input.dataset.cn.hgr) == 3
	input.dataset.cn.hgr.kind in words_dataset_cn_hgr_kind
	whole(input.dataset.cn.hgr.persons, 0, 10000000000)
	input.dataset.cn.hgr.special in words_dataset_cn_hgr_special
}

part_dataset_cn_hgr if is_null(input.dataset)

part_dataset_cn if is_null(input.dataset)

wrong contains "dataset.deid" if not part_dataset_deid

part_dataset_deid if {
	count(input.dataset.deid) == 4
	input.dataset.deid.method in words_dataset_deid_method
	whole(input.dataset.deid.k, 0, 1000000000000000)
	whole(input.dataset.deid.l, 0, 1000000000000000)
	whole(input.dataset.deid.reid_tested_at, 0, 7258118400)
}

part_dataset_deid if is_null(input.dataset)

part_dataset_columns if {
	is_array(input.dataset.columns)
	size := count(input.dataset.columns)
	size >= 1
	size <= 4096
	names := [x | x := input.dataset.columns[_].name]
	types := [x | x := input.dataset.columns[_].arrow_type]
	tags := [x | x := input.dataset.columns[_].tags]
	count(names) == size
	count(types) == size
	count(tags) == size
	is_string(concat("", names))
	is_string(concat("", types))
	{y | x := tags[_]; y := type_name(x)} == {"array"}
	{y | x := input.dataset.columns[_]; y := count(x)} == {3}
	count({x | x := tags[_][_]} - words_dataset_columns_tags) == 0
}

part_dataset_onward_item(x) if {
	count(x) == 2
	country(x.country)
	is_string(concat("", [x.recipient_id]))
}

wrong contains "usage" if not part_usage

part_usage if {
	count(input.usage) == 1
}

wrong contains "usage.cn" if not part_usage_cn

part_usage_cn if {
	count(input.usage.cn) == 3
	whole(input.usage.cn.year, 1970, 2200)
	whole(input.usage.cn.non_sensitive_after, 0, 10000000000)
	whole(input.usage.cn.sensitive_after, 0, 10000000000)
}

wrong contains "model" if not part_model

part_model if {
	count(input.model) == 9
	input.model.format in words_model_format
	input.model.openness in words_model_openness
	input.model.provenance in words_model_provenance
	input.model.end_use in words_model_end_use
	input.model.memorisation_test in words_model_memorisation_test
	is_string(concat("", [input.model.id, input.model.digest]))
}

part_model if is_null(input.model)

wrong contains "model.base" if not part_model_base

part_model_base if {
	count(input.model.base) == 3
	is_string(concat("", [input.model.base.id, input.model.base.licence, input.model.base.licence_version]))
}

part_model_base if is_null(input.model)

wrong contains "model.training" if not part_model_training

part_model_training_runs_devices_item(x) if {
	count(x) == 8
	country(x.vendor_country)
	x.eccn in words_model_training_runs_devices_eccn
	whole(x.count, 0, 1000000000000000)
	whole(x.tops, 0, 1000000000000000)
	whole(x.bits, 1, 128)
	whole(x.die_mm2, 0, 1000000000000000)
	is_string(concat("", [x.sku, x.vendor]))
}

part_model_training_runs_item(x) if {
	count(x) == 7
	country(x.country)
	x.hired in words_exporter_ciio
	is_array(x.devices)
	count(x.devices) <= 256
	every e in x.devices {
		part_model_training_runs_devices_item(e)
	}
	whole(x.device_hours, 0, 1000000000000000)
	whole(x.exaops, 0, 1000000000000000)
	x.attestation in words_model_training_runs_attestation
	is_string(concat("", [x.site]))
}

part_model_training_data_item(x) if {
	count(x) == 3
	x.class in words_dataset_cn_class
	whole(x.subjects, 0, 10000000000)
	is_string(concat("", [x.digest]))
}

part_model_training if {
	count(input.model.training) == 2
	is_array(input.model.training.runs)
	count(input.model.training.runs) <= 256
	every e in input.model.training.runs {
		part_model_training_runs_item(e)
	}
	is_array(input.model.training.data)
	count(input.model.training.data) <= 256
	every e in input.model.training.data {
		part_model_training_data_item(e)
	}
}

part_model_training if is_null(input.model)

wrong contains "job" if not part_job

part_job if {
	count(input.job) == 6
	input.job.kind in words_job_kind
	input.job.output_kind in words_job_output_kind
	whole(input.job.min_group, 0, 1000000000000000)
	whole(input.job.rounds, 0, 1000000000000000)
	is_string(concat("", [input.job.algorithm_digest]))
}

part_job if is_null(input.job)

wrong contains "job.dp" if not part_job_dp

part_job_dp if {
	count(input.job.dp) == 2
	whole(input.job.dp.epsilon_milli, 0, 1000000000000000)
	whole(input.job.dp.remaining_milli, 0, 1000000000000000)
}

part_job_dp if is_null(input.job)

wrong contains "release" if not part_release

part_release if {
	count(input.release) == 5
	whole(input.release.smallest_group, 0, 1000000000000000)
	whole(input.release.suppressed, 0, 1000000000000000)
	whole(input.release.rows, 0, 1000000000000000)
	whole(input.release.bytes, 0, 1000000000000000)
	is_string(concat("", [input.release.digest]))
}

part_release if is_null(input.release)

part_mechanisms_item(x) if {
	count(x) == 6
	count(x.scope) == 3
	x.kind in words_mechanisms_kind
	is_array(x.scope.dataset_ids)
	count(x.scope.dataset_ids) <= 256
	is_string(concat("", x.scope.dataset_ids))
	is_array(x.scope.purposes)
	count(x.scope.purposes) <= 256
	count({e | e := x.scope.purposes[_]} - words_request_purpose) == 0
	whole(x.issued_at, 0, 7258118400)
	whole(x.expires_at, 0, 7258118400)
	x.verified_by in words_mechanisms_verified_by
	is_string(concat("", [x.ref, x.scope.recipient_id]))
}
