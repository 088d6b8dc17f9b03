"""A small gateway over real mTLS, run as a process of its own: the partner's side of the protocol and its faults.

It decides by names: a request for `datasets/denied` is refused, a transfer under agreement `cut` is cut twice. The
rows are the same everywhere (`rows()`), so that tests can say what must arrive.

    python -m tests.unit.sdk.small_gateway DIRECTORY
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.config import Address, Profile, write_profile
from gateway.errors import DeniedError, ManifestError, NotFoundError
from gateway.identity.authority import ZoneAuthority
from gateway.identity.card import LOG_KEY_TYPE, MIRROR_KEY_TYPE, ZoneCard, make_vkey, sign_card
from gateway.identity.keys import new_tls_key, private_pem, raw_public, write_private_key
from gateway.identity.statements import Party, StatementSigner
from gateway.model.canonical import encode
from gateway.model.dataset import DatasetManifest, Publication
from gateway.model.ids import uuid7
from gateway.model.participant import Identity, Role
from gateway.storage.arrow_chunks import encode_chunk, schema_message, split_messages
from gateway.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    exchange_pb2,
    exchange_pb2_grpc,
    flight_pb2,
    zone_pb2,
    zone_pb2_grpc,
)
from gateway.wire import frames
from gateway.wire.status import abort
from ledger.merkle import tree_hash
from tests.e2e.material import open_dataset

ZONE = "cyberjaya"
ORIGIN = f"tdz/{ZONE}/test"
CHUNKS = 12
ROWS_PER_CHUNK = 500
FINDING = ("MY-BASIS", "deny", "binding", "PDPA 2010 s.129", "register a transfer impact assessment (tia)")


def rows() -> pa.Table:
    """The rows that every agreement here delivers."""
    count = CHUNKS * ROWS_PER_CHUNK
    carrier = pa.array([("UA", "AA", "B6")[i % 3] for i in range(count)]).dictionary_encode()
    return pa.table({"n": pa.array(range(count), pa.int64()), "carrier": carrier})


def chunks() -> list[bytes]:
    """The same rows as chunk files."""
    return [bytes(encode_chunk(batch)) for batch in rows().combine_chunks().to_batches(ROWS_PER_CHUNK)]


def described(schema: pa.Schema, found: list[bytes]) -> tuple[bytes, bytes]:
    """Manifest and descriptive part of the rows."""
    publication = Publication.parse(encode(open_dataset("flights")))
    description = publication.describe([(field.name, str(field.type)) for field in schema]).encode()
    manifest = DatasetManifest(
        id="flights",
        schema=hashlib.sha256(schema_message(schema)).hexdigest(),
        descriptive=hashlib.sha256(description).hexdigest(),
        chunks=CHUNKS,
        rows=CHUNKS * ROWS_PER_CHUNK,
        bytes=sum(map(len, found)),
        root=tree_hash([hashlib.sha256(chunk).digest() for chunk in found]).hex(),
        encoding="none",
    )
    return manifest.encode(), description


class SmallGateway:
    """All services, on one port."""

    def __init__(self, signer: StatementSigner, card: bytes) -> None:
        self.signer = signer
        self.card = card
        self.schema = rows().schema
        self.chunks = chunks()
        self.manifest, self.description = described(self.schema, self.chunks)
        self.cuts: dict[str, int] = {}
        self.seen: dict[str, int] = {}
        self.published = 0

    # catalog

    async def ListDatasets(self, request: Any, context: Any) -> Any:
        page = int(request.page.token or 0)
        names = ["flights", "weather", "planes"]
        found = [self._dataset(name) for name in names if request.query in name]
        following = str(page + 1) if page + 1 < len(found) else ""
        return catalog_pb2.ListDatasetsResponse(datasets=found[page : page + 1], next_page_token=following)

    async def GetDataset(self, request: Any, context: Any) -> Any:
        if request.name != "datasets/flights":
            await abort(context, NotFoundError(f"{request.name} is not known", remedy="list the datasets"))
        return self._dataset("flights")

    async def VerifyDataset(self, request: Any, context: Any) -> Any:
        for done in range(1, CHUNKS + 1):
            yield catalog_pb2.VerifyDatasetProgress(
                done=done, chunks=CHUNKS, bytes=done, root="ab" * 32 if done == CHUNKS else ""
            )

    def _dataset(self, name: str) -> Any:
        columns = [catalog_pb2.Column(name="n", arrow_type="int64", tags=["location"])]
        return catalog_pb2.Dataset(
            name=f"datasets/{name}", zone="lingang", title=name, rows=6000, columns=columns, purposes=["research"]
        )

    # exchange

    async def RequestAccess(self, request: Any, context: Any) -> Any:
        name = request.resource.removeprefix("datasets/")
        self.seen[request.request_id] = self.seen.get(request.request_id, 0) + 1
        if name == "denied":
            await abort(
                context,
                DeniedError("both zones decided: deny", findings=(FINDING,), decision_id="d-1", request_id="denied"),
            )
        if name == "flaky" and self.seen[request.request_id] < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "try again")
        return self._request(name, request.purpose, request.request_id)

    async def GetRequest(self, request: Any, context: Any) -> Any:
        return self._request(request.id, "research", "")

    async def ListRequests(self, request: Any, context: Any) -> Any:
        return exchange_pb2.ListRequestsResponse(requests=[self._request("flights", "research", "")])

    def _request(self, name: str, purpose: str, request_id: str) -> Any:
        effect = {"denied": "deny", "review": "review"}.get(name, "allow")
        state = {"deny": "TERMINATED", "review": "REQUESTED", "allow": "FINALIZED"}[effect]
        message = exchange_pb2.AccessRequest(
            id=name,
            resource=f"datasets/{name}",
            purpose=purpose,
            state=state,
            effect=effect,
            held_by="lingang/admin" if effect == "review" else "",
            agreement=name if effect == "allow" else "",
            request_id=request_id,
        )
        message.decisions.add(zone=ZONE, effect=effect, decision_id="d-1", ledger_seq=7)
        if effect == "deny":
            message.findings.add(**dict(zip(("code", "effect", "authority", "cite", "remedy"), FINDING, strict=True)))
        return message

    async def GetAgreement(self, request: Any, context: Any) -> Any:
        return self._agreement(request.id, "FINALIZED")

    async def ListAgreements(self, request: Any, context: Any) -> Any:
        ended = self._agreement("ended", "TERMINATED")
        return exchange_pb2.ListAgreementsResponse(agreements=[ended, self._agreement("flights", "FINALIZED")])

    def _agreement(self, name: str, state: str) -> Any:
        return exchange_pb2.Agreement(id=name, resource="datasets/flights", state=state, purpose="research")

    async def OpenTransfer(self, request: Any, context: Any) -> Any:
        transfer = request.transfer or uuid7()
        ticket = {"agreement": request.agreement, "transfer": transfer, "first": request.first_chunk}
        return exchange_pb2.OpenTransferResponse(
            ticket=json.dumps(ticket).encode(),
            transfer=transfer,
            schema=schema_message(self.schema),
            rows=-1 if request.agreement == "filtered" else CHUNKS * ROWS_PER_CHUNK,
            bytes=-1 if request.agreement == "filtered" else sum(map(len, self.chunks)),
            chunks=CHUNKS,
            manifest=self.manifest,
            description=self.description,
        )

    async def GetTransfer(self, request: Any, context: Any) -> Any:
        return exchange_pb2.Transfer(id=request.id, state="COMPLETED", chunks_done=CHUNKS, chunks=CHUNKS)

    async def ListTransfers(self, request: Any, context: Any) -> Any:
        return exchange_pb2.ListTransfersResponse(transfers=[exchange_pb2.Transfer(id="t-1", state="STARTED")])

    async def WatchTransfer(self, request: Any, context: Any) -> Any:
        for done in range(CHUNKS + 1):
            state = "COMPLETED" if done == CHUNKS else "STARTED"
            yield exchange_pb2.Transfer(id=request.id, state=state, chunks_done=done, chunks=CHUNKS)

    # zone

    async def GetZoneCard(self, request: Any, context: Any) -> Any:
        return zone_pb2.ZoneCard(card=self.card, fingerprint=hashlib.sha256(self.card).hexdigest())

    async def GetStatus(self, request: Any, context: Any) -> Any:
        peer = zone_pb2.Peer(zone="lingang", jurisdiction="CN", endpoint="127.0.0.1:1", reachable=True)
        return zone_pb2.ZoneStatus(zone=ZONE, jurisdiction="MY", peers=[peer], ledger_size=9)

    # flight

    async def do_get(self, request: bytes, context: Any) -> Any:
        """Chunks from the ticket's first one on; the agreement's name says which fault."""
        ticket = json.loads(flight_pb2.Ticket.FromString(request).ticket)
        fault, first = ticket["agreement"], ticket["first"]
        yield frames.encode(schema_message(self.schema)[8:])
        for index in range(first, CHUNKS):
            if fault == "cut" and index - first == 5:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            if fault == "endless-cut" and index == 3:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            if fault == "stall" and index == 3:
                await asyncio.Event().wait()
            if fault == "revoked" and index == 3:
                await abort(context, DeniedError("the agreement was revoked", findings=(FINDING,)))
            if fault == "skips" and index == 3:
                continue
            for frame in self._chunk(index, damaged=fault == "damaged" and index == 3):
                yield frame
            if fault == "silent-end" and index == 3 and first == 0:
                return
        if fault == "no-end":
            return
        yield frames.encode(b"", metadata=self._end(ticket["transfer"], forged=fault == "forged-end"))

    def _chunk(self, index: int, *, damaged: bool) -> list[bytes]:
        chunk = bytearray(self.chunks[index])
        digest = hashlib.sha256(chunk).hexdigest()
        if damaged:
            chunk[-9] ^= 1
        messages = split_messages(chunk)
        label = json.dumps({"index": index, "digest": digest}).encode()
        last = len(messages) - 1
        return [
            frames.encode(metadata, [body], metadata=label if number == last else b"")
            for number, (metadata, body) in enumerate(messages)
        ]

    def _end(self, transfer: str, *, forged: bool) -> bytes:
        body: dict[str, Any] = {
            "transfer": transfer,
            "version": "0" * 64,
            "chunks": CHUNKS,
            "rows": CHUNKS * ROWS_PER_CHUNK,
            "bytes": sum(map(len, self.chunks)),
            "root": tree_hash(hashlib.sha256(chunk).digest() for chunk in self.chunks).hex(),
        }
        signer = StatementSigner(self.signer.issuer, Ed25519PrivateKey.generate()) if forged else self.signer
        now = int(time.time())
        envelope = signer.sign(
            "end", body, audience=self.signer.issuer, process=transfer, issued_at=now, expires_at=now + 60
        )
        return envelope.to_bytes()

    async def do_put(self, requests: Any, context: Any) -> Any:
        """Counts the rows that the frames hold; a publication called `refused` is refused at once."""
        found = total = largest = 0
        publication: dict[str, Any] = {}
        pieces: list[bytes] = []
        async for data in requests:
            frame = frames.decode(data)
            largest = max(largest, len(data))
            if frame.descriptor:
                publication = json.loads(flight_pb2.FlightDescriptor.FromString(bytes(frame.descriptor)).cmd)
                if publication["id"] == "refused":
                    await abort(context, ManifestError("manifest: sector: unknown", remedy="write one"))
            prefix = b"\xff\xff\xff\xff" + len(frame.header).to_bytes(4, "little")
            pieces += [prefix, bytes(frame.header), bytes(frame.body)]
        with pa.ipc.open_stream(b"".join(pieces)) as stream:
            for batch in stream:
                found += batch.num_rows
                total += 1
        answer = {"name": f"datasets/{publication['id']}", "version": "ab" * 32, "rows": found, "chunks": total}
        yield flight_pb2.PutResult(app_metadata=json.dumps({**answer, "bytes": largest}).encode()).SerializeToString()


class Zone:
    """CA, certificates and keys of the zone, below a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = datetime.datetime.now(datetime.UTC)
        self.authority = ZoneAuthority.create(ZONE, now=self.now)
        (directory / "ca.pem").write_bytes(self.authority.pem)

    def server_credentials(self) -> grpc.ServerCredentials:
        """The gateway's, for 127.0.0.1; a client needs a certificate of this CA."""
        key = new_tls_key()
        gateway = Identity(ZONE, Role.GATEWAY, "gateway")
        certificate = self.authority.issue(gateway, key.public_key(), now=self.now, names=["127.0.0.1"])
        pair = (private_pem(key), certificate.public_bytes(Encoding.PEM))
        return grpc.ssl_server_credentials([pair], self.authority.pem, require_client_auth=True)

    def write_profile(self, role: Role, name: str, port: int) -> None:
        """Key, certificate and profile of somebody."""
        place = self.directory / name
        place.mkdir()
        key = new_tls_key()
        certificate = self.authority.issue(Identity(ZONE, role, name), key.public_key(), now=self.now)
        (place / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        write_private_key(place / "key.pem", key)
        profile = Profile(
            zone=ZONE,
            gateway=Address("127.0.0.1", port),
            ca=self.directory / "ca.pem",
            cert=place / "cert.pem",
            key=place / "key.pem",
        )
        write_profile(place / "profile.toml", profile)

    def gateway(self, port: int) -> SmallGateway:
        """The services, with keys of their own and a card that names them."""
        log, mirror, statement = (Ed25519PrivateKey.generate() for _ in range(3))
        card = ZoneCard(
            zone=ZONE,
            jurisdiction="MY",
            endpoint=f"127.0.0.1:{port}",
            ca=self.authority.pem.decode(),
            origin=ORIGIN,
            log=make_vkey(ORIGIN, log.public_key(), LOG_KEY_TYPE),
            mirror=make_vkey(f"tdz/{ZONE}/mirror", mirror.public_key(), MIRROR_KEY_TYPE),
            statement_key=raw_public(statement.public_key()),
            serial=1,
            date=int(time.time()),
        )
        signed = sign_card(card, log=log.sign, statement=statement.sign)
        return SmallGateway(StatementSigner(Party(ZONE, ORIGIN), statement), signed.data)


async def serve(directory: Path) -> None:
    """Serve until killed; the profiles exist when the line `ready` is printed."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)])
    zone = Zone(directory)
    port = server.add_secure_port("127.0.0.1:0", zone.server_credentials())
    small = zone.gateway(port)
    zone.write_profile(Role.PARTNER, "um", port)
    zone.write_profile(Role.ADMIN, "root", port)
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(_only(catalog_pb2_grpc.CatalogServiceServicer, small), server)
    exchange_pb2_grpc.add_ExchangeServiceServicer_to_server(
        _only(exchange_pb2_grpc.ExchangeServiceServicer, small), server
    )
    zone_pb2_grpc.add_ZoneServiceServicer_to_server(_only(zone_pb2_grpc.ZoneServiceServicer, small), server)
    handlers = {
        "DoGet": grpc.unary_stream_rpc_method_handler(small.do_get),
        "DoPut": grpc.stream_stream_rpc_method_handler(small.do_put),
    }
    name = "arrow.flight.protocol.FlightService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    await server.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.wait_for_termination()


def _only(service: type, small: SmallGateway) -> Any:
    """The service with those methods that the small gateway has."""
    combined = type(service.__name__, (service,), {})()
    for method in dir(service):
        if hasattr(small, method) and not method.startswith("_"):
            setattr(combined, method, getattr(small, method))
    return combined


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
