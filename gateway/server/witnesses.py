"""The witnesses of our ledger: who they are, and having them cosign what the paired zones have cosigned."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp
import structlog

from gateway.config import ZoneLayout, checked_url
from gateway.errors import (
    ConfigError,
    InputError,
    IntegrityError,
    PeerUnavailableError,
    RolledBackError,
    TdzError,
)
from gateway.journal import Journal
from gateway.model import limits
from gateway.server.witness_client import WitnessClient
from gateway.v1 import zone_pb2
from ledger.checkpoint import Published
from ledger.policy import TrustPolicy

_log = structlog.get_logger()
EVERY_S: Final = 0.25
"""The shortest time between two checkpoints that are offered to the witnesses."""
LOOK_S: Final = 1.0
PATIENCE_S: Final = 5.0
"""How long a checkpoint waits for the paired zones' cosignatures before the witnesses see it without."""
_DEADLINE_S: Final = 10.0
_RETRY_S: Final = 0.5
_RETRY_MAX_S: Final = 60.0
_RETRY_NEEDED_S: Final = 10.0
_POLICY_MAX: Final = 256 * limits.KIB


@dataclass(slots=True)
class Witness:
    """One witness, and how it stands; ``detail`` is one line for a person.

    ``said`` is whether it has said, since this start, what it holds of our log; ``claim`` what it said against it
    and did not show.
    """

    client: WitnessClient
    vkey: str
    needed: bool
    detail: str = "not asked yet"
    reachable: bool = False
    wait: float = _RETRY_S
    due: float = 0.0
    again: float = 0.0
    task: asyncio.Task[None] | None = None
    said: bool = False
    claim: str = ""


