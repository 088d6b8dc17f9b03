"""When what a decision rests on ends: its packs, the mechanisms and the list it names, the bundles it came from."""

from __future__ import annotations

from gateway.decisions.inputs import KeptDecision
from gateway.decisions.policy_set import ZonePolicy


def ends_of(policy: ZonePolicy, kept: KeptDecision) -> list[int]:
    """All ends that lie ahead of the decision, Unix seconds UTC; an agreement made on it ends at the earliest.

    Of the mechanisms all that the request names count, also one that was not needed: which of them law asks for may
    be another one by then.

    The end of advice that this zone keeps to itself is none, and would tell of it.

    Args:
        policy: what was decided with.
        kept: a decision on a whole policy input.
    """
    document = kept.document
    now = document["request"]["now"]
    found = [pack.valid_until for pack in kept.decision.for_peer().packs]
    found += [mechanism["expires_at"] for mechanism in document["mechanisms"]]
    found.append(policy.until)
    named = ((document.get("dataset") or {}).get("cn") or {}).get("list_item_id", "").split("/")[0]
    lists = policy.data.get("tdz", {}).get("lists", {})
    found += [of[named].get("valid_until", 0) for of in lists.values() if named and named in of]
    return [end for end in found if end > now]
