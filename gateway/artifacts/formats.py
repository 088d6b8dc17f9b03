"""Which files an artifact may hold, checked while their bytes pass by.

Weights and text, nothing that runs: safetensors, ONNX and GGUF; JSON, tokenizers and plain text. A file is judged
by its name first and by its content then, block by block, with the same code where it is published from and where
it arrives. Memory is bounded: of a file only a safetensors header, the end, and one block are held.
"""

from __future__ import annotations

import codecs
import re
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator
from typing import Final

from gateway.artifacts import protobuf_walk as walk
from gateway.artifacts import safetensors
from gateway.artifacts.json_text import JsonCheck, JsonError
from gateway.artifacts.refused import archive_at_end, looks_like, refused_name
from gateway.errors import DataFileError
from gateway.model import limits
from gateway.model.artifact import name_problem
from gateway.storage.model_chunks import cut

_REMEDY: Final = "publish weights as safetensors, ONNX or GGUF, and beside them JSON, tokenizer files and plain text"
_TAIL: Final = 66_000  # a ZIP archive is found from its end: 22 bytes and a comment of at most 65,535

# ONNX ModelProto (onnx/onnx.proto): ir_version, producer_name, producer_version, domain, model_version, doc_string,
# graph, opset_import, metadata_props, training_info, functions, configuration.
_ONNX: Final = {field: walk.VARINT if field in (1, 5) else walk.LENGTH for field in (*range(1, 9), 14, 20, 25, 26)}
_ONNX_GRAPH: Final = 7
_ONNX_OPSETS: Final = 8
# SentencePiece ModelProto (sentencepiece_model.proto): pieces, trainer, normalizer, self test, denormalizer.
_PIECES: Final = dict.fromkeys(range(1, 6), walk.LENGTH)
_GGUF_VERSIONS: Final = (2, 3)
_GGUF_HEADER: Final = 24
_GGUF_ENTRIES_MAX: Final = 1_000_000

_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")


class _MalformedError(ValueError):
    """What is wrong with a file's content; the first argument says it."""


class _Content(ABC):
    """The check of one kind of content, fed consecutive blocks."""

    def __init__(self, size: int) -> None:
        self.size = size

    @abstractmethod
    def feed(self, block: memoryview, *, last: bool) -> None:
        """Take the next block."""


class _Safetensors(_Content):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.header = 0
        self.lengths = array("Q")
        self._held = bytearray()
        self._done = False

    @property
    def known(self) -> bool:
        """Whether the header is read."""
        return self._done

    def feed(self, block: memoryview, *, last: bool) -> None:
        used = 0
        while not self._done:
            wanted = self.header or safetensors.LENGTH_BYTES
            part = block[used : used + wanted - len(self._held)]
            self._held += part
            used += len(part)
            if len(self._held) < wanted:
                break
            if not self.header:
                self.header = safetensors.header_length(bytes(self._held), self.size)
                continue
            view = memoryview(self._held)[safetensors.LENGTH_BYTES :]
            for tensor in safetensors.read_header(view, self.size - self.header):
                self.lengths.append(tensor.end - tensor.begin)
            view.release()
            self._held, self._done = bytearray(), True
        if last and not self._done:
            safetensors.header_length(bytes(self._held), self.size)
            raise _MalformedError("its header is cut off")


class _Protobuf(_Content):
    def __init__(self, size: int, fields: dict[int, int], what: str) -> None:
        super().__init__(size)
        self.walk = walk.Walk(size, fields, first=1)
        self._what = what

    def feed(self, block: memoryview, *, last: bool) -> None:
        try:
            self.walk.feed(block, last=last)
        except walk.WalkError as error:
            raise _MalformedError(f"it is no {self._what}: {error}") from error


class _Onnx(_Protobuf):
    def __init__(self, size: int) -> None:
        super().__init__(size, _ONNX, "ONNX model")

    def feed(self, block: memoryview, *, last: bool) -> None:
        super().feed(block, last=last)
        seen = self.walk.seen
        if seen.get(1, 0) > 1 or seen.get(_ONNX_GRAPH, 0) > 1:
            raise _MalformedError("it is no ONNX model: it has two versions or graphs")
        if last and not (seen.get(_ONNX_GRAPH) and seen.get(_ONNX_OPSETS)):
            raise _MalformedError("it is no ONNX model: it has no graph or no operator set")


class _SentencePiece(_Protobuf):
    def __init__(self, size: int) -> None:
        super().__init__(size, _PIECES, "SentencePiece tokenizer")
        _require_text_size(size)


class _Gguf(_Content):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._head = b""

    def feed(self, block: memoryview, *, last: bool) -> None:
        if len(self._head) == _GGUF_HEADER:
            return
        self._head += bytes(block[: _GGUF_HEADER - len(self._head)])
        if len(self._head) < _GGUF_HEADER:
            if last:
                raise _MalformedError("it is too short for GGUF")
            return
        version = int.from_bytes(self._head[4:8], "little")
        tensors, pairs = (int.from_bytes(self._head[at : at + 8], "little") for at in (8, 16))
        if self._head[:4] != b"GGUF" or version not in _GGUF_VERSIONS:
            raise _MalformedError("it does not begin as GGUF of version 2 or 3, little-endian")
        if max(tensors, pairs) > _GGUF_ENTRIES_MAX:
            raise _MalformedError(f"it claims more than {_GGUF_ENTRIES_MAX} tensors or values")


