"""What a zone's administrators and auditors ask of their gateway: pairings, certificates, registers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.config import Profile
from gateway.errors import InputError
from gateway.sdk.admin_resources import (
    Approval,
    Certificate,
    Erasure,
    KeyRotation,
    Mechanism,
    Pairing,
    Participant,
    Peer,
    Reason,
    SecondKey,
    Signer,
    TimeStamps,
    ZoneStatus,
)
from gateway.sdk.policies import (
    PolicyAdministration,
    PolicyBundle,
    PolicyProposal,
    PolicyStanding,
    PolicyStatus,
    PolicyWithdrawal,
    PolicyWork,
)
from gateway.sdk.reviews import Answering
from gateway.sdk.runtime import Runtime
from gateway.sdk.session import Session
from gateway.sdk.sync import Face, blocking
from gateway.v1 import identity_pb2, ledger_pb2, mechanism_pb2, signer_pb2, zone_pb2
from gateway.wire import channel

__all__ = [
    "Admin",
    "Approval",
    "AsyncAdmin",
    "Certificate",
    "Erasure",
    "KeyRotation",
    "Mechanism",
    "Pairing",
    "Participant",
    "Peer",
    "PolicyBundle",
    "PolicyProposal",
    "PolicyStanding",
    "PolicyStatus",
    "PolicyWithdrawal",
    "PolicyWork",
    "Reason",
    "SecondKey",
    "Signer",
    "TimeStamps",
    "ZoneStatus",
    "connect_admin",
]


class AsyncAdmin(Answering, PolicyAdministration):
    """An administrator's or auditor's connection; errors are those of `gateway.errors`, as with `AsyncZone`."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.identity = session.credentials.identity

    def __repr__(self) -> str:
        return f"<Admin {self.identity.uri}>"

    async def close(self) -> None:
        """End the connection."""
        await self.session.close()

    async def status(self) -> ZoneStatus:
        """The gateway's status; any role may ask."""
        return ZoneStatus.of(await self.session.call(self.session.zone.GetStatus, zone_pb2.GetStatusRequest()))

    async def wait_ready(self, deadline_s: float) -> None:
        """Wait until the gateway answers.

        Raises:
            PeerUnavailableError: it did not in time.
        """
        method = self.session.zone.GetStatus
        await channel.call(method(zone_pb2.GetStatusRequest(), timeout=deadline_s, wait_for_ready=True))

    async def card(self) -> bytes:
        """The zone's signed card, exact bytes; any role may ask."""
        return (await self.session.card()).data

    async def pair(self, card: bytes, fingerprint: str, *, confirm: bool = False) -> Pairing:
        """Admit another zone.

        Args:
            card: the card file's exact bytes.
            fingerprint: SHA-256 of them, as the other zone's administrator told it over another channel.
            confirm: for a newer card of a paired zone: the changes were seen.

        Raises:
            IntegrityError: the card or its fingerprint is wrong.
            ConflictError: an older card, or another zone's.
        """
        request = zone_pb2.PairRequest(card=card, fingerprint=fingerprint, confirm=confirm)
        answer = await self.session.call(self.session.zone.Pair, request)
        outcome = zone_pb2.PairOutcome.Name(answer.outcome).removeprefix("PAIR_OUTCOME_").lower()
        return Pairing(outcome, Peer.of(answer.peer), tuple(answer.changed))

    async def unpair(self, zone: str) -> int:
        """End a pairing at once; gives the time of it."""
        answer = await self.session.call(self.session.zone.Unpair, zone_pb2.UnpairRequest(zone=zone))
        return int(answer.unpaired_at)

    async def approve(
        self,
        csr: str,
        *,
        role: str,
        id: str,  # noqa: A002  the identity's own word
        key_fingerprint: str,
        second_key: SecondKey = SecondKey.REFUSE,
        signing: bool = False,
    ) -> Approval:
        """Approve a certificate for a key.

        Args:
            csr: the signing request, PEM; nothing but its key is taken.
            role: partner, admin or auditor.
            id: the holder's id.
            key_fingerprint: as the holder told it over another channel.
            second_key: what happens to live certificates of the id for the same use.
            signing: for signing models, a partner's only; else for TLS.

        Raises:
            InputError: an unknown role, or a malformed request.
            ConflictError: the id has a live key and `second_key` says refuse.
        """
        if role not in ("partner", "admin", "auditor"):
            raise InputError(f"{role!r} is no role to approve", remedy="name partner, admin or auditor")
        choices = {
            SecondKey.REFUSE: identity_pb2.SECOND_KEY_UNSPECIFIED,
            SecondKey.RENEW: identity_pb2.SECOND_KEY_RENEW,
            SecondKey.REPLACE: identity_pb2.SECOND_KEY_REPLACE,
        }
        request = identity_pb2.ApproveRequest(
            csr=csr,
            role=f"ROLE_{role.upper()}",
            id=id,
            key_fingerprint=key_fingerprint,
            second_key=choices[second_key],
            signing=signing,
        )
        answer = await self.session.call(self.session.identities.Approve, request)
        if answer.WhichOneof("outcome") == "certificate":
            return Approval(Certificate.of(answer.certificate))
        return Approval(None, answer.waiting.missing, answer.waiting.expires_at)

    async def renew(self, csr: str) -> Certificate:
        """Renew the caller's own certificate; any role but gateway may.

        Raises:
            ConflictError: it is too early: two thirds of its life must have passed.
        """
        request = identity_pb2.RenewRequest(csr=csr)
        return Certificate.of(await self.session.call(self.session.identities.Renew, request))

    async def revoke(self, which: str, reason: Reason) -> list[Certificate]:
        """Revoke at once: all live certificates of a URI, or one by its serial number."""
        name = "uri" if which.startswith("tdz://") else "serial"
        value = identity_pb2.RevocationReason.Value("REVOCATION_REASON_" + reason.name)
        request = identity_pb2.RevokeRequest(**{name: which, "reason": value})  # type: ignore[arg-type]
        answer = await self.session.call(self.session.identities.Revoke, request)
        return [Certificate.of(each) for each in answer.certificates]

    async def certificates(self, *, uri: str = "", all: bool = False) -> list[Certificate]:  # noqa: A002
        """Certificates, newest first; with `all` also those that expired or were revoked."""
        request = identity_pb2.ListCertificatesRequest(uri=uri, all=all)
        found = await self.session.pages(self.session.identities.ListCertificates, request, "certificates")
        return [Certificate.of(each) for each in found]

    async def rotate_ledger_key(self, *, replaces: str = "", note: str = "") -> KeyRotation:
        """Have another key, made on the gateway's machine, sign the ledger from now on.

        Args:
            replaces: the vkey that signs now, so that a repeat rotates once; empty asks the gateway for it.
            note: why; the ledger only commits to it.

        Raises:
            ConflictError: another key signs, or the last rotation is not finished.
            LedgerError: it could not be recorded; a repeat goes on where this ended.
        """
        if not replaces:
            replaces = (await self.session.call(self.session.ledger.GetHead, ledger_pb2.GetHeadRequest())).vkey
        request = ledger_pb2.RotateKeyRequest(replaces=replaces, note=note)
        return KeyRotation.of(await self.session.call(self.session.operations.RotateKey, request))

    async def erase_value(self, seq: int, field: str, *, note: str = "") -> Erasure:
        """Erase, for good, a value that an entry commits to; two administrators must ask for it.

        Args:
            seq: the entry's number.
            field: the member of its body, as `note` or `/body/note`.
            note: why; the ledger only commits to it.

        Raises:
            NotFoundError: nothing is kept for that field of that entry.
        """
        request = ledger_pb2.EraseValueRequest(seq=seq, field=field, note=note)
        answer = await self.session.call(self.session.operations.EraseValue, request)
        done = answer.erasure if answer.HasField("erasure") else None
        return Erasure(done, answer.missing, answer.expires_at)

    async def accept_clock(self, *, note: str = "") -> int:
        """The clock is right and the last entry's time was wrong: go on; the number of the entry `clock.corrected`.

        Raises:
            ConflictError: there is nothing to accept, or a cosignature shows that it is the clock that is wrong.
        """
        request = ledger_pb2.AcceptClockRequest(note=note)
        return int((await self.session.call(self.session.operations.AcceptClock, request)).seq)

    async def put_participant(
        self,
        id: str,  # noqa: A002  the identity's own word
        exporter: Mapping[str, Any],
        recipient: Mapping[str, Any],
    ) -> Participant:
        """Register a participant or replace its facts; a new one starts unscreened.

        Raises:
            InputError: a field is missing or wrong; the text names it.
        """
        request = zone_pb2.PutParticipantRequest(
            id=id, exporter=json.dumps(dict(exporter)), recipient=json.dumps(dict(recipient))
        )
        return Participant.of(await self.session.call(self.session.zone.PutParticipant, request))

    async def participant(self, id: str) -> Participant:  # noqa: A002
        """One participant."""
        request = zone_pb2.GetParticipantRequest(id=id)
        return Participant.of(await self.session.call(self.session.zone.GetParticipant, request))

    async def participants(self) -> list[Participant]:
        """All participants, by id."""
        request = zone_pb2.ListParticipantsRequest()
        found = await self.session.pages(self.session.zone.ListParticipants, request, "participants")
        return [Participant.of(each) for each in found]

    async def screen(self, id: str, *, list_revision: str, result: str) -> Participant:  # noqa: A002
        """Set a participant's screening result: clear, hit or unknown.

        Raises:
            InputError: an unknown result.
        """
        if result not in ("clear", "hit", "unknown"):
            raise InputError(f"{result!r} is no screening result", remedy="give clear, hit or unknown")
        request = zone_pb2.ScreenParticipantRequest(
            id=id,
            list_revision=list_revision,
            result=f"SCREENING_RESULT_{result.upper()}",
        )
        return Participant.of(await self.session.call(self.session.zone.ScreenParticipant, request))

    async def add_mechanism(self, mechanism: Mapping[str, Any]) -> Mechanism:
        """Register a legal mechanism: the `mechanisms[]` member of the policy input.

        Raises:
            InputError: a field is missing or wrong; the text names it.
            AlreadyExistsError: the reference is known with other content.
        """
        request = mechanism_pb2.AddMechanismRequest(document=json.dumps(dict(mechanism)))
        return Mechanism.of(await self.session.call(self.session.mechanisms.AddMechanism, request))

    async def mechanisms(self) -> list[Mechanism]:
        """All registered mechanisms, by reference."""
        request = mechanism_pb2.ListMechanismsRequest()
        found = await self.session.pages(self.session.mechanisms.ListMechanisms, request, "mechanisms")
        return [Mechanism.of(each) for each in found]

    async def withdraw_mechanism(self, ref: str) -> Mechanism:
        """Withdraw a mechanism: from now on it serves nobody."""
        request = mechanism_pb2.WithdrawMechanismRequest(ref=ref)
        return Mechanism.of(await self.session.call(self.session.mechanisms.WithdrawMechanism, request))

    async def add_signer(self, public_key: str, name: str) -> Signer:
        """Trust an outside signer of models from now on.

        Args:
            public_key: an ECDSA key on P-256, PEM.
            name: whose key it is.

        Raises:
            InputError: it is no such key.
            ConflictError: it is trusted under another name.
        """
        request = signer_pb2.AddSignerRequest(public_key=public_key, name=name)
        return Signer.of(await self.session.call(self.session.signers.AddSigner, request))

    async def signers(self) -> list[Signer]:
        """All outside signers, by fingerprint, those that were removed too."""
        found = await self.session.pages(self.session.signers.ListSigners, signer_pb2.ListSignersRequest(), "signers")
        return [Signer.of(each) for each in found]

    async def remove_signer(self, fingerprint: str) -> Signer:
        """Trust an outside signer no longer; what was published before stays verified."""
        request = signer_pb2.RemoveSignerRequest(fingerprint=fingerprint)
        return Signer.of(await self.session.call(self.session.signers.RemoveSigner, request))


