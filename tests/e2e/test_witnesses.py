"""Gateways and the witnesses of their ledgers: ours, one of another make, away, strange, and k of n of them."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.demo.corridor import Corridor
from gateway.config import load_settings, write_settings
from gateway.errors import ConfigError, RolledBackError
from gateway.model.ids import uuid7
from gateway.server.main import Gateway
from ledger.policy import TrustPolicy
from ledger.verify import verify_directory
from tests.conformance.ledger.plain_witness import PlainWitness, plain_witness
from tests.conformance.ledger.tlog import Key, verify_cosignature
from tests.conformance.ledger.witness_process import Witness, running
from tests.e2e.material import CYBERJAYA, LINGANG
from tests.e2e.small import QUICK, Small, eventually, held

pytestmark = pytest.mark.e2e


@pytest.fixture
async def zones(tmp_path: Path) -> AsyncIterator[Small]:
    """Two gateways that are made and not yet started."""
    small = Small(await asyncio.to_thread(Corridor.make, tmp_path / "zones"), QUICK)
    async with small.stack:
        yield small
        for zone in list(small.gateways):
            await small.stop(zone)


async def started(zones: Small) -> Gateway:
    for zone in (CYBERJAYA, LINGANG):
        await zones.start(zone)
    await zones.pair()
    return zones.b


def write(zones: Small, text: str) -> None:
    zones.corridor.zone(LINGANG).layout.witness_policy.write_text(text)


def line_of(witness: PlainWitness | Witness, name: str) -> str:
    return f"witness {name} {witness.key.vkey if isinstance(witness, PlainWitness) else witness.vkey} {witness.url}\n"


async def append(gateway: Gateway, count: int = 1) -> int:
    """Append entries; the size that covers them."""
    journal = gateway.house.journal
    for n in range(count):
        await journal.record("decision", "transfers/x", {"n": n}, entry_id=uuid7())
    return journal.committed_size


async def witnessed(gateway: Gateway, size: int) -> bytes:
    """`checkpoint.witnessed` on disk once it covers a size."""
    journal, file = gateway.house.journal, gateway.settings.layout.ledger / "checkpoint.witnessed"

    async def look() -> bytes | None:
        if journal.witnessed_size < size or not file.exists():
            return None
        data = file.read_bytes()
        return data if int(data.split(b"\n")[1]) >= size else None

    found: bytes = await eventually(look)
    return found


def signers(note: bytes) -> set[str]:
    return {line.split(" ")[1] for line in note.decode().split("\n\n")[-1].splitlines()}


async def standing(gateway: Gateway, name: str, wanted: str) -> Any:
    async def look() -> Any:
        return next((w for w in gateway.witnessing.standing() if w.name == name and wanted in w.detail), None)

    return await eventually(look)


async def test_witnesses_of_two_makes_cosign_what_the_paired_zone_cosigned(zones: Small, tmp_path: Path) -> None:
    with ExitStack() as stack:
        ours = stack.enter_context(running(tmp_path / "ministry"))
        other = stack.enter_context(plain_witness())
        lines = line_of(ours, "ministry") + line_of(other, "court")
        write(zones, f"{lines}group both all ministry court\nquorum both\n")
        gateway = await started(zones)
        ours.command("add-log", gateway.house.journal.vkey)
        note = await witnessed(gateway, await append(gateway, 3))
        assert signers(note) == {
            gateway.settings.origin,
            "tdz/cyberjaya/mirror",
            "witness.example/w1",
            "other.example/w",
        }
        text = note.decode().rpartition("\n\n")[0] + "\n"
        for line in note.decode().rpartition("\n\n")[2].splitlines():
            for vkey in (ours.vkey, other.key.vkey):
                if line.split(" ")[1] == vkey.split("+")[0]:
                    assert abs(verify_cosignature(f"{line}\n", vkey, text) - time.time()) < 60
        async with zones.admin(LINGANG) as admin:
            status = await admin.status()
        assert {(w.name, w.needed, w.reachable, w.detail) for w in status.witnesses} == {
            ("ministry", True, True, "cosigns"),
            ("court", True, True, "cosigns"),
        }
    await zones.stop(LINGANG)
    report = verify_directory(zones.corridor.zone(LINGANG).layout.ledger, witness_vkeys=[ours.vkey, other.key.vkey])
    assert report.findings == []
    assert report.witnessed is not None


async def test_a_busy_log_is_witnessed_by_all_of_several_at_one_size(zones: Small) -> None:
    with ExitStack() as stack:
        made = [stack.enter_context(plain_witness(f"other.example/{n}")) for n in range(3)]
        names = [f"w{n}" for n in range(3)]
        text = "".join(map(line_of, made, names))
        write(zones, f"{text}group all all {' '.join(names)}\nquorum all\n")
        gateway = await started(zones)
        note = b""
        while "tdz/cyberjaya/mirror" not in signers(note):  # until the pairing is in force, the witnesses are enough
            note = await witnessed(gateway, await append(gateway))
        sizes = [int(note.split(b"\n")[1])]

        async def busy() -> None:
            while True:
                await append(gateway)

        task = asyncio.create_task(busy())
        try:
            for _ in range(4):
                note = await witnessed(gateway, sizes[-1] + 1)
                sizes.append(int(note.split(b"\n")[1]))
                assert len(signers(note)) == 5
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert sizes == sorted(set(sizes))


async def test_two_of_three_are_enough_and_the_one_away_is_shown_and_comes_back(zones: Small) -> None:
    with ExitStack() as stack:
        made = [stack.enter_context(plain_witness(f"other.example/{n}")) for n in range(3)]
        away = made[2]
        away.answer = lambda status, body: (503, b"")
        text = "".join(map(line_of, made, ("w0", "w1", "w2")))
        write(zones, f"{text}group some 2 w0 w1 w2\nquorum some\n")
        gateway = await started(zones)
        note = await witnessed(gateway, await append(gateway))
        assert {"other.example/0", "other.example/1"} <= signers(note)
        shown = await standing(gateway, "w2", "cannot answer now (HTTP 503)")
        assert (shown.needed, shown.reachable) == (False, False)
        away.answer = lambda status, body: (status, body)
        await standing(gateway, "w2", "cosigns")
        # It counts like any other: with it and w0 alone the quorum stands.
        made[1].answer = lambda status, body: (503, b"")
        note = await witnessed(gateway, await append(gateway))
        assert {"other.example/0", "other.example/2"} <= signers(note)


async def test_a_needed_witness_that_is_away_holds_back_what_leaves_and_nothing_else(zones: Small) -> None:
    with plain_witness() as away:
        write(zones, line_of(away, "ministry") + "quorum ministry\n")
        away.answer = lambda status, body: (404, b"")  # it answers, and does not follow this log yet
        gateway = await started(zones)
        away.answer = lambda status, body: (503, b"")
        size = await append(gateway, 2)
        journal = gateway.house.journal
        shown = await standing(gateway, "ministry", "cannot answer now")
        assert (shown.needed, shown.reachable) == (True, False)
        # The paired zone holds the entries, so that an effect may go on; no checkpoint is witnessed.
        await held(journal, size)
        assert journal.held_size >= size
        assert journal.witnessed_size == 0
        assert journal.head() == ""
        # The policy is changed while the gateway runs.
        write(zones, "quorum none\n")
        await append(gateway)
        note = await witnessed(gateway, size)
        assert signers(note) == {gateway.settings.origin, "tdz/cyberjaya/mirror"}
        assert gateway.witnessing.standing() == []


async def test_a_restart_goes_on_at_what_the_witness_holds(zones: Small) -> None:
    with plain_witness() as witness:
        write(zones, line_of(witness, "ministry") + "quorum ministry\n")
        gateway = await started(zones)
        await witnessed(gateway, await append(gateway, 2))
        await zones.stop(LINGANG)
        gateway = await zones.start(LINGANG)
        assert gateway.house.journal.asked
        await standing(gateway, "ministry", "cosigns")
        await witnessed(gateway, await append(gateway, 2))
        olds = [int(body.split(b"\n")[0].split()[1]) for body in witness.requests]
        assert olds.count(0) == 2  # the first time, and once to ask after the restart
        assert max(map(len, witness.requests)) < 16 * 1024  # what omniwitness reads of a request


async def test_strange_answers_are_not_counted_and_stop_nothing(zones: Small) -> None:
    with plain_witness() as witness:
        write(zones, line_of(witness, "ministry") + "quorum none\n")
        gateway = await started(zones)
        await standing(gateway, "ministry", "cosigns")
        stranger = Key("stranger.example/w", 4)
        good = witness.answer
        for answer, said in (
            (lambda status, body: (409, b""), "our log does not hold what it cosigned"),  # as omniwitness says it
            (lambda status, body: (200, b"x" * 70_000), "more than 65536 bytes"),
            (lambda status, body: (200, b"no signature\n"), "no cosignature of its key"),
            (lambda status, body: (200, body[:-9] + b"AAAAAAAA\n"), "no cosignature of its key"),
            (lambda status, body: (200, stranger.cosign("text\n", 1).encode()), "signs with another key"),
            (lambda status, body: (302, body), "HTTP 302"),
            (lambda status, body: (404, body), "does not follow this log"),
            (lambda status, body: (403, body), "does not accept our log's key"),
            (lambda status, body: (422, body), "our log does not hold what it cosigned"),
            (lambda status, body: (409, b"1e9\n"), "is not a size"),
        ):
            witness.answer = answer  # type: ignore[assignment]
            _soon(gateway)
            await append(gateway)
            await standing(gateway, "ministry", said)
        witness.answer = good
        witness.clock = lambda: time.time() - 900
        _soon(gateway)
        await append(gateway)
        await standing(gateway, "ministry", "s from ours")
        witness.clock = time.time
        _soon(gateway)
        await append(gateway)  # appends go on: one witness's clock is no judge of ours
        await standing(gateway, "ministry", "cosigns")
        # SPEC tlog-witness: one or more lines, of which those of unknown keys are ignored.
        other = f"\u2014 stranger.example/quantum {base64.b64encode(os.urandom(2432)).decode()}\n".encode()
        witness.answer = lambda status, body: (status, other + body + other)
        size = await append(gateway)

        async def cosigned() -> bool:
            return gateway.witnessing.standing()[0].size >= size

        await eventually(cosigned)


def _soon(gateway: Gateway) -> None:
    """Have what failed tried again at once."""
    for witness in gateway.witnessing._witnesses.values():
        witness.due = 0.0


async def test_a_witness_that_holds_more_of_ours_than_we_have_shows_that_we_were_rolled_back(
    zones: Small, tmp_path: Path
) -> None:
    with plain_witness() as witness:
        write(zones, line_of(witness, "ministry") + "quorum none\n")
        gateway = await zones.start(LINGANG)
        await append(gateway, 2)
        await standing(gateway, "ministry", "cosigns")
        await zones.stop(LINGANG)
        ledger = gateway.settings.layout.ledger
        shutil.copytree(ledger, tmp_path / "backup")
        gateway = await zones.start(LINGANG)
        size = await append(gateway, 3)

        async def seen() -> bool:
            return witness.latest[0] >= size

        await eventually(seen)
        await zones.stop(LINGANG)
        shutil.rmtree(ledger)
        shutil.copytree(tmp_path / "backup", ledger)
        settings = load_settings(zones.corridor.zone(LINGANG).layout.root)  # as on a machine that remembers nothing
        write_settings(replace(settings, ledger=replace(settings.ledger, memory="none")))
        # It is asked before the first signature: here it is silent then, and nobody else knows.
        witness.answer = lambda status, body: (503, b"")
        gateway = await zones.start(LINGANG)
        witness.answer = lambda status, body: (status, body)
        await standing(gateway, "ministry", "holds our checkpoint")
        assert (await gateway.witnessing.held())["ministry"] == witness.latest[2]
        with pytest.raises(RolledBackError, match="holds our checkpoint"):
            await append(gateway)
        await zones.stop(LINGANG)
        with pytest.raises(RolledBackError, match=r"the witness ministry holds our checkpoint of size"):
            await zones.start_until_ready(LINGANG)


async def rolled_back(zones: Small, witnesses: list[PlainWitness], common: int, fresh: int, backup: Path) -> int:
    """A zone alone, put back to an older state on a machine that remembers nothing; what it had signed."""
    gateway = await zones.start(LINGANG)
    await append(gateway, common)
    await _all_cosigned(gateway, witnesses)
    await zones.stop(LINGANG)
    ledger = gateway.settings.layout.ledger
    shutil.copytree(ledger, backup)
    gateway = await zones.start(LINGANG)
    size = await append(gateway, fresh)
    await _all_cosigned(gateway, witnesses)
    await zones.stop(LINGANG)
    shutil.rmtree(ledger)
    shutil.copytree(backup, ledger)
    settings = load_settings(zones.corridor.zone(LINGANG).layout.root)
    write_settings(replace(settings, ledger=replace(settings.ledger, memory="none")))
    return size


async def _all_cosigned(gateway: Gateway, witnesses: list[PlainWitness]) -> None:
    size = gateway.house.journal.committed_size

    async def look() -> bool:
        return all(each.latest[0] >= size for each in witnesses)

    await eventually(look)


async def waiting(zones: Small, why: str) -> tuple[Gateway, asyncio.Task[None]]:
    """A start that waits for somebody's word."""
    gateway = Gateway(load_settings(zones.corridor.zone(LINGANG).layout.root), QUICK)
    task = asyncio.create_task(gateway.start())

    async def look() -> bool:
        assert not task.done(), task.exception()
        return hasattr(gateway, "assurance") and why in gateway.assurance.why()

    await eventually(look)
    assert not gateway.house.journal.asked
    return gateway, task


