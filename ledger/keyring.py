"""The private keys that sign a log's checkpoints now, with the history of all its keys. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.checkpoint import Checkpoint
from ledger.errors import ContradictionError, OperationalError
from ledger.key_history import KeyHistory
from ledger.note import Note, NoteSigner, Signature

__all__ = ["Keyring"]


@dataclass(frozen=True, slots=True)
class Keyring:
    """Who signs.

    Args:
        history: the log's keys.
        current: signs with the newest of them.
        retiring: signs beside it with the one before, until every cosigner has seen the newest; None afterwards.
    """

    history: KeyHistory
    current: NoteSigner
    retiring: NoteSigner | None = None

    @classmethod
    def choose(cls, history: KeyHistory, signers: Sequence[NoteSigner]) -> Keyring:
        """The keyring of a log out of the private keys that are at hand.

        Raises:
            ContradictionError: none of these is the newest one.
            OperationalError: the one before must sign still, and is missing.
        """
        by_key = {each.vkey: each for each in signers}
        current = by_key.get(history.current)
        if current is None:
            raise ContradictionError(
                f"the log's newest key is {history.current}, and it is not at hand",
                remedy="is this the log's own key? after a rotation give the new one",
            )
        retiring = history.retiring
        if retiring is not None and retiring.vkey not in by_key:
            raise OperationalError(
                f"the log's old key {retiring.vkey} must sign on beside the new one: not every cosigner has seen that",
                remedy="give the old key too until `tdz-ledger keys list` says that it has ended",
            )
        return cls(history, current, by_key[retiring.vkey] if retiring is not None else None)

    @property
    def origin(self) -> str:
        """The log's origin."""
        return self.current.name

    def sign(self, checkpoint: Checkpoint) -> tuple[Signature, ...]:
        """The signature lines that a checkpoint carries; empty where its key is not at hand any more.

        Args:
            checkpoint: one of this log, that it may sign or signed already: Ed25519 gives the same bytes again.
        """
        signers = [each for each in (self.retiring, self.current) if each is not None]
        by_key = {each.vkey: each for each in signers}
        if checkpoint.size < self.history.ranges[-1].first:
            needed = by_key.get(self.history.at(checkpoint.size).vkey)
            signers = [needed] if needed is not None else []
        return tuple(Signature.parse(each.sign(checkpoint.text)) for each in signers)

    def note(self, checkpoint: Checkpoint, more: Sequence[str] = ()) -> bytes:
        """A checkpoint's signed note, with further signature lines; empty where its key is not at hand any more."""
        own = self.sign(checkpoint)
        if not own:
            return b""
        return Note(checkpoint.text, (*own, *map(Signature.parse, more))).encode()

    def rotated(self, new: NoteSigner, first: int) -> Keyring:
        """With a new key from a size on, the newest one signing beside it."""
        return Keyring(self.history.rotated(new.vkey, first), new, self.current)

    def ended(self, last: int) -> Keyring:
        """Without the old key from here on."""
        return Keyring(self.history.ended(last), self.current)
