# METADATA
# title: Data Security Law - classes of data, and foreign courts
# description: |
#   DSL art 21 (classes; core data: stricter management) and art 36 (foreign judicial and enforcement bodies);
#   Order 16 of 22 Mar 2024, arts 2 and 7 (important data).
package tdz.packs.cn.data_security

import data.tdz.lib.flow
import data.tdz.lib.given
import data.tdz.lib.mechanism
import data.tdz.lib.shape
import data.tdz.lib.verdict as judged

default verdict := "incomplete"

verdict := "not_applicable" if {
	shape.complete
	flow.only_enters("CN")
}

verdict := judged.of(findings) if {
	shape.complete
	flow.leaves("CN")
}

default in_scope := false

in_scope if {
	flow.leaves("CN")
	given.dataset
}

# METADATA
# title: Core data
# custom:
#   code: CN-CORE
#   authority: house
#   cite: DSL art 21 (core data, stricter management); that it never leaves is a house rule
#   remedy: None; core data stays
findings contains {"code": "CN-CORE", "effect": "deny", "fields": ["dataset.cn.class"]} if {
	in_scope
	input.dataset.cn.class == "core"
}

# METADATA
# title: Important data without a security assessment
# custom:
#   code: CN-IMPORTANT
#   authority: binding
#   cite: Order 16 arts 2 and 7, DSL art 31; review of jobs and of data not notified is a house rule
#   remedy: Pass the CAC's security assessment for this dataset, recipient and purpose; for a job, or data that was not notified, have it approved; state the class where it is unknown
findings contains {"code": "CN-IMPORTANT", "effect": important, "fields": fields} if {
	in_scope
	fields := ["dataset.cn.class", "dataset.cn.notified_important", "mechanisms"]
	not stale_assessment
}

default assessed := false

assessed if mechanism.held({"security_assessment"})

# Rows of notified important data need the assessment, whatever exempts persons.
important := "deny" if {
	assessable
	not assessed
	not flow.exports_no_persons
}

# What a job computes over it is looked at by a person, assessed or not [H].
important := "review" if {
	assessable
	flow.exports_no_persons
}

# Neither notified nor published: need not be assessed as such (art 2), so a person looks [H].
important := "review" if {
	perhaps_important[input.dataset.cn.class]
	not assessable
}

perhaps_important := {"important", "unknown"}

# An assessment does not say that the data is not core.
important := "review" if {
	input.dataset.cn.class == "unknown"
	assessed
}

# Notified or published as important, or not known to be neither.
default assessable := false

assessable if {
	not input.dataset.cn.class == "core"
	not input.dataset.cn.notified_important == "no"
}

# The table's first rows: what they decide on, the rows for persons and their exemptions do not.
default decided := false

decided if input.dataset.cn.class == "core"

decided if assessable

# METADATA
# title: A mechanism is out of date
# custom:
#   code: CN-MECH-EXPIRED
#   authority: binding
#   cite: Order 16 arts 7 to 9 [U], Order 20; an assessment or a certification counts three years at most
#   remedy: Have the mechanism renewed and registered anew (tdz mechanism add)
findings contains {"code": "CN-MECH-EXPIRED", "effect": "deny", "fields": ["mechanisms"]} if {
	some need in needs
	"expired" in mechanism.shortfall(need)
}

# METADATA
# title: A mechanism covers something else
# custom:
#   code: CN-MECH-SCOPE
#   authority: binding
#   cite: Order 16 arts 7 to 10; a mechanism covers the dataset, recipient and purpose that it names
#   remedy: Register a mechanism whose scope names this dataset, this recipient and this purpose
findings contains {"code": "CN-MECH-SCOPE", "effect": "deny", "fields": ["recipient.id", "request.purpose", "mechanisms"]} if {
	some need in needs
	"scope" in mechanism.shortfall(need)
}

needs contains {"security_assessment"} if stale_assessment

needs contains {"dsl36_approval"} if foreign_body

default stale_assessment := false

stale_assessment if {
	in_scope
	important == "deny"
	not "missing" in mechanism.shortfall({"security_assessment"})
}

# METADATA
# title: Data for a foreign court or authority
# custom:
#   code: CN-DSL36
#   authority: binding
#   cite: DSL art 36, PIPL art 41; nothing stored in China goes to a foreign judicial or enforcement body unapproved
#   remedy: Obtain the competent authority's approval and register it (dsl36_approval)
findings contains {"code": "CN-DSL36", "effect": "deny", "fields": ["request.purpose", "mechanisms"]} if {
	foreign_body
	"missing" in mechanism.shortfall({"dsl36_approval"})
}

default foreign_body := false

foreign_body if {
	flow.leaves("CN")
	input.request.purpose in {"judicial", "law_enforcement"}
}

# METADATA
# title: Weights trained on important data
# custom:
#   code: CN-MODEL
#   authority: house
#   cite: House rule; weights trained on Chinese important data leave under review, on core data not at all
#   remedy: Have the release approved; name the class of every training dataset
findings contains {"code": "CN-MODEL", "effect": weights, "fields": ["model.training.data"]} if {
	flow.leaves("CN")
	given.model
}

weights := "deny" if {
	some item in input.model.training.data
	item.class == "core"
} else := "review" if {
	some item in input.model.training.data
	item.class in {"important", "unknown"}
}

obligations := set()
