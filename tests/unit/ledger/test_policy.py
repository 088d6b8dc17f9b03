"""tlog-policies that are put together and changed, and what a log offers to the witnesses that they name."""

from __future__ import annotations

import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import NoteError
from ledger.note import CosignatureSigner, NoteSigner, Verified
from ledger.policy import TrustPolicy, combined_policy
from ledger.policy_edit import EMPTY_POLICY, add_witness, quorum_rule, remove_witness, set_quorum
from ledger.writer import LogWriter

LOG = NoteSigner("tdz/a/1", Ed25519PrivateKey.generate()).vkey
KEYS = [CosignatureSigner(f"w.example/{n}", Ed25519PrivateKey.generate()) for n in range(8)]
URL = "https://w.example/"


def by(*numbers: int) -> list[Verified]:
    return [Verified(KEYS[n].vkey, KEYS[n].name, 1, "") for n in numbers]


def three(rule: str) -> str:
    text = EMPTY_POLICY
    for n in range(3):
        text = add_witness(text, f"w{n}", KEYS[n].vkey, URL)
    return set_quorum(text, rule)


@pytest.mark.parametrize(
    ("rule", "enough", "too_few"),
    [("all", (0, 1, 2), (0, 1)), ("any", (2,), ()), ("2", (0, 2), (1,)), ("1", (1,), ())],
)
def test_a_quorum_of_all_any_or_so_many(rule: str, enough: tuple[int, ...], too_few: tuple[int, ...]) -> None:
    policy = TrustPolicy(three(rule))
    assert policy.satisfied(by(*enough))
    assert not policy.satisfied(by(*too_few))
    assert quorum_rule(policy.text) == rule
    assert policy.urls == dict.fromkeys(("w0", "w1", "w2"), URL)
    assert [policy.needs(name) for name in ("w0", "w1", "w2")] == [rule == "all"] * 3


def test_witnesses_come_and_go_and_the_rule_stays_as_long_as_it_can() -> None:
    text = add_witness(three("2"), "w3", KEYS[3].vkey, URL)
    assert quorum_rule(text) == "2"
    assert TrustPolicy(text).satisfied(by(0, 3))
    for name, rule in (("w0", "2"), ("w1", "2"), ("w3", "all"), ("w2", "none")):
        text = remove_witness(text, name)
        assert quorum_rule(text) == rule
    assert text == EMPTY_POLICY
    assert quorum_rule(add_witness(three("all"), "w3", KEYS[3].vkey, URL)) == "all"


def test_a_persons_own_groups_and_comments_stay() -> None:
    own = (
        f"# of the ministry\nwitness x0 {KEYS[0].vkey}\nwitness x1 {KEYS[1].vkey}\n"
        "group x any x0 x1\nquorum x # no comment\n"
    ).replace(" # no comment", "")
    text = add_witness(own, "y", KEYS[2].vkey, URL)
    assert text.startswith("# of the ministry\n")
    assert quorum_rule(text) is None
    assert TrustPolicy(text).satisfied(by(1))
    assert not TrustPolicy(text).satisfied(by(2))
    assert remove_witness(text, "y") == own
    for refused in (lambda: set_quorum(text, "all"), lambda: remove_witness(text, "x0")):
        with pytest.raises(NoteError):
            refused()


@pytest.mark.parametrize(
    ("name", "vkey", "url"),
    [
        ("w0", KEYS[4].vkey, URL),
        ("other", KEYS[0].vkey, URL),
        ("none", KEYS[4].vkey, URL),
        ("witnesses", KEYS[4].vkey, URL),
        ("a b", KEYS[4].vkey, URL),
        ("", KEYS[4].vkey, URL),
        ("#", KEYS[4].vkey, URL),
        ("w4", LOG, URL),
        ("w4", "nonsense", URL),
        ("w4", KEYS[4].vkey, "https://w.example/ x"),
        ("w4", KEYS[4].vkey, "https://w.example/\nquorum none"),
    ],
    ids=range(11),
)
def test_what_would_be_another_policy_is_refused(name: str, vkey: str, url: str) -> None:
    with pytest.raises(NoteError):
        add_witness(three("all"), name, vkey, url)


