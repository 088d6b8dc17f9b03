"""Who must cosign (C2SP tlog-policy): logs, witnesses, groups and the quorum."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from ledger.errors import NoteError
from ledger.note import CosignatureVerifier, NoteVerifier, Verified

__all__ = ["TrustPolicy", "combined_policy", "default_policy"]

_MAX_POLICY_BYTES: Final = 256 * 1024
_MAX_LINES: Final = 64
"""SPEC tlog-policy: 32 of each at least; a ledger's own policy has those and every paired zone's mirror."""
_ILLEGAL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_THRESHOLD: Final = re.compile(r"[1-9][0-9]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Group:
    needed: int
    members: tuple[str, ...]


class TrustPolicy:
    """A parsed policy.

    Args:
        text: the file's content.

    Raises:
        NoteError: a line is not as tlog-policy has it; the text names the line.
    """

    def __init__(self, text: str) -> None:
        if len(text.encode()) > _MAX_POLICY_BYTES or _ILLEGAL.search(text):
            raise NoteError("a policy holds no control characters and at most 256 KiB")
        if text and not text.endswith("\n"):
            raise NoteError("the policy's last line has no newline")
        self.text = text
        self.logs: list[NoteVerifier] = []
        self.witnesses: dict[str, CosignatureVerifier] = {}
        self.urls: dict[str, str] = {}
        """Where a witness is reached, by its name; only for those whose line says so."""
        self.quorum: str | None = None
        """The name that must have cosigned; "none" where nobody must."""
        self._groups: dict[str, _Group] = {}
        for number, line in enumerate(text.split("\n")[:-1], 1):
            words = re.split(r"[ \t]+", line.strip(" \t"))
            if not words[0] or words[0].startswith("#"):
                continue
            try:
                self._read(words)
            except NoteError as error:
                raise NoteError(f"line {number}: {error.message}") from error
        # SPEC tlog-policy: exactly one quorum line.
        if self.quorum is None:
            raise NoteError("a policy without a quorum line")

    def satisfied(self, cosignatures: Collection[Verified]) -> bool:
        """Whether these verified cosignatures are enough.

        With ``quorum none`` nobody must cosign; one known cosignature is still asked for, since a checkpoint
        that nobody saw is not witnessed.
        """
        signed = {each.vkey for each in cosignatures}
        names = {name for name, witness in self.witnesses.items() if str(witness.vkey) in signed}
        if self.quorum == "none":
            return bool(names)
        return self._has(self.quorum or "", names)

    def needs(self, name: str) -> bool:
        """Whether no quorum is reached without this witness."""
        return self.quorum != "none" and not self.reached_by(set(self.witnesses) - {name})

    def reached_by(self, names: Collection[str]) -> bool:
        """Whether these witnesses alone make a quorum; with ``quorum none`` nobody does."""
        return self.quorum != "none" and self._has(self.quorum or "", set(names))

    @property
    def groups(self) -> dict[str, tuple[int, tuple[str, ...]]]:
        """By name: how many members must have cosigned, and the members."""
        return {name: (group.needed, group.members) for name, group in self._groups.items()}

    def _has(self, name: str, names: set[str]) -> bool:
        group = self._groups.get(name)
        if group is None:
            return name in names
        return sum(self._has(each, names) for each in group.members) >= group.needed

    def _read(self, words: list[str]) -> None:
        match words:
            case ["log", vkey] | ["log", vkey, _]:
                log = NoteVerifier(vkey)
                if any(each.vkey.key == log.vkey.key for each in self.logs):
                    raise NoteError("the same log key twice")
                self.logs.append(log)
            case ["witness", name, vkey, *url] if len(url) < 2:
                witness = CosignatureVerifier(vkey)
                self._define(name)
                # SPEC tlog-policy: duplicate witnesses are not allowed, whatever their names.
                if any(each.vkey.key == witness.vkey.key for each in self.witnesses.values()):
                    raise NoteError("the same witness key twice")
                self.witnesses[name] = witness
                if url:
                    self.urls[name] = url[0]
            case ["group", name, threshold, *members] if members:
                self._define(name)
                for member in members:
                    self._known(member)
                if len(set(members)) != len(members) or any(
                    member in group.members for member in members for group in self._groups.values()
                ):
                    raise NoteError("a name may be a member once")
                self._groups[name] = _Group(_needed(threshold, len(members)), tuple(members))
            case ["quorum", name] if self.quorum is None:
                if name != "none":
                    self._known(name)
                self.quorum = name
            case _:
                raise NoteError(f"{words[0]!r} is not a line of a policy, or stands there twice")
        if max(len(self.logs), len(self.witnesses), len(self._groups)) > _MAX_LINES:
            raise NoteError(f"more than {_MAX_LINES} logs, witnesses or groups")

    def _define(self, name: str) -> None:
        if name == "none" or name in self.witnesses or name in self._groups:
            raise NoteError(f"the name {name!r} is taken")

    def _known(self, name: str) -> None:
        # SPEC tlog-policy: only names defined on preceding lines.
        if name not in self.witnesses and name not in self._groups:
            raise NoteError(f"{name!r} is not defined above")


def default_policy(vkey: str) -> str:
    """The policy of a log that nobody witnesses yet."""
    return f"log {vkey}\nquorum none\n"


def combined_policy(vkey: str, mirrors: Mapping[str, str], witnesses: str = "") -> str:
    """The policy of a log that all its mirrors must cosign, and witnesses as a policy of their own says.

    Args:
        vkey: the log's key.
        mirrors: cosigner keys by name.
        witnesses: a tlog-policy with the further witnesses, their groups and their quorum; empty for none.

    Raises:
        NoteError: it is no policy, one of other logs, or has a name or key of the mirrors.
    """
    lines = [f"log {vkey}", *(f"witness {name} {key}" for name, key in mirrors.items())]
    quorum = []
    if mirrors:
        quorum.append(_all_of("mirrors", list(mirrors), lines))
    if witnesses:
        further = TrustPolicy(witnesses)
        if further.logs and vkey not in {str(each.vkey) for each in further.logs}:
            raise NoteError("the policy's log lines do not name this log's key")
        words = [re.split(r"[ \t]+", line.strip(" \t")) for line in witnesses.split("\n")]
        lines += [" ".join(each) for each in words if each[0] in ("witness", "group")]
        if further.quorum not in (None, "none"):
            quorum.append(str(further.quorum))
    lines.append(f"quorum {_all_of('mirrors-and-witnesses', quorum, lines) if quorum else 'none'}")
    text = "\n".join(lines) + "\n"
    TrustPolicy(text)
    return text


def _all_of(name: str, members: list[str], lines: list[str]) -> str:
    """The one member, or a new group that all of them make."""
    if len(members) == 1:
        return members[0]
    lines.append(f"group {name} all {' '.join(members)}")
    return name


def _needed(threshold: str, members: int) -> int:
    if threshold in ("any", "all"):
        return 1 if threshold == "any" else members
    if not _THRESHOLD.fullmatch(threshold) or not 1 <= int(threshold) <= members:
        raise NoteError(f"a threshold is any, all or 1 to {members}")
    return int(threshold)
