# METADATA
# title: Human genetic resources
# description: |
#   Rules in force 1 Jul 2023 (arts 36 and 37 [U]): sequence information abroad is reported and backed up; more
#   than 500 persons, important families or specific regions need a security review. Clinical, image, protein
#   and metabolic data are outside.
package tdz.packs.cn.genetic_resources

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
	not flow.exports_no_persons
}

# METADATA
# title: Genetic resources without report or review
# custom:
#   code: CN-HGR
#   authority: binding
#   cite: Implementing rules on human genetic resources, arts 36 and 37 [U]
#   remedy: Report and back up the information, and pass the security review where more than 500 persons are concerned
findings contains {"code": "CN-HGR", "effect": "deny", "fields": ["dataset.cn.hgr", "mechanisms"]} if {
	some need in needs
	"missing" in mechanism.shortfall(need)
}

findings contains {"code": "CN-HGR", "effect": "review", "fields": ["dataset.category", "dataset.cn.hgr.kind"]} if {
	in_scope
	input.dataset.category == "genetic"
	input.dataset.cn.hgr.kind == "none"
}

findings contains {"code": "CN-MECH-EXPIRED", "effect": "deny", "fields": ["mechanisms"]} if {
	some need in needs
	"expired" in mechanism.shortfall(need)
}

findings contains {"code": "CN-MECH-SCOPE", "effect": "deny", "fields": ["recipient.id", "request.purpose", "mechanisms"]} if {
	some need in needs
	"scope" in mechanism.shortfall(need)
}

needs contains {"hgr_report"} if concerned

needs contains {"hgr_security_review"} if {
	concerned
	not ordinary
}

default concerned := false

concerned if {
	in_scope
	not input.dataset.cn.hgr.kind in {"none", "clinical", "image", "protein", "metabolic"}
}

# Of nobody there is no sequence: the number was not stated.
ordinary if {
	input.dataset.cn.hgr.persons > 0
	input.dataset.cn.hgr.persons <= 500
	input.dataset.cn.hgr.special == "none"
}

obligations := set()
