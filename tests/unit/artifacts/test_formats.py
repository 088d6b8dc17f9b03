"""What an artifact may hold: weights and text pass, everything that could run is refused by name with a remedy."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.artifacts.formats import FileCheck
from gateway.errors import DataFileError
from gateway.model import limits
from tests.unit.artifacts.conftest import SMALL, raw, weights

ELF = b"\x7fELF\x02\x01\x01" + bytes(100)
PE = b"MZ" + bytes(200)
MACHO = b"\xcf\xfa\xed\xfe" + bytes(100)
PICKLE = pickle.dumps({"weights": [1.0, 2.0]}, protocol=4)
GGUF = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + bytes(64)


def field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


ONNX = b"\x08\x09" + field(2, b"pytorch") + field(7, bytes(300)) + field(8, b"\x10\x11")
PIECES = b"".join(field(1, b"\x0a\x03abc") for _ in range(50)) + field(2, b"\x08\x01")


def zipped(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, PICKLE)
    return out.getvalue()


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("x"))
    return out.getvalue()


def check(name: str, data: bytes, step: int = 1 << 20) -> FileCheck:
    found = FileCheck(name, len(data))
    for at in range(0, len(data), step):
        found.feed(memoryview(data)[at : at + step])
    found.finish()
    return found


GOOD = {
    "model.safetensors": SMALL,
    "deep/er/model-00001-of-00002.safetensors": SMALL,
    "model.onnx": ONNX,
    "model.gguf": GGUF,
    "config.json": b'{"hidden_size": 384, "x": [1.5e-3, null]}\n',
    "tokenizer.json": b'{"model": {"vocab": {"a": 0}}}',
    "vocab.txt": "[PAD]\n的\n##ing\r\n".encode(),
    "merges.txt": b"#version: 0.2\na b\n",
    "spiece.model": PIECES,
    "README.md": b"# A model\n",
    "LICENSE": b"Apache-2.0\n",
    "empty.txt": b"",
    "o200k.tiktoken": b"IQ== 0\nIg== 1\n",
}


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", GOOD)
def test_weights_and_text_pass_in_blocks_of_any_size(name: str, step: int) -> None:
    check(name, GOOD[name], step)


# By name: (file name, a word of the error)
NAMES = {
    "pytorch_model.bin": "pickle",
    "model.pt": "pickle",
    "model.pth": "pickle",
    "model.ckpt": "pickle",
    "model.pkl": "pickle",
    "model.joblib": "pickle",
    "x.npy": "NumPy",
    "x.npz": "NumPy",
    "model.h5": "HDF5",
    "saved_model.pb": "HDF5",
    "run.sh": "source code",
    "modeling_evil.py": "source code",
    "notebook.ipynb": "source code",
    "libx.so": "program",
    "libx.so.1": "program",
    "x.dll": "program",
    "setup.exe": "program",
    "x.wasm": "program",
    "x.pyc": "program",
    "model.zip": "archive",
    "model.tar.gz": "archive",
    "x.whl": "archive",
    "model.onnx_data": "raw tensors",
    "weights": "no artifact holds",
    "x.dat": "no artifact holds",
    "MODEL.PT": "pickle",
    ".safetensors": "hidden",
    ".git": "hidden",
    "a/.hidden/config.json": "hidden",
    "../config.json": "climbs",
    "a/../config.json": "climbs",
    "/etc/config.json": "absolute",
    "a//config.json": "shortest",
    "./config.json": "shortest",
    "a/": "shortest",
    "a\\config.json": "other systems",
    "C:config.json": "other systems",
    "config.json ": "other systems",
    "a./config.json": "other systems",
    "con\nfig.json": "control",
    "con\x00fig.json": "control",
    "con\u202efig.json": "control",
    "con\u200bfig.json": "control",
    "e\u0301.json": "composed",
    "\udcff.json": "not Unicode",
    "x" * 300 + ".json": "bytes",
    "/".join("abcdefghijk") + ".json": "directories deep",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_refused_by_its_name_with_a_remedy(name: str) -> None:
    with pytest.raises(DataFileError, match=NAMES[name]) as caught:
        FileCheck(name, 10)
    assert caught.value.remedy


# By content: name, bytes, a word of the error
CONTENTS: dict[str, tuple[str, bytes, str]] = {
    "a pickle as safetensors": ("m.safetensors", PICKLE, "pickle"),
    "a PyTorch archive as safetensors": ("m.safetensors", zipped("m/data.pkl"), "ZIP"),
    "an ELF as safetensors": ("m.safetensors", ELF, "program"),
    "a pickle as ONNX": ("m.onnx", PICKLE, "pickle"),
    "a Windows program as ONNX": ("m.onnx", PE, "program"),
    "an archive as ONNX": ("m.onnx", zipped("x"), "ZIP"),
    "safetensors as ONNX": ("m.onnx", SMALL, "no ONNX"),
    "an ELF as GGUF": ("m.gguf", ELF, "program"),
    "a pickle as GGUF": ("m.gguf", PICKLE, "pickle"),
    "GGUF of version 1": ("m.gguf", b"GGUF" + struct.pack("<IQQ", 1, 1, 1), "GGUF"),
    "GGUF of the other byte order": ("m.gguf", b"GGUF" + struct.pack(">IQQ", 3, 1, 1), "GGUF"),
    "GGUF with absurd counts": ("m.gguf", b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1), "claims"),
    "GGUF cut off": ("m.gguf", GGUF[:20], "short"),
    "a pickle as JSON": ("config.json", PICKLE, "pickle"),
    "an ELF as JSON": ("config.json", ELF, "program"),
    "an archive as JSON": ("config.json", zipped("x"), "ZIP"),
    "two JSON values": ("config.json", b"{}{}", "place"),
    "JSON cut off": ("config.json", b'{"a": [1, 2', "early"),
    "no JSON": ("config.json", b"hello", "JSON"),
    "an empty JSON": ("config.json", b"", "empty"),
    "JSON with a byte order mark": ("config.json", b"\xef\xbb\xbf{}", "JSON"),
    "JSON in UTF-16": ("config.json", '{"a": 1}'.encode("utf-16"), "UTF-8"),
    "a script as text": ("vocab.txt", b"#!/bin/sh\nrm -rf /\n", "script"),
    "a script as licence": ("LICENSE", b"#!/usr/bin/env python\n", "script"),
    "a Mach-O as text": ("vocab.txt", MACHO, "program"),
    "a Windows program as text": ("vocab.txt", PE, "program"),
    "a tar as text": ("vocab.txt", tarred(), "archive"),
    "gzip as text": ("vocab.txt", b"\x1f\x8b\x08" + bytes(30), "archive"),
    "a NumPy file as text": ("vocab.txt", b"\x93NUMPY\x01\x00" + bytes(30), "NumPy"),
    "terminal escapes in text": ("README.md", b"\x1b]0;evil\x07", "control"),
    "a pickle of protocol 0 as text": ("vocab.txt", b"c__builtin__\neval\n\x00.", "pickle"),
    "an ELF as a tokenizer": ("spiece.model", ELF, "program"),
    "a pickle as a tokenizer": ("spiece.model", PICKLE, "pickle"),
    "an empty model": ("m.safetensors", b"", "empty"),
    "ONNX without a graph": ("m.onnx", b"\x08\x09" + field(8, b"\x10\x11"), "no graph"),
    "ONNX with two graphs": ("m.onnx", ONNX + field(7, b""), "two"),
    "ONNX with an unknown field": ("m.onnx", ONNX + field(15, b"x"), "field 15"),
    "ONNX cut off": ("m.onnx", ONNX[:-1], "ends within|longer"),
    "ONNX whose graph leaves the file": ("m.onnx", b"\x08\x09\x3a" + varint(1 << 40), "longer"),
    "ONNX with an endless number": ("m.onnx", b"\x08" + b"\xff" * 30, "ten bytes"),
    "a header longer than its file": ("m.safetensors", (1 << 20).to_bytes(8, "little") + b"{}", "claims"),
    "a header of 100 MB": ("m.safetensors", (100_000_000).to_bytes(8, "little") + bytes(64), "claims"),
    "seven bytes of safetensors": ("m.safetensors", SMALL[:7], "claims"),
    "bytes behind the tensors": ("m.safetensors", SMALL + b"x", "cover"),
    "safetensors cut off": ("m.safetensors", SMALL[:-1], "cover"),
}


@pytest.mark.parametrize("step", [1, 1 << 20])
@pytest.mark.parametrize("case", CONTENTS)
def test_content_that_is_not_what_its_name_says_is_refused(case: str, step: int) -> None:
    name, data, word = CONTENTS[case]
    # What it looks like is known from the first block alone; that it is refused does not depend on blocks.
    with pytest.raises(DataFileError, match=word if step > 1 else None) as caught:
        check(name, data, step)
    assert name in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("comment", [b"", b"x" * 5_000])
def test_an_archive_hidden_at_the_end_of_weights_is_found(comment: bytes) -> None:
    """`torch.load` reads a ZIP from its end, whatever the file is called and begins with."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/data.pkl", PICKLE)
        archive.comment = comment
    data = out.getvalue()
    hidden = weights({"a": ("U8", [len(data)], data)})
    with pytest.raises(DataFileError, match="ZIP archive ends"):
        check("model.safetensors", hidden, 1_000)


