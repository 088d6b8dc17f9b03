"""Our witness against the text of C2SP tlog-witness: requests by hand, answers checked by a second implementation."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.cli.main import main
from tests.conformance.ledger.tlog import Key, Log, b64, body, consistent, mth, verify_cosignature
from tests.conformance.ledger.witness_process import Witness, exchange, running

pytest.importorskip("aiohttp", reason="the extra `witness` is not installed")


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    with running(tmp_path_factory.mktemp("witness") / "w1") as made:
        yield made
        assert made.stop() == 0


@pytest.fixture
def follow(witness: Witness, request: pytest.FixtureRequest) -> Callable[..., Log]:
    """Makes a log that the witness follows."""

    def make(size: int = 0) -> Log:
        log = Log(Key(f"example.com/{request.node.name}", 1))
        log.grow(size)
        witness.command("add-log", log.key.vkey)
        return log

    return make


def cosigned(witness: Witness, log: Log, old: int, size: int | None = None) -> int:
    """Ask for a cosignature, verify it, and return its time."""
    answer = witness.add(log.request(old, size))
    assert answer.status == 200, answer
    return verify_cosignature(answer.line, witness.vkey, log.text(size))


def test_a_log_that_grows_is_cosigned_from_size_to_size(witness: Witness, follow: Callable[..., Log]) -> None:
    log = follow()
    old = 0
    for size in (0, 1, 2, 3, 7, 8, 9, 64, 100, 255, 257):
        log.grow(size - len(log.leaves))
        before = int(time.time())
        assert before - 1 <= cosigned(witness, log, old) <= time.time()
        old = size


def test_the_same_size_again_gives_a_new_cosignature(witness: Witness, follow: Callable[..., Log]) -> None:
    log = follow(5)
    first = cosigned(witness, log, 0)
    while int(time.time()) == first:
        time.sleep(0.05)  # cosignatures count whole seconds
    assert cosigned(witness, log, 5) > first


def test_an_unknown_origin_is_404(witness: Witness) -> None:
    stranger = Log(Key("example.com/stranger", 1))
    stranger.grow(3)
    assert witness.add(stranger.request(0)).status == 404


def test_no_signature_of_a_trusted_key_is_403(witness: Witness, follow: Callable[..., Log]) -> None:
    log = follow(3)
    imposter = Log(Key(log.key.name, 1), log.leaves)
    assert witness.add(imposter.request(0)).status == 403
    # Of type 4 with the log's own key: another key id, so unknown.
    text = log.text()
    as_cosigner = Key(log.key.name, 4, log.key.private).cosign(text, int(time.time()))
    assert witness.add(body(0, [], f"{text}\n{as_cosigner}".encode())).status == 403


def test_a_trusted_key_whose_signature_fails_is_403_even_beside_a_good_one(
    witness: Witness, follow: Callable[..., Log]
) -> None:
    log = follow(3)
    text = log.text()
    wrong = log.key.sign("something else\n")
    for lines in (wrong, log.key.sign(text) + wrong, wrong + log.key.sign(text)):
        assert witness.add(body(0, [], f"{text}\n{lines}".encode())).status == 403


def test_unknown_signatures_are_ignored(witness: Witness, follow: Callable[..., Log]) -> None:
    log = follow(3)
    text = log.text()
    others = "".join(Key(f"other.example/{n}", 4).cosign(text, 1) for n in range(14))
    same_name = Key(log.key.name, 1).sign("not over this text\n")
    answer = witness.add(body(0, [], f"{text}\n{others}{log.key.sign(text)}{same_name}".encode()))
    assert verify_cosignature(answer.line, witness.vkey, text)


def test_16_signatures_are_taken_though_each_is_as_large_as_post_quantum_ones_are(
    witness: Witness, follow: Callable[..., Log]
) -> None:
    """SPEC signed-note: at least up to 16 signatures MUST be accepted, and they can be up to nearly 5 kB in size."""
    log = follow(3)
    others = "".join(f"\u2014 other.example/{n} {b64(bytes([n]) * 4900)}\n" for n in range(15))
    answer = witness.add(body(0, [], log.note() + others.encode()))
    assert verify_cosignature(answer.line, witness.vkey, log.text())
    served = witness.ask("GET", f"/{hashlib.sha256(log.key.name.encode()).hexdigest()}/checkpoint")
    assert served.line == log.note().decode() + answer.line  # of the log's and the witness's own keys alone


def test_63_lines_of_proof_are_a_request_and_64_are_none(witness: Witness, follow: Callable[..., Log]) -> None:
    log = follow(9)
    cosigned(witness, log, 0)
    log.grow(1)
    assert witness.add(body(9, [bytes(32)] * 63, log.note())).status == 422
    assert witness.add(body(9, [bytes(32)] * 64, log.note())).status == 400


def test_which_status_a_request_gets_that_is_wrong_in_several_ways(
    witness: Witness, follow: Callable[..., Log]
) -> None:
    log = follow(9)
    cosigned(witness, log, 0)
    log.grow(3)
    imposter = Log(Key(log.key.name, 1), log.leaves)
    stranger = Log(Key("example.com/nobody-follows", 1), log.leaves)
    nonsense = [bytes(32)]
    assert witness.add(body(99, nonsense, stranger.note())).status == 404  # the origin first
    assert witness.add(body(99, nonsense, imposter.note())).status == 403  # then who signed
    assert witness.add(body(99, nonsense, log.note())).status == 400  # then the sizes
    assert witness.add(body(8, nonsense, log.note())).status == 409
    assert witness.add(body(9, nonsense, log.note())).status == 422  # the proof last
    assert cosigned(witness, log, 9)


def test_a_body_in_chunks_and_one_that_waits_for_100_continue_are_read(
    witness: Witness, follow: Callable[..., Log]
) -> None:
    log = follow(3)
    request = log.request(0)
    head = b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nConnection: close\r\n"
    with witness.socket() as plain:
        plain.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        for part in (request[:7], request[7:]):
            plain.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        plain.sendall(b"0\r\n\r\n")
        assert _all(plain).startswith(b"HTTP/1.1 200")
    with witness.socket() as plain:
        plain.sendall(head + f"Content-Length: {len(log.request(3))}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert plain.recv(64).startswith(b"HTTP/1.1 100")
        plain.sendall(log.request(3))
        answer = _all(plain)
        assert b"HTTP/1.1 200" in answer
        assert verify_cosignature(answer.rpartition(b"\r\n\r\n")[2].decode(), witness.vkey, log.text())


def _all(connection: socket.socket) -> bytes:
    found = b""
    while part := connection.recv(65_536):
        found += part
    return found


def test_an_old_size_above_the_checkpoint_is_400(witness: Witness, follow: Callable[..., Log]) -> None:
    log = follow(9)
    cosigned(witness, log, 0)
    assert witness.add(body(9, [], log.note(5))).status == 400
    assert witness.add(body(10, [], log.note(9))).status == 400


def test_another_old_size_is_409_with_the_size(witness: Witness, follow: Callable[..., Log]) -> None:
    log = follow(9)
    first = witness.add(log.request(3))
    assert (first.status, first.type, first.body) == (409, "text/x.tlog.size", b"0\n")
    cosigned(witness, log, 0)
    log.grow(4)
    for old in (0, 3, 12, 13):
        answer = witness.add(log.request(old))
        assert (answer.status, answer.type, answer.body) == (409, "text/x.tlog.size", b"9\n")
    # A smaller checkpoint is no way back.
    assert witness.add(log.request(5, 7)).body == b"9\n"
    cosigned(witness, log, 9)


def test_a_proof_that_does_not_verify_is_422(witness: Witness, follow: Callable[..., Log]) -> None:
    log = follow(9)
    cosigned(witness, log, 0)
    log.grow(20)
    proof, note = log.proof(9), log.note()
    bad = [proof[:-1], [*proof, bytes(32)], proof[::-1], [bytes(32), *proof[1:]], [], [*proof[:-1], bytes(32)]]
    assert [witness.add(body(9, each, note)).status for each in bad] == [422] * len(bad)
    assert cosigned(witness, log, 9)


def test_a_proof_where_none_is_needed_is_422(witness: Witness, follow: Callable[..., Log]) -> None:
    log = follow(9)
    assert witness.add(body(0, [bytes(32)], log.note())).status == 422
    cosigned(witness, log, 0)
    assert witness.add(body(9, [bytes(32)], log.note())).status == 422


def test_size_zero_has_the_empty_root_or_is_422(witness: Witness, follow: Callable[..., Log]) -> None:
    log = follow()
    text = f"{log.key.name}\n0\n{b64(bytes(32))}\n"
    assert witness.add(body(0, [], f"{text}\n{log.key.sign(text)}".encode())).status == 422
    assert cosigned(witness, log, 0)


def test_extension_lines_are_cosigned_as_they_stand(witness: Witness, follow: Callable[..., Log]) -> None:
    log = follow(4)
    answer = witness.add(body(0, [], log.note(extension="anything at all\n")))
    assert verify_cosignature(answer.line, witness.vkey, log.text(extension="anything at all\n"))


@pytest.mark.parametrize(
    "mutate",
    [
        lambda good: b"",
        lambda good: good[4:],
        lambda good: good.replace(b"old 5", b"old 05", 1),
        lambda good: good.replace(b"old 5", b"old +5", 1),
        lambda good: good.replace(b"old 5", b"old  5", 1),
        lambda good: good.replace(b"old 5", b"old 5 ", 1),
        lambda good: good.replace(b"old 5", b"Old 5", 1),
        lambda good: good.replace(b"old 5", "old \u0665".encode(), 1),
        lambda good: good.replace(b"old 5", b"old 9223372036854775808", 1),
        lambda good: good.replace(b"\n", b"\r\n"),
        lambda good: good.replace(b"=\n", b"\n", 1),
        lambda good: good.replace(b"=\n", b"==\n", 1),
        lambda good: good.replace(b"old 5\n", b"old 5\n" + b64(bytes(31)).encode() + b"\n", 1),
        lambda good: good.replace(b"old 5\n", b"old 5\n" + (b64(bytes(32)).encode() + b"\n") * 64, 1),
        lambda good: good.replace(b"\n\n", b"\n", 1),
        lambda good: good[:-1],
        lambda good: good + b"\n",
        lambda good: good.replace(b"\n9\n", b"\n09\n", 1),
        lambda good: good.replace(b"\n9\n", b"\n-9\n", 1),
        lambda good: good.replace("\u2014 ".encode(), b"- ", 1),
        lambda good: good + b"\xff\n",
        lambda good: good.replace(b"\n\n", b"\n\x00\n\n", 1),
        lambda good: good.split(b"\n\n")[0] + b"\n\n",
        lambda good: b"old 0\n\n\n9\n" + good.split(b"\n9\n")[1],
    ],
)
def test_a_malformed_request_is_400(
    witness: Witness, follow: Callable[..., Log], mutate: Callable[[bytes], bytes]
) -> None:
    log = follow(9)
    good = log.request(5)
    assert mutate(good) != good
    assert witness.add(mutate(good)).status == 400


def test_a_fork_at_one_size_is_422_kept_and_the_log_frozen(witness: Witness, follow: Callable[..., Log]) -> None:
    log = follow(6)
    cosigned(witness, log, 0)
    other = Log(log.key, log.leaves[:5])
    other.grow(1, salt="other")
    assert witness.add(other.request(6)).status == 422
    evidence = _evidence(witness, log)
    assert (evidence["proof"], evidence["origin"]) == ([], log.key.name)
    assert evidence["first"] == log.note().decode()
    assert evidence["second"] == other.note().decode()
    assert evidence["old_root"] == mth(other.leaves).hex()
    assert "FORK" in witness.log.read_text()
    # Its keys are trusted no more, until a person says otherwise.
    assert witness.add(log.request(6)).status == 403
    witness.command("freeze", "--lift", log.key.name)
    assert cosigned(witness, log, 6)


def test_a_fork_that_names_another_old_size_is_409_and_kept_all_the_same(
    witness: Witness, follow: Callable[..., Log]
) -> None:
    log = follow(6)
    cosigned(witness, log, 0)
    other = Log(log.key, log.leaves[:5])
    other.grow(1, salt="other")
    answer = witness.add(other.request(2))
    assert (answer.status, answer.body) == (409, b"6\n")
    assert _evidence(witness, log)["second"] == other.note().decode()


def test_a_rewritten_prefix_is_422_and_its_proof_is_kept(witness: Witness, follow: Callable[..., Log]) -> None:
    log = follow(6)
    cosigned(witness, log, 0)
    other = Log(log.key, [bytes(32), *log.leaves[1:]])
    other.grow(5)
    assert witness.add(other.request(6)).status == 422
    evidence = _evidence(witness, log)
    assert evidence["proof"] == [each.hex() for each in other.proof(6)]
    # As anybody may check it, with the second implementation.
    assert evidence["old_root"] == mth(other.leaves[:6]).hex() != mth(log.leaves[:6]).hex()
    assert consistent(6, 11, mth(other.leaves[:6]), mth(other.leaves), other.proof(6))


def _evidence(witness: Witness, log: Log) -> dict[str, Any]:
    """The one evidence file about a log; the command proves it from that file and the log's key alone."""
    prefix = hashlib.sha256((log.origin or log.key.name).encode()).hexdigest()[:16]
    (path,) = (witness.directory / "evidence").glob(f"{prefix}-*.json")
    assert main(["verify", str(path), "--vkey", log.key.vkey]) == 0
    assert main(["verify", str(path), "--vkey", Key(log.key.name, 1).vkey]) == 1
    found: dict[str, Any] = json.loads(path.read_text())
    assert found["vkeys"] == [log.key.vkey]
    return found