class Admin(Face[AsyncAdmin]):
    """The synchronous face of `AsyncAdmin`; make one with `connect_admin`."""

    def __init__(self, runtime: Runtime, core: AsyncAdmin) -> None:
        super().__init__(runtime, core)
        self.identity = core.identity

    status = blocking(AsyncAdmin.status)
    wait_ready = blocking(AsyncAdmin.wait_ready)
    card = blocking(AsyncAdmin.card)
    pair = blocking(AsyncAdmin.pair)
    unpair = blocking(AsyncAdmin.unpair)
    approve = blocking(AsyncAdmin.approve)
    renew = blocking(AsyncAdmin.renew)
    revoke = blocking(AsyncAdmin.revoke)
    certificates = blocking(AsyncAdmin.certificates)
    rotate_ledger_key = blocking(AsyncAdmin.rotate_ledger_key)
    erase_value = blocking(AsyncAdmin.erase_value)
    accept_clock = blocking(AsyncAdmin.accept_clock)
    put_participant = blocking(AsyncAdmin.put_participant)
    participant = blocking(AsyncAdmin.participant)
    participants = blocking(AsyncAdmin.participants)
    screen = blocking(AsyncAdmin.screen)
    add_mechanism = blocking(AsyncAdmin.add_mechanism)
    mechanisms = blocking(AsyncAdmin.mechanisms)
    withdraw_mechanism = blocking(AsyncAdmin.withdraw_mechanism)
    add_signer = blocking(AsyncAdmin.add_signer)
    signers = blocking(AsyncAdmin.signers)
    remove_signer = blocking(AsyncAdmin.remove_signer)
    propose_policy = blocking(AsyncAdmin.propose_policy)
    withdraw_policy = blocking(AsyncAdmin.withdraw_policy)
    policy_status = blocking(AsyncAdmin.policy_status)
    reviews = blocking(AsyncAdmin.reviews)
    review = blocking(AsyncAdmin.review)
    answer_review = blocking(AsyncAdmin.answer_review)
    revoke_agreement = blocking(AsyncAdmin.revoke_agreement)
    preview = blocking(AsyncAdmin.preview)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runtime.run(self._core.close())
        finally:
            self._runtime.release()


def connect_admin(profile: Profile | Path | str) -> Admin:
    """Connect as administrator or auditor; nothing is sent before the first call.

    Raises:
        ConfigError: the profile or one of its files is wrong.
        CertificateError: the certificate cannot serve; the text says what to renew.
    """
    runtime = Runtime.acquire()
    try:
        return Admin(runtime, runtime.run(_open(profile)))
    except BaseException:
        runtime.release()
        raise


async def _open(profile: Profile | Path | str) -> AsyncAdmin:
    return AsyncAdmin(Session.open(profile))
