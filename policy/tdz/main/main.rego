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
	effect in {"allow", "review", "deny"}
}

# The zone that decides: its gateway's own data, never part of an input.
zone := data.tdz.local.zone

required := data.tdz.registry[zone].required

optional := data.tdz.registry[zone].optional

default effect := "deny"

effect := "allow" if {
	sound
	verdict.strictest(asked) == "pass"
}

effect := "review" if {
	sound
	verdict.strictest(asked) == "review"
}

asked := {finding.effect | some finding in findings}

# Proven, not assumed: without this no finding would still be no allowance.
sound if {
	proven
	at_home
	count(required) > 0
	every id in required {
		answers[id] in {"pass", "review", "not_applicable"}
		input.request.now < data.tdz.packs[id].manifest.valid_until
	}
}

proven if {
	shape.complete
	count(agree.wrong) == 0
}

at_home if zone in {input.request.flow.from.zone, input.request.flow.to.zone}

ids contains id if some id in required

ids contains id if {
	some id in optional
	data.tdz.packs[id].manifest
}

# A pack's answer is its strictest part; a part that says nothing leaves the pack without an answer.
answers[id] := answer if {
	some id in ids
	parts := data.tdz.packs[id].manifest.parts
	count(parts) > 0
	verdicts := [data.tdz.packs[id][part].verdict | some part in parts]
	count(verdicts) == count(parts)
	answer := strictest({v | some v in verdicts})
}

strictest(verdicts) := "not_applicable" if {
	verdicts == {"not_applicable"}
} else := "pass" if {
	count(verdicts - {"pass", "not_applicable"}) == 0
} else := "review" if {
	count(verdicts - {"pass", "not_applicable", "review"}) == 0
} else := "deny" if {
	count(verdicts - {"pass", "not_applicable", "review", "deny"}) == 0
} else := "incomplete"

packs contains {
	"id": id,
	"revision": data.tdz.packs[id].manifest.revision,
	"valid_until": data.tdz.packs[id].manifest.valid_until,
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
	not count(agree.wrong) == 0
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

# Also a gateway that decides on a flow which neither leaves nor enters its zone decides nothing.
answered if {
	at_home
	count(required) > 0
	every id in required {
		answers[id] in {"pass", "review", "deny", "not_applicable"}
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
	not input.request.now < data.tdz.packs[id].manifest.valid_until
}

findings contains finding if {
	proven
	some finding in house.findings
}

findings contains finding if {
	proven
	some id in ids
	some part in data.tdz.packs[id].manifest.parts
	some finding in data.tdz.packs[id][part].findings
}

# The zone's administrators may add findings and obligations; nothing here lets them take one away.
findings contains finding if {
	proven
	some finding in data.tdz.zone[zone].findings
}

# What is reviewed waits for a person, and may move only once one has approved.
obligations contains {"kind": "require_approval", "params": {"by": ["zone_admin"]}} if effect == "review"

obligations contains obligation if {
	effect != "deny"
	some obligation in house.obligations
}

obligations contains obligation if {
	effect != "deny"
	some id in ids
	some part in data.tdz.packs[id].manifest.parts
	some obligation in data.tdz.packs[id][part].obligations
}

obligations contains obligation if {
	effect != "deny"
	some obligation in data.tdz.zone[zone].obligations
}

explained(finding) := {
	"code": finding.code,
	"effect": finding.effect,
	"authority": meaning(finding.code).authority,
	"cite": meaning(finding.code).cite,
	"remedy": meaning(finding.code).remedy,
	"fields": finding.fields,
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
