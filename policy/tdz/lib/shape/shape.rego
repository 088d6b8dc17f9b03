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

wrong contains "input" if not part_document

part_document if {
	object.keys(input) == {"dataset", "exporter", "job", "mechanisms", "model", "recipient", "release", "request", "usage"}
	is_array(input.mechanisms)
	count(input.mechanisms) <= 32
	every e in input.mechanisms {
		part_mechanisms_item(e)
	}
}

wrong contains "request" if not part_request

part_request if {
	object.keys(input.request) == {"action", "flow", "now", "purpose", "schema"}
	input.request.schema == "tdz.input/1"
	whole(input.request.now, 1, 7258118400)
	input.request.action in {"transfer_dataset", "transfer_model", "run_job", "release_output"}
	input.request.purpose in {"research", "product_improvement", "service_delivery", "regulatory_reporting", "public_health", "judicial", "law_enforcement", "military", "unknown"}
}

wrong contains "request.flow" if not part_request_flow

part_request_flow if {
	object.keys(input.request.flow) == {"from", "to"}
}

wrong contains "request.flow.from" if not part_request_flow_from

part_request_flow_from if {
	object.keys(input.request.flow.from) == {"gateway_id", "jurisdiction", "zone"}
	input.request.flow.from.jurisdiction in {"CN", "MY"}
	is_string(input.request.flow.from.zone)
	regex.match(`^[a-z][a-z0-9-]{0,62}$`, input.request.flow.from.zone)
	is_string(input.request.flow.from.gateway_id)
	regex.match(`^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$`, input.request.flow.from.gateway_id)
}

wrong contains "request.flow.to" if not part_request_flow_to

part_request_flow_to if {
	object.keys(input.request.flow.to) == {"gateway_id", "jurisdiction", "zone"}
	input.request.flow.to.jurisdiction in {"CN", "MY"}
	is_string(input.request.flow.to.zone)
	regex.match(`^[a-z][a-z0-9-]{0,62}$`, input.request.flow.to.zone)
	is_string(input.request.flow.to.gateway_id)
	regex.match(`^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$`, input.request.flow.to.gateway_id)
}

wrong contains "exporter" if not part_exporter

part_exporter if {
	object.keys(input.exporter) == {"ciio", "dpo_ref", "dpo_required", "ftz_registered", "id", "kind", "legal_name", "lingang_activity", "sector"}
	is_string(input.exporter.id)
	regex.match(`^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$`, input.exporter.id)
	is_string(input.exporter.legal_name)
	count(input.exporter.legal_name) >= 1
	count(input.exporter.legal_name) <= 200
	input.exporter.kind in {"company", "university", "hospital", "statutory_body", "government", "unknown"}
	is_string(input.exporter.sector)
	count(input.exporter.sector) >= 1
	count(input.exporter.sector) <= 200
	input.exporter.ciio in {"yes", "no", "unknown"}
	input.exporter.ftz_registered in {"yes", "no", "unknown"}
	input.exporter.lingang_activity in {"yes", "no", "unknown"}
	input.exporter.dpo_required in {"yes", "no", "unknown"}
	is_string(input.exporter.dpo_ref)
	count(input.exporter.dpo_ref) <= 200
}

wrong contains "recipient" if not part_recipient

part_recipient_owners_item(x) if {
	object.keys(x) == {"id", "listed", "pct"}
	is_string(x.id)
	regex.match(`^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$`, x.id)
	whole(x.pct, 0, 100)
	x.listed in {"yes", "no", "unknown"}
}

part_recipient if {
	object.keys(input.recipient) == {"hq_country", "id", "kind", "legal_name", "owners", "screening", "ultimate_parent_country"}
	is_string(input.recipient.id)
	regex.match(`^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$`, input.recipient.id)
	is_string(input.recipient.legal_name)
	count(input.recipient.legal_name) >= 1
	count(input.recipient.legal_name) <= 200
	input.recipient.kind in {"company", "university", "hospital", "statutory_body", "government", "unknown"}
	is_string(input.recipient.hq_country)
	regex.match(`^([A-Z]{2}|unknown)$`, input.recipient.hq_country)
	is_string(input.recipient.ultimate_parent_country)
	regex.match(`^([A-Z]{2}|unknown)$`, input.recipient.ultimate_parent_country)
	is_array(input.recipient.owners)
	count(input.recipient.owners) <= 256
	every e in input.recipient.owners {
		part_recipient_owners_item(e)
	}
}

wrong contains "recipient.screening" if not part_recipient_screening

part_recipient_screening if {
	object.keys(input.recipient.screening) == {"list_revision", "result"}
	is_string(input.recipient.screening.list_revision)
	count(input.recipient.screening.list_revision) >= 1
	count(input.recipient.screening.list_revision) <= 200
	input.recipient.screening.result in {"clear", "hit", "unknown"}
}

wrong contains "dataset" if not part_dataset

