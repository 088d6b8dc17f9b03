"""The register of outside signers, and the trust that a gateway has by its registers.

A removed key stays in the register: what it signed while it was trusted was signed by a trusted key. Adding it
again begins anew, so that nothing counts which was published before.
"""

from __future__ import annotations

from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from sqlalchemy import Connection, Row, func, insert, select, update

from gateway.artifacts.trust import OutsideKey, Trust
from gateway.errors import ConflictError, InputError, LimitError, NotFoundError, StorageError
from gateway.identity.enrolment import RevocationReason
from gateway.identity.keys import key_fingerprint, require_p256
from gateway.identity.registry import Registry
from gateway.model import limits
from gateway.state import StateStore
from gateway.state.schema import certificates, model_signers

KEY_FILE_MAX: Final = 4_096
NAME_MAX: Final = 200


def read_public_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Read a signer's public key as an administrator hands it in.

    Raises:
        InputError: too long, no public key in PEM, or not ECDSA on P-256.
    """
    remedy = "give the PEM file of an ECDSA key on P-256, as `openssl ec -pubout` writes it"
    if len(pem) > KEY_FILE_MAX or pem.count(b"-----BEGIN ") != 1 or b"-----BEGIN PUBLIC KEY-----" not in pem:
        raise InputError("this is not one public key in PEM", remedy=remedy)
    try:
        return require_p256(load_pem_public_key(pem))
    except (ValueError, UnsupportedAlgorithm, InputError) as error:
        raise InputError("the key is not ECDSA on P-256", remedy=remedy) from error


class ModelSigners:
    """The outside keys that a gateway trusts to sign models. Writing is durable on return; recording on the ledger
    is the caller's, before.

    Args:
        state: the state database.
    """

    def __init__(self, state: StateStore) -> None:
        self._state = state

    async def add(self, key: ec.EllipticCurvePublicKey, name: str, now: int) -> OutsideKey:
        """Trust a key from now on; one that is trusted already stays as it is.

        Raises:
            InputError: the name is empty, too long or holds control characters.
            ConflictError: the key is trusted under another name.
            LimitError: there are too many.
        """
        made = OutsideKey(key_fingerprint(key), name, key, now)

        def work(connection: Connection) -> OutsideKey:
            standing = _check(connection, made.fingerprint, name)
            if standing is not None and not standing.removed_at:
                return standing
            if standing is not None:
                values = {"name": name, "added_at": now, "removed_at": 0}
                connection.execute(
                    update(model_signers).where(model_signers.c.fingerprint == made.fingerprint).values(**values)
                )
                return made
            connection.execute(
                insert(model_signers).values(
                    fingerprint=made.fingerprint, name=name, pem=made.pem, added_at=now, removed_at=0
                )
            )
            return made

        return await self._state.write(work)

    async def check(self, key: ec.EllipticCurvePublicKey, name: str) -> None:
        """Refuse early what `add` would refuse, before it is recorded.

        Raises:
            InputError, ConflictError, LimitError: as `add`.
        """
        await self._state.read(lambda connection: _check(connection, key_fingerprint(key), name))

    async def remove(self, fingerprint: str, now: int) -> OutsideKey:
        """Trust a key no longer; what was published before stays verified.

        Raises:
            NotFoundError: no such key is trusted.
        """

        def work(connection: Connection) -> OutsideKey:
            standing = _one(connection, fingerprint)
            if standing is None or standing.removed_at:
                raise NotFoundError("no key of that fingerprint is trusted", remedy="tdz model trust list")
            connection.execute(
                update(model_signers).where(model_signers.c.fingerprint == fingerprint).values(removed_at=now)
            )
            return OutsideKey(standing.fingerprint, standing.name, standing.key, standing.added_at, now)

        return await self._state.write(work)

    async def all(self) -> list[OutsideKey]:
        """All keys, the newest first, also those that were removed."""
        query = select(model_signers).order_by(model_signers.c.added_at.desc(), model_signers.c.fingerprint)
        return await self._state.read(lambda connection: [_row(row) for row in connection.execute(query)])


def _check(connection: Connection, fingerprint: str, name: str) -> OutsideKey | None:
    """What stands of a key that is to be added; raises what `ModelSigners.add` says."""
    if not 0 < len(name) <= NAME_MAX or not name.isprintable():
        raise InputError(f"a signer's name has 1 to {NAME_MAX} printable characters", remedy="give another name")
    standing = _one(connection, fingerprint)
    if standing is not None and not standing.removed_at and standing.name != name:
        raise ConflictError(f"the key is trusted as {standing.name!r}", remedy="remove it first")
    count = connection.execute(select(func.count()).select_from(model_signers)).scalar_one()
    if standing is None and count >= limits.MODEL_SIGNERS_MAX:
        raise LimitError(f"there are {limits.MODEL_SIGNERS_MAX} signers", remedy="ask for a higher limit")
    return standing


def _one(connection: Connection, fingerprint: str) -> OutsideKey | None:
    row = connection.execute(select(model_signers).where(model_signers.c.fingerprint == fingerprint)).one_or_none()
    return None if row is None else _row(row)


def _row(row: Row[Any]) -> OutsideKey:
    try:
        key = read_public_key(row.pem.encode("ascii"))
    except (InputError, ValueError) as error:
        raise StorageError(f"the stored key {row.fingerprint} is damaged", remedy="remove and add it again") from error
    return OutsideKey(row.fingerprint, row.name, key, row.added_at, row.removed_at)


async def load_trust(registry: Registry, signers: ModelSigners) -> Trust:
    """Whom this gateway trusts to sign models: its own zone, the paired ones, and the registered outside keys.

    Of the own zone's signing certificates the register knows which were revoked. One whose key was in other hands
    never counted; one revoked for another reason counts for what was published before. What the other zone revoked
    is its own to refuse: its gateway offers nothing that it does not trust.

    Args:
        registry: the registers of identity.
        signers: the outside keys.
    """
    zones = {name: zone.authorities for name, zone in registry.zones.items()}
    keys = {key.fingerprint: key for key in await signers.all()}
    query = select(certificates.c.fingerprint, certificates.c.revoked_at, certificates.c.reason).where(
        certificates.c.revoked_at != 0
    )
    rows = await registry.store.read(lambda connection: connection.execute(query).all())
    never = RevocationReason.KEY_COMPROMISE.value
    revoked = {row.fingerprint: 0 if row.reason == never else row.revoked_at for row in rows}
    return Trust(zones=zones, keys=keys, revoked=revoked)
