"""Sending a stream: opening, chunk list, chunks as they lie, and the signed end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from gateway.errors import ConflictError, PeerUnavailableError
from gateway.exchange import rows
from gateway.exchange.house import House
from gateway.exchange.peer import ChunkMark, PeerFrame, StreamOpening
from gateway.journal import Recorded
from gateway.model.statements import Agreement, StreamEnd
from gateway.model.transfer import TransferEvent as Event
from gateway.model.transfer import TransferState as State
from gateway.storage.arrow_chunks import split_messages
from gateway.storage.ipc_frames import PREFIX_BYTES
from gateway.storage.versions import Version

_LIST_FRAME: Final = 16_384  # digests in a frame of the chunk list: 512 KiB
_RENEW_S: Final = 5.0
_RENEWALS: Final = 4  # at least so many in a lease


@dataclass(slots=True)
class Stream:
    """One open stream; a newer one of the same transfer takes its place."""

    transfer: str
    agreement: str
    mechanisms: tuple[str, ...] = ()  # references that the agreement relies on
    superseded: bool = False
    to_be_decided: bool = False  # what it rests on has changed: the consumer takes it up again, which decides
    whole: bool = False  # all but the signed end is sent; the consumer may hang up once it has that


class Sending:
    """Sends the streams that were opened, and keeps their leases."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def frames(
        self,
        stream: Stream,
        version: Version,
        body: Agreement,
        zone: str,
        first_chunk: int,
        recorded: Recorded,
    ) -> AsyncIterator[PeerFrame]:
        """The frames of a stream from its first chunk on; it stops where the peer does not cosign its start.

        Raises:
            ConflictError: the stream was ended, or a newer one took its place.
            PeerUnavailableError: no cosignature by the deadline.
            ForkError: a ledger of the two was found to have forked meanwhile.
        """
        house, manifest = self._house, version.manifest
        yield PeerFrame(
            header=memoryview(version.schema_message)[PREFIX_BYTES:],
            metadata=StreamOpening(recorded.size).encode(),
        )
        if first_chunk == 0:
            for start in range(0, manifest.chunks, _LIST_FRAME):
                yield PeerFrame(metadata=version.chunks.raw(start, start + _LIST_FRAME))
        witness = asyncio.create_task(
            house.journal.wait_held(zone, recorded.size, house.timing.mirror), name=f"witness-{stream.transfer}"
        )
        renewed = asyncio.get_running_loop().time()
        every = min(_RENEW_S, house.timing.lease / _RENEWALS)
        following: asyncio.Future[bytes] | None = None
        try:
            for index in range(first_chunk, manifest.chunks):
                if stream.superseded:
                    raise ConflictError("the stream was ended", remedy="a newer one may be open; else start again")
                if stream.to_be_decided:
                    raise PeerUnavailableError("the transfer is decided again", remedy="resume it")
                house.journal.require_open(zone)
                if witness.done():
                    witness.result()  # no cosignature: stop
                reading = following or _ahead(house, version, index)
                following = _ahead(house, version, index + 1) if index + 1 < manifest.chunks else None
                digest = version.chunks[index]
                chunk = await reading
                *dictionaries, (header, part) = split_messages(chunk)
                for metadata, data in dictionaries:
                    yield PeerFrame(header=metadata, body=data)
                yield PeerFrame(header=header, body=part, metadata=ChunkMark(index, digest.hex()).encode())
                if (now := asyncio.get_running_loop().time()) - renewed > every:
                    renewed = now
                    await self._renew(stream.transfer, index + 1)
            await witness
        except PeerUnavailableError:
            await self._renew(stream.transfer, first_chunk)
            raise
        finally:
            if following is not None:
                following.cancel()
            witness.cancel()
            await asyncio.gather(witness, *([following] if following is not None else []), return_exceptions=True)
        end = StreamEnd(
            transfer=stream.transfer,
            version=body.version,
            chunks=manifest.chunks,
            rows=manifest.rows,
            bytes=manifest.bytes,
            root=manifest.root,
        )
        await self._renew(stream.transfer, manifest.chunks)
        stream.whole = True
        yield PeerFrame(metadata=house.sign(end, to=zone, process=stream.transfer).encode())

    async def _renew(self, transfer_id: str, chunks: int) -> None:
        """Progress renews the lease."""
        now = self._house.clock()
        await self._house.state.write(
            lambda connection: rows.change_transfer(
                connection,
                transfer_id,
                [State.STARTED],
                chunks=chunks,
                deadline=now + self._house.timing.lease,
                updated_at=now,
            )
        )

    async def cut(self, transfer_id: str) -> None:
        """Say that a stream ended before its signed end."""
        now = self._house.clock()
        await self._house.state.write(
            lambda connection: rows.advance_transfer(
                connection,
                transfer_id,
                Event.CUT,
                reason="the stream was cut",
                deadline=now + self._house.timing.lease,
                updated_at=now,
            )
        )


def _ahead(house: House, version: Version, index: int) -> asyncio.Future[bytes]:
    return asyncio.ensure_future(house.chunks.aread(version.chunks[index]))