def test_rules_that_are_none_are_refused() -> None:
    for rule in ("", "0", "4", "-1", "02", "most", "all w0"):
        with pytest.raises(NoteError):
            set_quorum(three("all"), rule)
    with pytest.raises(NoteError):
        set_quorum(EMPTY_POLICY, "any")
    with pytest.raises(NoteError):
        remove_witness(EMPTY_POLICY, "w0")


def test_mirrors_must_cosign_besides_what_the_witnesses_policy_says() -> None:
    mirrors = {"a-mirror": KEYS[6].vkey, "b-mirror": KEYS[7].vkey}
    policy = TrustPolicy(combined_policy(LOG, mirrors, three("2")))
    assert policy.satisfied(by(6, 7, 0, 1))
    for few in ((6, 7, 0), (6, 0, 1, 2), (0, 1, 2), (6, 7)):
        assert not policy.satisfied(by(*few))
    assert policy.needs("a-mirror")
    assert not policy.needs("w0")
    for text in ("", EMPTY_POLICY, three("none")):
        only = TrustPolicy(combined_policy(LOG, mirrors, text))
        assert only.satisfied(by(6, 7))
        assert not only.satisfied(by(6))
    assert TrustPolicy(combined_policy(LOG, {}, three("all"))).satisfied(by(0, 1, 2))
    assert TrustPolicy(combined_policy(LOG, {}, "")).quorum == "none"


def test_a_policy_that_takes_a_mirrors_name_or_key_or_is_of_another_log_is_refused() -> None:
    other = NoteSigner("tdz/b/1", Ed25519PrivateKey.generate()).vkey
    for mirrors, text in (
        ({"w0": KEYS[6].vkey}, three("all")),
        ({"a-mirror": KEYS[0].vkey}, three("all")),
        ({}, f"log {other}\nquorum none\n"),
        ({}, "quorum w9\n"),
        ({}, "nonsense\n"),
    ):
        with pytest.raises(NoteError):
            combined_policy(LOG, mirrors, text)


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    try:
        whole = combined_policy(LOG, {"a-mirror": KEYS[6].vkey}, text)
    except (NoteError, UnicodeEncodeError):
        return
    assert TrustPolicy(whole).needs("a-mirror")


async def test_what_is_offered_is_the_newest_that_the_mirror_cosigned_and_stays_at_hand(
    writer: LogWriter, helpers: Any
) -> None:
    mirror, witness = KEYS[6], KEYS[0]
    await writer.set_policy(f"witness m {mirror.vkey}\nwitness w {witness.vkey}\ngroup g all m w\nquorum g\n")
    assert (await writer.offer([mirror.vkey])).checkpoint == writer.published.checkpoint
    held = writer.published.checkpoint
    now = int(time.time())
    await writer.add_cosignature(held.text, mirror.cosign(held.text, now))
    await helpers.append(writer, 2)
    offered = await writer.offer([mirror.vkey])
    assert offered.checkpoint == held
    assert (await writer.offer([])).checkpoint == writer.published.checkpoint
    offered = await writer.offer([mirror.vkey])
    # More checkpoints than are remembered come by before the witness answers.
    for _ in range(70):
        await helpers.append(writer)
        head = writer.published.checkpoint
        await writer.add_cosignature(head.text, mirror.cosign(head.text, now))
    assert writer.witnessed is None
    seen = await writer.add_cosignature(held.text, witness.cosign(held.text, now))
    assert seen is not None
    assert seen.checkpoint == held


async def test_another_policy_judges_what_was_gathered_before(writer: LogWriter, helpers: Any) -> None:
    mirror, witness = KEYS[6], KEYS[0]
    await writer.set_policy(f"witness m {mirror.vkey}\nwitness w {witness.vkey}\ngroup g all m w\nquorum g\n")
    await helpers.append(writer, 2)
    head, now = writer.published.checkpoint, int(time.time())
    await writer.add_cosignature(head.text, mirror.cosign(head.text, now))
    assert writer.witnessed is None
    seen = await writer.set_policy(f"witness m {mirror.vkey}\nquorum m\n")
    assert seen is not None
    assert seen.checkpoint == head
    assert await writer.set_policy(f"witness w {witness.vkey}\nquorum w\n") is None
