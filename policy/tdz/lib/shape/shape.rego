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

text(x, shortest, longest) if {
	is_string(x)
	count(x) >= shortest
	count(x) <= longest
}

country("unknown") := true

country(x) if regex.match(`^[A-Z]{2}$`, x)

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
	input.request.action in {"transfer_dataset", "transfer_model", "run_job", "release_output"}
	input.request.purpose in {"research", "product_improvement", "service_delivery", "regulatory_reporting", "public_health", "judicial", "law_enforcement", "military", "unknown"}
}

wrong contains "request.flow" if not part_request_flow

part_request_flow if {
	count(input.request.flow) == 2
}

wrong contains "request.flow.from" if not part_request_flow_from

part_request_flow_from if {
	count(input.request.flow.from) == 3
	input.request.flow.from.jurisdiction in {"CN", "MY"}
	text(input.request.flow.from.zone, 1, 200)
	text(input.request.flow.from.gateway_id, 1, 200)
}

wrong contains "request.flow.to" if not part_request_flow_to

part_request_flow_to if {
	count(input.request.flow.to) == 3
	input.request.flow.to.jurisdiction in {"CN", "MY"}
	text(input.request.flow.to.zone, 1, 200)
	text(input.request.flow.to.gateway_id, 1, 200)
}

wrong contains "exporter" if not part_exporter

part_exporter if {
	count(input.exporter) == 9
	text(input.exporter.id, 1, 200)
	text(input.exporter.legal_name, 1, 200)
	input.exporter.kind in {"company", "university", "hospital", "statutory_body", "government", "unknown"}
	text(input.exporter.sector, 1, 200)
	input.exporter.ciio in {"yes", "no", "unknown"}
	input.exporter.ftz_registered in {"yes", "no", "unknown"}
	input.exporter.lingang_activity in {"yes", "no", "unknown"}
	input.exporter.dpo_required in {"yes", "no", "unknown"}
	text(input.exporter.dpo_ref, 0, 200)
}

wrong contains "recipient" if not part_recipient

part_recipient_owners_item(x) if {
	count(x) == 3
	text(x.id, 1, 200)
	whole(x.pct, 0, 100)
	x.listed in {"yes", "no", "unknown"}
}

part_recipient if {
	count(input.recipient) == 7
	text(input.recipient.id, 1, 200)
	text(input.recipient.legal_name, 1, 200)
	input.recipient.kind in {"company", "university", "hospital", "statutory_body", "government", "unknown"}
	country(input.recipient.hq_country)
	country(input.recipient.ultimate_parent_country)
	is_array(input.recipient.owners)
	count(input.recipient.owners) <= 256
	every e in input.recipient.owners {
		part_recipient_owners_item(e)
	}
}

wrong contains "recipient.screening" if not part_recipient_screening

part_recipient_screening if {
	count(input.recipient.screening) == 2
	text(input.recipient.screening.list_revision, 1, 200)
	input.recipient.screening.result in {"clear", "hit", "unknown"}
}

wrong contains "dataset" if not part_dataset

part_dataset if {
	count(input.dataset) == 14
	text(input.dataset.id, 1, 200)
	text(input.dataset.digest, 64, 64)
	text(input.dataset.sector, 1, 200)
	is_array(input.dataset.origin_jurisdictions)
	count(input.dataset.origin_jurisdictions) <= 256
	count(input.dataset.origin_jurisdictions) >= 1
	every e in input.dataset.origin_jurisdictions {
		country(e)
	}
	input.dataset.origin in {"domestic", "foreign_in_transit", "mixed"}
	text(input.dataset.controller, 1, 200)
	input.dataset.gov_source in {"none", "federal", "state", "statutory_body", "open"}
	input.dataset.category in {"none", "personal", "health", "genetic", "vehicle", "geo", "financial", "industrial"}
	part_dataset_columns
	whole(input.dataset.retention_until, 0, 7258118400)
	is_array(input.dataset.onward)
	count(input.dataset.onward) <= 256
	every e in input.dataset.onward {
		part_dataset_onward_item(e)
	}
}

part_dataset if is_null(input.dataset)

wrong contains "dataset.my" if not part_dataset_my

part_dataset_my if {
	count(input.dataset.my) == 3
	input.dataset.my.sensitivity in {"none", "personal", "sensitive", "unknown"}
	whole(input.dataset.my.subjects, 0, 10000000000)
	whole(input.dataset.my.sensitive_subjects, 0, 10000000000)
}

part_dataset_my if is_null(input.dataset)

wrong contains "dataset.cn" if not part_dataset_cn

part_dataset_cn if {
	count(input.dataset.cn) == 9
	input.dataset.cn.class in {"general", "important", "core", "unknown"}
	input.dataset.cn.notified_important in {"yes", "no", "unknown"}
	input.dataset.cn.basis in {"none", "consent", "contract", "hr", "emergency", "legal_duty"}
	input.dataset.cn.exemption in {"none", "contract", "hr", "emergency", "transit"}
	whole(input.dataset.cn.subjects_non_sensitive, 0, 10000000000)
	whole(input.dataset.cn.subjects_sensitive, 0, 10000000000)
	is_array(input.dataset.cn.spi_types)
	count(input.dataset.cn.spi_types) <= 256
	every e in input.dataset.cn.spi_types {
		e in {"biometric", "religion", "specific_identity", "health", "financial_account", "location_track", "under_14"}
	}
	text(input.dataset.cn.list_item_id, 0, 200)
}