async def test_any_one_of_several_witnesses_shows_that_we_were_rolled_back(zones: Small, tmp_path: Path) -> None:
    with ExitStack() as stack:
        made = [stack.enter_context(plain_witness(f"other.example/{n}")) for n in range(3)]
        write(zones, "".join(map(line_of, made, ("w0", "w1", "w2"))) + "group some 2 w0 w1 w2\nquorum some\n")
        await rolled_back(zones, made, 1, 3, tmp_path / "backup")
        # Two of the three hold nothing of what was lost, or say so: one is enough.
        for each in made[:2]:
            each.latest = PlainWitness(each.key).latest
        with pytest.raises(RolledBackError, match=r"the witness w2 holds our checkpoint of size"):
            await zones.start_until_ready(LINGANG)


async def test_a_start_waits_for_a_needed_witness_and_for_those_who_are_a_quorum_by_themselves(
    zones: Small, tmp_path: Path
) -> None:
    def silent(status: int, body: bytes) -> tuple[int, bytes]:
        return 503, b""

    with ExitStack() as stack:
        made = [stack.enter_context(plain_witness(f"other.example/{n}")) for n in range(3)]
        lines = "".join(map(line_of, made, ("w0", "w1", "w2")))
        write(zones, f"{lines}group some 2 w0 w1 w2\nquorum some\n")
        settings = load_settings(zones.corridor.zone(LINGANG).layout.root)
        write_settings(replace(settings, ledger=replace(settings.ledger, memory="none")))
        good = made[0].answer
        # One of three away: two have spoken, and whatever two of three have cosigned, one of them has.
        made[0].answer = silent
        await append(await zones.start(LINGANG))
        await zones.stop(LINGANG)
        # Two away: they alone may have cosigned what nobody else has seen.
        made[1].answer = silent
        gateway, task = await waiting(zones, "the witness w0, the witness w1")
        made[1].answer = good
        await task
        await append(gateway)
        await gateway.stop()
        # One that the quorum needs.
        write(zones, f"{lines}quorum w0\n")
        gateway, task = await waiting(zones, "the witness w0")
        # The operator's way on without it: the policy is taken up while the start waits.
        write(zones, f"{lines}quorum none\n")
        await task
        await append(gateway)
        await gateway.stop()
        # With `quorum none` nothing depends on a witness that is away.
        for each in made:
            each.answer = silent
        gateway = await zones.start(LINGANG)
        await append(gateway)
        await zones.stop(LINGANG)
        # One that says our log is another, and does not show it, is heard whatever the quorum is.
        made[2].answer = lambda status, body: (422, b"")
        gateway, task = await waiting(zones, "refuses: our log does not hold what it cosigned")
        made[2].answer = good
        await task
        await gateway.stop()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quorum nobody\n", "is not defined"),
        ("witness w none http://127.0.0.1/\nquorum none\n", "verifier key"),
        (f"witness w {Key('w.example', 4).vkey} http://witness.example/\nquorum none\n", "not encrypted"),
        (f"witness w {Key('w.example', 4).vkey} ftp://127.0.0.1/\nquorum none\n", "no witness's URL"),
    ],
)
async def test_a_wrong_policy_keeps_a_gateway_from_starting(zones: Small, text: str, said: str) -> None:
    write(zones, text)
    with pytest.raises(ConfigError, match=said):
        await zones.start(LINGANG)


