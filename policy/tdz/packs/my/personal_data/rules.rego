# METADATA
# title: Personal data that leaves Malaysia
# description: |
#   PDPA 2010 s.129 as in force 1 Apr 2025, s.40 (sensitive data); cross-border guideline 3/2025 (three years of a
#   transfer impact assessment).
package tdz.packs.my.personal_data

import data.tdz.lib.flow
import data.tdz.lib.given
import data.tdz.lib.mechanism
import data.tdz.lib.persons
import data.tdz.lib.shape
import data.tdz.lib.verdict as judged

default verdict := "incomplete"

verdict := "not_applicable" if {
	shape.complete
	flow.only_enters("MY")
}

verdict := judged.of(findings) if {
	shape.complete
	flow.leaves("MY")
}

# Persons are exported unless that is proven not so.
default exported := false

exported if {
	flow.leaves("MY")
	given.dataset
	not flow.exports_no_persons
	not governments[input.dataset.gov_source]
	not impersonal
}

# s.3(1): the Federal and State Governments stand outside of the Act (public_sector decides on their data). Data
# that they published is outside no more, and statutory bodies never were.
governments := {"federal", "state"}

default impersonal := false

impersonal if {
	input.dataset.my.sensitivity == "none"
	persons.nobody
}

# Sensitive unless proven otherwise: health, biometrics such as face templates, religion, politics, offences.
default sensitive := false

sensitive if {
	exported
	not plain
}

plain if {
	plain_words[input.dataset.my.sensitivity]
	input.dataset.my.sensitive_subjects == 0
	not sensitive_categories[input.dataset.category]
	sensitive_types & {kind | some kind in input.dataset.cn.spi_types} == set()
	not persons.tags.sensitive
	not persons.face_shown
}

plain_words := {"none", "personal"}

sensitive_categories := {"health", "genetic"}

# What s.4 calls sensitive too, among the types of the other law.
sensitive_types := {"biometric", "religion", "health"}

# s.129(2): tia. s.129(3): the others, any one of them.
bases := {
	"tia", "consent", "contract", "legal_proceedings", "my_bcr", "my_clauses",
	"my_certification", "vital_interest", "public_interest",
}

needs contains {"code": "MY-BASIS", "kinds": bases} if exported

needs contains {"code": "MY-SENSITIVE", "kinds": {"explicit_consent", "s40_ground"}} if sensitive

# METADATA
# title: No basis for the transfer
# custom:
#   code: MY-BASIS
#   authority: binding
#   cite: PDPA 2010 s.129(2) and (3), in force 1 Apr 2025
#   remedy: Register a transfer impact assessment, consent, a contract or another ground of s.129(3)
findings contains {
	"code": "MY-BASIS",
	"effect": "deny",
	"fields": ["dataset.category", "dataset.my.sensitivity", "dataset.my.subjects", "mechanisms"],
} if {
	missing("MY-BASIS")
}

# METADATA
# title: Sensitive data without explicit consent
# custom:
#   code: MY-SENSITIVE
#   authority: binding
#   cite: PDPA 2010 s.40; general consent is not enough
#   remedy: Obtain explicit consent, or register the ground of s.40 that applies (s40_ground)
findings contains {
	"code": "MY-SENSITIVE",
	"effect": "deny",
	"fields": ["dataset.my.sensitivity", "dataset.my.sensitive_subjects", "mechanisms"],
} if {
	missing("MY-SENSITIVE")
}

# METADATA
# title: The transfer impact assessment is out of date
# custom:
#   code: MY-TIA-STALE
#   authority: advisory
#   cite: Commissioner's cross-border guideline 3/2025 to PDPA s.129(2); three years from issue
#   remedy: Carry out the transfer impact assessment anew and register it
findings contains {"code": "MY-TIA-STALE", "effect": "deny", "fields": ["mechanisms"]} if {
	exported
	not mechanism.held(bases)
	"expired" in mechanism.found({"tia"})
}

# METADATA
# title: A mechanism is out of date
# custom:
#   code: MY-MECH-EXPIRED
#   authority: binding
#   cite: PDPA 2010 ss.40 and 129, Strategic Trade Act 2010 s.9; a ground or a permit counts between its dates
#   remedy: Have the mechanism renewed and registered anew (tdz mechanism add)
findings contains {"code": "MY-MECH-EXPIRED", "effect": "deny", "fields": ["mechanisms"]} if {
	some need in needs
	not mechanism.held(need.kinds)
	"expired" in mechanism.found(need.kinds - {"tia"})
}

# METADATA
# title: A mechanism covers something else
# custom:
#   code: MY-MECH-SCOPE
#   authority: binding
#   cite: PDPA 2010 ss.40 and 129, Strategic Trade Act 2010 s.9; a ground or a permit covers what, for whom and for which purpose it names
#   remedy: Register a mechanism whose scope names this dataset or model, this recipient and this purpose
findings contains {"code": "MY-MECH-SCOPE", "effect": "deny", "fields": ["recipient.id", "request.purpose", "mechanisms"]} if {
	some need in needs
	"scope" in mechanism.shortfall(need.kinds)
}

# METADATA
# title: A data protection officer is required and none is named
# custom:
#   code: MY-DPO
#   authority: house
#   cite: PDPA 2010 s.12A and the DPO guideline (more than 20,000 subjects, 10,000 sensitive, or monitoring); review is a house rule
#   remedy: Appoint a data protection officer and enter the reference in the register
findings contains {"code": "MY-DPO", "effect": "review", "fields": ["exporter.dpo_required", "exporter.dpo_ref"]} if {
	exported
	not input.exporter.dpo_required == "no"
	trim(input.exporter.dpo_ref, " ") == ""
}

missing(code) if {
	some need in needs
	need.code == code
	"missing" in mechanism.shortfall(need.kinds)
}

obligations contains {"kind": "delete_by", "params": {"at": delete_at}} if exported

# PDPA s.10: not kept longer than the purpose needs. Without a date of its own the data goes with its basis.
delete_at := input.dataset.retention_until if {
	input.dataset.retention_until > 0
} else := last if {
	some last in ends
	every other in ends {
		other <= last
	}
}

ends := {mechanism.ends(m) | some m in input.mechanisms; bases[m.kind]; mechanism.grade(m) == "valid"}