class _Text(_Content):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        _require_text_size(size)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("strict")

    def feed(self, block: memoryview, *, last: bool) -> None:
        try:
            self._utf8.decode(block, last)
        except UnicodeDecodeError as error:
            raise _MalformedError("it is not UTF-8 text") from error
        if _CONTROLS.search(block):
            raise _MalformedError("it holds control characters, which text has not")


class _Json(_Text):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._json = JsonCheck()

    def feed(self, block: memoryview, *, last: bool) -> None:
        super().feed(block, last=last)
        self._json.feed(block, last=last)


def _require_text_size(size: int) -> None:
    if size > limits.MODEL_TEXT_MAX:
        raise _MalformedError(f"it has {size} bytes; the limit for such a file is {limits.MODEL_TEXT_MAX}")


_KINDS: Final[dict[str, type[_Safetensors | _Onnx | _Gguf | _SentencePiece | _Text]]] = {
    ".safetensors": _Safetensors,
    ".onnx": _Onnx,
    ".gguf": _Gguf,
    ".json": _Json,
    ".model": _SentencePiece,
    ".txt": _Text,
    ".md": _Text,
    ".tiktoken": _Text,
}
_TEXTS: Final = frozenset({"readme", "license", "licence", "notice", "copying", "authors", "citation"})


def kind_of(name: str) -> type[_Safetensors | _Onnx | _Gguf | _SentencePiece | _Text]:
    """What a file's content must be, by its name.

    Raises:
        DataFileError: no artifact holds a file of that name; the text says why and what to do.
    """
    problem = name_problem(name)
    if problem:
        raise DataFileError(f"{name[:80]!r} {problem}", remedy="rename it, or leave it out")
    base = name.rsplit("/", 1)[-1].lower()
    stem, dot, ending = base.rpartition(".")
    found = _KINDS.get(dot + ending) if dot and stem else None
    if found is None and base in _TEXTS:
        found = _Text
    if found is None:
        what, remedy = refused_name(base)
        raise DataFileError(f"{name!r}: {what}", remedy=remedy or _REMEDY)
    return found


class FileCheck:
    """Checks one file of an artifact while its blocks pass by, and knows where it is cut.

    Args:
        name: relative POSIX path.
        size: bytes of the file.

    Raises:
        DataFileError: no artifact holds such a file; the text names it and says why.
    """

    def __init__(self, name: str, size: int) -> None:
        kind = kind_of(name)
        self.name: Final = name
        self.size: Final = size
        self._fed = 0
        self._first = b""
        self._tail = b""
        if not size and not issubclass(kind, _Text):
            raise DataFileError(f"{name!r}: it is empty", remedy="leave it out")
        try:
            self._content = kind(size)
        except _MalformedError as error:
            raise DataFileError(f"{name!r}: {error}", remedy=_REMEDY) from error

    def feed(self, block: bytes | bytearray | memoryview) -> None:
        """Take the next block.

        Raises:
            DataFileError: the content is not what the name says, or more than the size.
        """
        view = memoryview(block).cast("B")
        self._fed += len(view)
        if self._fed > self.size:
            raise DataFileError(f"{self.name!r}: it is longer than its {self.size} bytes", remedy="publish it again")
        if len(self._first) < 512:
            self._first += bytes(view[: 512 - len(self._first)])
        if self.size - self._fed < _TAIL:
            self._tail = (self._tail + bytes(view[-_TAIL:]))[-_TAIL:]
        self._step(view, last=self._fed == self.size)

    def _step(self, view: memoryview, *, last: bool) -> None:
        try:
            if isinstance(self._content, _Text) and self._first.startswith(b"#!"):
                raise _MalformedError("it begins as a script (#!)")
            self._content.feed(view, last=last)
            if last and archive_at_end(self._tail):
                raise _MalformedError("a ZIP archive ends where it ends, which some programs would load instead")
        except (_MalformedError, JsonError) as error:
            what, remedy = looks_like(self._first)
            text = f"{error}; it looks like {what}" if what else str(error)
            raise DataFileError(f"{self.name!r}: {text}", remedy=remedy or _REMEDY) from error

    def finish(self) -> None:
        """The file has ended.

        Raises:
            DataFileError: it ended too early.
        """
        if self._fed != self.size:
            raise DataFileError(f"{self.name!r}: it ends after {self._fed} of {self.size} bytes", remedy=_REMEDY)
        if not self.size and isinstance(self._content, _Json):
            raise DataFileError(f"{self.name!r}: it is empty, and no JSON", remedy="leave it out")

    @property
    def header(self) -> int:
        """Of safetensors, bytes before the tensors, known once the first eight were fed; else 0."""
        return self._content.header if isinstance(self._content, _Safetensors) else 0

    @property
    def tensors(self) -> array[int]:
        """Of safetensors, bytes of each tensor in the order of the file, once the header was fed; else empty."""
        return self._content.lengths if isinstance(self._content, _Safetensors) else array("Q")

    @property
    def cuts_known(self) -> bool:
        """Whether enough was fed to know all cuts: of safetensors the header, of others nothing."""
        return self._content.known if isinstance(self._content, _Safetensors) else True

    @property
    def is_text(self) -> bool:
        """Whether the file is text, which is short."""
        return isinstance(self._content, _Text)

    def cuts(self) -> Iterator[int]:
        """The lengths of the file's runs, one chunk each.

        Ask once the first run was fed, from which a safetensors header's length is known. Its tensors are read
        when their cuts are asked for, and must have been fed by then.
        """
        return cut(self.size, self.header, self.tensors)
