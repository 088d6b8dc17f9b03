"""Arrow Flight, served by grpc.aio handlers under Flight's own service name, for any Flight client.

GetFlightInfo opens nothing; the first DoGet with its ticket starts the transfer. A stream ends with a frame whose
app_metadata is the signed end; without it the pull is incomplete, whatever the status says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from gateway.errors import InputError, PeerUnavailableError
from gateway.exchange import rows
from gateway.exchange.house import House
from gateway.exchange.inbox import Message
from gateway.exchange.landing import Arrival
from gateway.exchange.peer import ChunkMark
from gateway.exchange.publishing import Publisher
from gateway.exchange.pulls import Opened, Pulls
from gateway.model import canonical, limits
from gateway.model.artifact import ModelDescription
from gateway.model.negotiation import NegotiationState
from gateway.model.statements import StreamEnd, card_of
from gateway.server.access import Caller, caller
from gateway.storage.arrow_chunks import plain_schema, read_schema_message, schema_message, split_messages, to_plain
from gateway.storage.ipc_frames import PREFIX_BYTES
from gateway.v1 import flight_pb2
from gateway.wire import frames

SERVICE: Final = "arrow.flight.protocol.FlightService"
_ENCODING: Final = "tdz-encoding"
_SILENCE_S: Final = 120.0


class FlightService:
    """Handlers; who may call them is declared in `gateway.server.access.roles`."""

    def __init__(self, house: House, pulls: Pulls, publisher: Publisher) -> None:
        self._house = house
        self._pulls = pulls
        self._publisher = publisher

    def handlers(self) -> Mapping[str, grpc.RpcMethodHandler]:
        """By method name; requests and answers are bytes."""
        return {
            "ListFlights": grpc.unary_stream_rpc_method_handler(self.list_flights),
            "GetFlightInfo": grpc.unary_unary_rpc_method_handler(self.get_flight_info),
            "GetSchema": grpc.unary_unary_rpc_method_handler(self.get_schema),
            "DoGet": grpc.unary_stream_rpc_method_handler(self.do_get),
            "DoPut": grpc.stream_stream_rpc_method_handler(self.do_put),
        }

    async def list_flights(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """The caller's agreements in force; without endpoints, since tickets are given one by one."""
        who = caller(context).identity
        found = await rows.list_agreements(
            self._house.state, party=who.uri, side="consumer", where_state=[NegotiationState.FINALIZED]
        )
        for row in found:
            if row.expires_at > self._house.clock():
                card = card_of(row.card)
                manifest = card.manifest
                info = flight_pb2.FlightInfo(
                    schema=card.schema_bytes(),
                    flight_descriptor=_descriptor(row.id),
                    total_records=manifest.rows,
                    total_bytes=manifest.bytes,
                    ordered=True,
                )
                yield info.SerializeToString()

    async def get_flight_info(self, request: bytes, context: Any) -> bytes:
        """A ticket for an agreement."""
        opened, identifier = await self._open(request, context)
        card, manifest = opened.card, opened.card.manifest
        told: dict[str, canonical.JsonValue] = {
            "transfer": opened.transfer,
            "version": card.version,
            "chunks": manifest.chunks,
        }
        if isinstance(card.description, ModelDescription):  # which chunks make which file
            told["model"] = card.description.document()
        info = flight_pb2.FlightInfo(
            schema=_schema(card.schema_bytes(), plain=_wants_plain(context)),
            flight_descriptor=_descriptor(identifier),
            total_records=manifest.rows,
            total_bytes=manifest.bytes,
            ordered=True,
            app_metadata=canonical.encode(told),
        )
        info.endpoint.add(ticket=flight_pb2.Ticket(ticket=opened.ticket.encode()))
        return info.SerializeToString()

    async def get_schema(self, request: bytes, context: Any) -> bytes:
        """The schema of an agreement's dataset."""
        stored = await self._pulls.describe(caller(context).identity, _agreement_id(request))
        return flight_pb2.SchemaResult(schema=_schema(stored, plain=_wants_plain(context))).SerializeToString()

    async def _open(self, request: bytes, context: Any) -> tuple[Opened, str]:
        identifier = _agreement_id(request)
        who = caller(context)
        return await self._pulls.open(who.identity, who.fingerprint, identifier), identifier

    # --- DoGet ------------------------------------------------------------------------------------------

    async def do_get(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Verified chunks as they land, then the signed end."""
        ticket = _parse(flight_pb2.Ticket, request).ticket
        who = caller(context)
        self._house.paces.tickets.take(who.identity.uri)
        plain = _wants_plain(context)
        arrival, redeemed = await self._pulls.redeem(who.identity, who.fingerprint, ticket.decode(errors="replace"))
        try:
            stored = arrival.card.schema_bytes()
            yield frames.encode(memoryview(_schema(stored, plain=plain))[PREFIX_BYTES:])
            schema = read_schema_message(stored) if plain else None
            index = redeemed.first_chunk
            following = _ahead(arrival, index)
            try:
                while (chunk := await following) is not None:
                    following = _ahead(arrival, index + 1)
                    data = chunk if schema is None else await asyncio.to_thread(to_plain, schema, chunk)
                    for frame in _chunk_frames(data, ChunkMark(index, arrival.digest(index)).encode()):
                        yield frame
                    index += 1
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            await arrival.completed()
            yield frames.encode(b"", metadata=self._end(arrival, who))
        finally:
            await arrival.leave()

    def _end(self, arrival: Arrival, who: Caller) -> bytes:
        manifest = arrival.card.manifest
        body = StreamEnd(
            transfer=arrival.transfer_id,
            version=manifest.version,
            chunks=manifest.chunks,
            rows=manifest.rows,
            bytes=manifest.bytes,
            root=manifest.root,
        )
        return self._house.sign(body, to=who.identity.zone, process=arrival.transfer_id).encode()

    # --- DoPut ------------------------------------------------------------------------------------------

    async def do_put(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Publish: descriptor cmd = a dataset's publication or a model's announcement, as canonical JSON."""
        who = caller(context).identity
        first = await _next(requests)
        if first is None:
            raise InputError("the stream is empty")
        frame = frames.decode(first)
        descriptor = _parse(flight_pb2.FlightDescriptor, bytes(frame.descriptor))
        if descriptor.type != flight_pb2.FlightDescriptor.DESCRIPTOR_TYPE_CMD or not descriptor.cmd:
            raise InputError(
                "DoPut publishes by command", remedy="FlightDescriptor.for_command(<publication as canonical JSON>)"
            )
        if len(descriptor.cmd) > limits.MODEL_SUBMISSION_MAX:  # each kind has its own bound below this
            raise InputError(f"a publication has at most {limits.MODEL_SUBMISSION_MAX} bytes")
        published = await self._publisher.publish(who, descriptor.cmd, _messages(frame, requests))
        manifest = published.manifest
        result: dict[str, canonical.JsonValue] = {
            "name": f"{manifest.kind}s/{manifest.id}",
            "version": published.version,
            "rows": manifest.rows,
            "chunks": manifest.chunks,
            "bytes": manifest.bytes,
            "chunks_new": published.chunks_new,
            "bytes_new": published.bytes_new,
            "encoding": manifest.encoding,
        }
        yield flight_pb2.PutResult(app_metadata=canonical.encode(result)).SerializeToString()


async def _messages(first: frames.Frame, requests: AsyncIterator[bytes]) -> AsyncIterator[Message]:
    yield Message(first.header, first.body, first.metadata)
    while (data := await _next(requests)) is not None:
        frame = frames.decode(data)
        if frame.header or frame.metadata:
            yield Message(frame.header, frame.body, frame.metadata)


async def _next(requests: AsyncIterator[bytes]) -> bytes | None:
    try:
        async with asyncio.timeout(_SILENCE_S):
            return await anext(requests, None)
    except TimeoutError as error:
        raise PeerUnavailableError(f"the client sent nothing for {_SILENCE_S:g} s", remedy="publish again") from error


def _ahead(arrival: Arrival, index: int) -> asyncio.Future[bytes | None]:
    """The next chunk is read while this one is sent."""
    return asyncio.ensure_future(arrival.chunk(index))


def _chunk_frames(chunk: bytes | memoryview, mark: bytes) -> Iterable[bytes]:
    *dictionaries, (header, body) = split_messages(chunk)
    for metadata, data in dictionaries:
        yield frames.encode(metadata, (data,))
    yield frames.encode(header, (body,), metadata=mark)


def _schema(stored: bytes, *, plain: bool) -> bytes:
    return schema_message(plain_schema(read_schema_message(stored))) if plain else stored


def _wants_plain(context: Any) -> bool:
    for key, value in context.invocation_metadata() or ():
        if key == _ENCODING:
            if value != "plain":
                raise InputError(f"{_ENCODING} is {str(value)[:20]!r}", remedy="send plain, or leave it out")
            return True
    return False


def _descriptor(agreement_id: str) -> flight_pb2.FlightDescriptor:
    return flight_pb2.FlightDescriptor(
        type=flight_pb2.FlightDescriptor.DESCRIPTOR_TYPE_PATH, path=["agreements", agreement_id]
    )


def _agreement_id(request: bytes) -> str:
    descriptor = _parse(flight_pb2.FlightDescriptor, request)
    path: list[str] = list(descriptor.path)
    if len(path) != 2 or path[0] != "agreements":
        raise InputError(
            "a flight is named by its agreement", remedy='FlightDescriptor.for_path("agreements", AGREEMENT_ID)'
        )
    return path[1]


def _parse(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InputError(f"the request is no {kind.DESCRIPTOR.name}") from error