def test_a_header_length_that_looks_like_a_pickle_is_none() -> None:
    tensors = {f"t{index:03}": ("U8", [1], b"x") for index in range(9)}
    data = weights(tensors)
    pad = 0x280 - (int.from_bytes(data[:8], "little"))
    header = data[8 : 8 + int.from_bytes(data[:8], "little")] + b" " * pad
    data = len(header).to_bytes(8, "little") + header + b"x" * 9
    assert data[:2] == b"\x80\x02"
    check("model.safetensors", data)


def test_text_has_a_limit_and_weights_have_none() -> None:
    with pytest.raises(DataFileError, match="limit"):
        FileCheck("tokenizer.json", limits.MODEL_TEXT_MAX + 1)
    FileCheck("model.safetensors", 1 << 45)


def test_a_hostile_header_is_not_held_more_than_the_limit() -> None:
    found = FileCheck("model.safetensors", 1 << 40)
    with pytest.raises(DataFileError, match="limit"):
        found.feed((limits.MODEL_HEADER_MAX + 1).to_bytes(8, "little") + b"{")


def test_a_file_of_another_size_is_refused() -> None:
    found = FileCheck("vocab.txt", 4)
    with pytest.raises(DataFileError, match="longer"):
        found.feed(b"12345")
    short = FileCheck("vocab.txt", 4)
    short.feed(b"123")
    with pytest.raises(DataFileError, match="ends after 3 of 4"):
        short.finish()


