# From findings to a verdict: the strictest wins, and what is not known is the strictest.
package tdz.lib.verdict

of(findings) := strictest({effect_of(finding) | some finding in findings})

# A finding that names no effect was meant to say something, so it denies.
effect_of(finding) := finding.effect if {
	finding.effect
} else := "deny"

strictest(effects) := "deny" if {
	some effect in effects
	not milder[effect]
} else := "review" if {
	effects.review
} else := "pass"

milder := {"info", "warn", "review"}

# Advice may warn, never more: what an advisory pack asks for beyond that is a warning.
advised(finding) := finding if {
	light[finding.effect]
} else := {"code": finding.code, "effect": "warn", "fields": finding.fields}

light := {"info", "warn"}
