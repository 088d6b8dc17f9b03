"""Outside signers are kept with their times, through restarts and an older database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import text

from gateway.artifacts.trust_register import ModelSigners, load_trust, read_public_key
from gateway.errors import ConflictError, InputError, NotFoundError, StorageError
from gateway.identity import tables
from gateway.identity.keys import key_fingerprint, new_tls_key, private_pem
from gateway.identity.registry import Registry
from gateway.identity.tables import CertificateRecord
from gateway.identity.verifier import TrustedZone
from gateway.model.participant import Identity, Role
from gateway.state import StateStore
from tests.unit.artifacts.conftest import AT, ZONE, Zone


class NoLedger:
    """The recorder's port, of a register in which nothing is pending."""

    async def record(self, *_: object, **__: object) -> object:
        raise NotImplementedError

    async def find(self, entry_id: str) -> object | None:
        return None


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[StateStore]:
    made = await StateStore.open(tmp_path / "state.db")
    yield made
    await made.close()


async def test_a_key_is_added_once_removed_once_and_begins_anew(state: StateStore) -> None:
    signers, key = ModelSigners(state), new_tls_key().public_key()
    first = await signers.add(key, "a lab", 100)
    assert (await signers.add(key, "a lab", 200)).added_at == first.added_at == 100
    with pytest.raises(ConflictError):
        await signers.add(key, "another lab", 200)
    assert (await signers.remove(first.fingerprint, 300)).removed_at == 300
    with pytest.raises(NotFoundError):
        await signers.remove(first.fingerprint, 301)
    (kept,) = await signers.all()
    assert [kept.trusted(at) for at in (99, 100, 299, 300)] == [False, True, True, False]
    again = await signers.add(key, "another lab", 400)
    assert (again.added_at, again.removed_at) == (400, 0)
    assert [item.trusted(299) for item in await signers.all()] == [False]
    assert (await signers.all())[0].fingerprint == key_fingerprint(key)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201])
async def test_a_name_that_could_not_be_shown_is_refused(state: StateStore, name: str) -> None:
    with pytest.raises(InputError):
        await ModelSigners(state).add(new_tls_key().public_key(), name, 1)


def pem(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_only_one_public_key_on_p256_is_read() -> None:
    good = pem(new_tls_key().public_key())
    assert pem(read_public_key(good)) == good
    bad = [
        b"",
        b"x" * 10_000,
        good + good,
        private_pem(new_tls_key()),
        pem(ec.generate_private_key(ec.SECP384R1()).public_key()),
        pem(ed25519.Ed25519PrivateKey.generate().public_key()),
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ]
    for data in bad:
        with pytest.raises(InputError):
            read_public_key(data)


async def test_trust_is_made_of_all_registers(state: StateStore, zone: Zone) -> None:
    signers = ModelSigners(state)
    outside = await signers.add(new_tls_key().public_key(), "a lab", AT)
    registry = await Registry.open(state, NoLedger(), TrustedZone(ZONE, (zone.authority.certificate,)))
    records = []
    for name, reason in (("a", "superseded"), ("b", "key-compromise"), ("c", "")):
        certificate = zone.publisher(name).chain[0]
        record = CertificateRecord.of(certificate, Identity(ZONE, Role.PARTNER, name), issued_at=AT)
        records.append(record)
        effects = [tables.issue(record), *([tables.revoke(record, AT + 50, reason)] if reason else [])]
        for effect in effects:
            await state.write(lambda connection, effect=effect: tables.apply(connection, effect))
    assert all(record.signing for record in records)
    trust = await load_trust(registry, signers)
    assert trust.zones == {ZONE: (zone.authority.certificate,)}
    assert list(trust.keys) == [outside.fingerprint]
    assert trust.revoked == {records[0].fingerprint: AT + 50, records[1].fingerprint: 0}


async def test_a_damaged_row_is_an_error_and_no_trust(state: StateStore) -> None:
    signers = ModelSigners(state)
    await signers.add(new_tls_key().public_key(), "a lab", 1)
    await state.write(lambda connection: connection.execute(text("UPDATE model_signers SET pem = 'x'")))
    with pytest.raises(StorageError, match="damaged"):
        await signers.all()
