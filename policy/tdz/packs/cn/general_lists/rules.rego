# METADATA
# title: Lin-gang general data lists
# description: |
#   General lists of the Lin-gang Special Area (17 May 2024, one-year trials): what is on a list in date leaves
#   without contract or assessment, on conditions. An expired list exempts nothing and is reviewed. Every data
#   document under tdz/lists/cn is such a list; a dataset names `<list>` or `<list>/<item>`.
package tdz.packs.cn.general_lists

import data.tdz.lib.flow
import data.tdz.lib.given
import data.tdz.lib.mechanism
import data.tdz.lib.persons
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

default claimed := false

claimed if {
	flow.leaves("CN")
	given.dataset
	not flow.exports_no_persons
	not input.dataset.cn.list_item_id == ""
}

named := split(input.dataset.cn.list_item_id, "/")

list := data.tdz.lists.cn[named[0]]

# A list counts where it says who made it and until when it holds.
default in_date := false

in_date if {
	shape.whole(list.valid_until, 1, 7258118400)
	input.request.now < list.valid_until
	is_string(list.source)
}

# METADATA
# title: The list is unknown or out of date
# custom:
#   code: LIST-EXPIRED
#   authority: binding
#   cite: Lin-gang general data lists of 17 May 2024, on trial for one year
#   remedy: Check whether the list was renewed; leave list_item_id empty and use another route
findings contains {"code": "LIST-EXPIRED", "effect": "review", "fields": ["dataset.cn.list_item_id"]} if {
	claimed
	not in_date
}

# METADATA
# title: A condition of the list is not met
# custom:
#   code: CN-LG-COND
#   authority: binding
#   cite: Lin-gang general data lists, conditions - Shanghai FTZ, activity in Lin-gang, no CIIO, filing; vehicles - no faces or plates, no vehicle number that leads back to a person
#   remedy: Meet the conditions, file the list use (general_list_filing), blur faces and plates, tokenise the vehicle number, or use another route
findings contains {"code": "CN-LG-COND", "effect": "deny", "fields": sort(unmet)} if {
	claimed
	in_date
	not unmet == set()
}

unmet contains "exporter.ftz_registered" if not input.exporter.ftz_registered == "yes"

unmet contains "exporter.lingang_activity" if not input.exporter.lingang_activity == "yes"

unmet contains "exporter.ciio" if not input.exporter.ciio == "no"

unmet contains "mechanisms" if "missing" in filing

filing := mechanism.shortfall({"general_list_filing"})

findings contains {"code": "CN-MECH-EXPIRED", "effect": "deny", "fields": ["mechanisms"]} if {
	claimed
	in_date
	"expired" in filing
}

findings contains {"code": "CN-MECH-SCOPE", "effect": "deny", "fields": ["recipient.id", "request.purpose", "mechanisms"]} if {
	claimed
	in_date
	"scope" in filing
}

unmet contains "dataset.category" if {
	vehicles
	not on_the_road[input.dataset.category]
}

on_the_road := {"vehicle", "personal", "geo", "none"}

unmet contains "dataset.columns" if {
	vehicles
	persons.shown
}

unmet contains "dataset.deid.method" if {
	vehicles
	persons.shown
}

# The vehicle number must not lead back to a person: the data is treated already, and the number is masked too. A
# pseudonym leads back for whoever has the key.
unmet contains "dataset.deid.method" if {
	vehicles
	persons.tags.vin
	reversible[input.dataset.deid.method]
}

reversible := {"none", "pseudonymised"}

# The vehicle list, unless the list or the item named says otherwise.
default vehicles := true

vehicles := false if {
	count(list.scenarios) > 0
	not "vehicles" in list.scenarios
}

vehicles := false if {
	not named[1] == "vehicles"
	named[1] in list.scenarios
}

default exempts := false

exempts if {
	claimed
	in_date
	unmet == set()
	filing == set()
}

obligations contains {"kind": "mask_columns", "params": {"columns": masks}} if {
	exempts
	persons.tags.vin
	masks := {column.name: "keyed_hash" | column := input.dataset.columns[_]; "vin" in column.tags}
}