async def test_a_witness_over_https_is_asked_where_its_authority_is_trusted(zones: Small, tmp_path: Path) -> None:
    process = zones.corridor.zone(LINGANG)
    layout = process.layout  # the zone's own authority will do: its gateway's certificate is for 127.0.0.1
    tls = ("--tls-cert", str(layout.gateway_certificate), "--tls-key", str(layout.gateway_key))
    with running(tmp_path / "ministry", *tls) as ministry:
        assert ministry.url.startswith("https://")
        gateway = await started(zones)
        write(zones, line_of(ministry, "ministry") + "quorum ministry\n")
        ministry.command("add-log", gateway.house.journal.vkey)
        await append(gateway)
        assert "certificate" in (await standing(gateway, "ministry", "cannot be reached")).detail
        layout.witness_ca.write_bytes(layout.ca.read_bytes())
        note = await witnessed(gateway, await append(gateway))
        assert "witness.example/w1" in signers(note)


async def test_a_wrong_policy_does_not_replace_the_one_in_force(zones: Small) -> None:
    with plain_witness() as witness:
        write(zones, line_of(witness, "ministry") + "quorum ministry\n")
        gateway = await started(zones)
        write(zones, "quorum nobody\n")

        async def failed() -> str:
            return gateway.witnessing._reload_failed

        assert "not defined" in await eventually(failed)
        note = await witnessed(gateway, await append(gateway))
        assert "other.example/w" in signers(note)
        policy = TrustPolicy((gateway.settings.layout.ledger / "policy.tlog").read_text())
        assert policy.needs("ministry")