part_dataset if {
	object.keys(input.dataset) == {"category", "cn", "columns", "controller", "deid", "digest", "gov_source", "id", "my", "onward", "origin", "origin_jurisdictions", "retention_until", "sector"}
	is_string(input.dataset.id)
	regex.match(`^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$`, input.dataset.id)
	is_string(input.dataset.digest)
	regex.match(`^[0-9a-f]{64}$`, input.dataset.digest)
	is_string(input.dataset.sector)
	count(input.dataset.sector) >= 1
	count(input.dataset.sector) <= 200
	is_array(input.dataset.origin_jurisdictions)
	count(input.dataset.origin_jurisdictions) >= 1
	count(input.dataset.origin_jurisdictions) <= 256
	every e in input.dataset.origin_jurisdictions {
		is_string(e)
		regex.match(`^([A-Z]{2}|unknown)$`, e)
	}
	input.dataset.origin in {"domestic", "foreign_in_transit", "mixed"}
	is_string(input.dataset.controller)
	count(input.dataset.controller) >= 1
	count(input.dataset.controller) <= 200
	input.dataset.gov_source in {"none", "federal", "state", "statutory_body", "open"}
	input.dataset.category in {"none", "personal", "health", "genetic", "vehicle", "geo", "financial", "industrial"}
	is_array(input.dataset.columns)
	count(input.dataset.columns) >= 1
	count(input.dataset.columns) <= 4096
	every e in input.dataset.columns {
		part_dataset_columns_item(e)
	}
	whole(input.dataset.retention_until, 0, 7258118400)
	is_array(input.dataset.onward)
	count(input.dataset.onward) <= 256
	every e in input.dataset.onward {
		part_dataset_onward_item(e)
	}
}

part_dataset if input.dataset == null

wrong contains "dataset.my" if not part_dataset_my

part_dataset_my if {
	object.keys(input.dataset.my) == {"sensitive_subjects", "sensitivity", "subjects"}
	input.dataset.my.sensitivity in {"none", "personal", "sensitive", "unknown"}
	whole(input.dataset.my.subjects, 0, 10000000000)
	whole(input.dataset.my.sensitive_subjects, 0, 10000000000)
}

part_dataset_my if input.dataset == null

wrong contains "dataset.cn" if not part_dataset_cn

part_dataset_cn if {
	object.keys(input.dataset.cn) == {"basis", "class", "exemption", "hgr", "list_item_id", "notified_important", "spi_types", "subjects_non_sensitive", "subjects_sensitive"}
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
	is_string(input.dataset.cn.list_item_id)
	regex.match(`^([A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199})?$`, input.dataset.cn.list_item_id)
}

wrong contains "dataset.cn.hgr" if not part_dataset_cn_hgr

part_dataset_cn_hgr if {
	object.keys(input.dataset.cn.hgr) == {"kind", "persons", "special"}
	input.dataset.cn.hgr.kind in {"none", "sequence", "clinical", "image", "protein", "metabolic"}
	whole(input.dataset.cn.hgr.persons, 0, 10000000000)
	input.dataset.cn.hgr.special in {"none", "important_family", "specific_region"}
}

part_dataset_cn_hgr if input.dataset == null

part_dataset_cn if input.dataset == null

part_dataset_columns_item(x) if {
	object.keys(x) == {"arrow_type", "name", "tags"}
	is_string(x.name)
	is_string(x.arrow_type)
	is_array(x.tags)
	count(x.tags) <= 256
	every e in x.tags {
		e in {"direct_identifier", "quasi_identifier", "sensitive", "face", "plate", "vin", "location", "free_text"}
	}
}

wrong contains "dataset.deid" if not part_dataset_deid

part_dataset_deid if {
	object.keys(input.dataset.deid) == {"k", "l", "method", "reid_tested_at"}
	input.dataset.deid.method in {"none", "pseudonymised", "k_anonymous", "blurred", "tokenised", "aggregated"}
	whole(input.dataset.deid.k, 0, 1000000000000000)
	whole(input.dataset.deid.l, 0, 1000000000000000)
	whole(input.dataset.deid.reid_tested_at, 0, 7258118400)
}

part_dataset_deid if input.dataset == null

part_dataset_onward_item(x) if {
	object.keys(x) == {"country", "recipient_id"}
	is_string(x.country)
	regex.match(`^([A-Z]{2}|unknown)$`, x.country)
	is_string(x.recipient_id)
	regex.match(`^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$`, x.recipient_id)
}

part_mechanisms_item(x) if {
	object.keys(x) == {"expires_at", "issued_at", "kind", "ref", "scope", "verified_by"}
	x.kind in {"standard_contract", "security_assessment", "certification", "pipia", "separate_consent", "hgr_report", "hgr_security_review", "general_list_filing", "dsl36_approval", "tia", "consent", "explicit_consent", "s40_ground", "my_clauses", "my_bcr", "my_certification", "contract", "legal_proceedings", "vital_interest", "public_interest", "sta_permit"}
	is_string(x.ref)
	regex.match(`^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$`, x.ref)
	object.keys(x.scope) == {"dataset_ids", "purposes", "recipient_id"}
	is_array(x.scope.dataset_ids)
	count(x.scope.dataset_ids) <= 256
	every e in x.scope.dataset_ids {
		is_string(e)
		regex.match(`^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$`, e)
	}
	is_string(x.scope.recipient_id)
	regex.match(`^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$`, x.scope.recipient_id)
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
	object.keys(input.usage) == {"cn"}
}

