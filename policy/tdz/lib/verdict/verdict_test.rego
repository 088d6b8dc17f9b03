package tdz.lib.verdict_test

import data.tdz.lib.verdict

test_the_strictest_wins if {
	verdict.strictest(set()) == "pass"
	verdict.strictest({"info", "warn"}) == "pass"
	verdict.strictest({"warn", "review"}) == "review"
	verdict.strictest({"review", "deny"}) == "deny"
	verdict.strictest({"alow"}) == "deny"
}
