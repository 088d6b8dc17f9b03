"""A training process: `python -m gateway.compute.worker PARENT`, where PARENT is the gateway's process id.

Training can take all memory, crash in a driver or run for hours, and none of it may take the gateway along. The
process reads orders from standard input and writes frames to standard output (`gateway.compute.frames`): first
`{"ready": true}`, then for each order `{"progress": …}` any number of times and one `{"result": …}` or
`{"error": {reason, message, remedy}}`. It opens no socket, holds no key, imports no grpc, loads pyarrow with the
first order and torch with the first that needs it, and dies with the gateway.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import threading
from typing import Any, BinaryIO, Final

from gateway.compute.frames import pack, read_frame
from gateway.compute.orders import carry_out
from gateway.compute.training import Progress, parse_order
from gateway.errors import ComputeError, TdzError
from gateway.model import limits

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_NICENESS: Final = 10
_FILES_MAX: Final = 1_024


def confine(parent: int) -> None:
    """Give up what training does not need, and tie this process's life to the gateway's.

    Raises:
        SystemExit: the gateway is gone already.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the gateway's to handle
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file past its limit is an error, not a crash
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold rows
    _lower(resource.RLIMIT_FSIZE, limits.PARAMETERS_MAX + 2 * limits.PARAMETERS_HEADER_MAX)
    _lower(resource.RLIMIT_NOFILE, _FILES_MAX)
    os.nice(_NICENESS)
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # another process of this user cannot read our memory
    if os.getppid() != parent:  # it died before the line above
        raise SystemExit(0)


def _lower(kind: int, most: int) -> None:
    soft, hard = resource.getrlimit(kind)
    ceiling = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (ceiling if soft == resource.RLIM_INFINITY else min(soft, ceiling), ceiling))


def serve(orders: BinaryIO, answers: BinaryIO) -> None:
    """Carry out orders until the stream of them ends or breaks."""
    alone = threading.Lock()  # torch may call back from a thread of its own

    def say(document: dict[str, Any]) -> None:
        with alone:
            answers.write(pack(document))
            answers.flush()

    def report(progress: Progress) -> None:
        say({"progress": progress.document()})

    say({"ready": True})
    while (document := read_frame(orders)) is not None:
        try:
            answer = {"result": carry_out(parse_order(document), report).document()}
        except BrokenPipeError:
            raise
        except TdzError as error:
            answer = {"error": _as_answer(error)}
        except MemoryError:
            lacking = ComputeError("the training process ran out of memory", remedy="train on less at a time")
            answer = {"error": _as_answer(lacking)}
        except Exception as error:
            # Its text may quote values of rows, so the kind alone is said.
            unforeseen = ComputeError(f"the training process failed with {type(error).__name__}")
            answer = {"error": _as_answer(unforeseen)}
        say(answer)


def _as_answer(error: TdzError) -> dict[str, str]:
    return {"reason": error.reason, "message": error.message[:2_000], "remedy": error.remedy[:2_000]}


def main() -> int:
    """Confine the process, then serve until standard input ends."""
    confine(int(sys.argv[1]))
    orders = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not stand between two frames
    serve(orders, answers)
    return 0


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        raise SystemExit(main())
