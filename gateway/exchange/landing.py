"""An arrival: one transfer's frames become verified chunks, which the partner reads while others still come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from gateway.errors import IntegrityError, PeerError, PeerUnavailableError, TdzError
from gateway.exchange import rows
from gateway.exchange.house import House
from gateway.exchange.peer import Bytes, ChunkMark, PeerFrame, StreamOpening
from gateway.flow.locks import both
from gateway.model import limits
from gateway.model.statements import StreamEnd, card_of
from gateway.model.transfer import TransferState as State
from gateway.storage.chunks import DIGEST_BYTES
from gateway.storage.ipc_frames import PREFIX_BYTES, join_message, join_schema
from gateway.storage.landing import Landing
from gateway.storage.versions import ChunkList, Version

_RENEW_S: Final = 5.0
_RENEWALS: Final = 4  # at least so many in a lease
_LIST_FRAME_MAX: Final = 1 * limits.MIB


class Arrival:
    """One transfer while it lands or is read; lives on one event loop.

    Args:
        house: this zone.
        transfer_id: the transfer.
        agreement: the agreement it serves.
    """

    def __init__(self, house: House, transfer_id: str, agreement: rows.AgreementRow) -> None:
        self._house = house
        self.transfer_id = transfer_id
        self.agreement = agreement
        self.card = card_of(agreement.card)
        self._landing: Landing | None = None
        self._version: Version | None = None
        self._ready = asyncio.Event()  # the peer's start is mirrored here: chunks may be forwarded
        self._ended = asyncio.Event()
        self._error: TdzError | None = None
        self._readers = 0
        self._settled = False
        self._reported = 0
        self._to_be_decided = False

    # --- landing ----------------------------------------------------------------------------------------

    @property
    def chunks_done(self) -> int:
        """Chunks verified so far."""
        if self._version is not None:
            return self.card.manifest.chunks
        return 0 if self._landing is None else self._landing.progress.chunks

    @property
    def rows_done(self) -> int:
        """Rows verified so far."""
        if self._version is not None:
            return self.card.manifest.rows
        return 0 if self._landing is None else self._landing.progress.rows

    @property
    def bytes_done(self) -> int:
        """Bytes verified so far."""
        if self._version is not None:
            return self.card.manifest.bytes
        return 0 if self._landing is None else self._landing.progress.bytes

    async def moved(self, within: float) -> None:
        """Wait until another chunk is verified or the transfer ends, at most so many seconds."""
        try:
            async with asyncio.timeout(within):
                if self._landing is not None and not self._ended.is_set():
                    await self._landing.progress.wait_for(self._landing.progress.chunks)
                else:
                    await self._ended.wait()
        except TimeoutError:
            return

    async def ended(self, within: float) -> None:
        """Wait until the transfer ends, at most so many seconds."""
        try:
            async with asyncio.timeout(within):
                await self._ended.wait()
        except TimeoutError:
            return

    @property
    def settled(self) -> bool:
        """Whether it has ended: who comes now needs another one."""
        return self._settled

    def decide_again(self) -> None:
        """Take no further chunk of the stream that is open; the next one is decided on anew."""
        self._to_be_decided = True

    def decided_now(self) -> None:
        """A decision begins with the policy in force."""
        self._to_be_decided = False

    def take_progress(self) -> bool:
        """Whether chunks were verified since this was last asked."""
        done, before = self.chunks_done, self._reported
        self._reported = done
        return done > before

    async def prepare(self) -> int:
        """The first chunk that is missing here; what lies on disk is hashed again before it counts."""
        house = self._house
        if self._version is not None:
            return self.card.manifest.chunks
        if self._landing is not None:
            await self._landing.drain()
            return self._landing.next_index
        if self.transfer_id in house.landings:  # first: it died before its end was recorded
            self._landing = await house.chunks.run(lambda: house.landings.open(self.transfer_id))
            return await self._landing.first_missing()
        version = self.card.version
        if await house.chunks.run(lambda: house.versions.has(version)):
            self._version = await house.chunks.run(lambda: house.versions.open(version))
            return self.card.manifest.chunks
        return 0

    async def take(self, frames: AsyncIterator[PeerFrame], first_chunk: int) -> None:
        """Take one stream to its signed end.

        Raises:
            PeerUnavailableError: the stream was cut; what is verified stays.
            PeerError, IntegrityError: the peer sent what it may not.
            StorageError: the disk is full or failed; what is verified stays.
        """
        house, zone = self._house, self.agreement.peer_zone
        opening = await anext(frames, None)
        if opening is None or not opening.header:
            raise PeerError(f"the stream of {zone} does not begin with a schema")
        if opening.body or join_schema(opening.header) != self.card.schema_bytes():
            raise PeerError(f"the stream of {zone} has another schema than was agreed on")
        started = StreamOpening.decode(opening.metadata)
        mirrored = house.journal.wait_mirrored(zone, started.ledger_size, house.timing.mirror)
        if first_chunk == 0 and self._version is None:
            await both(mirrored, self._take_list(frames))
        else:
            await mirrored
        self._ready.set()  # m(B3): from here on chunks are forwarded
        await self._take_chunks(frames, first_chunk)
        if self._landing is not None:
            await self._landing.drain()

    async def _take_list(self, frames: AsyncIterator[PeerFrame]) -> None:
        """The chunk list, then the landing; a landing of an earlier stream stays as it is."""
        house, manifest = self._house, self.card.manifest
        writer = house.landings.new_list()
        try:
            while writer.count < manifest.chunks:
                frame = await anext(frames, None)
                if frame is None or frame.header or not frame.metadata or len(frame.metadata) > _LIST_FRAME_MAX:
                    raise PeerError("the stream has no chunk list")
                data = bytes(frame.metadata)
                if len(data) % DIGEST_BYTES or writer.count + len(data) // DIGEST_BYTES > manifest.chunks:
                    raise PeerError("the stream's chunk list has another length than the manifest says")
                for at in range(0, len(data), DIGEST_BYTES):
                    writer.write(data[at : at + DIGEST_BYTES])
        except BaseException:
            writer.discard()
            raise
        if self._landing is not None:
            writer.discard()
            return
        self._landing = await house.chunks.run(
            lambda: house.landings.create(
                self.transfer_id,
                self.card.version,
                manifest.encode(),
                self.card.schema_bytes(),
                self.card.description.encode(),
                writer,
            )
        )

    async def _take_chunks(self, frames: AsyncIterator[PeerFrame], first_chunk: int) -> None:
        manifest = self.card.manifest
        loop = asyncio.get_running_loop()
        renewed = float("-inf")  # the first chunk that is verified renews it
        every = min(_RENEW_S, self._house.timing.lease / _RENEWALS)
        expected = first_chunk
        parts: list[Bytes] = []
        size = 0
        async for frame in frames:
            if not frame.header:
                if parts or expected != manifest.chunks:
                    raise PeerError("the stream ends before its last chunk")
                self._check_end(bytes(frame.metadata))
                return
            parts += [join_message(frame.header, frame.body), frame.header, frame.body]
            size += len(frame.header) + len(frame.body) + PREFIX_BYTES
            if size > limits.CHUNK_MAX:
                raise PeerError(f"chunk {expected} is larger than {limits.CHUNK_MAX} bytes")
            if not frame.metadata:
                continue
            if self._to_be_decided:
                raise PeerUnavailableError("the transfer is decided again", remedy="it goes on by itself if allowed")
            mark = ChunkMark.decode(frame.metadata)
            if mark.index != expected or self._landing is None:
                raise PeerError(f"chunk {mark.index} came where {expected} was due")
            await self._landing.add(expected, parts)
            expected += 1
            parts, size = [], 0
            if loop.time() - renewed > every and self.take_progress():
                renewed = loop.time()
                await self._renew()
        raise PeerError("the stream ended without its signed end")

    def _check_end(self, envelope: bytes) -> None:
        manifest = self.card.manifest
        end = self._house.read(
            StreamEnd, envelope.decode(errors="replace"), of=self.agreement.peer_zone, process=self.transfer_id
        )
        said = (end.transfer, end.version, end.chunks, end.rows, end.bytes, end.root)
        agreed = (
            self.transfer_id,
            manifest.version,
            manifest.chunks,
            manifest.rows,
            manifest.bytes,
            manifest.root,
        )
        if said != agreed:
            raise IntegrityError("the stream's signed end says something else than the manifest")

    async def _renew(self) -> None:
        """Progress renews the lease."""
        house = self._house
        now = house.clock()
        done = (self.chunks_done, self.rows_done, self.bytes_done)
        await house.state.write(
            lambda connection: rows.change_transfer(
                connection,
                self.transfer_id,
                [State.STARTED],
                chunks=done[0],
                rows=done[1],
                bytes=done[2],
                deadline=now + house.timing.lease,
                updated_at=now,
            )
        )

    async def finish(self) -> None:
        """Everything verified becomes one visible, durable version."""
        if self._landing is not None:
            await self._landing.finish()

    # --- reading ----------------------------------------------------------------------------------------

    def join(self) -> None:
        """One more reader."""
        self._readers += 1

    async def leave(self) -> None:
        """One reader less; the last one after the end lets the landing go."""
        self._readers -= 1
        await self._tidy()

    async def chunk(self, index: int) -> bytes | None:
        """A verified chunk as soon as it is here; None past the last one.

        Raises:
            TdzError: the transfer failed before the chunk came.
        """
        if index >= self.card.manifest.chunks:
            return None
        await self._until(self._ready)
        if self._version is None and self._landing is not None and not await self._landing.progress.wait_for(index):
            await self._until(self._ended)
        digest = self._list()[index]
        return await self._house.chunks.aread(digest)

    def digest(self, index: int) -> str:
        """The digest (hex) of a chunk that `chunk` returned."""
        return self._list()[index].hex()

    async def completed(self) -> None:
        """Wait until the end stands on this zone's ledger.

        Raises:
            TdzError: the transfer failed.
        """
        await self._until(self._ended)

    def _list(self) -> ChunkList:
        if self._version is not None:
            return self._version.chunks
        if self._landing is None:
            raise self._error or PeerError("the transfer has not begun")
        return self._landing.chunks

    async def _until(self, event: asyncio.Event) -> None:
        if event.is_set() and self._error is None:
            return
        waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self._ended.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if self._error is not None:
            raise self._error

    def complete(self) -> None:
        """The end stands on the ledger."""
        self._ready.set()
        self._ended.set()

    def fail(self, error: TdzError) -> None:
        """The transfer stopped; what ended before stays as it ended."""
        if not self._ended.is_set():
            self._error = error
            self._ended.set()
            if self._landing is not None:
                self._landing.progress.end()  # who waits for a chunk hears that it will not come

    async def settle(self) -> None:
        """No more will land here."""
        self._settled = True
        await self._tidy()

    async def _tidy(self) -> None:
        if not self._settled or self._readers:
            return
        if self._landing is not None:
            landing, self._landing = self._landing, None
            await landing.close()
        if self._version is not None:
            self._version.chunks.close()
