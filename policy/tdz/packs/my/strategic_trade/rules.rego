# METADATA
# title: Strategic Trade Act 2010 - weights
# description: |
#   s.9 (permits), s.12 (catch-all for restricted activity), Directive 1/2025 (notice before high-performance AI
#   chips of US origin leave). How weights are treated is a house rule.
package tdz.packs.my.strategic_trade

import data.tdz.lib.flow
import data.tdz.lib.given
import data.tdz.lib.mechanism
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

default weights := false

weights if {
	flow.leaves("MY")
	given.model
}

# METADATA
# title: Weights under the Strategic Trade Act
# custom:
#   code: MY-STA
#   authority: house
#   cite: Strategic Trade Act 2010 ss.9 and 12, Directive 1/2025; the treatment of weights is a house rule
#   remedy: State the civil end use, or obtain a permit and register it (sta_permit); for a weapon's end use there is none
findings contains {"code": "MY-STA", "effect": "deny", "fields": ["model.end_use"]} if {
	weights
	weapons[input.model.end_use]
}

findings contains {"code": "MY-STA", "effect": "review", "fields": sort(doubts)} if {
	doubtful
	not permitted
}

findings contains {"code": "MY-MECH-EXPIRED", "effect": "review", "fields": ["mechanisms"]} if {
	doubtful
	"expired" in mechanism.shortfall({"sta_permit"})
}

findings contains {"code": "MY-MECH-SCOPE", "effect": "review", "fields": ["recipient.id", "request.purpose", "mechanisms"]} if {
	doubtful
	"scope" in mechanism.shortfall({"sta_permit"})
}

weapons := {"wmd", "military_intelligence"}

plain_uses := {"civil", "wmd", "military_intelligence"}

# What a person has to look at, unless a permit (s.9) already answers it.
doubts contains "model.end_use" if not plain_uses[input.model.end_use]

doubts contains "model.provenance" if not input.model.provenance == "verified"

doubts contains "model.training.runs" if controlled

default doubtful := false

doubtful if {
	weights
	not doubts == set()
}

default permitted := false

permitted if mechanism.held({"sta_permit"})

# Directive 1/2025: devices of US origin at that performance. What is unknown counts as such.
default controlled := false

controlled if {
	device := input.model.training.runs[_].devices[_]
	origins[device.vendor_country]
	listed[device.eccn]
}

origins := {"US", "unknown"}

listed := {"3A090.a", "4A090", "unknown"}

obligations contains {"kind": "notify", "params": {"who": ["strategic_trade_controller"]}} if {
	weights
	controlled
	not permitted
}
