# How good a legal mechanism is. Graded from the best down: what cannot be proven falls to the next grade.
package tdz.lib.mechanism

import data.tdz.lib.given

grade(m) := "valid" if {
	verified(m)
	current(m)
	covers(m)
} else := "scope" if {
	verified(m)
	current(m)
} else := "expired" if {
	verified(m)
} else := "unverified"

# Nobody vouches for their own facts.
verified(m) if vouching[m.verified_by]

vouching := {"regulator_register", "certification_body", "zone_admin"}

current(m) if {
	m.issued_at <= input.request.now
	input.request.now < m.expires_at
	not outlived(m)
}

# Assessment (Order 16 art 9 [U]), certification (Order 20), impact assessment (guideline 3/2025): three years
# at most, whatever the paper says.
three_years := {"security_assessment", "certification", "tia"}

outlived(m) if {
	three_years[m.kind]
	not input.request.now < third_year(m)
}

# In seconds; a leap day's third year ends on 1 March.
third_year(m) := time.add_date(m.issued_at * 1000000000, 3, 0, 0) / 1000000000

# When a mechanism stops to serve, whatever its paper says.
ends(m) := third_year(m) if {
	three_years[m.kind]
	third_year(m) < m.expires_at
} else := m.expires_at

covers(m) if {
	subject in m.scope.dataset_ids
	m.scope.recipient_id == input.recipient.id
	input.request.purpose in m.scope.purposes
}

subject := input.dataset.id if given.dataset

subject := input.model.id if {
	not given.dataset
	given.model
}

grades := [{"kind": m.kind, "grade": grade(m)} | some m in input.mechanisms]

# One valid mechanism of one of the kinds is enough.
held(kinds) if {
	some g in grades
	g.grade == "valid"
	kinds[g.kind]
}

found(kinds) := {g.grade | some g in grades; kinds[g.kind]}

# Why a need is not met: the only mechanisms are out of date, or out of scope, or there is none that counts.
shortfall(kinds) := set() if {
	held(kinds)
} else := reasons if {
	reasons := found(kinds) & {"expired", "scope"}
	count(reasons) > 0
} else := {"missing"}
