"""Frames between the gateway and a training process: four bytes big-endian length, then UTF-8 JSON."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

from gateway.model.limits import COMPUTE_FRAME_MAX

LENGTH: Final = struct.Struct(">I")


def pack(document: Mapping[str, Any]) -> bytes:
    """One frame.

    Raises:
        ValueError: longer than the limit, or a figure that is not finite.
    """
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    if len(body) > COMPUTE_FRAME_MAX:
        raise ValueError(f"a frame of {len(body)} bytes; the limit is {COMPUTE_FRAME_MAX}")
    return LENGTH.pack(len(body)) + body


def unpack(body: bytes) -> dict[str, Any]:
    """The object in a frame's body.

    Raises:
        ValueError: not JSON, or no object.
    """
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("a frame that is no object")  # noqa: TRY004  one error for all that is no frame
    return document


def read_frame(stream: BinaryIO) -> dict[str, Any] | None:
    """The next frame of a blocking stream, or None where it ends or breaks the format."""
    header = stream.read(LENGTH.size)
    if len(header) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(header)
    if length > COMPUTE_FRAME_MAX:
        return None
    body = stream.read(length)
    if len(body) < length:
        return None
    try:
        return unpack(body)
    except (ValueError, RecursionError):
        return None
