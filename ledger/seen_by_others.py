"""What others have seen of a log that is written: cosignatures on its checkpoints, and what they hold of it."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

from ledger.behind import WriteBehind
from ledger.checkpoint import Checkpoint, Published
from ledger.errors import RolledBackError
from ledger.marker import Marker
from ledger.operations import LogOperations
from ledger.policy import TrustPolicy
from ledger.standing import Standing, compare, held_checkpoint
from ledger.tiles import TileReader

__all__ = ["KEEP_AFTER_SECONDS", "CosignedWriter"]

KEEP_AFTER_SECONDS: Final = 0.25
"""How long ``checkpoints/`` and ``checkpoint.witnessed`` may lag behind the cosignatures received."""

_log = logging.getLogger("ledger")


class CosignedWriter(LogOperations):
    """The half of a :class:`~ledger.writer.LogWriter` that faces witnesses and mirrors."""

    _standing: Standing
    _behind: WriteBehind
    _marker: Marker | None

    @abstractmethod
    def _fail_from_thread(self, error: BaseException) -> None:
        """The writer has ended by this."""

    @property
    def witnessed(self) -> Published | None:
        """The newest checkpoint that satisfies the policy: the one that leaves this machine."""
        return self._cosignatures.witnessed

    @property
    def policy(self) -> TrustPolicy:
        """Who must cosign."""
        return self._cosignatures.policy

    async def add_cosignature(self, note_text: str, line: str) -> Published | None:
        """Take a cosignature that was just received on one of our checkpoints.

        Durability: where the policy is now satisfied, ``checkpoint.witnessed`` and ``checkpoints/<size>`` follow
        within ``KEEP_AFTER_SECONDS``; the cosigner gives again what a crash loses of them. A time more than 5 min
        from our clock stops appends until the two agree again.

        Args:
            note_text: the text of the checkpoint's note.
            line: the signature line.

        Returns:
            The newest witnessed checkpoint.

        Raises:
            NoteError, SignatureError: no cosignature of a known witness over a checkpoint of ours.
        """
        committed = self._committed.checkpoint
        cosignature, witnessed = await self._run(lambda: self._cosignatures.add(note_text, line, committed))
        if cosignature.time is not None:
            self._standing.cosigned(cosignature.time)
        self._behind.ask()
        return witnessed

    async def offer(self, cosigners: Sequence[str]) -> Published:
        """The published checkpoint that further witnesses should see next: the newest that these cosigners have signed.

        Where they have signed none that is at hand it is the newest.
        """
        published = self._published.checkpoint
        return await self._run(lambda: self._cosignatures.offer(cosigners, published))

    async def keep(self) -> None:
        """Write now what cosignatures are not on disk yet.

        Raises:
            StoppedError: the writer has ended.
        """
        await self._run(self._keep)

    def _keep(self) -> None:
        try:
            size = self._published.checkpoint.size
            waits = self._cosignatures.keep(size)  # not before the checkpoint itself
            if self._cosignatures.thinner.step(size, self._clock() / 1e9) or waits:
                self._loop.call_soon_threadsafe(self._behind.ask)
        except OSError as error:  # the next cosignature tries again
            _log.warning("cosignatures are not kept yet: %s", error.strerror)
        except BaseException as error:
            self._fail_from_thread(error)
            self._fatal(error)

    async def set_policy(self, text: str) -> Published | None:
        """Put another tlog-policy in force, durably; returns the newest checkpoint that satisfies it.

        Raises:
            NoteError: not a policy, or one of other logs.
        """
        witnessed = await self._run(lambda: self._cosignatures.set_policy(text, self._published.checkpoint.size))
        self._behind.ask()
        return witnessed

    @property
    def asked(self) -> bool:
        """Whether entries may be signed, as far as others must be asked before."""
        return self._standing.asked

    @property
    def contradiction(self) -> RolledBackError | None:
        """What somebody holds that is not in this log: then nothing is signed any more."""
        return self._standing.contradiction

    def vouch(self) -> None:
        """Those who hold this log were asked, and nothing contradicts it: sign from now on."""
        self._standing.asked = True
        if self._marker is not None:
            self._marker.write(self._committed.note)

    async def check_held(self, note: bytes, who: str = "another") -> Checkpoint:
        """Compare what a peer or witness holds of ours; after a contradiction nothing is signed any more.

        Args:
            who: holds it, for the error's text.

        Raises:
            RolledBackError: it carries our valid signature, and is larger than our log or has another root.
            NoteError, SignatureError: it is no checkpoint of ours, and so says nothing.
        """
        held = held_checkpoint(note, self.keys.verifiers())
        ours = self._committed.checkpoint
        if held.size < ours.size:
            await self.changed(held.size)  # its tiles may be being written
        reader = TileReader(self._directory)
        try:
            await self._run(lambda: compare(held, ours, reader.root, who))
        except RolledBackError as error:
            self._standing.contradiction = error
            raise
        return held
