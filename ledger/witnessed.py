"""Cosignatures on our own checkpoints: who has seen what, and which checkpoint may leave the machine."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from ledger.checkpoint import MAX_SIZE, Checkpoint, Published
from ledger.errors import LedgerError, NoteError, OperationalError, SignatureError
from ledger.files import FileWriter
from ledger.keyring import Keyring
from ledger.note import MAX_NOTE_BYTES, Note, Signature, Verified, check_note, open_note
from ledger.policy import TrustPolicy
from ledger.staging import TEMPORARY
from ledger.storage import Storage
from ledger.thinning import Thinner
from ledger.tiles import TileReader, read_regular_file

__all__ = ["CosignatureStore"]

_GATHERED: Final = 64
"""Checkpoints whose cosignatures are kept in memory while the policy asks for more."""


@dataclass(frozen=True, slots=True)
class _Gathered:
    """A checkpoint of ours with its cosignatures so far, by key."""

    checkpoint: Checkpoint
    cosignatures: dict[str, Verified]


class CosignatureStore:
    """The cosignatures of one log. One thread at a time.

    Args:
        directory: the log's directory, absolute.
        keyring: gives the keys that sign now.

    Raises:
        OperationalError: ``policy.tlog`` is missing or wrong.
    """

    def __init__(self, directory: str, keyring: Callable[[], Keyring], storage: Storage) -> None:
        self._directory = directory
        self._keyring = keyring
        self._files = FileWriter(storage, directory, f"{directory}/state/staging", f"{TEMPORARY}cosigned-")
        self._files.sweep()
        self.thinner = Thinner(directory, keyring().origin, storage, self._files)
        self._gathered: OrderedDict[int, _Gathered] = OrderedDict()
        self._offered = -1  # a size whose cosignatures are not dropped: others are asked for it
        self._unkept: dict[int, bytes] = {}
        self._served = 0  # the size of checkpoint.witnessed on disk
        self._largest: dict[str, int] = {}  # the largest size that each witness cosigned, by key
        try:
            self.policy = TrustPolicy(read_regular_file(f"{directory}/policy.tlog", MAX_NOTE_BYTES).decode("utf-8"))
        except (LedgerError, UnicodeDecodeError) as error:
            raise OperationalError(f"policy.tlog: {error}", remedy="write a tlog-policy") from error
        self.name_key()
        self.witnessed = self._load()

    def set_policy(self, text: str, published: int) -> Published | None:
        """Put another policy in force, durably.

        Args:
            text: the policy.
            published: as for :meth:`keep`.

        Returns:
            The newest witnessed checkpoint under it; None where none that is at hand satisfies it.

        Raises:
            NoteError: not a policy, or one of other logs.
        """
        self.keep(published)
        policy = TrustPolicy(text)
        if policy.logs and self._keyring().current.vkey not in {str(each.vkey) for each in policy.logs}:
            raise NoteError("the policy's log lines do not name this log's key")
        self._files.replace("policy.tlog", text.encode())
        self.policy = policy
        self._unkept.clear()
        self.witnessed = self._load()
        if self.witnessed is None and os.path.lexists(f"{self._directory}/checkpoint.witnessed"):
            self._files.remove("checkpoint.witnessed")
            self._served = 0
        self._judge_again()
        return self.witnessed

    def add(self, text: str, line: str, published: Checkpoint) -> tuple[Verified, Published | None]:
        """Take a cosignature on one of our checkpoints.

        Durability: where the policy is satisfied, :meth:`keep` has something to write. A crash before loses what
        the cosigner gives again when it is asked.

        Args:
            text: the note's text that was cosigned.
            line: the signature line.
            published: our newest checkpoint.

        Returns:
            The cosignature, and the newest witnessed checkpoint.

        Raises:
            NoteError, SignatureError: no cosignature of a known witness over a checkpoint of ours.
        """
        signature = Signature.parse(line.removesuffix("\n"))
        opened = check_note(Note(text, (signature,)), self.policy.witnesses.values())
        if not opened.verified:
            raise SignatureError(f"{signature.name} is no witness of policy.tlog", remedy="add its key to the policy")
        checkpoint = Checkpoint.parse(text)
        if checkpoint.origin != published.origin or checkpoint.size > published.size:
            raise SignatureError(f"size {checkpoint.size} of {checkpoint.origin} is no checkpoint of this log")
        newest = checkpoint.size == published.size and checkpoint.root == published.root
        if not newest and TileReader(self._directory).root(checkpoint.size) != checkpoint.root:
            raise SignatureError(f"another root than ours at size {checkpoint.size} was cosigned")
        (cosignature,) = opened.verified
        self._largest[cosignature.vkey] = max(checkpoint.size, self._largest.get(cosignature.vkey, 0))
        gathered = self._gather(checkpoint)
        gathered.cosignatures[cosignature.vkey] = cosignature
        self._witness(gathered)
        return cosignature, self.witnessed

    def offer(self, cosigners: Collection[str], published: Checkpoint) -> Published:
        """The checkpoint that further witnesses should see next; its cosignatures stay at hand until the next call.

        Those who cosign at their own pace would each sign another size, and no size would ever have them all. So it
        is the newest that the cosigners named here have signed.

        Args:
            cosigners: verifier keys.
            published: our newest checkpoint; it is offered where no other will do.
        """
        self._gather(published)
        wanted = set(cosigners)
        found = [
            each.checkpoint
            for size, each in self._gathered.items()
            if size <= published.size and wanted <= set(each.cosignatures)
        ]
        checkpoint = max(found, key=lambda each: each.size, default=published)
        note = self._keyring().note(checkpoint, [])
        if not note:  # from before a rotation whose old key is gone
            checkpoint, note = published, self._keyring().note(published, [])
        self._offered = checkpoint.size
        return Published(checkpoint, note)

    def keep(self, published: int) -> bool:
        """Bring ``checkpoints/<size>`` and ``checkpoint.witnessed`` up to what was cosigned, durably.

        Args:
            published: the size up to which the log's own checkpoint is on disk; later ones wait for it.

        Returns:
            Whether any waits.
        """
        sizes = sorted(size for size in self._unkept if size <= published)
        if sizes:
            self._files.add(((f"checkpoints/{size}", self._unkept[size]) for size in sizes), existing="replace")
            if sizes[-1] >= self._served:
                self._files.repeat("checkpoint.witnessed", f"checkpoints/{sizes[-1]}")
                self._served = sizes[-1]
            for size in sizes:
                del self._unkept[size]
        return bool(self._unkept)

    def _gather(self, checkpoint: Checkpoint) -> _Gathered:
        size = checkpoint.size
        if size not in self._gathered:
            if len(self._gathered) >= _GATHERED:
                del self._gathered[next(each for each in self._gathered if each != self._offered)]
            if size in self._unkept:  # left the memory before it was written
                self.keep(MAX_SIZE)
            kept = self._read(f"checkpoints/{size}")
            cosignatures = {each.vkey: each for each in kept[1]} if kept else {}
            self._gathered[size] = _Gathered(checkpoint, cosignatures)
        return self._gathered[size]

    def _witness(self, gathered: _Gathered) -> None:
        """Keep a checkpoint whose cosignatures are enough."""
        checkpoint, cosignatures = gathered.checkpoint, gathered.cosignatures
        if not self.policy.satisfied(cosignatures.values()):
            return
        # Signed again rather than remembered: Ed25519 gives the same bytes, and the text was checked before.
        note = self._keyring().note(checkpoint, [each.line for each in cosignatures.values()])
        if not note:
            return  # from before a rotation whose old key is gone; newer ones are on their way
        self._unkept[checkpoint.size] = note
        if self.witnessed is None or checkpoint.size >= self.witnessed.checkpoint.size:
            self.witnessed = Published(checkpoint, note)

    def seen_by_all(self, size: int) -> bool:
        """Whether every witness of the policy cosigned a checkpoint of at least this size; true where there is none."""
        return all(self._largest.get(str(each.vkey), 0) >= size for each in self.policy.witnesses.values())

    def witnessed_at(self) -> int | None:
        """The newest time at which a witness cosigned ``checkpoint.witnessed``, in seconds; None without one."""
        found = self._read("checkpoint.witnessed")
        return max((each.time or 0 for each in found[1]), default=None) if found else None

    def name_key(self) -> None:
        """Have ``policy.tlog`` name the log's newest key too, where it names keys of the log."""
        vkey = self._keyring().current.vkey
        if not self.policy.logs or vkey in {str(each.vkey) for each in self.policy.logs}:
            return
        text = f"log {vkey}\n{self.policy.text}"
        policy = TrustPolicy(text)
        self._files.replace("policy.tlog", text.encode())
        self.policy = policy

    def _judge_again(self) -> None:
        """What was gathered under the policy before, as far as this one knows the keys: nobody may cosign it again."""
        known = {str(each.vkey) for each in self.policy.witnesses.values()}
        for size, gathered in self._gathered.items():
            for vkey in set(gathered.cosignatures) - known:
                del gathered.cosignatures[vkey]
            if self.witnessed is None or size > self.witnessed.checkpoint.size:
                self._witness(gathered)

    def _load(self) -> Published | None:
        found = self._read("checkpoint.witnessed")
        self._served = found[0].checkpoint.size if found else 0
        for each in found[1] if found else ():
            self._largest[each.vkey] = max(self._served, self._largest.get(each.vkey, 0))
        return found[0] if found and self.policy.satisfied(found[1]) else None

    def _read(self, path: str) -> tuple[Published, list[Verified]] | None:
        """A kept note of ours, with the cosignatures of witnesses that the policy knows."""
        try:
            note = read_regular_file(f"{self._directory}/{path}", MAX_NOTE_BYTES)
            history = self._keyring().history
            opened = open_note(note, [*history.verifiers(), *self.policy.witnesses.values()])
            checkpoint = Checkpoint.parse(opened.text)
        except LedgerError:
            return None
        cosignatures = [each for each in opened.verified if each.time is not None]
        if len(cosignatures) == len(opened.verified) or checkpoint.origin != self._keyring().origin:
            return None
        return Published(checkpoint, note), cosignatures
