"""A zone's policy from its parts, kept so that it can be made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.decisions.bundles.bundle import Bundle, build, read_directory, verify
from gateway.decisions.bundles.composition import composed, parts_of
from gateway.decisions.bundles.local import local_files
from gateway.decisions.bundles.store import PolicyStore, committed
from gateway.decisions.point import DecisionPoint
from gateway.decisions.policy_set import LOADED, PolicySet, ZonePolicy, shipped
from gateway.decisions.trial import trials
from gateway.errors import ConfigError, ConflictError, IntegrityError, NotFoundError
from gateway.model.ids import uuid7
from tests.unit.decisions.bundles import material
from tests.unit.decisions.bundles.material import NOW, UNTIL, VENDOR, key, keys, manifest


@pytest.fixture(scope="module")
def start() -> ZonePolicy:
    return PolicySet.load().for_zone("lingang")


def read(data: bytes) -> Bundle:
    return verify(data, keys(), zone="lingang", now=NOW)


def put(policy: ZonePolicy, *data: bytes) -> ZonePolicy:
    for each in data:
        policy = composed(policy, read(each))
    return policy


def test_the_shipped_files_in_a_bundle_are_the_same_policy_but_for_their_dates(start: ZonePolicy) -> None:
    policy = put(start, material.baseline("lingang", 3))
    assert policy.modules == start.modules
    assert policy.data == start.data
    assert policy.data_revision == start.data_revision
    assert policy.digest != start.digest
    assert (start.until, policy.until) == (0, UNTIL)
    assert set(parts_of(policy)) == {"baseline"}


def test_the_order_of_activation_does_not_show(start: ZonePolicy) -> None:
    one, other = material.baseline("lingang", 3), material.forbidding("lingang", 5)
    assert put(start, one, other).digest == put(start, other, one).digest


def test_a_new_revision_takes_away_what_it_no_longer_has(start: ZonePolicy) -> None:
    first = material.zone_bundle("lingang", 1, material.EMPTY + "\nmore := 1\n")
    assert "more" in put(start, first).modules["tdz/zone/lingang/rules.rego"]
    second = put(start, first, material.zone_bundle("lingang", 2))
    assert "more" not in second.modules["tdz/zone/lingang/rules.rego"]
    assert parts_of(second)["zone"].revision == 2


def test_parts_that_own_one_path_are_refused(start: ZonePolicy) -> None:
    roots = ("tdz/packs/cn", "tdz/lists/cn")
    pack = build(read_directory(shipped(), roots), manifest(1, roots), key("vendor"), VENDOR)
    alone = put(start, pack)
    with pytest.raises(ConflictError, match="tdz/lists/cn"):
        put(alone, material.baseline("lingang", 1))


def test_a_registry_that_forgets_the_zone_is_refused(start: ZonePolicy) -> None:
    roots = ("tdz/main", "tdz/registry")
    files = read_directory(shipped(), roots) | {"tdz/registry/data.json": b'{"elsewhere":{"required":["cn"]}}'}
    with pytest.raises(ConfigError, match="does not know the zone"):
        put(start, build(files, manifest(1, roots), key("vendor"), VENDOR))


def test_what_opa_is_given_besides_is_the_module_that_the_engine_is_given(start: ZonePolicy) -> None:
    files = local_files(start)
    assert files[LOADED].decode() == start.modules[LOADED]
    assert not any(name.startswith("tdz/local/") for name in start.files)


async def test_a_policy_out_of_date_denies_and_says_so(start: ZonePolicy) -> None:
    point = DecisionPoint(put(start, material.zone_bundle("lingang", 1)), "lingang")
    await point.start()
    try:
        (document, last, late) = (
            next(d for d in trials(start, now) if _is(d, "transfer_dataset", "CN")) for now in (NOW, UNTIL - 1, UNTIL)
        )
        for each in (document, last):
            assert "TDZ-PACK-EXPIRED" not in {f.code for f in (await point.decide(each)).findings}
        late = await point.decide(late)
        assert late.effect == "deny"
        assert [finding.code for finding in late.findings] == ["TDZ-PACK-EXPIRED"]
    finally:
        await point.close()


def _is(document: dict, action: str, origin: str) -> bool:  # type: ignore[type-arg]
    request = document["request"]
    return bool(request["action"] == action and request["flow"]["from"]["jurisdiction"] == origin)


def test_trials_put_the_zone_at_its_own_end(start: ZonePolicy) -> None:
    renamed = PolicySet(
        {n: c.replace(b'"lingang":', b'"shanghai":') if "registry" in n else c for n, c in start.files.items()}
    ).for_zone("shanghai")
    found = trials(renamed, NOW)
    assert len(found) == 8
    assert all("shanghai" in {end["zone"] for end in d["request"]["flow"].values()} for d in found)


# --- kept ---------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> PolicyStore:
    made = PolicyStore(tmp_path / "policy")
    made.prepare()
    return made


def test_a_kept_policy_comes_back_by_the_digest_that_decisions_name(store: PolicyStore, start: ZonePolicy) -> None:
    changed = put(start, material.baseline("lingang", 3), material.forbidding("lingang", 5))
    for policy in (start, changed):
        store.keep_policy(policy)
        store.keep_policy(policy)
        again = store.zone_policy(policy.digest)
        assert again == policy
    with pytest.raises(NotFoundError):
        store.zone_policy("0" * 64)
    with pytest.raises(NotFoundError):
        store.zone_policy("../records/x")


def test_a_damaged_file_is_never_taken_for_what_was_kept(store: PolicyStore, start: ZonePolicy, tmp_path: Path) -> None:
    store.keep_policy(start)
    digest = store.keep_bundle(material.zone_bundle("lingang", 1))
    assert store.bundle(digest) == material.zone_bundle("lingang", 1)
    for path in (tmp_path / "policy").rglob("*.*"):
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(b"package", b"pakcage") + b" ")
    with pytest.raises((IntegrityError, ConfigError)):
        store.zone_policy(start.digest)
    with pytest.raises(IntegrityError):
        store.bundle(digest)


def test_a_record_opens_its_entrys_commitment_and_no_other(store: PolicyStore) -> None:
    entry_id, record, salt = uuid7(), {"policy": "a" * 64}, bytes(range(32))
    store.keep_record(entry_id, record, salt)
    assert store.record(entry_id, committed(entry_id, record, salt)) == record
    with pytest.raises(IntegrityError, match="not what the ledger says"):
        store.record(entry_id, committed(uuid7(), record, salt))
    with pytest.raises(NotFoundError):
        store.record(uuid7(), "0" * 64)
