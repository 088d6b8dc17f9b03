package tdz.lib.mechanism_test

import data.tdz.lib.mechanism

asked := {
	"request": {"now": 1000, "purpose": "research"},
	"recipient": {"id": "r"},
	"dataset": {"id": "d"},
}

paper := {
	"kind": "consent",
	"scope": {"dataset_ids": ["d"], "recipient_id": "r", "purposes": ["research"]},
	"issued_at": 1000,
	"expires_at": 1001,
	"verified_by": "zone_admin",
}

graded(changes) := grade if {
	grade := mechanism.grade(changed(changes)) with input as asked
}

changed(changes) := {name: value |
	some name, usual in paper
	value := object.get(changes, name, usual)
}

test_grades if {
	graded({}) == "valid"
	graded({"expires_at": 1000}) == "expired"
	graded({"issued_at": 1001}) == "expired"
	graded({"verified_by": "self"}) == "unverified"
	graded({"scope": {"dataset_ids": ["d"], "recipient_id": "x", "purposes": ["research"]}}) == "scope"
	graded({"verified_by": null}) == "unverified"
}

test_a_leap_day_ends_on_the_first_of_march if {
	# issued 2024-02-29T00:00:00Z; three years later there is no 29 February
	tia := changed({"kind": "tia", "issued_at": 1709164800, "expires_at": 1900000000})
	mechanism.current(tia) with input as {"request": {"now": 1803859199}}
	not mechanism.current(tia) with input as {"request": {"now": 1803859200}}
}

test_a_mechanism_of_three_years_ends_then_whatever_it_says if {
	mechanism.ends(changed({"kind": "tia", "issued_at": 1709164800, "expires_at": 1900000000})) == 1803859200
	mechanism.ends(changed({"kind": "tia", "issued_at": 1709164800, "expires_at": 1709164801})) == 1709164801
	mechanism.ends(changed({"kind": "consent", "issued_at": 1709164800, "expires_at": 1900000000})) == 1900000000
}
