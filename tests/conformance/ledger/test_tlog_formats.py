"""The wire form of tlog-witness: the example of the specification, and what anybody might send instead."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import MAX_SIZE
from ledger.errors import BadRequestError, NoteError
from ledger.note import Signature
from ledger.witness.judge import read_offer
from ledger.witness.protocol import AddCheckpoint, monitoring_path, parse_cosignatures, parse_size

# From https://c2sp.org/tlog-witness (CC BY 4.0 examples): request and answer.
REQUEST = """\
old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
\u2014 example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
""".encode()  # noqa: E501
ANSWER = """\
\u2014 witness.example/w1 CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==
\u2014 witness.example/w1 I7rEps0pvK2UqkS2gSpVUDhrhVtQV9lgF6pRrWAvjJHjyWpW7VcE3SiOlVlbQNt64vWhO+DlkL0+UfzuOBMh9ChdMkP1vi/lCAsmlw==
\u2014 witness.example/w2 AWui8Sk55XjYLOijihBjhqEH6nS1ndDymE0a+6idX7pLcnoB+dhnz0854aLZgrrKbYKA7nC3HNJhm/kWl7oJlqU3rXXvpysAdyP3wQ==
""".encode()  # noqa: E501


def test_the_specifications_example_is_read_and_written_the_same() -> None:
    request = AddCheckpoint.parse(REQUEST)
    assert (request.old_size, len(request.proof)) == (20852014, 4)
    assert request.proof[0] == base64.b64decode("PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=")
    assert request.encode() == REQUEST
    offered = read_offer(REQUEST)
    assert (offered.checkpoint.origin, offered.checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert len(offered.note.signatures) == 2
    cosignatures = parse_cosignatures(ANSWER)
    assert [each.name for each in cosignatures] == ["witness.example/w1"] * 2 + ["witness.example/w2"]
    assert all(len(each.blob) == 72 for each in cosignatures)
    assert "".join(f"{each.line}\n" for each in cosignatures).encode() == ANSWER


def test_a_monitoring_path_is_the_hash_of_the_origin_in_lowercase() -> None:
    assert monitoring_path("abc") == "/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad/checkpoint"


@given(st.integers(0, MAX_SIZE), st.lists(st.binary(min_size=32, max_size=32), max_size=63), st.binary(max_size=200))
def test_what_is_written_is_read_the_same(old: int, proof: list[bytes], note: bytes) -> None:
    request = AddCheckpoint(old, tuple(proof), note)
    assert AddCheckpoint.parse(request.encode()) == request


@given(st.binary(max_size=300) | st.integers(0, len(REQUEST) - 1).map(lambda at: REQUEST[:at] + REQUEST[at + 1 :]))
def test_any_bytes_are_refused_or_written_the_same(body: bytes) -> None:
    try:
        request = read_offer(body).request
    except BadRequestError:
        return
    assert request.encode() == body


@given(st.binary(max_size=200))
def test_any_answer_is_refused_or_written_the_same(answer: bytes) -> None:
    with contextlib.suppress(NoteError):
        assert f"{parse_size(answer)}\n".encode() == answer
    try:
        lines: tuple[Signature, ...] = parse_cosignatures(answer)
    except NoteError:
        return
    assert "".join(f"{each.line}\n" for each in lines).encode() == answer


@pytest.mark.parametrize("answer", [b"", b"7", b"07\n", b"-1\n", b"7\n7\n", b"7 \n", b"9223372036854775808\n", b"\n"])
def test_a_size_has_one_form(answer: bytes) -> None:
    with pytest.raises(NoteError):
        parse_size(answer)


@pytest.mark.parametrize("answer", [b"", b"\n", ANSWER[:-1], ANSWER + b"\n", ANSWER * 6, b"\xff\n", b"- a AAAAAAA=\n"])
def test_cosignature_lines_have_one_form(answer: bytes) -> None:
    with pytest.raises(NoteError):
        parse_cosignatures(answer)