class Witnesses:
    """Offers our newest checkpoints to the witnesses of `witnesses.tlog`, one at a time to all of them.

    All are asked for the same checkpoint, the newest that every paired zone has cosigned; else a busy log would have
    a different one signed by each, and none by enough of them. A witness that is away is asked again; whether that
    holds anything up is for the policy to say.

    Args:
        journal: our log.
        layout: where the policy and the certificates of private authorities stand.
        clock: Unix seconds.
    """

    def __init__(self, journal: Journal, layout: ZoneLayout, clock: Callable[[], float]) -> None:
        self._journal = journal
        self._policy_file = layout.witness_policy
        self._ca_file = layout.witness_ca
        self._clock = clock
        self._found: tuple[bytes, bytes] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._witnesses: dict[str, Witness] = {}
        self._offered: Published | None = None
        self._offered_at = 0.0
        self._looked_at = float("-inf")
        self._reload_failed = ""

    def prepare(self) -> None:
        """Tell the journal who must cosign, before the paired zones' mirrors are opened.

        Raises:
            ConfigError: `witnesses.tlog` is no policy, or `witnesses.pem` no certificate.
        """
        policy, ca = self._read()
        try:
            for url in self._journal.expect_witnesses(policy.decode()).urls.values():
                checked_url(url)
            if ca:
                _trust(ca)
        except (InputError, IntegrityError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self._policy_file}: {error}", remedy="see tdz zone witness list") from error

    async def run(self) -> None:
        """Offer checkpoints until cancelled, and take up a changed policy."""
        try:
            while True:
                await self._take_up()
                if self._witnesses:
                    await self._round()
                    await asyncio.sleep(EVERY_S)
                if not self._waiting():
                    await self._journal.stirred(LOOK_S)
        finally:
            await self.close()

    # --- before the first signature after a start -------------------------------------------------------

    async def ask(self, within: float) -> None:
        """Ask all who have not said yet what they hold of our log, for so many seconds.

        Raises:
            RolledBackError: one of them holds what this ledger signed and does not have.
        """
        await self._take_up()
        asked = [each for each in self._witnesses.values() if not each.said]
        for failure in await asyncio.gather(*(self._hear(each, within) for each in asked), return_exceptions=True):
            if failure is not None:
                raise failure

    async def _hear(self, witness: Witness, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                cosigned = await witness.client.ask()
        except RolledBackError:
            raise
        except (TdzError, TimeoutError) as error:
            text = str(error) or "it does not answer in time"
            witness.claim = text if isinstance(error, IntegrityError) else ""
            if text != witness.detail:
                witness.detail = text
                _log.warning(
                    "a witness does not say what it holds of our ledger", witness=witness.client.name, why=text
                )
        else:
            witness.said, witness.claim = True, ""
            if cosigned:
                witness.reachable, witness.detail = True, "cosigns"

    def awaited(self) -> list[str]:
        """Whose word on what they hold of our log is missing: nothing may be signed before.

        Those whom the quorum needs; all who are silent, where they alone make a quorum, so that what nobody else
        has seen may have left this machine; and whoever says that our log is another than what it cosigned.
        """
        policy = self._journal.writer.policy
        silent = {name for name, each in self._witnesses.items() if not each.said}
        alone = policy.reached_by(silent)
        return sorted(name for name in silent if alone or policy.needs(name) or self._witnesses[name].claim)

    def claims(self) -> list[str]:
        """What witnesses say against our log without showing it."""
        return [each.claim for each in self._witnesses.values() if each.claim]

    # --- how they stand ---------------------------------------------------------------------------------

    async def held(self) -> dict[str, bytes]:
        """What each witness that answers holds of our log, by its name: signed notes, none of them verified."""
        found = {}
        for name, witness in self._witnesses.items():
            try:
                if note := await witness.client.held():
                    found[name] = note
            except TdzError as error:
                _log.debug("a witness does not say what it holds", witness=name, error=str(error))
        return found

    def standing(self) -> list[zone_pb2.Witness]:
        """The witnesses by name, as a status shows them."""
        return [
            zone_pb2.Witness(
                name=name,
                url=each.client.url,
                vkey=each.vkey,
                size=each.client.size,
                cosigned_at=each.client.cosigned_at,
                needed=each.needed,
                reachable=each.reachable,
                detail=each.detail,
            )
            for name, each in sorted(self._witnesses.items())
        ]

    # --- who they are -----------------------------------------------------------------------------------

    def _read(self) -> tuple[bytes, bytes]:
        try:
            found = []
            for file in (self._policy_file, self._ca_file):
                data = b""
                if file.exists():
                    with file.open("rb") as opened:
                        data = opened.read(_POLICY_MAX + 1)
                if len(data) > _POLICY_MAX:
                    raise ConfigError(f"{file} is longer than {_POLICY_MAX} bytes")
                found.append(data)
        except OSError as error:
            raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error
        return found[0], found[1]

    async def _take_up(self) -> None:
        """Put a changed policy in force; one that is wrong is told once, and the one before stays."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        try:
            found = await asyncio.to_thread(self._read)
            if found == self._found:
                return
            # Not for nobody: it takes a while, and every start comes by here.
            trust = await asyncio.to_thread(_trust, found[1]) if found[0] else None
            policy = await self._journal.set_witnesses(found[0].decode())
            urls = {name: checked_url(url) for name, url in policy.urls.items()}
        except (TdzError, UnicodeDecodeError) as error:
            if str(error) != self._reload_failed:
                _log.error("witnesses.tlog is not in force", error=str(error))
                self._reload_failed = str(error)
            return
        first = self._found is None
        await self.close()
        self._found, self._reload_failed = found, ""
        if urls and trust is not None:
            self._open(trust)
            self._follow(policy, urls)
        if urls or not first:
            _log.info("witnesses in force", witnesses=sorted(urls), quorum=policy.quorum)

    def _open(self, trust: ssl.SSLContext) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust, limit_per_host=2),
            timeout=aiohttp.ClientTimeout(total=_DEADLINE_S, connect=_DEADLINE_S / 2),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    def _follow(self, policy: TrustPolicy, urls: dict[str, str]) -> None:
        if self._session is None:
            return
        for name, url in urls.items():
            vkey = str(policy.witnesses[name].vkey)
            client = WitnessClient(name, vkey, url, journal=self._journal, session=self._session, clock=self._clock)
            self._witnesses[name] = Witness(client, vkey, policy.needs(name))

    # --- having them cosign -----------------------------------------------------------------------------

    @property
    def _size(self) -> int:
        """The size of the checkpoint that was offered last."""
        return self._offered.checkpoint.size if self._offered else -1

    def _waiting(self) -> bool:
        """Whether there is more to offer than was offered last."""
        return bool(self._witnesses) and self._journal.offered_size > self._size

    async def _choose(self) -> Published:
        """The checkpoint that the witnesses should see now: the last one again, while there is no better."""
        now = time.monotonic()
        if self._offered is None or self._journal.offered_size > self._size:
            chosen = await self._journal.offer()
        elif self._journal.size > self._size and now - self._offered_at >= PATIENCE_S:
            chosen = await self._journal.offer(mirrored=False)
        else:
            return self._offered
        if chosen.checkpoint.size > self._size:
            self._offered, self._offered_at = chosen, now
        return self._offered or chosen

    async def _round(self) -> None:
        """Offer one checkpoint to all who are free; done once the policy is satisfied or all of them answered."""
        offered = await self._choose()
        size = offered.checkpoint.size
        due = [each for each in self._witnesses.values() if self._is_due(each, size)]
        for witness in due:
            witness.task = asyncio.create_task(self._present(witness, offered), name=f"witness-{witness.client.name}")
        running = {each.task for each in due if each.task is not None}
        while running and self._journal.witnessed_size < size:
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)

    def _is_due(self, witness: Witness, size: int) -> bool:
        if (witness.task is not None and not witness.task.done()) or time.monotonic() < witness.due:
            return False
        # A cosignature that is there and does not count yet waits for others; in case it was lost it is asked again.
        lost = self._journal.witnessed_size < size and time.monotonic() >= witness.again
        return witness.client.size < size or lost

    async def _present(self, witness: Witness, offered: Published) -> None:
        name = witness.client.name
        try:
            cosigned = await witness.client.present(offered)
        except TdzError as error:
            away = isinstance(error, PeerUnavailableError)
            if str(error) != witness.detail:
                level = _log.error if isinstance(error, IntegrityError) else _log.warning
                level("a witness does not cosign", witness=name, reason=error.reason, error=str(error))
            witness.reachable, witness.detail = not away, str(error)
            witness.wait = min(2 * witness.wait, _RETRY_NEEDED_S if witness.needed else _RETRY_MAX_S)
        except Exception as error:
            _log.exception("asking a witness failed", witness=name)
            witness.detail, witness.wait = f"internal error: {type(error).__name__}", _RETRY_MAX_S
        else:
            if cosigned and not witness.reachable:
                _log.info("a witness cosigns", witness=name, size=witness.client.size)
            witness.reachable, witness.wait = True, _RETRY_S
            witness.detail = "cosigns" if cosigned else "it has a newer checkpoint of ours"
            witness.due, witness.again = 0.0, time.monotonic() + PATIENCE_S
            return
        witness.due = time.monotonic() + witness.wait

    async def close(self) -> None:
        """End what runs, and forget the witnesses."""
        tasks = [each.task for each in self._witnesses.values() if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._witnesses.clear()
        self._found = None  # whoever runs this again takes them up anew
        if self._session is not None:
            await self._session.close()
            self._session = None


def _trust(ca: bytes) -> ssl.SSLContext:
    """The system's authorities, and those of `witnesses.pem`.

    Raises:
        ConfigError: it holds no certificates.
    """
    context = ssl.create_default_context()
    if ca:
        try:
            context.load_verify_locations(cadata=ca.decode("ascii"))
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise ConfigError("witnesses.pem holds no certificates", remedy="write PEM certificates there") from error
    return context
