"""The embedded engine, alone in a process of its own: `python -m gateway.decisions.worker`.

A builtin can abort regopy (`strings.replace_n` does), a rule can run for minutes, and neither may take the
gateway along. The process imports regopy and the standard library only (no grpc, pyarrow or pydantic), reads
nothing but its standard input and ends with it.

Protocol: frames of four bytes big-endian length and UTF-8 JSON. A first frame of
`{"modules": {name: text}, "data": {...}, "entrypoint": "tdz/main/decision"}` is answered with the compiled
bundle in base64, and the process ends. A first frame of `{"bundle": base64, "entrypoint": ...}` makes it serve:
each later frame is an input document. Every answer is `{"result": value}`, `{"undefined": true}` or `{"error": text}`.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import os
import re
import resource
import signal
import struct
import tempfile
from typing import Any, BinaryIO, Final

FRAME_MAX: Final = 16 * 1024 * 1024
_LENGTH: Final = struct.Struct(">I")
_ESCAPED: Final = re.compile(r'["\\\x00-\x1f]').search


class EngineInput:
    """Builds regopy inputs straight through its C interface.

    regopy's own `Input` does the same with a Python call more per value, which is the largest part of a
    decision on a 200-column dataset.
    """

    def __init__(self) -> None:
        from regopy import rego_shared

        lib = rego_shared.rego
        self._new, self._free = lib.regoNewInput, lib.regoFreeInput
        self._int, self._text, self._float = lib.regoInputInt, lib.regoInputString, lib.regoInputFloat
        self._bool, self._null = lib.regoInputBoolean, lib.regoInputNull
        self._item, self._object, self._array = lib.regoInputObjectItem, lib.regoInputObject, lib.regoInputArray
        self._set = lib.regoSetInput
        self._failed = 0

    def hand_over(self, interpreter: Any, document: object) -> None:
        """Make a document the interpreter's input.

        Raises:
            ValueError: the document holds what the engine cannot, or the engine refused it.
        """
        handle = self._new()
        try:
            self._failed = 0
            self._add(handle, document)
            if self._failed or self._set(interpreter._impl, handle):  # noqa: SLF001
                raise ValueError("the engine refused the input")
        finally:
            self._free(handle)

    def _add(self, handle: Any, value: Any) -> None:
        kind = type(value)
        if kind is str:
            self._add_text(handle, value)
        elif kind is dict:
            for name, member in value.items():
                self._add_text(handle, name)
                self._add(handle, member)
                self._failed |= self._item(handle)
            self._failed |= self._object(handle, len(value))
        elif kind is list:
            for member in value:
                self._add(handle, member)
            self._failed |= self._array(handle, len(value))
        elif kind is int:
            if not -(1 << 53) < value < 1 << 53:
                raise ValueError("an integer past 53 bits")
            self._failed |= self._int(handle, value)
        elif value is None:
            self._failed |= self._null(handle)
        elif kind is bool:
            self._failed |= self._bool(handle, value)
        else:
            self._failed |= self._float(handle, value)

    def _add_text(self, handle: Any, value: str) -> None:
        if _ESCAPED(value):  # the engine keeps texts as JSON writes them, and takes ours for such a one
            if "\0" in value:
                raise ValueError("a text with a NUL, at which the engine would cut it")
            value = json.dumps(value, ensure_ascii=False)[1:-1]
        self._failed |= self._text(handle, value.encode())


def compiled(load: dict[str, Any]) -> bytes:
    """A policy as the engine's binary bundle.

    Compiling leaves 14 MiB behind that a bundle does not need, so it is done in a process that ends.
    """
    from regopy import BundleFormat, Interpreter

    interpreter = Interpreter()
    for name, text in sorted(load["modules"].items()):
        interpreter.add_module(name, text)
    # Unescaped, as inputs are: the engine would hold "\u5317" and the character itself for two texts.
    interpreter.add_data_json(json.dumps(load["data"], ensure_ascii=False))
    bundle = interpreter.build(None, [load["entrypoint"]])
    with tempfile.NamedTemporaryFile(suffix=".rbb") as file:
        interpreter.save_bundle(file.name, bundle, BundleFormat.Binary)
        return file.read()


class Evaluator:
    """One compiled policy; a query by text would compile the whole policy for every decision."""

    def __init__(self, bundle: bytes, entrypoint: str) -> None:
        from regopy import BundleFormat, Interpreter

        self._interpreter = Interpreter()
        self._entrypoint = entrypoint
        with tempfile.NamedTemporaryFile(suffix=".rbb") as file:
            file.write(bundle)
            file.flush()
            self._bundle = self._interpreter.load_bundle(file.name, BundleFormat.Binary)
        self._input = EngineInput()

    def evaluate(self, document: object) -> bytes:
        """The answer frame for one input document."""
        self._input.hand_over(self._interpreter, document)
        output = self._interpreter.query_bundle_entrypoint(self._bundle, self._entrypoint)
        if len(output) != 1:
            return json.dumps({"error": str(output)[:2_000]}).encode()
        expressions = output[0].expressions
        if len(expressions) != 1:
            return b'{"undefined":true}'
        return json.dumps({"result": expressions[0]}, ensure_ascii=False, separators=(",", ":")).encode()


def _read(stream: BinaryIO) -> bytes | None:
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(header)
    if length > FRAME_MAX:
        return None
    body = stream.read(length)
    return body if len(body) == length else None


def _write(stream: BinaryIO, body: bytes) -> None:
    stream.write(_LENGTH.pack(len(body)))
    stream.write(body)
    stream.flush()


def main() -> int:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the engine prints must not stand between two frames
    first = _read(requests)
    if first is None:
        return 0
    try:
        load = json.loads(first)
        if "modules" in load:
            bundle = base64.b64encode(compiled(load)).decode("ascii")
            _write(answers, json.dumps({"result": bundle}).encode())
            return 0
        evaluator = Evaluator(base64.b64decode(load["bundle"]), load["entrypoint"])
    except Exception as error:
        _write(answers, json.dumps({"error": f"{type(error).__name__}: {error}"[:4_000]}).encode())
        return 1
    gc.collect()
    gc.freeze()
    _write(answers, b'{"result":"ready"}')
    while (frame := _read(requests)) is not None:
        try:
            answer = evaluator.evaluate(json.loads(frame))
        except Exception as error:
            answer = json.dumps({"error": f"{type(error).__name__}: {error}"[:2_000]}).encode()
        _write(answers, answer)
    return 0


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        raise SystemExit(main())
