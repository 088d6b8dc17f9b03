"""Refuses rules of a zone or a pack that would be written, loaded, and never reach a decision.

A decision asks each pack and the zone for two sets, `findings` and `obligations`. `deny contains`, findings that are
an object or a text, or a zone's rules without any: each would load, say nothing, and look as if it guarded something.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from gateway.decisions.capabilities import code_of
from gateway.errors import ConfigError

_ZONE: Final = re.compile(r"tdz/zone/[^/]+/[^/]+\.rego")
_FINDINGS: Final = re.compile(r"^findings\b", re.MULTILINE)
_NO_SET: Final = re.compile(
    r"^(?:default\s+)?(?:findings|obligations)\b(?!\s+contains\b|\s*:=\s*set\(\s*\)\s*$)", re.MULTILINE
)
_REMEDY: Final = "write them as `findings contains {...} if {...}`, or `findings := set()` where there are none"


def check(modules: Mapping[str, str]) -> None:
    """Refuse findings and obligations that are no sets, and a zone's rules that define no findings.

    Args:
        modules: Rego texts by path, tests left out.

    Raises:
        ConfigError: names the module or the zone's folder.
    """
    silent = {name.rsplit("/", 1)[0] for name in modules if _ZONE.match(name)}
    for name, text in sorted(modules.items()):
        if not name.startswith(("tdz/zone/", "tdz/packs/")):
            continue
        code = code_of(text)
        wrong = _NO_SET.search(code)
        if wrong is not None:
            line = code.count("\n", 0, wrong.start()) + 1
            raise ConfigError(f"{name}, line {line}: findings and obligations are sets", remedy=_REMEDY)
        if _FINDINGS.search(code):
            silent.discard(name.rsplit("/", 1)[0])
    if silent:
        raise ConfigError(
            f"{min(silent)}: the zone's rules define no findings, so nothing that they say reaches a decision",
            remedy=_REMEDY,
        )
