"""Statements: what is bound under a signature cannot be changed, moved or used later."""

from __future__ import annotations

import base64
import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ClockError, InputError, IntegrityError
from gateway.identity.dsse import Envelope, key_id, pae, payload_type
from gateway.identity.keys import new_statement_key
from gateway.identity.statements import Party, StatementSigner, read_unverified, verify_statement
from gateway.model.canonical import decode, encode
from gateway.model.limits import STATEMENT_MAX

A, B = Party("cyberjaya", "tdz/cyberjaya/2026-aaaa"), Party("lingang", "tdz/lingang/2026-bbbb")
KEY, OTHER = new_statement_key(), new_statement_key()
SIGNER, PEER = StatementSigner(A, KEY), StatementSigner(B, OTHER)
NOW = 1_800_000_000
BODY = {"id": "n-1", "rows": 3, "nested": {"list": ["a", None, True]}}


def made(**changed):
    given_ = {"audience": B, "process": "negotiations/1", "issued_at": NOW, "expires_at": NOW + 300}
    return SIGNER.sign("decision", BODY, **{**given_, **changed})


def verify(envelope, kind="decision", **changed):
    given_ = {"key": KEY.public_key(), "issuer": A, "audience": B, "now": NOW}
    return verify_statement(envelope, kind, **{**given_, **changed})


def test_a_statement_says_after_the_way_what_was_signed():
    statement = verify(Envelope.from_bytes(made().to_bytes()))
    assert (statement.kind, statement.issuer, statement.audience) == ("decision", A, B)
    assert (statement.process, statement.issued_at, statement.expires_at) == ("negotiations/1", NOW, NOW + 300)
    assert statement.body == BODY


