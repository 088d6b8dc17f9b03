"""The keys of a mirrored log: followed through its entries, held back until their checkpoint is mirrored."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ledger.checkpoint import Published
from ledger.files import FileWriter
from ledger.key_history import KeyHistory
from ledger.mirror_judge import MirrorJudge

__all__ = ["MirrorKeys"]

_log = logging.getLogger("ledger")


class MirrorKeys:
    """What the entries of one origin say of its keys.

    Args:
        judge: judges by those that are settled.
        vkey: the key of the zone card.
        files: writes below the mirror.
    """

    def __init__(self, judge: MirrorJudge, vkey: str, files: FileWriter) -> None:
        self._judge = judge
        self._vkey = vkey
        self._files = files
        self._newest: KeyHistory | None = None
        self._filed: KeyHistory | None = None

    def load(self, text: str) -> None:
        """Take up what :attr:`columns` gave last."""
        self._newest = self._judge.keys = KeyHistory.parse(text) if text else None
        if self._newest and self._vkey not in self._newest.vkeys:
            origin = self._judge.origin
            _log.warning("the log %s has not introduced the key of its zone card: cosigning waits for that", origin)

    @property
    def columns(self) -> tuple[str, str]:
        """The newest key, and all as ``vkeys`` has them; nothing before the first entry."""
        return (self._newest.current, self._newest.encode().decode()) if self._newest else (self._vkey, "")

    def knows(self, vkey: str) -> bool:
        """Whether entries that are mirrored introduced a key."""
        return self._judge.keys is not None and vkey in self._judge.keys.vkeys

    @property
    def key_ids(self) -> set[bytes]:
        """The ids of the keys whose signatures are served."""
        return {each.vkey.key_id for each in self._history.verifiers()}

    def follow(self, entries: Sequence[bytes], start: int) -> None:
        """Take in what further entries say."""
        self._newest = self._judge.follow(self._newest, entries, start)

    def require(self, published: Published, entries: Sequence[bytes] = (), start: int = 0) -> None:
        """Make sure that a checkpoint is signed as the entries under it ask for, further ones counted.

        Raises:
            BadSignatureError: it is not; the further ones are not taken in.
        """
        newest = self._judge.follow(self._newest, entries, start)
        if newest != self._judge.keys or newest is None or self._vkey not in newest.vkeys:
            self._judge.require_keys(published, newest)  # else it was judged by these very keys as it came
        self._newest = newest

    def settle(self) -> None:
        """The checkpoint over what was followed is mirrored."""
        self._judge.keys = self._newest

    def forget(self) -> None:
        """The entries since the mirrored checkpoint are dropped."""
        self._newest = self._judge.keys

    def file(self) -> None:
        """Bring ``vkeys`` and ``vkey`` up to what is mirrored."""
        if self._filed != self._history:
            self._files.replace("vkeys", self._history.encode())
            self._files.replace("vkey", f"{self._history.current}\n".encode())
            self._filed = self._history

    @property
    def _history(self) -> KeyHistory:
        return self._judge.keys or KeyHistory.of(self._vkey)
