"""PolicyService: what a zone decides on, and how administrators change it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.decisions.policy_register import Activation, Approval, Withdrawal
from gateway.errors import InputError, LimitError
from gateway.flow.activation import Activations, Work
from gateway.model import limits
from gateway.server.identity_service import actor
from gateway.v1 import policy_pb2, policy_pb2_grpc

_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class PolicyService(policy_pb2_grpc.PolicyServiceServicer):
    """Handlers; who may call them is declared in `gateway.server.access.roles`."""

    def __init__(self, activations: Activations) -> None:
        self._activations = activations

    async def ProposePolicy(
        self, request: policy_pb2.ProposePolicyRequest, context: Any
    ) -> policy_pb2.ProposePolicyResponse:
        """Ask for a bundle; the last administrator needed activates it."""
        if len(request.bundle) > limits.BUNDLE_MAX:
            raise LimitError(f"a bundle has at most {limits.BUNDLE_MAX} bytes", remedy="make it smaller")
        standing = await self._activations.propose(request.bundle, by=actor(context))
        return policy_pb2.ProposePolicyResponse(
            bundle=_bundle(standing.bundle.document()),
            active=standing.active,
            missing=standing.missing,
            expires_at=standing.expires_at,
            policy_digest=standing.policy,
        )

    async def WithdrawPolicy(
        self, request: policy_pb2.WithdrawPolicyRequest, context: Any
    ) -> policy_pb2.PolicyWithdrawal:
        """Take back what is asked for."""
        if _DIGEST.fullmatch(request.digest) is None:
            raise InputError("digest is not 64 hex digits", remedy="take it from tdz policy status")
        return _withdrawal(await self._activations.withdraw(request.digest, by=actor(context)))

    async def GetPolicyStatus(
        self, request: policy_pb2.GetPolicyStatusRequest, context: Any
    ) -> policy_pb2.PolicyStatus:
        """Say what is in force and what is asked for."""
        status = await self._activations.status()
        policy = status.policy
        return policy_pb2.PolicyStatus(
            zone=policy.zone,
            policy_digest=policy.digest,
            data_revision=policy.data_revision,
            parts=[_activated(each) for each in status.parts],
            packs=[
                policy_pb2.PolicyPack(
                    id=pack.id, revision=pack.revision, legal_as_of=pack.legal_as_of, valid_until=pack.valid_until
                )
                for pack in policy.packs
            ],
            proposals=_proposals(status.proposals, status.needed),
            administrators=status.needed,
            withheld=status.withheld,
            withdrawals=[_withdrawal(each) for each in status.withdrawals],
            work=_work(status.work),
            engine=status.engine,
        )


def _proposals(approvals: list[Approval], needed: int) -> list[policy_pb2.PolicyProposal]:
    by_bundle: dict[str, list[Approval]] = {}
    for each in approvals:
        by_bundle.setdefault(each.bundle, []).append(each)
    return [
        policy_pb2.PolicyProposal(
            bundle=_bundle(found[0].document),
            approved_by=[each.approver for each in found],
            proposed_at=found[0].approved_at,
            expires_at=found[0].expires_at,
            missing=max(needed - len(found), 0),
        )
        for found in by_bundle.values()
    ]


def _withdrawal(withdrawal: Withdrawal) -> policy_pb2.PolicyWithdrawal:
    return policy_pb2.PolicyWithdrawal(
        bundle=_bundle(withdrawal.document),
        withdrawn_by=withdrawal.withdrawn_by,
        withdrawn_at=withdrawal.withdrawn_at,
    )


def _work(work: Work | None) -> policy_pb2.PolicyWork | None:
    if work is None:
        return None
    return policy_pb2.PolicyWork(digest=work.digest, step=work.step, tried=work.tried, examples=work.examples)


def _activated(activation: Activation) -> policy_pb2.PolicyBundle:
    document = activation.document or {
        "digest": activation.bundle,
        "part": activation.part,
        "revision": str(activation.revision),
    }
    message = _bundle(document)
    message.activated_at, message.ledger_seq = activation.activated_at, activation.seq
    return message


def _bundle(document: Mapping[str, Any]) -> policy_pb2.PolicyBundle:
    names = ("digest", "part", "revision", "roots", "legal_as_of", "valid_until", "keyid", "signed_by")
    return policy_pb2.PolicyBundle(**{name: document[name] for name in names if name in document}, ledger_seq=-1)
