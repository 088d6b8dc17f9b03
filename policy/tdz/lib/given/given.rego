# Which parts the request comes with; the others are null.
#
# A rule that answers false where it does not hold is evaluated once however many ask: the embedded engine keeps
# a rule's value, but not that it has none.
package tdz.lib.given

default dataset := false

dataset if not is_null(input.dataset)

default model := false

model if not is_null(input.model)

default job := false

job if not is_null(input.job)

default release := false

release if not is_null(input.release)

parts contains "dataset" if dataset

parts contains "model" if model

parts contains "job" if job

parts contains "release" if release
