# METADATA
# title: Personal information that leaves China
# description: |
#   Provisions on cross-border data flows, CAC Order 16 of 22 Mar 2024; certification measures, Order 20 in force
#   1 Jan 2026; PIPL arts 39 and 55 [U]. Persons are counted per calendar year, this request included; "or more"
#   includes the number itself.
package tdz.packs.cn.personal_information

import data.tdz.lib.flow
import data.tdz.lib.given
import data.tdz.lib.mechanism
import data.tdz.lib.persons
import data.tdz.lib.shape
import data.tdz.lib.verdict as judged
import data.tdz.packs.cn.data_security
import data.tdz.packs.cn.general_lists

default verdict := "incomplete"

verdict := "not_applicable" if {
	shape.complete
	flow.only_enters("CN")
}

verdict := judged.of(findings) if {
	shape.complete
	flow.leaves("CN")
}

# Persons are exported unless that is proven not so.
default exported := false

exported if {
	flow.leaves("CN")
	given.dataset
	not flow.exports_no_persons
	not persons.nobody
}

year := input.usage.cn

# Health data and genes are sensitive (GB/T 45574-2025): a manifest that counts nobody as sensitive is not believed [H].
default sensitive_after := 1

sensitive_after := year.sensitive_after if year.sensitive_after > 0

sensitive_after := 0 if {
	year.sensitive_after == 0
	not sensitive_categories[input.dataset.category]
	not input.dataset.cn.hgr.kind == "sequence"
}

sensitive_categories := {"health", "genetic"}

# Order 16: transit (art 4 [U]), necessity (art 5(1)-(3) [U]), general lists (art 6 [U]). Few persons (art 5(4)) are
# the table's own row. Important and core data know no exemption.
default exempt := false

exempt if {
	not data_security.decided
	exemption
}

exemption if {
	input.dataset.cn.exemption == "transit"
	input.dataset.origin == "foreign_in_transit"
	{country | some country in input.dataset.origin_jurisdictions} & {"CN", "unknown"} == set()
}

exemption if necessities[input.dataset.cn.exemption]

exemption if general_lists.exempts

necessities := {"contract", "hr", "emergency"}

# Each group takes its own row of the table, and the stricter wins.
route := {"security_assessment"} if {
	not input.exporter.ciio == "no"
} else := {"security_assessment"} if {
	year.non_sensitive_after >= 1000000
} else := {"security_assessment"} if {
	sensitive_after >= 10000
} else := {"standard_contract", "certification", "security_assessment"} if {
	not few
} else := set()

few if {
	year.non_sensitive_after < 100000
	sensitive_after == 0
}

# A certification serves the art 8 band only, and never important data (Order 20).
accepted := route if {
	input.dataset.cn.class == "general"
} else := route - {"certification"}

needs contains {"code": "CN-CBDF-MECH", "kinds": accepted} if {
	exported
	not exempt
	not data_security.decided
	not route == set()
}

needs contains {"code": "CN-PIPIA", "kinds": {"pipia"}} if exported

needs contains {"code": "CN-CONSENT", "kinds": {"separate_consent"}} if {
	exported
	input.dataset.cn.basis == "consent"
}

# METADATA
# title: No mechanism for this many persons
# custom:
#   code: CN-CBDF-MECH
#   authority: binding
#   cite: Order 16 arts 5, 7 and 8; Order 20
#   remedy: File a standard contract or be certified; from 1,000,000 persons, 10,000 sensitive ones or as a CIIO pass the security assessment
findings contains {"code": "CN-CBDF-MECH", "effect": "deny", "fields": looked_at} if missing("CN-CBDF-MECH")

# A claim of transit that the facts do not bear out is shown with them.
looked_at := [
	"dataset.origin", "dataset.origin_jurisdictions",
	"usage.cn.non_sensitive_after", "usage.cn.sensitive_after", "exporter.ciio", "mechanisms",
] if {
	input.dataset.cn.exemption == "transit"
} else := ["usage.cn.non_sensitive_after", "usage.cn.sensitive_after", "exporter.ciio", "mechanisms"]

# METADATA
# title: No impact assessment
# custom:
#   code: CN-PIPIA
#   authority: binding
#   cite: PIPL art 55 [U], Order 16 art 10; every personal export, exempt ones included
#   remedy: Carry out a personal information impact assessment and register it (pipia)
findings contains {
	"code": "CN-PIPIA",
	"effect": "deny",
	"fields": [
		"dataset.category", "dataset.cn.subjects_non_sensitive", "dataset.cn.subjects_sensitive",
		"dataset.my.subjects", "mechanisms",
	],
} if {
	missing("CN-PIPIA")
}

# METADATA
# title: No separate consent
# custom:
#   code: CN-CONSENT
#   authority: binding
#   cite: PIPL art 39; where consent is the basis the export needs consent of its own
#   remedy: Obtain separate consent to the export and register it (separate_consent)
findings contains {"code": "CN-CONSENT", "effect": "deny", "fields": ["dataset.cn.basis", "mechanisms"]} if {
	missing("CN-CONSENT")
}

findings contains {"code": "CN-MECH-EXPIRED", "effect": "deny", "fields": ["mechanisms"]} if {
	some need in needs
	"expired" in mechanism.shortfall(need.kinds)
}

findings contains {"code": "CN-MECH-SCOPE", "effect": "deny", "fields": ["recipient.id", "request.purpose", "mechanisms"]} if {
	some need in needs
	"scope" in mechanism.shortfall(need.kinds)
}

missing(code) if {
	some need in needs
	need.code == code
	"missing" in mechanism.shortfall(need.kinds)
}

# Exempt persons are not counted in the year [H]; those under art 5(4) are, by which the year fills up.
obligations contains {"kind": "ledger_add", "params": {"jurisdiction": "CN", "year": year.year}} if {
	exported
	not exempt
}

obligations contains {"kind": "no_onward", "params": {}} if {
	exported
	not exempt
	by_mechanism
}

# The mechanism was made with this recipient.
by_mechanism if data_security.decided

by_mechanism if not route == set()
