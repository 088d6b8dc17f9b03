# Facts that contradict each other: the gateway checks them too, each finds them without the other.
package tdz.lib.agree

import data.tdz.lib.flow
import data.tdz.lib.given

counts := {
	"dataset.my.subjects": input.dataset.my.subjects,
	"dataset.my.sensitive_subjects": input.dataset.my.sensitive_subjects,
	"dataset.cn.subjects_non_sensitive": input.dataset.cn.subjects_non_sensitive,
	"dataset.cn.subjects_sensitive": input.dataset.cn.subjects_sensitive,
	"dataset.cn.hgr.persons": input.dataset.cn.hgr.persons,
}

# True or false, so that it is evaluated once however many ask.
default counted := false

counted if {
	persons := {number | some number in counts}
	not persons == {0}
}

parts_of_action := {
	"transfer_dataset": {"dataset"},
	"transfer_model": {"model"},
	"run_job": {"dataset", "job"},
	"release_output": {"dataset", "job", "release"},
}

needed := parts_of_action[input.request.action]

wrong contains part if {
	some part in needed
	not given.parts[part]
}

wrong contains part if {
	some part in given.parts
	not needed[part]
}

wrong contains "request.flow" if input.request.flow.from.jurisdiction == input.request.flow.to.jurisdiction

wrong contains "request.flow" if input.request.flow.from.zone == input.request.flow.to.zone

wrong contains "request.flow.from" if other_law(input.request.flow.from)

wrong contains "request.flow.to" if other_law(input.request.flow.to)

# A zone that this registry knows stands under one law only.
other_law(site) if {
	law := data.tdz.registry[site.zone].jurisdiction
	not law == site.jurisdiction
}

# Persons are counted per calendar year from 1 January, UTC+8 (Order 16).
wrong contains "usage.cn.year" if not this_year

this_year if time.date((input.request.now + 28800) * 1000000000)[0] == input.usage.cn.year

wrong contains "dataset.category" if {
	input.dataset.category == "none"
	counted
}

wrong contains "dataset.category" if {
	input.dataset.category == "personal"
	not counted
}

wrong contains "dataset.my.sensitivity" if {
	input.dataset.category == "none"
	input.dataset.my.sensitivity in {"personal", "sensitive"}
}

wrong contains "dataset.my.sensitivity" if {
	input.dataset.my.sensitivity == "none"
	input.dataset.my.subjects + input.dataset.my.sensitive_subjects > 0
}

wrong contains "dataset.my.sensitive_subjects" if input.dataset.my.sensitive_subjects > input.dataset.my.subjects

wrong contains "dataset.cn.notified_important" if {
	input.dataset.cn.class == "general"
	input.dataset.cn.notified_important == "yes"
}

wrong contains "dataset.cn.spi_types" if {
	input.dataset.cn.subjects_sensitive == 0
	not input.dataset.cn.spi_types == []
}

wrong contains "dataset.cn.hgr" if {
	input.dataset.cn.hgr.kind == "none"
	not input.dataset.cn.hgr.persons == 0
}

wrong contains "dataset.cn.hgr" if {
	input.dataset.cn.hgr.kind == "none"
	not input.dataset.cn.hgr.special == "none"
}

wrong contains "usage.cn.sensitive_after" if {
	persons_leave
	input.usage.cn.sensitive_after < input.dataset.cn.subjects_sensitive
}

# A person who moved from the one group to the other in the year is counted as sensitive only.
wrong contains "usage.cn.non_sensitive_after" if {
	persons_leave
	after := input.usage.cn.non_sensitive_after + input.usage.cn.sensitive_after
	after < input.dataset.cn.subjects_non_sensitive + input.dataset.cn.subjects_sensitive
}

# The request's own count is nobody's where an aggregate or a model update leaves a job [H].
default persons_leave := false

persons_leave if {
	given.dataset
	not flow.exports_no_persons
}
