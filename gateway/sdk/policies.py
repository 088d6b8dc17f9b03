"""What administrators ask of the policy that a zone decides on; errors are those of `gateway.errors`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

from gateway.errors import TdzError
from gateway.sdk.resources import Resource
from gateway.sdk.session import Session
from gateway.v1 import policy_pb2

POLICY_DEADLINE_S: Final = 120.0  # a policy is compiled and tried before the answer
_LOOK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class PolicyBundle(Resource):
    """A part of a zone's policy; `activated_at` 0 and `ledger_seq` -1 while it is not in force."""

    digest: str
    part: str
    revision: str
    roots: tuple[str, ...]
    legal_as_of: int
    valid_until: int
    keyid: str
    signed_by: str
    activated_at: int
    ledger_seq: int


@dataclass(frozen=True, slots=True)
class PolicyPack(Resource):
    """A pack of the policy in force; dates are Unix seconds UTC."""

    id: str
    revision: str
    legal_as_of: int
    valid_until: int


@dataclass(frozen=True, slots=True)
class PolicyProposal(Resource):
    """A bundle that waits for so many more administrators, until then."""

    bundle: PolicyBundle
    approved_by: tuple[str, ...]
    proposed_at: int
    expires_at: int
    missing: int

    @classmethod
    def of(cls, message: Any) -> Self:
        """Read the wire form."""
        return cls(
            PolicyBundle.of(message.bundle),
            tuple(message.approved_by),
            message.proposed_at,
            message.expires_at,
            message.missing,
        )


@dataclass(frozen=True, slots=True)
class PolicyWithdrawal(Resource):
    """A bundle that was asked for and taken back, by the administrator of that URI."""

    bundle: PolicyBundle
    withdrawn_by: str
    withdrawn_at: int

    @classmethod
    def of(cls, message: Any) -> Self:
        """Read the wire form."""
        return cls(PolicyBundle.of(message.bundle), message.withdrawn_by, message.withdrawn_at)


@dataclass(frozen=True, slots=True)
class PolicyWork(Resource):
    """What the gateway does about a bundle at this moment.

    Args:
        digest: SHA-256 of the bundle's bytes, hex.
        step: verify, compile, try or record.
        tried: so many examples are tried.
        examples: of so many; 0 while nobody knows.
    """

    digest: str
    step: str
    tried: int
    examples: int


@dataclass(frozen=True, slots=True)
class PolicyStanding(Resource):
    """Where a bundle stands after it was asked for."""

    bundle: PolicyBundle
    active: bool
    missing: int
    expires_at: int
    policy_digest: str

    @classmethod
    def of(cls, message: Any) -> Self:
        """Read the wire form."""
        return cls(
            PolicyBundle.of(message.bundle),
            message.active,
            message.missing,
            message.expires_at,
            message.policy_digest,
        )


@dataclass(frozen=True, slots=True)
class PolicyStatus(Resource):
    """What a zone decides on, and with which engine; `withheld` says why everything is denied, else it is empty."""

    zone: str
    policy_digest: str
    data_revision: str
    parts: tuple[PolicyBundle, ...]
    packs: tuple[PolicyPack, ...]
    proposals: tuple[PolicyProposal, ...]
    administrators: int
    withheld: str
    withdrawals: tuple[PolicyWithdrawal, ...]
    work: PolicyWork | None
    engine: str

    @classmethod
    def of(cls, message: Any) -> Self:
        """Read the wire form."""
        return cls(
            zone=message.zone,
            policy_digest=message.policy_digest,
            data_revision=message.data_revision,
            parts=tuple(PolicyBundle.of(each) for each in message.parts),
            packs=tuple(PolicyPack.of(each) for each in message.packs),
            proposals=tuple(PolicyProposal.of(each) for each in message.proposals),
            administrators=message.administrators,
            withheld=message.withheld,
            withdrawals=tuple(PolicyWithdrawal.of(each) for each in message.withdrawals),
            work=PolicyWork.of(message.work) if message.HasField("work") else None,
            engine=message.engine,
        )


class PolicyAdministration:
    """What a connection of an administrator can do about policy."""

    session: Session

    async def propose_policy(
        self, bundle: bytes, *, progress: Callable[[PolicyWork], None] | None = None
    ) -> PolicyStanding:
        """Ask for a policy bundle; the last administrator that is needed activates it.

        Args:
            bundle: the signed .tar.gz, at most 4 MiB.
            progress: hears now and then what the gateway does, for this bundle or the one before it.

        Raises:
            BundleError: it is refused, and the policy in force stays; the text says why.
            PermissionDeniedError: the caller is no administrator.
        """
        request = policy_pb2.ProposePolicyRequest(bundle=bundle)
        asked = asyncio.ensure_future(
            self.session.call(self.session.policies.ProposePolicy, request, deadline_s=POLICY_DEADLINE_S)
        )
        try:
            if progress is not None:
                await self._followed(asked, progress)
            return PolicyStanding.of(await asked)
        finally:
            if not asked.done():
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)

    async def withdraw_policy(self, digest: str) -> PolicyWithdrawal:
        """Take back a bundle that waits for further administrators, whoever asked for it.

        Args:
            digest: SHA-256 of its bytes, hex.

        Raises:
            NotFoundError: it does not wait.
            ConflictError: it is in force.
            PermissionDeniedError: the caller is no administrator.
        """
        request = policy_pb2.WithdrawPolicyRequest(digest=digest)
        return PolicyWithdrawal.of(await self.session.call(self.session.policies.WithdrawPolicy, request))

    async def policy_status(self) -> PolicyStatus:
        """What is in force, what is asked for, and what is done about it."""
        answer = await self.session.call(self.session.policies.GetPolicyStatus, policy_pb2.GetPolicyStatusRequest())
        return PolicyStatus.of(answer)

    async def _followed(self, asked: asyncio.Future[Any], progress: Callable[[PolicyWork], None]) -> None:
        """Look what is done until the answer is there; that one cannot be looked at spoils nothing."""
        while not (await asyncio.wait({asked}, timeout=_LOOK_S))[0]:
            try:
                work = (await self.policy_status()).work
            except TdzError:
                return
            if work is not None and not asked.done():
                progress(work)
