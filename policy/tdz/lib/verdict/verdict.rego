# From findings to a verdict: the strictest wins, and what is not known is the strictest.
package tdz.lib.verdict

of(findings) := strictest({finding.effect | some finding in findings})

strictest(effects) := "deny" if {
	count(effects - {"info", "warn", "review"}) > 0
} else := "review" if {
	"review" in effects
} else := "pass"