def test_a_frozen_log_is_403(witness: Witness, follow: Callable[..., Log]) -> None:
    log = follow(2)
    witness.command("freeze", log.key.name, "--reason", "under inquiry")
    assert witness.add(log.request(0)).status == 403
    (shown,) = (each for each in witness.command("logs")["logs"] if each["origin"] == log.key.name)  # type: ignore[attr-defined]
    assert shown["frozen"] == "under inquiry"


def test_both_keys_count_while_a_log_rotates_and_one_alone_afterwards(
    witness: Witness, follow: Callable[..., Log]
) -> None:
    log = follow(2)
    cosigned(witness, log, 0)
    new = Log(Key(log.key.name, 1), log.leaves.copy())
    new.grow(1)
    assert witness.add(new.request(2)).status == 403
    witness.command("add-log", new.key.vkey, "--also")
    cosigned(witness, log, 2)
    cosigned(witness, new, 2)
    witness.command("add-log", new.key.vkey, "--replace")
    assert witness.add(log.request(3)).status == 403
    assert cosigned(witness, new, 3)


def test_an_origin_may_have_another_name_than_its_key(witness: Witness) -> None:
    log = Log(Key("keys.example/1", 1), origin="tdz/some/log")
    log.grow(2)
    witness.command("add-log", log.key.vkey, "--origin", log.origin)
    assert cosigned(witness, log, 0)
    other = Log(log.key, [bytes(32), bytes(32)], log.origin)
    assert witness.add(other.request(2)).status == 422
    assert _evidence(witness, log)["origin"] == "tdz/some/log"


