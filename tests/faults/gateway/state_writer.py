"""Writes to a state database without end and says on standard output what was acknowledged. Not a test.

python -m tests.faults.gateway.state_writer PATH
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, text

from gateway.state import StateStore

_CALLERS = 8


def pair(number: int) -> Callable[[Connection], None]:
    """Two rows in one transaction."""

    def work(connection: Connection) -> None:
        for part in ("left", "right"):
            connection.execute(
                text("INSERT INTO pending VALUES (:id, 'test', '', :payload, 0)"),
                {"id": f"{number}-{part}", "payload": "x" * 2_000},
            )

    return work


async def main(path: Path) -> None:
    state = await StateStore.open(path)
    numbers = iter(range(1 << 30))

    async def write() -> None:
        for number in numbers:
            await state.write(pair(number))
            os.write(1, f"{number}\n".encode())

    await asyncio.gather(*(write() for _ in range(_CALLERS)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