def test_the_pre_authentication_encoding_is_the_specifications():
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize("member", ["issuer", "audience", "process", "issued_at", "expires_at", "body"])
def test_no_member_can_be_changed(member):
    envelope = made()
    document = decode(envelope.payload)
    changed = {
        "issuer": B.to_json(),
        "audience": A.to_json(),
        "process": "negotiations/2",
        "issued_at": NOW + 1,
        "expires_at": NOW + 301,
        "body": {**BODY, "rows": 4},
    }
    forged = dataclasses.replace(envelope, payload=encode({**document, member: changed[member]}))
    with pytest.raises(IntegrityError, match="not its"):
        verify(forged)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_bit_of_payload_or_signature_can_be_flipped(data):
    envelope = made()
    signature = envelope.signatures[0]
    in_payload = data.draw(st.booleans())
    target = bytearray(envelope.payload if in_payload else signature.sig)
    at = data.draw(st.integers(0, len(target) * 8 - 1))
    target[at // 8] ^= 1 << at % 8
    forged = (
        dataclasses.replace(envelope, payload=bytes(target))
        if in_payload
        else dataclasses.replace(envelope, signatures=(dataclasses.replace(signature, sig=bytes(target)),))
    )
    with pytest.raises(IntegrityError):
        verify(forged)


def test_a_statement_of_one_kind_is_none_of_another():
    with pytest.raises(IntegrityError, match="of kind receipt"):
        verify(made(), kind="receipt")
    renamed = dataclasses.replace(made(), payload_type=payload_type("receipt"))
    with pytest.raises(IntegrityError, match="not its"):
        verify(renamed, kind="receipt")


@pytest.mark.parametrize(
    "other", [A, Party("shenzhen", "tdz/shenzhen/2026-cccc"), Party("lingang", "tdz/lingang/2027-bbbb")]
)
def test_a_statement_for_another_audience_or_its_former_ledger_is_refused(other):
    with pytest.raises(IntegrityError, match="made for"):
        verify(made(), audience=other)


def test_a_statement_under_anothers_key_or_name_is_refused():
    with pytest.raises(IntegrityError, match="did not sign"):
        verify(made(), key=OTHER.public_key())
    with pytest.raises(IntegrityError, match="issued by"):
        verify(made(), issuer=Party("cyberjaya", "tdz/cyberjaya/2025-aaaa"))


def test_time_is_bounded_on_both_sides_with_the_leeway():
    verify(made(), now=NOW - 30)
    verify(made(), now=NOW + 329)
    with pytest.raises(ClockError):
        verify(made(), now=NOW - 31)
    with pytest.raises(IntegrityError, match="expired"):
        verify(made(), now=NOW + 330)
    with pytest.raises(IntegrityError, match="expired"):
        verify(made(), now=NOW + 300, leeway=0)


def test_two_signatures_cover_the_same_bytes_in_any_order():
    both = PEER.countersign(made())
    assert both.payload == made().payload
    assert both.digest() == made().digest()
    turned = dataclasses.replace(both, signatures=both.signatures[::-1])
    for envelope in (both, turned):
        verify(envelope)
        envelope.require_signature(OTHER.public_key())
    assert PEER.countersign(both) == both
    with pytest.raises(IntegrityError, match="did not sign"):
        made().require_signature(OTHER.public_key())


def test_a_keyid_is_a_hint_but_a_false_one_is_refused():
    envelope = made()
    hidden = dataclasses.replace(envelope.signatures[0], keyid="0" * 64)
    verify(dataclasses.replace(envelope, signatures=(hidden,)))
    bad = dataclasses.replace(envelope.signatures[0], sig=bytes(64))
    with pytest.raises(IntegrityError, match="not its"):
        verify(dataclasses.replace(envelope, signatures=(hidden, bad)))


def mutations():
    document = json.loads(made().to_bytes())
    signature = document["signatures"][0]
    yield "extra member", {**document, "x": 1}
    yield "no payload", {name: value for name, value in document.items() if name != "payload"}
    yield "no signature", {**document, "signatures": []}
    yield "five signatures", {**document, "signatures": [{**signature, "keyid": f"{n:064x}"} for n in range(5)]}
    yield "one key twice", {**document, "signatures": [signature, signature]}
    yield "extra in a signature", {**document, "signatures": [{**signature, "x": 1}]}
    yield "upper-case keyid", {**document, "signatures": [{**signature, "keyid": "A" * 64}]}
    yield "short signature", {**document, "signatures": [{**signature, "sig": "AAAA"}]}
    yield "another type", {**document, "payloadType": "application/json"}
    yield "another version", {**document, "payloadType": "application/vnd.tdz.decision.v2+json"}
    yield "url-safe base64", {**document, "payload": base64.urlsafe_b64encode(b"\xff\xfe\xfd").decode()}
    yield "unpadded base64", {**document, "payload": "YQ"}
    yield "loose base64 bits", {**document, "payload": "YR=="}
    yield "white space in base64", {**document, "payload": document["payload"] + "\n"}
    yield "payload of another type", {**document, "payload": 7}
    yield "a list", [document]


@pytest.mark.parametrize(("name", "document"), list(mutations()), ids=lambda value: str(value)[:30])
def test_an_envelope_is_read_strictly(name, document):
    with pytest.raises(IntegrityError):
        Envelope.from_json(document)


def test_an_envelope_text_is_canonical_and_bounded():
    text = made().to_bytes()
    with pytest.raises(IntegrityError, match="canonical"):
        Envelope.from_bytes(text.replace(b'":', b'": ', 1))
    with pytest.raises(IntegrityError, match="longer"):
        Envelope.from_bytes(text + b" " * STATEMENT_MAX)
    with pytest.raises(IntegrityError, match="longer"):
        SIGNER.sign("decision", {"t": "x" * STATEMENT_MAX}, audience=B, process="p", issued_at=NOW, expires_at=NOW + 1)
    huge = json.loads(text)
    huge["payload"] = base64.b64encode(bytes(STATEMENT_MAX)).decode()
    with pytest.raises(IntegrityError, match="longer"):
        Envelope.from_json(huge)


def resigned(document):
    return Envelope(payload_type("decision"), encode(document), ()).signed(KEY)


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"body": []},
        {"issued_at": "1"},
        {"issued_at": True},
        {"expires_at": NOW},
        {"process": ""},
        {"process": "a b"},
        {"issuer": {"zone": "cyberjaya"}},
        {"issuer": {"zone": "cyberjaya", "origin": "tdz/lingang/x"}},
        {"audience": "lingang"},
    ],
    ids=str,
)
def test_even_the_right_key_cannot_sign_a_malformed_statement(change):
    with pytest.raises(IntegrityError):
        verify(resigned({**decode(made().payload), **change}))


def test_what_cannot_be_said_is_not_signed():
    for changed in ({"process": ""}, {"expires_at": NOW}, {"issued_at": 0}):
        with pytest.raises(InputError):
            made(**changed)
    with pytest.raises(InputError):
        SIGNER.sign("Decision", {}, audience=B, process="p", issued_at=1, expires_at=2)
    with pytest.raises(InputError):
        SIGNER.sign("decision", {"half": 0.5}, audience=B, process="p", issued_at=1, expires_at=2)


def test_reading_unverified_tells_the_issuer_and_no_more_is_promised():
    assert read_unverified(made()).issuer == A


def test_a_signer_shows_its_key_id_alone():
    assert repr(SIGNER) == f"StatementSigner(issuer={A!r}, keyid={key_id(KEY.public_key())})"