def test_monitors_get_the_newest_checkpoint_with_both_signatures(witness: Witness, follow: Callable[..., Log]) -> None:
    log = follow(7)
    path = f"/{hashlib.sha256(log.key.name.encode()).hexdigest()}/checkpoint"
    assert witness.ask("GET", path).status == 404
    answer = witness.add(log.request(0))
    served = witness.ask("GET", path)
    assert (served.status, served.line) == (200, log.note().decode() + answer.line)
    assert witness.ask("GET", f"/{'0' * 64}/checkpoint").status == 404
    log.grow(4)
    newest = witness.add(log.request(7))
    assert witness.add(log.request(3, 5)).status == 409
    witness.command("freeze", log.key.name, "--reason", "under inquiry")
    assert witness.add(log.request(11)).status == 403
    assert witness.ask("GET", path).line == log.note().decode() + newest.line  # what was signed stays to be seen


def test_connections_are_kept_and_other_paths_and_methods_are_refused(
    witness: Witness, follow: Callable[..., Log]
) -> None:
    log = follow(2)
    connection = witness.connect()
    for old in (0, 2, 2):
        assert exchange(connection, "POST", "/add-checkpoint", log.request(old)).status == 200
    connection.close()
    assert witness.ask("GET", "/add-checkpoint").status == 405
    assert witness.ask("POST", "/sign-subtree", b"").status == 404
    assert witness.ask("GET", "/vkey").line == f"{witness.vkey}\n"
    health = json.loads(witness.ask("GET", "/health").body)
    assert health["status"] == "ok"


