"""A witness that kills its own process at one step of one request: `witness_driver.py DIR STEP COUNT`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from ledger.witness.server import WitnessServer
from ledger.witness.store import WitnessStore

STEPS = ("judging", "signed", "committing", "committed", "answering")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Connection:
    """The database, with something before and after each COMMIT."""

    def __init__(self, db: Any, step: str, armed: list[int]) -> None:
        self._db, self._step, self._armed = db, step, armed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, statement: str, *values: Any) -> Any:
        ours = statement == "COMMIT" and not self._armed
        if ours and self._step == "committing":
            die()
        done = self._db.execute(statement, *values)
        if ours and self._step == "committed":
            die()
        if statement == "BEGIN IMMEDIATE" and not self._armed and self._step == "judging":
            die()
        return done


async def main(directory: Path, step: str, count: int) -> None:
    store = WitnessStore(directory)
    left = [0] * count  # requests that still pass
    signer, add = store._signer, store.add_checkpoint

    class Signer:
        vkey = signer.vkey

        def cosign(self, text: str, seconds: int) -> str:
            line = signer.cosign(text, seconds)
            if not left and step == "signed":
                die()
            return line

    def add_checkpoint(body: bytes) -> Any:
        done = add(body)
        if not left and step == "answering":
            die()
        left.pop()
        return done

    store._signer = Signer()  # type: ignore[assignment]
    store._db = Connection(store._db, step, left)  # type: ignore[assignment]
    store.add_checkpoint = add_checkpoint  # type: ignore[method-assign]
    server = WitnessServer(store, host="127.0.0.1", port=0)
    await server.start()
    print(json.dumps({"url": f"http://127.0.0.1:{server.port}", "vkey": signer.vkey}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
