"""A bundle's container: a gzipped tar with plain files, written reproducibly and read strictly.

What a reader takes is less than what tar allows: one gzip member with nothing after it, ustar headers of plain
files, names that stay below the root and stand once. So two readers of one bundle cannot see different files.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import Final

from gateway.errors import IntegrityError, LimitError
from gateway.model.limits import BUNDLE_FILE_MAX, BUNDLE_FILES_MAX, BUNDLE_MAX, BUNDLE_UNPACKED_MAX

_BLOCK: Final = 512
_GZIP: Final = 31  # zlib's wbits for a gzip header
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}", re.ASCII)
_OCTAL: Final = re.compile(rb"[0-7]{1,11}")
_REMEDY: Final = "build the bundle again: tdz policy bundle, or opa build --bundle"


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive of files by their path; the same files give the same bytes.

    Raises:
        LimitError: a path is too long for the format, or there is too much.
    """
    blocks: list[bytes] = []
    for name, content in sorted(files.items()):
        path = f"/{name}".encode("ascii")
        if len(path) > 100:
            raise LimitError(f"{name}: a path in a bundle has at most 99 characters", remedy="use shorter names")
        header = bytearray(_BLOCK)
        header[0 : len(path)] = path
        for place, text in (
            (100, b"0000600\0"),
            (108, b"0000000\0"),
            (116, b"0000000\0"),
            (124, b"%011o\0" % len(content)),
            (136, b"00000000000\0"),  # no time: reproducible
            (148, b" " * 8),
            (156, b"0"),
            (257, b"ustar\x0000"),
        ):
            header[place : place + len(text)] = text
        header[148:156] = b"%06o\0 " % sum(header)
        blocks += [bytes(header), content, bytes(-len(content) % _BLOCK)]
    blocks.append(bytes(2 * _BLOCK))
    squeezed = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    packed = squeezed.compress(b"".join(blocks)) + squeezed.flush()
    if len(packed) > BUNDLE_MAX:
        raise LimitError(
            f"the bundle has {len(packed)} bytes, at most {BUNDLE_MAX} are taken", remedy="make it smaller"
        )
    return packed


def unpack(data: bytes) -> dict[str, bytes]:
    """The files of an archive by their path, without a leading slash.

    Raises:
        LimitError: packed or unpacked it is longer than a bundle may be, or has too many files.
        IntegrityError: it is cut off, followed by something, or holds anything but plain files with plain names.
    """
    if len(data) > BUNDLE_MAX:
        raise LimitError(f"a bundle has at most {BUNDLE_MAX} bytes", remedy="make it smaller")
    tar = _unzipped(data)
    files: dict[str, bytes] = {}
    at = 0
    while True:
        header = tar[at : at + _BLOCK]
        if len(header) < _BLOCK:
            raise IntegrityError("the bundle's tar is cut off", remedy=_REMEDY)
        if not any(header):
            break
        name, size = _entry(header)
        start = at + _BLOCK
        if name in files:
            raise IntegrityError(f"{name} stands twice in the bundle", remedy=_REMEDY)
        if size > BUNDLE_FILE_MAX or len(files) >= BUNDLE_FILES_MAX:
            raise LimitError(f"{name}: too long, or one file too many", remedy="make the bundle smaller")
        if start + size > len(tar):
            raise IntegrityError("the bundle's tar is cut off", remedy=_REMEDY)
        files[name] = tar[start : start + size]
        at = start + size + -size % _BLOCK
    if any(tar[at:]) or len(tar) - at < 2 * _BLOCK:
        raise IntegrityError("the bundle's tar does not end as a tar ends", remedy=_REMEDY)
    return files


def _unzipped(data: bytes) -> bytes:
    opened = zlib.decompressobj(_GZIP)
    try:
        tar = opened.decompress(data, BUNDLE_UNPACKED_MAX + 1)
    except zlib.error as error:
        raise IntegrityError("the bundle is no gzip", remedy=_REMEDY) from error
    if len(tar) > BUNDLE_UNPACKED_MAX:
        raise LimitError(f"the bundle unpacks to more than {BUNDLE_UNPACKED_MAX} bytes", remedy="make it smaller")
    if not opened.eof:
        raise IntegrityError("the bundle's gzip is cut off", remedy=_REMEDY)
    if opened.unused_data:
        raise IntegrityError("something follows the bundle's gzip", remedy=_REMEDY)
    return tar


def _entry(header: bytes) -> tuple[str, int]:
    """Name and size of one plain file."""
    told = _number(header[148:156])
    if told != sum(header[:148]) + 8 * 0x20 + sum(header[156:]):
        raise IntegrityError("a checksum in the bundle's tar is wrong", remedy=_REMEDY)
    if header[257:262] != b"ustar":
        raise IntegrityError("the bundle's tar is not in the ustar format", remedy=_REMEDY)
    raw = _text(header[0:100])
    if header[257:265] == b"ustar\x0000" and (prefix := _text(header[345:500])):
        raw = f"{prefix}/{raw}"
    name = raw.removeprefix("/")
    if header[156:157] not in (b"0", b"\0"):
        raise IntegrityError(f"{name[:200]!r} is no plain file", remedy="bundles hold neither links nor folders")
    if not all(_SEGMENT.fullmatch(part) and part not in (".", "..") for part in name.split("/")):
        raise IntegrityError(f"{name[:200]!r} is no name for a file in a bundle", remedy=_REMEDY)
    return name, _number(header[124:136])


def _text(field: bytes) -> str:
    value, _, rest = field.partition(b"\0")
    if any(rest):
        raise IntegrityError("a name in the bundle's tar has something after its end", remedy=_REMEDY)
    try:
        return value.decode("ascii")
    except UnicodeDecodeError as error:
        raise IntegrityError("a name in the bundle is not ASCII", remedy="use plain names") from error


def _number(field: bytes) -> int:
    digits = field.strip(b" \0")
    if _OCTAL.fullmatch(digits) is None:
        raise IntegrityError("a number in the bundle's tar is not octal", remedy=_REMEDY)
    return int(digits, 8)
