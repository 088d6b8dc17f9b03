"""Changing a tlog-policy of witnesses as a text: what a person wrote beside stays as it is. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ledger.errors import NoteError
from ledger.note import CosignatureVerifier
from ledger.policy import TrustPolicy

__all__ = ["EMPTY_POLICY", "add_witness", "quorum_rule", "remove_witness", "set_quorum"]

EMPTY_POLICY: Final = "quorum none\n"
GROUP: Final = "witnesses"
"""The group that is kept here: all witnesses, any, or so many of them. Other groups are the person's own."""

_RULE: Final = re.compile(r"none|any|all|[1-9][0-9]*", re.ASCII)
_WORD: Final = re.compile(r"[!-~]+")


def add_witness(text: str, name: str, vkey: str, url: str) -> str:
    """Add a witness. Where the quorum is of the group that is kept here, the witness joins it.

    Raises:
        NoteError: a name or key is taken, or is none.
    """
    CosignatureVerifier(vkey)
    if not all(map(_WORD.fullmatch, (name, url))) or name.startswith("#") or name == GROUP:
        raise NoteError(f"{name!r} is no name for a witness, or {url!r} no URL")
    rule = quorum_rule(text)
    lines = _without_quorum(text) if rule else text.splitlines()
    at = next((i for i, line in enumerate(lines) if _words(line)[:1] in (["group"], ["quorum"])), len(lines))
    lines.insert(at, f"witness {name} {vkey} {url}")
    return _finished(lines, rule)


def remove_witness(text: str, name: str) -> str:
    """Remove a witness; where that leaves fewer than the rule asks for, all that are left must cosign.

    Raises:
        NoteError: there is none of that name, or a group or quorum that is not kept here needs it.
    """
    if name not in TrustPolicy(text).witnesses:
        raise NoteError(f"there is no witness {name!r}")
    rule = quorum_rule(text)
    lines = _without_quorum(text) if rule else text.splitlines()
    lines = [line for line in lines if _words(line)[:2] != ["witness", name]]
    left = sum(_words(line)[:1] == ["witness"] for line in lines)
    if not left:
        rule = rule and "none"
    elif rule and rule.isdecimal() and int(rule) > left:
        rule = "all"
    return _finished(lines, rule)


def set_quorum(text: str, rule: str) -> str:
    """Say how many of the witnesses must cosign: ``none``, ``any``, ``all`` or a number.

    Raises:
        NoteError: it is no such rule, there are not so many, or the text has groups that a person wrote.
    """
    if not _RULE.fullmatch(rule):
        raise NoteError(f"{rule!r} is no quorum: none, any, all or a number")
    if quorum_rule(text) is None:
        raise NoteError("the policy has groups of its own: change its quorum line by hand")
    return _finished(_without_quorum(text), rule)


def quorum_rule(text: str) -> str | None:
    """The rule in force, where it is one that is kept here; None for a person's own."""
    policy = TrustPolicy(text)
    if policy.quorum == "none":
        return None if policy.groups else "none"
    needed, members = policy.groups.get(GROUP, (0, ()))
    if policy.quorum != GROUP or len(policy.groups) != 1 or set(members) != set(policy.witnesses):
        return None
    words = next(words for line in text.splitlines() if (words := _words(line))[:2] == ["group", GROUP])
    return words[2] if words[2] in ("any", "all") else str(needed)


def _without_quorum(text: str) -> list[str]:
    return [line for line in text.splitlines() if _words(line)[:1] not in (["group"], ["quorum"])]


def _finished(lines: Iterable[str], rule: str | None) -> str:
    """The lines, with the group and quorum that a rule asks for."""
    done = list(lines)
    if rule == "none":
        done.append("quorum none")
    elif rule:
        names = [words[1] for line in done if (words := _words(line))[:1] == ["witness"]]
        if not names:
            raise NoteError("there is no witness yet")
        done += [f"group {GROUP} {rule} {' '.join(names)}", f"quorum {GROUP}"]
    text = "\n".join(done) + "\n"
    TrustPolicy(text)
    return text


def _words(line: str) -> list[str]:
    return re.split(r"[ \t]+", line.strip(" \t"))
