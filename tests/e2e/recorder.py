"""Every message between two gateways in this process, in plain bytes, and a search for planted values in them.

TLS hides what a proxy sees, so the bytes are taken where gRPC hands them over: requests and responses of every
method of both gateways' clients (what a server gets and answers are the same bytes), and the statuses of refusals.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

_BASE64 = re.compile(rb"[A-Za-z0-9+/]{16,}={0,2}")
_DEPTH = 6  # envelopes stand in statements, which stand in envelopes
WINDOW = 8  # bytes: every pattern has at least so many


class Recorder:
    """What crossed, by method."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.counts: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def take(self, method: str, data: bytes) -> bytes:
        self.messages.append(bytes(data))
        self.counts[method] += 1
        self.bytes[method] += len(data)
        return data

    def clear(self) -> None:
        self.messages.clear()
        self.counts.clear()
        self.bytes.clear()

    def haystack(self) -> bytes:
        """All bytes, and what their base64 texts say, and what theirs say."""
        layers = [b"\0".join(self.messages)]
        # Parameters come in pieces: a value must not hide across two messages.
        layers.append(b"".join(self.messages))
        found = [layers[0]]
        for _ in range(_DEPTH):
            found = [
                base64.b64decode(text + b"=" * (-len(text) % 4))
                for each in found
                for text in _BASE64.findall(each)
                if len(text.rstrip(b"=")) % 4 != 1
            ]
            layers.append(b"\0".join(found))
        return b"\0".join(layers)


class RecordingChannel:
    """A channel of grpc.aio whose messages are recorded."""

    def __init__(self, real: Any, recorder: Recorder) -> None:
        self._real = real
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        made = getattr(self._real, name)
        if name not in {"unary_unary", "unary_stream", "stream_unary", "stream_stream"}:
            return made

        def method(path: str, request_serializer: Any = None, response_deserializer: Any = None, **rest: Any) -> Any:
            def sent(message: Any) -> bytes:
                return self._recorder.take(path, request_serializer(message) if request_serializer else message)

            def came(data: bytes) -> Any:
                self._recorder.take(path, data)
                return response_deserializer(data) if response_deserializer else data

            return made(path, request_serializer=sent, response_deserializer=came, **rest)

        return method


def record(monkeypatch: Any, recorder: Recorder) -> None:
    """Record what gateways that start from now on say to each other."""
    from grpc_status import rpc_status

    from gateway.server import peers

    opened: Callable[..., Any] = peers.open_channel
    told: Callable[..., Any] = rpc_status.to_status
    monkeypatch.setattr(peers, "open_channel", lambda *a, **k: RecordingChannel(opened(*a, **k), recorder))

    def to_status(status: Any) -> Any:
        recorder.take("(status)", status.SerializeToString())
        return told(status)

    monkeypatch.setattr(rpc_status, "to_status", to_status)


def patterns(columns: dict[str, np.ndarray], texts: list[str]) -> Iterator[tuple[str, bytes]]:
    """Every way in which the planted values may stand in bytes: kind and pattern, at least 8 bytes each.

    A value of 64 bits is searched alone. Narrower ones are searched as runs of neighbours in their column, so long
    that chance does not bring them forth: two of 32 bits, four of 16, eight of 8.
    """
    for text in texts:
        yield "text", text.encode()
        yield "text utf-16", text.encode("utf-16-le")
    for name, values in columns.items():
        floats = values.dtype.kind == "f"
        wholes = [] if floats else ["i1", "i2", "i4", "i8"]
        entropy = values.dtype.itemsize
        for width in (*wholes, "f4", "f8"):
            with np.errstate(over="ignore"):
                cast = values.astype(width)
            if width in wholes and not np.array_equal(cast.astype(values.dtype), values):
                continue
            kept = min(entropy, 3 if width == "f4" else 8)
            run = -(-8 // min(kept, np.dtype(width).itemsize)) if kept < 8 else 1
            for order in "<>":
                ordered = cast.astype(f"{order}{width}")
                for start in range(len(ordered) - run + 1):
                    pattern = ordered[start : start + run].tobytes()
                    if len(pattern) >= WINDOW and len(set(pattern)) > 2:
                        yield f"{name} as {order}{width}", pattern
        if entropy >= 4:
            for value in values:
                text = repr(value.item()) if not floats or entropy == 8 else str(value)
                if len(text.lstrip("-")) >= WINDOW:
                    yield f"{name} as decimal text", text.encode()


def search(haystack: bytes, wanted: list[tuple[str, bytes]]) -> Counter[str]:
    """How many patterns of each kind occur."""
    windows = np.unique(
        np.concatenate(
            [np.frombuffer(haystack, "<u8", (len(haystack) - start) // WINDOW, start) for start in range(WINDOW)]
        )
    )
    heads = np.array([int.from_bytes(pattern[:WINDOW], "little") for _, pattern in wanted], np.uint64)
    places = np.searchsorted(windows, heads)
    places[places == len(windows)] = 0
    found: Counter[str] = Counter()
    for (kind, pattern), hit in zip(wanted, windows[places] == heads, strict=True):
        if hit and (len(pattern) == WINDOW or pattern in haystack):
            found[kind] += 1
    return found
