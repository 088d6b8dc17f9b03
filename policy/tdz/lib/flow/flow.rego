# What the request moves, and out of which law.
package tdz.lib.flow

origin := input.request.flow.from.jurisdiction

destination := input.request.flow.to.jurisdiction

leaves(jurisdiction) if jurisdiction == origin

# The pack of the jurisdiction that the data enters has nothing to say.
only_enters(jurisdiction) if {
	jurisdiction == destination
	not jurisdiction == origin
}

# [H]: an aggregate that passes the group rule exports no persons, a model update likewise.
default exports_no_persons := false

exports_no_persons if input.request.action == "transfer_model"

exports_no_persons if {
	input.request.action in {"run_job", "release_output"}
	input.job.output_kind in {"aggregate", "model_update"}
}
