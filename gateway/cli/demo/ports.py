"""Ports of the loopback interface that are kept for a corridor, also while its gateways are down."""

from __future__ import annotations

import contextlib
import random
import socket
import weakref
from typing import Final

from gateway.errors import ConfigError

__all__ = ["LoopbackPorts"]

# Below those that systems give to outgoing connections (Linux 32768, others 49152 and up): while a gateway is down,
# no connection of anybody takes its port.
_RANGE: Final = range(10_000, 32_768)
_DRAWN: Final = 1_000  # so many are tried


class LoopbackPorts:
    """Free TCP ports, all different, that no other holder of such ports draws as long as this one lives.

    A gateway binds its port long after the port was drawn, and again after each restart. What keeps others off
    meanwhile is the UDP port of the same number, which this object holds and nothing else here uses.

    Raises:
        ConfigError: hardly any is free.
    """

    def __init__(self, count: int) -> None:
        held = contextlib.ExitStack()
        self._release = weakref.finalize(self, held.close)
        found: list[int] = []
        for port in random.SystemRandom().sample(_RANGE, _DRAWN):
            if len(found) == count:
                break
            with contextlib.ExitStack() as trial, contextlib.suppress(OSError):
                kept = trial.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                kept.bind(("127.0.0.1", port))
                with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as free:
                    free.bind(("127.0.0.1", port))
                held.push(trial.pop_all())
                found.append(port)
        self.numbers = tuple(found)
        """The ports."""
        if len(found) < count:
            self.release()
            raise ConfigError(f"{count} ports of the loopback interface are not free", remedy="end what listens there")

    def release(self) -> None:
        """Let others draw them. Releasing twice is fine."""
        self._release()
