"""MechanismService: the register of legal mechanisms under this zone's law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gateway.decisions.mechanisms import MechanismRegister, RegisteredMechanism
from gateway.errors import InputError
from gateway.exchange.house import House
from gateway.flow.steps import Step
from gateway.model import canonical, limits
from gateway.server.access import caller
from gateway.server.paging import page_size
from gateway.v1 import mechanism_pb2, mechanism_pb2_grpc

_DOCUMENT_MAX: Final = 16 * limits.KIB


class MechanismService(mechanism_pb2_grpc.MechanismServiceServicer):
    """Handlers; who may call them is declared in `gateway.server.access.roles`.

    Args:
        house: this zone.
        withdrawn: hears the reference of a mechanism that serves nobody any more.
    """

    def __init__(self, house: House, withdrawn: Callable[[str], None]) -> None:
        self._house = house
        self._withdrawn = withdrawn

    async def AddMechanism(self, request: mechanism_pb2.AddMechanismRequest, context: Any) -> mechanism_pb2.Mechanism:
        """Add one: on the ledger as reference and digest, then in force."""
        if len(request.document) > _DOCUMENT_MAX:
            raise InputError(f"a mechanism has at most {_DOCUMENT_MAX} characters")
        mechanism = MechanismRegister.parse(request.document)
        await self._house.mechanisms.check_free(mechanism)
        digest = canonical.digest(mechanism.document())
        await self._house.steps.run(
            Step(
                kind="mechanism.added",
                subject=f"mechanisms/{mechanism.ref}",
                body={"digest": digest, "by": caller(context).fingerprint},
            )
        )
        return _message(await self._house.mechanisms.add(mechanism, self._house.clock()))

    async def ListMechanisms(
        self, request: mechanism_pb2.ListMechanismsRequest, context: Any
    ) -> mechanism_pb2.ListMechanismsResponse:
        """List them by reference."""
        size = page_size(request.page)
        found = await self._house.mechanisms.page(request.page.token, size + 1)
        return mechanism_pb2.ListMechanismsResponse(
            mechanisms=[_message(item) for item in found[:size]],
            next_page_token=found[size - 1].mechanism.ref if len(found) > size else "",
        )

    async def WithdrawMechanism(
        self, request: mechanism_pb2.WithdrawMechanismRequest, context: Any
    ) -> mechanism_pb2.Mechanism:
        """Withdraw one: in force at once, for open streams that rely on it too, then on the ledger."""
        house = self._house
        standing = await house.mechanisms.get(request.ref)
        if standing.withdrawn_at:
            return _message(standing)
        ref = standing.mechanism.ref
        step = Step(
            kind="mechanism.withdrawn",
            subject=f"mechanisms/{ref}",
            body={"digest": standing.digest, "by": caller(context).fingerprint},
            effect="mechanism.withdrawn",
            arguments={"ref": ref, "now": house.clock()},
            closing=True,
        )
        await house.steps.end(step, lambda: self._withdrawn(ref))
        return _message(await house.mechanisms.get(ref))


def _message(registered: RegisteredMechanism) -> mechanism_pb2.Mechanism:
    return mechanism_pb2.Mechanism(
        ref=registered.mechanism.ref,
        document=canonical.encode(registered.mechanism.document()).decode(),
        added_at=registered.added_at,
        withdrawn_at=registered.withdrawn_at,
    )