wrong contains "dataset.cn.hgr" if not part_dataset_cn_hgr

part_dataset_cn_hgr if {
	count(input.dataset.cn.hgr) == 3
	input.dataset.cn.hgr.kind in {"none", "sequence", "clinical", "image", "protein", "metabolic"}
	whole(input.dataset.cn.hgr.persons, 0, 10000000000)
	input.dataset.cn.hgr.special in {"none", "important_family", "specific_region"}
}

part_dataset_cn_hgr if is_null(input.dataset)

part_dataset_cn if is_null(input.dataset)

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
	count({x | x := tags[_][_]} - {"direct_identifier", "quasi_identifier", "sensitive", "face", "plate", "vin", "location", "free_text"}) == 0
}

wrong contains "dataset.deid" if not part_dataset_deid

part_dataset_deid if {
	count(input.dataset.deid) == 4
	input.dataset.deid.method in {"none", "pseudonymised", "k_anonymous", "blurred", "tokenised", "aggregated"}
	whole(input.dataset.deid.k, 0, 1000000000000000)
	whole(input.dataset.deid.l, 0, 1000000000000000)
	whole(input.dataset.deid.reid_tested_at, 0, 7258118400)
}

part_dataset_deid if is_null(input.dataset)

part_dataset_onward_item(x) if {
	count(x) == 2
	country(x.country)
	text(x.recipient_id, 1, 200)
}

part_mechanisms_item(x) if {
	count(x) == 6
	x.kind in {"standard_contract", "security_assessment", "certification", "pipia", "separate_consent", "hgr_report", "hgr_security_review", "general_list_filing", "dsl36_approval", "tia", "consent", "explicit_consent", "s40_ground", "my_clauses", "my_bcr", "my_certification", "contract", "legal_proceedings", "vital_interest", "public_interest", "sta_permit"}
	text(x.ref, 1, 200)
	count(x.scope) == 3
	is_array(x.scope.dataset_ids)
	count(x.scope.dataset_ids) <= 256
	every e in x.scope.dataset_ids {
		text(e, 1, 200)
	}
	text(x.scope.recipient_id, 1, 200)
	is_array(x.scope.purposes)
	count(x.scope.purposes) <= 256
	every e in x.scope.purposes {
		e in {"research", "product_improvement", "service_delivery", "regulatory_reporting", "public_health", "judicial", "law_enforcement", "military", "unknown"}
	}
	whole(x.issued_at, 0, 7258118400)
	whole(x.expires_at, 0, 7258118400)
	x.verified_by in {"regulator_register", "certification_body", "zone_admin", "self", "unknown"}
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
	text(input.model.id, 1, 200)
	text(input.model.digest, 64, 64)
	input.model.format in {"safetensors", "onnx", "gguf"}
	input.model.openness in {"closed", "gated", "published", "unknown"}
	input.model.provenance in {"verified", "unverified", "missing"}
	input.model.end_use in {"civil", "military", "military_intelligence", "wmd", "unknown"}
	input.model.memorisation_test in {"passed", "failed", "none"}
}

part_model if is_null(input.model)

wrong contains "model.base" if not part_model_base

part_model_base if {
	count(input.model.base) == 3
	text(input.model.base.id, 0, 200)
	text(input.model.base.licence, 0, 200)
	text(input.model.base.licence_version, 0, 200)
}

part_model_base if is_null(input.model)

wrong contains "model.training" if not part_model_training

part_model_training_runs_devices_item(x) if {
	count(x) == 8
	text(x.sku, 1, 200)
	text(x.vendor, 1, 200)
	country(x.vendor_country)
	x.eccn in {"3A090.a", "3A090.b", "4A090", "none", "unknown"}
	whole(x.count, 0, 1000000000000000)
	whole(x.tops, 0, 1000000000000000)
	whole(x.bits, 1, 128)
	whole(x.die_mm2, 0, 1000000000000000)
}

part_model_training_runs_item(x) if {
	count(x) == 7
	text(x.site, 1, 200)
	country(x.country)
	x.hired in {"yes", "no", "unknown"}
	is_array(x.devices)
	count(x.devices) <= 256
	every e in x.devices {
		part_model_training_runs_devices_item(e)
	}
	whole(x.device_hours, 0, 1000000000000000)
	whole(x.exaops, 0, 1000000000000000)
	x.attestation in {"hardware", "signed", "none"}
}

part_model_training_data_item(x) if {
	count(x) == 3
	text(x.digest, 64, 64)
	x.class in {"general", "important", "core", "unknown"}
	whole(x.subjects, 0, 10000000000)
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
	input.job.kind in {"sql", "train", "algorithm"}
	text(input.job.algorithm_digest, 0, 64)
	input.job.output_kind in {"aggregate", "model_update", "model", "rows"}
	whole(input.job.min_group, 0, 1000000000000000)
	whole(input.job.rounds, 0, 1000000000000000)
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
	text(input.release.digest, 64, 64)
}

part_release if is_null(input.release)