def test_the_layout_is_known_once_the_header_has_passed() -> None:
    data = weights({"a": raw("a", 300_000), "b": raw("b", 10)})
    found = check("model.safetensors", data, 100)
    assert found.header == len(data) - 300_010
    assert list(found.tensors) == [300_000, 10]
    assert list(found.cuts()) == [found.header, 300_000, 10]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.binary(max_size=300), st.integers(1, 100))
def test_random_bytes_never_raise_anything_else(name: str, data: bytes, step: int) -> None:
    with contextlib.suppress(DataFileError):
        check(name, data, step)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([n for n in GOOD if GOOD[n]]), st.data(), st.integers(1, 50))
def test_blocks_do_not_change_the_verdict(name: str, data: st.DataObject, step: int) -> None:
    changed = bytearray(GOOD[name])
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))

    def verdict(size: int) -> bool:
        try:
            check(name, bytes(changed), size)
        except DataFileError:
            return False
        return True

    assert verdict(step) == verdict(1 << 20)


def test_real_weights_and_tokenizers_pass(minilm: Path) -> None:
    for path in sorted(p for p in minilm.rglob("*") if p.is_file() and not p.name.startswith(".")):
        data = path.read_bytes()
        found = check(path.relative_to(minilm).as_posix(), data, 1 << 21)
        assert sum(found.cuts()) == len(data)
