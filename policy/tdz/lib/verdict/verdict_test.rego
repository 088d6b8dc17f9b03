package tdz.lib.verdict_test

import data.tdz.lib.verdict

test_the_strictest_wins if {
	verdict.strictest(set()) == "pass"
	verdict.strictest({"info", "warn"}) == "pass"
	verdict.strictest({"warn", "review"}) == "review"
	verdict.strictest({"review", "deny"}) == "deny"
	verdict.strictest({"alow"}) == "deny"
}

test_a_finding_without_an_effect_denies if {
	verdict.of({{"code": "X-1", "effect": "warn"}}) == "pass"
	verdict.of({{"code": "X-1"}}) == "deny"
	verdict.of({"text"}) == "deny"
	verdict.of({{"code": "X-1", "effect": false}}) == "deny"
}

test_advice_never_asks_for_more_than_a_warning if {
	verdict.advised({"code": "RF-X", "effect": "info", "fields": []}).effect == "info"
	verdict.advised({"code": "RF-X", "effect": "deny", "fields": []}).effect == "warn"
	verdict.advised({"code": "RF-X", "effect": "review", "fields": []}).effect == "warn"
}
