# METADATA
# title: The decision of one zone
# description: |
#   Allowed is only what is proven: the input is complete and does not contradict itself, every required pack
#   is present, in date, and answers pass or not_applicable, and no finding asks for more. Everything else
#   falls to the default.
# entrypoint: true
package tdz.main

import data.tdz.lib.agree
import data.tdz.lib.shape
import data.tdz.lib.verdict
import data.tdz.local.loaded
import data.tdz.main.house

default decision := {
	"effect": "deny",
	"findings": [{
		"code": "TDZ-NO-MATCH",
		"effect": "deny",
		"authority": "house",
		"cite": "House rule; what no rule decides is not allowed",
		"remedy": "Report this to the zone's administrator",
		"fields": [],
	}],
	"obligations": [],
	"packs": [],
}

decision := {
	"effect": effect,
	"findings": [explained(finding) | some finding in findings],
	"obligations": [obligation | some obligation in obligations],
	"packs": [pack | some pack in packs],
} if {
	effects[effect]
}

effects := {"allow", "review", "deny"}

# The zone that decides: its gateway's own data, never part of an input.
zone := data.tdz.local.zone

required := data.tdz.registry[zone].required

optional := data.tdz.registry[zone].optional

default effect := "deny"

effect := "allow" if {
	sound
	strictest_asked == "pass"
}

effect := "review" if {
	sound
	strictest_asked == "review"
}

strictest_asked := verdict.of(findings)

# Conditions that several rules ask for answer false where they do not hold, so that each is evaluated once.
default sound := false

# Proven, not assumed: without this no finding would still be no allowance.
sound if {
	proven
	entitled
	every id in required {
		at_most_review[answers[id]]
		in_date[id]
	}
}

default proven := false

proven if {
	shape.complete
	agree.wrong == set()
}

# A gateway that decides on a flow which neither leaves nor enters its zone decides nothing.
default entitled := false

entitled if {
	at_home
	required[0]
}

at_home if home(input.request.flow.from)

at_home if home(input.request.flow.to)

home(site) if {
	site.zone == zone
	site.jurisdiction == data.tdz.registry[zone].jurisdiction
}

# A date that is no number would be greater than every number.
in_date contains id if {
	some id in required
	shape.whole(manifests[id].valid_until, 1, 7258118400)
	input.request.now < manifests[id].valid_until
}

ids contains id if some id in required

ids contains id if {
	some id in optional
	manifests[id]
}

# `loaded` names every part of every pack that is loaded. The gateway writes it from the packs' manifests; without
# it no pack has an answer.
manifests := loaded.manifests

# A pack's answer is its strictest part; a part that says nothing leaves the pack without an answer.
answers[id] := answer if {
	some id in ids
	parts := manifests[id].parts
	parts[0]
	said := loaded.verdicts[id]
	count(said) == count(parts)
	answer := strictest({v | some v in said})
}

strictest(said) := "not_applicable" if {
	said == {"not_applicable"}
} else := "pass" if {
	every v in said {
		at_most_pass[v]
	}
} else := "review" if {
	every v in said {
		at_most_review[v]
	}
} else := "deny" if {
	every v in said {
		at_most_deny[v]
	}
} else := "incomplete"

at_most_pass := {"pass", "not_applicable"}

at_most_review := {"pass", "not_applicable", "review"}

at_most_deny := {"pass", "not_applicable", "review", "deny"}

packs contains {
	"id": id,
	"revision": manifests[id].revision,
	"valid_until": manifests[id].valid_until,
	"verdict": answers[id],
} if {
	some id in ids
}

# METADATA
# title: The input is not complete
# custom:
#   code: TDZ-INPUT-INCOMPLETE
#   authority: house
#   cite: House rule; every fact is stated, in its type and enumeration, and none contradicts another
#   remedy: Complete or correct the named fields; tdz policy example prints a complete document
findings contains {"code": "TDZ-INPUT-INCOMPLETE", "effect": "deny", "fields": sort(shape.wrong)} if {
	not shape.complete
}

findings contains {"code": "TDZ-INPUT-INCOMPLETE", "effect": "deny", "fields": sort(agree.wrong)} if {
	shape.complete
	not agree.wrong == set()
}

# METADATA
# title: No rule decides
# custom:
#   code: TDZ-NO-MATCH
#   authority: house
#   cite: House rule; what no rule decides is not allowed
#   remedy: Report this to the zone's administrator
findings contains {"code": "TDZ-NO-MATCH", "effect": "deny", "fields": []} if {
	proven
	not answered
}

answered if {
	entitled
	every id in required {
		at_most_deny[answers[id]]
	}
}

# METADATA
# title: A pack is out of date
# custom:
#   code: TDZ-PACK-EXPIRED
#   authority: house
#   cite: House rule; a pack that counsel has not looked at since its date decides nothing
#   remedy: Activate a current revision of the pack
findings contains {"code": "TDZ-PACK-EXPIRED", "effect": "deny", "fields": ["request.now"]} if {
	proven
	some id in required
	manifests[id]
	not in_date[id]
}

findings contains finding if {
	proven
	some finding in house.findings
}

findings contains finding if {
	proven
	some finding in loaded.findings
}

# Optional packs advise: they may warn, they oblige nobody, and without them nothing is missing.
findings contains verdict.advised(finding) if {
	proven
	some finding in loaded.advice
}

# The zone's administrators may add findings and obligations; nothing here lets them take one away.
findings contains finding if {
	proven
	some finding in data.tdz.zone[zone].findings
}

# What is reviewed waits for a person, and may move only once one has approved.
obligations contains {"kind": "require_approval", "params": {"by": ["zone_admin"]}} if effect == "review"

obligations contains obligation if {
	not effect == "deny"
	some obligation in house.obligations
}

obligations contains obligation if {
	not effect == "deny"
	some obligation in loaded.obligations
}

obligations contains obligation if {
	not effect == "deny"
	some obligation in data.tdz.zone[zone].obligations
}

explained(finding) := {
	"code": finding.code,
	"effect": finding.effect,
	"authority": text.authority,
	"cite": text.cite,
	"remedy": text.remedy,
	"fields": finding.fields,
} if {
	text := meaning(finding.code)
} else := {
	"code": "TDZ-NO-MATCH",
	"effect": "deny",
	"authority": "house",
	"cite": "House rule; a finding without code, effect or fields denies",
	"remedy": "Report this to the zone's administrator; the rule needs all three",
	"fields": [],
}

# A code means what its owner's annotations say; the house's own words come first.
meaning(code) := data.tdz.lib.codes[code] if {
	data.tdz.lib.codes[code]
} else := text if {
	some id in ids
	text := data.tdz.packs[id].codes[code]
} else := data.tdz.zone[zone].codes[code] if {
	data.tdz.zone[zone].codes[code]
} else := {
	"authority": "house",
	"cite": "A rule of the zone without a citation",
	"remedy": "Ask the zone's administrator",
}