def test_a_body_beyond_the_limit_is_refused_and_the_witness_goes_on(
    witness: Witness, follow: Callable[..., Log]
) -> None:
    log = follow(2)
    with witness.socket() as plain:
        plain.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 300_000)
        assert plain.recv(64).startswith(b"HTTP/1.1 413")
    with witness.socket() as half:  # a client that goes away in the middle
        half.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 500\r\n\r\nold")
    assert cosigned(witness, log, 0)


def test_a_prefix_stands_before_every_path(tmp_path: Path) -> None:
    log = Log(Key("example.com/prefixed", 1))
    log.grow(3)
    with running(tmp_path / "w1", "--prefix", "/tlog/v0") as made:
        made.command("add-log", log.key.vkey)
        assert cosigned(made, log, 0)
        assert made.ask("POST", "/add-checkpoint", log.request(3)).status == 404
        assert made.ask("GET", "/tlog/v0/vkey").status == 200


def test_what_was_cosigned_is_known_after_a_stop_and_after_a_kill(tmp_path: Path) -> None:
    log = Log(Key("example.com/lasting", 1))
    log.grow(3)
    old = 0
    for how, code in ((signal.SIGTERM, 0), (signal.SIGKILL, -9), (signal.SIGINT, 0)):
        with running(tmp_path / "w1") as made:
            made.command("add-log", log.key.vkey)
            cosigned(made, log, old)
            old = len(log.leaves)
            log.grow(2)
            assert made.stop(how) == code
    with running(tmp_path / "w1") as made:
        assert made.add(log.request(0)).body == f"{old}\n".encode()
        assert cosigned(made, log, old)
