"""SignerService: the outside signers whose signatures on models count in this zone."""

from __future__ import annotations

from typing import Any

from gateway.artifacts.trust import OutsideKey
from gateway.artifacts.trust_register import ModelSigners, read_public_key
from gateway.exchange.house import House
from gateway.flow.steps import Step
from gateway.identity.keys import key_fingerprint
from gateway.server.access import caller
from gateway.server.paging import page_of
from gateway.v1 import signer_pb2, signer_pb2_grpc


class SignerService(signer_pb2_grpc.SignerServiceServicer):
    """Handlers; who may call them is declared in `gateway.server.access.roles`."""

    def __init__(self, house: House, signers: ModelSigners) -> None:
        self._house = house
        self._signers = signers

    async def AddSigner(self, request: signer_pb2.AddSignerRequest, context: Any) -> signer_pb2.Signer:
        """Trust a key: on the ledger as its fingerprint, then in force."""
        key = read_public_key(request.public_key.encode())
        fingerprint = key_fingerprint(key)
        await self._signers.check(key, request.name)
        await self._record("signer.added", fingerprint, context)
        return _message(await self._signers.add(key, request.name, self._house.clock()))

    async def ListSigners(self, request: signer_pb2.ListSignersRequest, context: Any) -> signer_pb2.ListSignersResponse:
        """List them, those that were removed too."""
        found = sorted(await self._signers.all(), key=lambda key: key.fingerprint)
        page, token = page_of([_message(key) for key in found], request.page, key=lambda message: message.fingerprint)
        return signer_pb2.ListSignersResponse(signers=page, next_page_token=token)

    async def RemoveSigner(self, request: signer_pb2.RemoveSignerRequest, context: Any) -> signer_pb2.Signer:
        """Trust a key no longer: in force at once, then on the ledger."""
        removed = await self._signers.remove(request.fingerprint, self._house.clock())
        await self._record("signer.removed", removed.fingerprint, context, closing=True)
        return _message(removed)

    async def _record(self, kind: str, fingerprint: str, context: Any, *, closing: bool = False) -> None:
        """The key alone: its owner's name may be a person's."""
        body = {"key": fingerprint, "by": caller(context).fingerprint}
        await self._house.steps.run(Step(kind=kind, subject=f"signers/{fingerprint}", body=body, closing=closing))


def _message(key: OutsideKey) -> signer_pb2.Signer:
    return signer_pb2.Signer(
        fingerprint=key.fingerprint,
        name=key.name,
        public_key=key.pem,
        added_at=key.added_at,
        removed_at=key.removed_at,
    )
