# What a dataset says of persons, by whichever law it counts them.
package tdz.lib.persons

import data.tdz.lib.agree

tags := {tag | tag := input.dataset.columns[_].tags[_]}

blurring := {"blurred", "aggregated"}

# Faces or number plates that can be seen.
default shown := false

shown if {
	tags.face
	not blurring[input.dataset.deid.method]
}

shown if {
	tags.plate
	not blurring[input.dataset.deid.method]
}

default face_shown := false

face_shown if {
	tags.face
	not blurring[input.dataset.deid.method]
}

default named := false

named if {
	tags.direct_identifier
	not input.dataset.deid.method == "aggregated"
}

impersonal_categories := {"none", "vehicle", "geo", "financial", "industrial"}

# Nobody is concerned, as far as the manifest tells: no personal category, nobody counted under either law, no
# sensitive type, no column that names or shows a person. Persons are exported unless this is proven.
default nobody := false

nobody if {
	impersonal_categories[input.dataset.category]
	not agree.counted
	input.dataset.cn.spi_types == []
	not named
	not shown
}
