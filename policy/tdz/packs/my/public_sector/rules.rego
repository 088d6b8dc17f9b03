# METADATA
# title: Data of Malaysian governments and statutory bodies
# description: |
#   PDPA 2010 s.3(1): the governments stand outside of it. Data Sharing Act 2025 (Act 864, 28 Apr 2025): federal
#   agency to agency only, no power to export was found.
package tdz.packs.my.public_sector

import data.tdz.lib.flow
import data.tdz.lib.given
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

# METADATA
# title: Government data
# custom:
#   code: MY-GOV
#   authority: house
#   cite: Data Sharing Act 2025 (Act 864) and PDPA 2010 s.3(1); that it does not leave is a house rule
#   remedy: Publish the dataset as open data, or have the statutory body's export approved
findings contains {"code": "MY-GOV", "effect": effect, "fields": ["dataset.gov_source"]} if {
	flow.leaves("MY")
	given.dataset
	not input.dataset.gov_source in {"none", "open"}
}

# Public universities and hospitals: unsettled, so a person looks.
effect := "review" if {
	input.dataset.gov_source == "statutory_body"
} else := "deny"

obligations := set()
