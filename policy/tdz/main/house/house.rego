# House rules of every gateway, whichever way the flow goes.
package tdz.main.house

import data.tdz.lib.given

# METADATA
# title: The recipient is not screened clear
# custom:
#   code: TDZ-SCREENING
#   authority: house
#   cite: House rule; the recipient is screened against the lists of its zone before anything moves
#   remedy: Have the recipient screened by its zone's administrator (tdz participant screen)
findings contains {"code": "TDZ-SCREENING", "effect": "deny", "fields": ["recipient.screening.result"]} if {
	not input.recipient.screening.result == "clear"
}

# METADATA
# title: The recipient plans to pass the data on
# custom:
#   code: TDZ-ONWARD
#   authority: house
#   cite: House rule; an onward transfer needs an agreement that names it
#   remedy: Take the onward transfer out of the manifest, or agree on it with the owner by name
findings contains {"code": "TDZ-ONWARD", "effect": "deny", "fields": ["dataset.onward"]} if {
	given.dataset
	not input.dataset.onward == []
}

# METADATA
# title: The purpose is not one that is decided without a person
# custom:
#   code: TDZ-PURPOSE
#   authority: house
#   cite: House rule; an unknown or military purpose is looked at by a person
#   remedy: State the civil purpose that the data is wanted for
findings contains {"code": "TDZ-PURPOSE", "effect": "review", "fields": ["request.purpose"]} if {
	input.request.purpose in {"unknown", "military"}
}

# METADATA
# title: Rows would leave a job
# custom:
#   code: TDZ-ROWS
#   authority: house
#   cite: House rule; raw rows never leave their jurisdiction in a computation
#   remedy: Ask for an aggregate or a model update
findings contains {"code": "TDZ-ROWS", "effect": "deny", "fields": ["job.output_kind"]} if {
	given.job
	input.job.output_kind == "rows"
}

# METADATA
# title: A whole model would leave a job
# custom:
#   code: TDZ-JOB-MODEL
#   authority: house
#   cite: House rule; a model trained on rows may repeat them, so a person looks before it leaves
#   remedy: Ask for model updates, or publish the model with its memorisation test
findings contains {"code": "TDZ-JOB-MODEL", "effect": "review", "fields": ["job.output_kind"]} if {
	given.job
	input.job.output_kind == "model"
}

# METADATA
# title: A group is smaller than the minimum
# custom:
#   code: TDZ-GROUP
#   authority: house
#   cite: House rule; no group under the minimum size leaves a zone
#   remedy: Ask for coarser groups; a job's minimum is at least 2, for a group of one is a person
findings contains {"code": "TDZ-GROUP", "effect": "deny", "fields": ["job.min_group"]} if {
	grouped
	not input.job.min_group > 1
}

findings contains {"code": "TDZ-GROUP", "effect": "deny", "fields": ["job.min_group", "release.smallest_group"]} if {
	given.release
	not input.release.smallest_group >= input.job.min_group
}

# METADATA
# title: The privacy budget does not cover this
# custom:
#   code: TDZ-BUDGET
#   authority: house
#   cite: House rule; the privacy budget per dataset and requester is never overdrawn
#   remedy: Ask for less precision, or wait until the owner grants a new budget
findings contains {
	"code": "TDZ-BUDGET",
	"effect": "deny",
	"fields": ["job.dp.epsilon_milli", "job.dp.remaining_milli"],
} if {
	given.job
	not input.job.dp.epsilon_milli <= input.job.dp.remaining_milli
}

# METADATA
# title: The model's provenance is not verified
# custom:
#   code: TDZ-PROVENANCE
#   authority: house
#   cite: House rule; unknown provenance is reviewed, never allowed
#   remedy: Publish the model with provenance signed by a key that was trusted then
findings contains {"code": "TDZ-PROVENANCE", "effect": "review", "fields": ["model.provenance"]} if {
	given.model
	not input.model.provenance == "verified"
}

# METADATA
# title: The model repeats its training data
# custom:
#   code: TDZ-MEMORISATION
#   authority: house
#   cite: House rule; weights that failed a memorisation test carry personal data with them
#   remedy: Train again with clipping and noise, and test again
findings contains {"code": "TDZ-MEMORISATION", "effect": "deny", "fields": ["model.memorisation_test"]} if {
	given.model
	input.model.memorisation_test == "failed"
}

obligations contains {"kind": "aggregate_only", "params": {"min_group": input.job.min_group}} if {
	grouped
	input.job.min_group > 1
}

# What leaves under the group rule: a model update is a mean over persons as a table's cell is one.
default grouped := false

grouped if {
	given.job
	under_group_rule[input.job.output_kind]
}

under_group_rule := {"aggregate", "model_update"}
