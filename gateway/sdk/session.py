"""One caller's channels to its own zone's gateway, and the deadlines of its calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import grpc

from gateway.config import Profile, load_profile
from gateway.errors import IntegrityError
from gateway.identity.card import SignedCard, read_card
from gateway.identity.dsse import Envelope, payload_type
from gateway.identity.statements import read_unverified
from gateway.model import limits
from gateway.model.statements import StreamEnd
from gateway.sdk.credentials import Credentials, load_credentials
from gateway.v1 import (
    catalog_pb2_grpc,
    exchange_pb2_grpc,
    identity_pb2_grpc,
    ledger_pb2_grpc,
    mechanism_pb2_grpc,
    policy_pb2_grpc,
    preview_pb2_grpc,
    review_pb2_grpc,
    run_pb2_grpc,
    signer_pb2_grpc,
    zone_pb2,
    zone_pb2_grpc,
)
from gateway.wire import channel

T = TypeVar("T")

FLIGHT: Final = "/arrow.flight.protocol.FlightService/"


class Session:
    """Channels of one identity to one gateway; control and bulk data never share a connection.

    Args:
        credentials: checked before; see `load_credentials`.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self._target = str(credentials.profile.gateway)
        self.control = channel.open_channel(self._target, credentials.tls, own_pool="control")
        self._data: grpc.aio.Channel | None = None
        self.catalog: Any = cast("Any", catalog_pb2_grpc.CatalogServiceStub)(self.control)
        self.exchange: Any = cast("Any", exchange_pb2_grpc.ExchangeServiceStub)(self.control)
        self.runs: Any = cast("Any", run_pb2_grpc.RunServiceStub)(self.control)
        self.mechanisms: Any = cast("Any", mechanism_pb2_grpc.MechanismServiceStub)(self.control)
        self.policies: Any = cast("Any", policy_pb2_grpc.PolicyServiceStub)(self.control)
        self.reviews: Any = cast("Any", review_pb2_grpc.ReviewServiceStub)(self.control)
        self.previews: Any = cast("Any", preview_pb2_grpc.PreviewServiceStub)(self.control)
        self.signers: Any = cast("Any", signer_pb2_grpc.SignerServiceStub)(self.control)
        self.identities: Any = cast("Any", identity_pb2_grpc.IdentityServiceStub)(self.control)
        self.zone: Any = cast("Any", zone_pb2_grpc.ZoneServiceStub)(self.control)
        self.ledger: Any = cast("Any", ledger_pb2_grpc.LedgerServiceStub)(self.control)
        self.operations: Any = cast("Any", ledger_pb2_grpc.LedgerOperationsServiceStub)(self.control)
        self._card: SignedCard | None = None

    @classmethod
    def open(cls, profile: Profile | Path | str) -> Session:
        """Check the profile and its certificate, and prepare the channels; nothing is sent yet.

        Raises:
            ConfigError: the profile or one of its files is wrong.
            CertificateError: the certificate cannot serve; the text says what to renew.
        """
        found = profile if isinstance(profile, Profile) else load_profile(Path(profile))
        return cls(load_credentials(found))

    @property
    def data(self) -> grpc.aio.Channel:
        """The channel for chunks, opened when first needed."""
        if self._data is None:
            self._data = channel.open_channel(self._target, self.credentials.tls, own_pool="data")
        return self._data

    async def call(self, method: Callable[..., Any], request: Any, *, deadline_s: float = limits.RPC_DEADLINE_S) -> Any:
        """One unary call.

        Raises:
            TdzError: of the kind that the gateway sent, or PeerUnavailableError.
        """
        return await channel.call(method(request, timeout=deadline_s))

    async def pages(self, method: Callable[..., Any], request: Any, field: str) -> list[Any]:
        """All items of a paged listing.

        Args:
            method: a List method.
            request: its request; its page is filled in here.
            field: the response's field that holds the items.

        Raises:
            TdzError: as `call`.
        """
        found: list[Any] = []
        request.page.size = limits.LIST_PAGE_MAX
        while True:
            response = await self.call(method, request)
            found.extend(getattr(response, field))
            token = response.next_page_token
            if not token or token == request.page.token:
                return found
            request.page.token = token

    def stream(self, messages: AsyncIterator[T]) -> AsyncIterator[T]:
        """A streaming call that raises the errors of the tree."""
        return channel.stream(messages)

    async def card(self, *, anew: bool = False) -> SignedCard:
        """The zone's own card, asked for once, or again.

        Raises:
            IntegrityError: its signatures do not hold, or it is another zone's.
            TdzError: as `call`.
        """
        if self._card is None or anew:
            answer = await self.call(self.zone.GetZoneCard, zone_pb2.GetZoneCardRequest())
            card = read_card(answer.card)
            if card.card.zone != self.credentials.profile.zone:
                raise IntegrityError(f"the gateway shows the card of {card.card.zone}", remedy="check the profile")
            self._card = card
        return self._card

    async def verify_end(self, envelope: bytes) -> StreamEnd:
        """Verify the signed end of a stream against the zone's statement key.

        Raises:
            IntegrityError: malformed, of another kind, or not signed by the zone.
        """
        card = (await self.card()).card
        signed = Envelope.from_bytes(envelope)
        if signed.payload_type != payload_type(StreamEnd.kind):
            raise IntegrityError("the stream ends with another statement than its end", remedy="pull again")
        signed.require_signature(card.verification_key())
        statement = read_unverified(signed)  # verified above: by key and kind, not by audience
        if statement.issuer != card.party:  # another ledger may have followed the zone's since
            card = (await self.card(anew=True)).card
            signed.require_signature(card.verification_key())
        end = StreamEnd.parse(statement.body)
        if statement.issuer != card.party or statement.process != end.transfer:
            raise IntegrityError("the stream's end is another zone's or another transfer's", remedy="pull again")
        return end

    async def close(self) -> None:
        """Close the channels; calls in flight end."""
        await self.control.close()
        if self._data is not None:
            await self._data.close()
