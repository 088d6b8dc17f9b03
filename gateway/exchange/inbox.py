"""What a publisher sends, on its way from the event loop to the thread that stores it: bounded, and never silent."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import InputError, LimitError, TdzError
from gateway.exchange.peer import Bytes
from gateway.model import limits
from gateway.storage.ipc_frames import END_OF_STREAM, decoded_bytes, join_message, join_schema, read_batch_header

_QUEUE: Final = 4  # messages between the wire and the thread that takes them
_BATCH_DECODED_MAX: Final = 64 * limits.MIB
_WAIT_S: Final = 120.0  # the longest silence of a client that publishes


@dataclass(frozen=True, slots=True)
class Message:
    """One Arrow IPC message as FlightData carries it, without its 8-byte prefix; metadata alone where it has none."""

    header: Bytes
    body: Bytes
    metadata: Bytes = b""


class Inbox:
    """Messages in their order; one thread takes them."""

    def __init__(self) -> None:
        self._messages: queue.Queue[Message | None] = queue.Queue(_QUEUE)
        self._broken = False
        self._unread = False

    # --- the event loop's side --------------------------------------------------------------------------

    async def fill(self, messages: AsyncIterator[Message], taken: Callable[[], bool]) -> None:
        """Hand in everything that comes.

        Args:
            messages: from the wire.
            taken: whether the thread has ended, and why is told by whoever awaits it.

        Raises:
            InputError: nothing came.
            TdzError: the thread takes nothing any more.
        """
        count = 0
        async for message in messages:
            if taken():
                return
            await self._put(message)
            count += 1
        if not count:
            raise InputError("the stream has no schema")
        await self._put(None)

    async def _put(self, message: Message | None) -> None:
        if self._offer(message):
            return
        try:
            await asyncio.to_thread(self._messages.put, message, timeout=_WAIT_S)
        except queue.Full as error:
            raise TdzError("publishing stands still", remedy="try again; see the gateway's log") from error

    def _offer(self, message: Message | None) -> bool:
        """Give a message without waiting; whether there was room. What nobody will take is dropped."""
        if self._unread:
            return True
        try:
            self._messages.put_nowait(message)
        except queue.Full:
            return False
        return True

    def fail(self) -> None:
        """No more will come and what came is not whole: the thread must not take it for an end."""
        self._broken = True
        self._offer(None)

    # --- the thread's side ------------------------------------------------------------------------------

    def take(self) -> Message | None:
        """The next message; None at the end.

        Raises:
            OSError: the client went away.
            queue.Empty: it is silent.
        """
        message = None if self._broken else self._messages.get(timeout=_WAIT_S)
        if self._broken:
            raise OSError("the client went away")
        return message

    def abandon(self) -> None:
        """The thread has ended: whoever waits for room goes on at once, and hears why from the thread's own end."""
        self._unread = True
        with contextlib.suppress(queue.Empty):
            while True:
                self._messages.get_nowait()


def check_batch(message: Message) -> None:
    """Refuse a record batch that would take too much memory, before it is decoded.

    Raises:
        LimitError: it decompresses to too much.
        IntegrityError: it is no record batch or dictionary.
    """
    header = read_batch_header(memoryview(message.header))
    if decoded_bytes(header, memoryview(message.body)) > _BATCH_DECODED_MAX:
        raise LimitError(f"a record batch decompresses to more than {_BATCH_DECODED_MAX} bytes")


class ArrowFile:
    """An inbox as a file that pyarrow reads, in the thread that takes its messages."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._parts: list[Bytes] = []
        self._rest = memoryview(b"")
        self._first = True
        self._ended = False
        self.closed = False

    def readable(self) -> bool:
        """For pyarrow."""
        return True

    def read(self, size: int = -1) -> Any:
        """For pyarrow: exactly so many bytes, fewer only at the end; a whole part is not copied."""
        if 0 < size <= len(self._rest):
            found, self._rest = self._rest[:size], self._rest[size:]
            return found
        out = bytearray()
        while len(out) < size and self._more():
            if not out and 0 < size <= len(self._rest):
                return self.read(size)
            take = min(size - len(out), len(self._rest))
            out += self._rest[:take]
            self._rest = self._rest[take:]
        return bytes(out)

    def _more(self) -> bool:
        """Have bytes at hand; False at the end."""
        while not self._rest:
            if self._parts:
                self._rest = memoryview(self._parts.pop(0))
                continue
            if self._ended:
                return False
            message = self._inbox.take()
            if message is None:
                self._parts, self._ended = [END_OF_STREAM], True
            elif self._first:
                self._parts, self._first = [join_schema(message.header)], False
            elif message.header:
                check_batch(message)
                self._parts = [join_message(message.header, message.body), message.header, message.body]
        return True

    def close(self) -> None:
        """For pyarrow."""
        self.closed = True
