"""One zone's gateway as a process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import structlog
import uvloop

from gateway.config import load_settings
from gateway.server.logging import configure_logging
from gateway.server.main import Gateway
from gateway.server.memory import keep_what_is_loaded

_log = structlog.get_logger()


def serve(directory: Path, ready: Callable[[int], None] | None = None) -> None:
    """Run the gateway of a zone's directory until SIGTERM or SIGINT.

    Args:
        directory: made by `tdz zone init`.
        ready: hears the port once the gateway serves.

    Raises:
        TdzError: it cannot start; the text says what is in the way.
    """
    settings = load_settings(directory)
    configure_logging(settings.layout.log)

    async def run() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stopping.set)
        gateway = Gateway(settings)
        await gateway.start()
        keep_what_is_loaded()
        if ready is not None:
            ready(gateway.port)
        stop = asyncio.create_task(stopping.wait())
        await asyncio.wait({stop, gateway.starting}, return_when=asyncio.FIRST_COMPLETED)
        if gateway.starting.done() and gateway.starting.exception() is None:
            await stop
        stop.cancel()
        _log.info("stopping", zone=settings.zone)
        await gateway.stop()
        if gateway.starting.done() and not gateway.starting.cancelled():
            gateway.starting.result()  # it could not start after all

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
