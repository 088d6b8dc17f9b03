"""Who cosigns this zone's log: the paired zones' mirrors, each of which must, and witnesses, as their policy says."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Mapping
from typing import Final

from gateway.journal.gate import Gate
from gateway.journal.own_log import OwnLog
from gateway.journal.peer_mirror import refusals
from gateway.journal.policy_entry import announced, cosigning_part
from gateway.model.ids import uuid7
from ledger.checkpoint import Checkpoint
from ledger.policy import TrustPolicy, combined_policy
from ledger.writer import LogWriter, Published

__all__ = ["CosignedLog"]


class CosignedLog(OwnLog):
    """The half of a :class:`~gateway.journal.Journal` that gathers cosignatures.

    Args:
        writer: the log.
        gate: what may be opened.
    """

    def __init__(self, writer: LogWriter, gate: Gate) -> None:
        super().__init__(writer)
        self.gate: Final = gate
        self._cosigners: Mapping[str, str] = {}  # by zone, of the paired zones' mirrors
        self._witnesses = ""
        self._cosigned = asyncio.Event()

    @property
    def vkey(self) -> str:
        """The log's newest key."""
        return self.writer.keys.current

    @property
    def held_size(self) -> int:
        """Entries that every paired zone's mirror holds and has cosigned, whoever else must for a policy."""
        return max(self.witnessed_size, min((self.gate.held(zone) for zone in self._cosigners), default=0))

    async def _set_policy(self, cosigners: Mapping[str, str], witnesses: str) -> None:
        text = _policy(self.vkey, cosigners, witnesses)
        if cosigning_part(text) != cosigning_part(self.writer.policy.text):
            await self.writer.set_policy(announced(text, uuid7()))
            self._policy_changed()
        self._cosigners, self._witnesses = dict(cosigners), witnesses

    @abstractmethod
    def _policy_changed(self) -> None:
        """Another policy is in force: say so on the log."""

    def expect_witnesses(self, text: str) -> TrustPolicy:
        """Say before the first mirror is opened who else must cosign: no policy without them is ever in force.

        Raises:
            IntegrityError: it is no tlog-policy.
        """
        with refusals("the policy of the witnesses"):
            policy = TrustPolicy(_policy(self.vkey, {}, text))
        self._witnesses = text
        return policy

    async def set_witnesses(self, text: str) -> TrustPolicy:
        """Let further witnesses cosign our log, and say how many of them must.

        Args:
            text: a C2SP tlog-policy of the witnesses; empty for none. Every paired zone's mirror must cosign besides.

        Returns:
            The whole policy, in force from now on.

        Raises:
            IntegrityError: it is none, or has a name or a key that a mirror has; the one before stays in force.
        """
        with refusals("the policy of the witnesses"):
            await self._set_policy(self._cosigners, text)
        return self.writer.policy

    async def add_cosignature(self, note_text: str, line: str, *, zone: str = "") -> None:
        """Take a cosignature that a paired zone's mirror, or another witness, gave to a checkpoint of ours.

        Args:
            zone: whose mirror gave it; empty for another witness.

        Raises:
            IntegrityError: it is none of a known cosigner over a checkpoint of ours.
        """
        with refusals("a cosignature does not hold"):
            await self.writer.add_cosignature(note_text, line)
            size = Checkpoint.parse(note_text).size
        if zone:
            self.gate.cosigned(zone, size)
        self._wake()

    def _wake(self) -> None:
        """Let those that wait for a cosignature look again."""
        done, self._cosigned = self._cosigned, asyncio.Event()
        done.set()

    async def stirred(self, within: float) -> None:
        """Wait until a cosignature came, or so many seconds."""
        try:
            async with asyncio.timeout(within):
                await self._cosigned.wait()
        except TimeoutError:
            return

    @property
    def offered_size(self) -> int:
        """The size of the checkpoint that further witnesses should see next."""
        return self.held_size if self._cosigners else self.size

    async def offer(self, *, mirrored: bool = True) -> Published:
        """The checkpoint that further witnesses should see next: the newest that every paired zone has cosigned.

        Args:
            mirrored: whether the paired zones' cosignatures matter; without, the newest published one.
        """
        with refusals("the log cannot be read"):
            return await self.writer.offer(list(self._cosigners.values()) if mirrored else [])


def _policy(vkey: str, cosigners: Mapping[str, str], witnesses: str) -> str:
    """Every paired zone's mirror must cosign, and the witnesses as their own policy says."""
    return combined_policy(vkey, {f"{zone}-mirror": key for zone, key in sorted(cosigners.items())}, witnesses)
