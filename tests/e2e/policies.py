"""What tests of policy at running gateways share: asking for bundles, and what ledger and decisions say then."""

from __future__ import annotations

from gateway.cli.demo.corridor import ADMIN
from gateway.decisions.trial import trials
from gateway.sdk.admin import PolicyStanding
from gateway.server.main import Gateway
from tests.e2e.material import CYBERJAYA
from tests.e2e.small import Entry, Small
from tests.unit.decisions.bundles import material

SECOND = "ops-2"


async def propose(small: Small, data: bytes, who: str = ADMIN, zone: str = CYBERJAYA) -> PolicyStanding:
    async with small.admin(zone, who) as admin:
        return await admin.propose_policy(data)


async def activate(small: Small, data: bytes, zone: str = CYBERJAYA) -> PolicyStanding:
    first = await propose(small, data, ADMIN, zone)
    assert not first.active
    return await propose(small, data, SECOND, zone)


async def next_revision(small: Small, zone: str = CYBERJAYA, part: str = "zone") -> int:
    async with small.admin(zone) as admin:
        found = [int(each.revision) for each in (await admin.policy_status()).parts if each.part == part]
    return 1 + max(found, default=0)


def policy_entries(found: list[Entry]) -> list[Entry]:
    return [e for e in found if e["kind"].startswith("policy.") or e["body"].get("what") == "policy"]


async def decided(gateway: Gateway) -> str:
    """The digest that a decision names now."""
    point = gateway.house._decisions
    document = trials(point.policy, material.NOW)[0]
    return (await point.decide(document)).policy_digest