wrong contains "usage.cn" if not part_usage_cn

part_usage_cn if {
	object.keys(input.usage.cn) == {"non_sensitive_after", "sensitive_after", "year"}
	whole(input.usage.cn.year, 1970, 2200)
	whole(input.usage.cn.non_sensitive_after, 0, 10000000000)
	whole(input.usage.cn.sensitive_after, 0, 10000000000)
}

wrong contains "model" if not part_model

part_model if {
	object.keys(input.model) == {"base", "digest", "end_use", "format", "id", "memorisation_test", "openness", "provenance", "training"}
	is_string(input.model.id)
	regex.match(`^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$`, input.model.id)
	is_string(input.model.digest)
	regex.match(`^[0-9a-f]{64}$`, input.model.digest)
	input.model.format in {"safetensors", "onnx", "gguf"}
	input.model.openness in {"closed", "gated", "published", "unknown"}
	input.model.provenance in {"verified", "unverified", "missing"}
	input.model.end_use in {"civil", "military", "military_intelligence", "wmd", "unknown"}
	input.model.memorisation_test in {"passed", "failed", "none"}
}

part_model if input.model == null

wrong contains "model.base" if not part_model_base

part_model_base if {
	object.keys(input.model.base) == {"id", "licence", "licence_version"}
	is_string(input.model.base.id)
	regex.match(`^([A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199})?$`, input.model.base.id)
	is_string(input.model.base.licence)
	count(input.model.base.licence) <= 200
	is_string(input.model.base.licence_version)
	count(input.model.base.licence_version) <= 200
}

part_model_base if input.model == null

wrong contains "model.training" if not part_model_training

part_model_training_runs_devices_item(x) if {
	object.keys(x) == {"bits", "count", "die_mm2", "eccn", "sku", "tops", "vendor", "vendor_country"}
	is_string(x.sku)
	count(x.sku) >= 1
	count(x.sku) <= 200
	is_string(x.vendor)
	count(x.vendor) >= 1
	count(x.vendor) <= 200
	is_string(x.vendor_country)
	regex.match(`^([A-Z]{2}|unknown)$`, x.vendor_country)
	x.eccn in {"3A090.a", "3A090.b", "4A090", "none", "unknown"}
	whole(x.count, 0, 1000000000000000)
	whole(x.tops, 0, 1000000000000000)
	whole(x.bits, 1, 128)
	whole(x.die_mm2, 0, 1000000000000000)
}

part_model_training_runs_item(x) if {
	object.keys(x) == {"attestation", "country", "device_hours", "devices", "exaops", "hired", "site"}
	is_string(x.site)
	count(x.site) >= 1
	count(x.site) <= 200
	is_string(x.country)
	regex.match(`^([A-Z]{2}|unknown)$`, x.country)
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
	object.keys(x) == {"class", "digest", "subjects"}
	is_string(x.digest)
	regex.match(`^[0-9a-f]{64}$`, x.digest)
	x.class in {"general", "important", "core", "unknown"}
	whole(x.subjects, 0, 10000000000)
}

part_model_training if {
	object.keys(input.model.training) == {"data", "runs"}
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

part_model_training if input.model == null

wrong contains "job" if not part_job

part_job if {
	object.keys(input.job) == {"algorithm_digest", "dp", "kind", "min_group", "output_kind", "rounds"}
	input.job.kind in {"sql", "train", "algorithm"}
	is_string(input.job.algorithm_digest)
	regex.match(`^([0-9a-f]{64})?$`, input.job.algorithm_digest)
	input.job.output_kind in {"aggregate", "model_update", "model", "rows"}
	whole(input.job.min_group, 0, 1000000000000000)
	whole(input.job.rounds, 0, 1000000000000000)
}

part_job if input.job == null

wrong contains "job.dp" if not part_job_dp

part_job_dp if {
	object.keys(input.job.dp) == {"epsilon_milli", "remaining_milli"}
	whole(input.job.dp.epsilon_milli, 0, 1000000000000000)
	whole(input.job.dp.remaining_milli, 0, 1000000000000000)
}

part_job_dp if input.job == null

wrong contains "release" if not part_release

part_release if {
	object.keys(input.release) == {"bytes", "digest", "rows", "smallest_group", "suppressed"}
	whole(input.release.smallest_group, 0, 1000000000000000)
	whole(input.release.suppressed, 0, 1000000000000000)
	whole(input.release.rows, 0, 1000000000000000)
	whole(input.release.bytes, 0, 1000000000000000)
	is_string(input.release.digest)
	regex.match(`^[0-9a-f]{64}$`, input.release.digest)
}

part_release if input.release == null
