"""One witness of our ledger, as a client of C2SP tlog-witness sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp

from gateway.config import checked_url
from gateway.errors import IntegrityError, LedgerError, PeerError, PeerUnavailableError, TdzError
from gateway.journal import Journal
from gateway.model import limits
from ledger.checkpoint import Published
from ledger.errors import LedgerError as LedgerFailure
from ledger.note import CosignatureVerifier, Note, check_note
from ledger.witness.protocol import (
    ADD_CHECKPOINT,
    MAX_ANSWER_BYTES,
    SIZE_TYPE,
    AddCheckpoint,
    monitoring_path,
    parse_cosignatures,
    parse_size,
)

_TRIES: Final = 3
CLOCK_APART_S: Final = 300
"""A witness whose clock is further off is not counted: the log's own clock is not judged by one witness."""
_MEANINGS: Final = {
    403: ("it does not accept our log's key", "ask its operator to add or unfreeze this log's key"),
    404: ("it does not follow this log", "ask its operator to add this log's key"),
    # Without the size that the specification asks for: so omniwitness answers another root of an equal size.
    409: ("our log does not hold what it cosigned", "compare the two before anything else is done"),
    422: ("our log does not hold what it cosigned", "compare the two before anything else is done"),
}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    type: str
    body: bytes


class WitnessClient:
    """Asks one witness for its cosignature. Not for two checkpoints at a time.

    Args:
        name: as the policy calls it.
        vkey: its key.
        url: its submission prefix.
        journal: our log.
        session: bounded in time, without redirects or proxies.
        clock: Unix seconds.
    """

    def __init__(
        self,
        name: str,
        vkey: str,
        url: str,
        *,
        journal: Journal,
        session: aiohttp.ClientSession,
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self.url = checked_url(url)
        self._verifier = CosignatureVerifier(vkey)
        self._journal = journal
        self._session = session
        self._clock = clock
        self.size = 0
        """What it cosigned last, as far as we know."""
        self.cosigned_at = 0
        self._agreed = 0  # the newest size of ours that it is known to have cosigned
        self._status = 0

    async def ask(self) -> bool:
        """Hear what it cosigned last of our log: before the first signature after a start.

        The protocol has no question for that. The newest checkpoint that we signed is presented: it cosigns it, or
        says which size it holds, and then cosigns it with the proof from there, or refuses it.

        Returns:
            Whether it cosigned; else it holds nothing of ours, or what it held before it was told to follow us no more.

        Raises:
            RolledBackError: it holds a checkpoint of ours that is not in our log.
            IntegrityError: it says so, and does not show that checkpoint.
            PeerUnavailableError: it does not answer now.
            PeerError: it does not say what it holds.
        """
        newest = self._journal.writer.committed
        try:
            await self.present(newest)
            return True
        except PeerUnavailableError:
            raise
        except TdzError as error:
            refused, status = error, self._status
        shown = await self.held()
        ours = shown is not None and await self._journal.check_held(f"the witness {self.name}", shown)
        if isinstance(refused, IntegrityError):
            raise refused
        # 404: it holds nothing of ours. 403: our key is not, or no more, on its list; it shows what it held.
        known = status == 404 or (status == 403 and ours)
        if not known and self._agreed < newest.checkpoint.size:
            raise refused
        return False

    async def present(self, offered: Published) -> bool:
        """Have a checkpoint cosigned, and hand the cosignature to the journal.

        Returns:
            Whether it was; else it has a newer one of ours, and the next offer will do.

        Raises:
            PeerUnavailableError: it does not answer now.
            PeerError: it refuses, or answers what is no answer.
            IntegrityError: what it holds or signed of our log is not ours.
        """
        size, old = offered.checkpoint.size, self.size
        for _ in range(_TRIES):
            if old > size:
                await self._judge_ahead(old)
                return False
            proof = await self._proof(old, size)
            answer = await self._ask("POST", ADD_CHECKPOINT, AddCheckpoint(old, proof, offered.note).encode())
            if answer.status == 200:
                await self._take(offered, answer.body)
                return True
            if answer.status != 409 or answer.type != SIZE_TYPE:
                raise _refusal(self.name, answer.status)
            # SPEC tlog-witness: the body of 409 is the size it cosigned last; go on from there.
            old = self.size = self._read(answer.body)
        raise PeerError(f"the witness {self.name} names another size each time it is asked")

    async def held(self) -> bytes | None:
        """The note it cosigned last of our log, with our signature; None where it has none or does not say.

        Nothing is verified: that is for who asks.

        Raises:
            PeerUnavailableError: it does not answer now.
        """
        answer = await self._ask("GET", monitoring_path(self._journal.writer.origin))
        return answer.body if answer.status == 200 else None

    async def _proof(self, old: int, size: int) -> tuple[bytes, ...]:
        try:
            return tuple(await self._journal.writer.consistency_proof(old, size))
        except LedgerFailure as error:
            raise LedgerError(f"no proof for the witness {self.name}: {error}") from error

    async def _judge_ahead(self, size: int) -> None:
        """It says that it holds more than was offered: fine where we have that, and a rollback where we do not."""
        if size <= self._journal.committed_size:
            return
        self.size = 0  # asked anew the next time
        note = await self.held()
        if note is not None:
            await self._journal.check_held(f"the witness {self.name}", note)
        raise IntegrityError(
            f"the witness {self.name} says it cosigned {size} entries of our log, we have fewer",
            remedy="ask its operator for that checkpoint; if it is ours, recover; if not, remove the witness",
        )

    async def _take(self, offered: Published, body: bytes) -> None:
        text = offered.checkpoint.text
        try:
            # SPEC tlog-witness: the client MUST ignore any cosignatures from unknown keys.
            verified = check_note(Note(text, parse_cosignatures(body)), [self._verifier]).verified
        except LedgerFailure as error:
            raise PeerError(f"the witness {self.name} answers no cosignature of its key: {error}") from error
        if not verified:
            raise PeerError(f"the witness {self.name} signs with another key", remedy="ask for its verifier key")
        self._agreed = offered.checkpoint.size
        (newest, *_) = sorted(verified, key=lambda each: each.time or 0, reverse=True)
        apart = (newest.time or 0) - self._clock()
        if abs(apart) > CLOCK_APART_S:
            raise PeerError(f"the clock of the witness {self.name} is {apart:+.0f} s from ours")
        await self._journal.add_cosignature(text, newest.line)
        self.size, self.cosigned_at = offered.checkpoint.size, newest.time or 0

    def _read(self, body: bytes) -> int:
        try:
            return parse_size(body)
        except LedgerFailure as error:
            raise PeerError(f"the witness {self.name}: {error}") from error

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> _Answer:
        try:
            async with self._session.request(method, f"{self.url}{path}", data=body, allow_redirects=False) as response:
                data = bytearray()
                async for part in response.content.iter_chunked(16 * limits.KIB):
                    data += part
                    if len(data) > MAX_ANSWER_BYTES:
                        raise PeerError(f"the witness {self.name} answers more than {MAX_ANSWER_BYTES} bytes")
                self._status = response.status
                return _Answer(response.status, response.content_type.lower(), bytes(data))
        except TimeoutError as error:
            raise PeerUnavailableError(f"the witness {self.name} does not answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PeerUnavailableError(f"the witness {self.name} cannot be reached: {_one_line(error)}") from error


def _refusal(name: str, status: int) -> TdzError:
    if status >= 500 or status in (408, 429):
        return PeerUnavailableError(f"the witness {name} cannot answer now (HTTP {status})")
    meaning, remedy = _MEANINGS.get(status, (f"it answers HTTP {status}", "is that the witness's URL?"))
    kind = IntegrityError if status in (409, 422) else PeerError
    return kind(f"the witness {name} refuses: {meaning}", remedy=remedy)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
