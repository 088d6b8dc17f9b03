"""Bad bundles at a running gateway: refused, recorded, explained; the policy before them stays in force."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from gateway.decisions.bundles.store import PolicyStore
from gateway.errors import BundleError
from tests.e2e.material import CYBERJAYA, LINGANG
from tests.e2e.policies import decided, next_revision, policy_entries, propose
from tests.e2e.small import Small, entries, small_corridor
from tests.unit.decisions.bundles import material

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Small]:
    async with small_corridor(tmp_path_factory.mktemp("policy")) as made:
        material.trust(made.a.settings.layout.policy_trust)
        yield made


_RULES = "package tdz.zone.cyberjaya\n\nfindings := set()\n\n"
_ENDLESS = (
    'obligations contains {"kind": "no_onward", "params": {}} if {\n\tsome a in numbers.range(1, 3000)\n'
    "\tsome b in numbers.range(1, 3000)\n\tsome c in numbers.range(1, 3000)\n\ta * b * c == -1\n}\n"
)
_CONTRADICTING = (
    "package tdz.zone.cyberjaya\n\nlimit := 1\n\nlimit := 2\n\n"
    'findings contains {"code": "X", "effect": "deny", "fields": []} if limit == 3\n\nobligations := set()\n'
)


BAD: dict[str, tuple[Callable[[int], bytes], str]] = {
    "no gzip": (lambda r: b"not a bundle", "no gzip"),
    "cut off": (lambda r: material.forbidding(CYBERJAYA, r)[:-9], "cut off"),
    "unsigned": (
        lambda r: material.archive.pack(
            {n: c for n, c in material.archive.unpack(material.forbidding(CYBERJAYA, r)).items() if "sign" not in n}
        ),
        "not signed",
    ),
    "signed without a key id": (
        lambda r: material.without_keyid(_zone_files(r, "")),
        "does not name its key",
    ),
    "signed by a key that is not trusted": (
        lambda r: material.raw(_zone_files(r, ""), material.key("stranger"), "stranger-2026"),
        "not trusted here",
    ),
    "signed by another key than it names": (
        lambda r: material.raw(_zone_files(r, ""), material.key("stranger")),
        "the bundle's signature is not one of",
    ),
    "out of date": (
        lambda r: material.raw({**_zone_files(r, ""), ".manifest": _manifest(r, until=material.NOW - 1)}),
        "out of date since ",
    ),
    "roots that overlap": (
        lambda r: material.raw(
            {**_zone_files(r, ""), ".manifest": _manifest(r, f"tdz/zone/{CYBERJAYA}", f"tdz/zone/{CYBERJAYA}/more")}
        ),
        "the roots overlap",
    ),
    "a package outside of its roots": (
        lambda r: material.raw(
            {**_zone_files(r, ""), "tdz/main/more.rego": b"package tdz.main\n\nx := 1\n"},
        ),
        "outside of the bundle's roots",
    ),
    "a variable that never gets a value": (
        lambda r: material.raw(_zone_files(r, "x if input.dataset.sector == secto")),
        "the variable secto never gets a value",
    ),
    "an obligation to delete before anything came": (
        lambda r: material.zone_bundle(
            CYBERJAYA, r, _RULES + 'obligations contains {"kind": "delete_by", "params": {"at": 5}}\n'
        ),
        "TDZ-OBLIGATION",
    ),
    "another zone's": (lambda r: material.forbidding(LINGANG, r), "may not sign"),
    "vendor's roots by the zone's key": (
        lambda r: material.raw(
            {
                n: c
                for n, c in material.archive.unpack(material.baseline(CYBERJAYA, r)).items()
                if n != ".signatures.json"
            }
        ),
        "zone's key may not sign",
    ),
    "not Rego": (
        lambda r: material.zone_bundle(CYBERJAYA, r, "package tdz.zone.cyberjaya\n\nfindings contains {\n"),
        "does not compile: tdz/zone/cyberjaya/rules.rego, line 3: what is opened here is not closed",
    ),
    "a field that no input has": (
        lambda r: material.raw(_zone_files(r, "x if input.request.urgency == 1")),
        "no input has the field request.urgency",
    ),
    "a builtin that is not allowed": (
        lambda r: material.raw(_zone_files(r, 'x := http.send({"method": "GET", "url": "http://a"})')),
        "the builtin http.send",
    ),
    "an obligation that nobody knows": (
        lambda r: material.zone_bundle(CYBERJAYA, r, _RULES + 'obligations contains {"kind": "bury", "params": {}}\n'),
        "TDZ-OBLIGATION",
    ),
    "an obligation of no shape": (
        lambda r: material.zone_bundle(CYBERJAYA, r, _RULES + 'obligations contains {"kind": "label"}\n'),
        "TDZ-",
    ),
    "rules that contradict each other": (
        lambda r: material.zone_bundle(CYBERJAYA, r, _CONTRADICTING),
        "TDZ-DECISION-UNAVAILABLE: the engine failed on a rule, as it does where one rule comes to two values",
    ),
    "a rule that runs for ever": (
        lambda r: material.zone_bundle(CYBERJAYA, r, _RULES + _ENDLESS),
        "TDZ-DECISION-UNAVAILABLE",
    ),
}


def _manifest(revision: int, *roots: str, until: int = material.UNTIL) -> bytes:
    document = {
        "revision": str(revision),
        "roots": list(roots) or [f"tdz/zone/{CYBERJAYA}"],
        "rego_version": 1,
        "metadata": {"legal_as_of": material.LEGAL, "valid_until": until},
    }
    return json.dumps(document).encode()


def _zone_files(revision: int, rule: str) -> dict[str, bytes]:
    root = f"tdz/zone/{CYBERJAYA}"
    return {
        ".manifest": material.manifest(revision, (root,)).encode(),
        f"{root}/rules.rego": f"{_RULES}obligations := set()\n\n{rule}\n".encode(),
    }


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_bundle_is_refused_recorded_and_explained_and_the_policy_in_force_stays(
    shared: Small, what: str
) -> None:
    make, why = BAD[what]
    before, size = await decided(shared.a), len(await entries(shared.a))
    pids = shared.a.house._decisions.worker_pids
    data = make(await next_revision(shared))
    with pytest.raises(BundleError, match=why) as refused:
        await propose(shared, data)
    assert refused.value.remedy, "what would mend it"
    (entry,) = policy_entries(await entries(shared.a, size))
    assert entry["kind"] == "policy.refused"
    assert set(entry["body"]) == {"reason", "by", "commitment"}
    record = PolicyStore(shared.a.settings.layout.policy).record(entry["id"], entry["body"]["commitment"])
    assert record["bundle"] == hashlib.sha256(data).hexdigest()
    assert why.split()[0] in record["why"]
    assert await decided(shared.a) == before
    assert shared.a.house._decisions.worker_pids[:1] == pids[:1]
    async with shared.admin(CYBERJAYA) as admin:
        assert (await admin.policy_status()).proposals == ()
