# From findings to a verdict: the strictest wins, and what is not known is the strictest.
package tdz.lib.verdict

of(findings) := strictest({finding.effect | some finding in findings})

strictest(effects) := "deny" if {
	some effect in effects
	not milder[effect]
} else := "review" if {
	effects.review
} else := "pass"

milder := {"info", "warn", "review"}
