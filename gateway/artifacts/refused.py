"""What no artifact holds, by the name that people know it under, each with its remedy."""

from __future__ import annotations

from typing import Final

_CONVERT: Final = "load it where you trust it, save the tensors as safetensors, and publish that"
_LEAVE: Final = "leave it out; publish code elsewhere and name it in the description"
_UNPACK: Final = "unpack it, and publish the weights and texts in it"

_PICKLE: Final = ("a pickle, which runs code when it is loaded", _CONVERT)
_ARRAY: Final = ("a NumPy file, which may hold a pickle", _CONVERT)
_HDF5: Final = ("an HDF5 or Keras file, which may hold code", _CONVERT)
_PROGRAM: Final = ("a program", _LEAVE)
_SOURCE: Final = ("source code", _LEAVE)
_ARCHIVE: Final = ("an archive, whose content is not checked", _UNPACK)
_RAW: Final = ("raw tensors beside an ONNX file", "save the model as one ONNX file, or as safetensors")

_ENDINGS: Final[dict[str, tuple[str, str]]] = {
    **dict.fromkeys(("bin", "pt", "pth", "ckpt", "pkl", "pickle", "joblib", "dill", "mar", "t7"), _PICKLE),
    **dict.fromkeys(("npy", "npz"), _ARRAY),
    **dict.fromkeys(("h5", "hdf5", "keras", "pb", "tflite"), _HDF5),
    **dict.fromkeys(("exe", "dll", "so", "dylib", "com", "msi", "jar", "class", "wasm", "elf", "pyc", "pyd"), _PROGRAM),
    **dict.fromkeys(("py", "ipynb", "sh", "bash", "bat", "cmd", "ps1", "js", "rb", "pl", "r", "c", "cpp"), _SOURCE),
    **dict.fromkeys(("zip", "tar", "tgz", "gz", "bz2", "xz", "zst", "7z", "rar", "whl", "nemo"), _ARCHIVE),
    **dict.fromkeys(("onnx_data", "data"), _RAW),
}

# (offset, bytes, what it is)
_MAGIC: Final[tuple[tuple[int, bytes, tuple[str, str]], ...]] = (
    (0, b"PK\x03\x04", ("a ZIP archive, as PyTorch writes pickles", _CONVERT)),
    (0, b"\x7fELF", _PROGRAM),
    (0, b"MZ", _PROGRAM),
    (0, b"\xfe\xed\xfa\xce", _PROGRAM),
    (0, b"\xfe\xed\xfa\xcf", _PROGRAM),
    (0, b"\xce\xfa\xed\xfe", _PROGRAM),
    (0, b"\xcf\xfa\xed\xfe", _PROGRAM),
    (0, b"\xca\xfe\xba\xbe", _PROGRAM),
    (0, b"\x00asm", _PROGRAM),
    (0, b"#!", ("a script", _LEAVE)),
    (0, b"\x93NUMPY", _ARRAY),
    (0, b"\x89HDF\r\n\x1a\n", _HDF5),
    (0, b"\x1f\x8b", _ARCHIVE),
    (0, b"BZh", _ARCHIVE),
    (0, b"\xfd7zXZ\x00", _ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (0, b"\x28\xb5\x2f\xfd", _ARCHIVE),
    (257, b"ustar", _ARCHIVE),
)
_END_OF_ARCHIVE: Final = b"PK\x05\x06"
_END_BYTES: Final = 22


def refused_name(base: str) -> tuple[str, str]:
    """What a file of that name is, and the remedy; the remedy is empty where the name is merely unknown."""
    stem, dot, ending = base.lower().rpartition(".")
    if dot and stem and ending in _ENDINGS:
        what, remedy = _ENDINGS[ending]
        return f"it is {what}", remedy
    if ".so." in base:
        return f"it is {_PROGRAM[0]}", _PROGRAM[1]
    return "no artifact holds a file of that kind", ""


def looks_like(first: bytes) -> tuple[str, str]:
    """What content that is not what its name says seems to be, and the remedy; empty where nothing is known."""
    for at, magic, found in _MAGIC:
        if first.startswith(magic, at):
            return found
    # Protocols 2 to 5 begin with PROTO; protocols 0 and 1 with a global or a mark (pickletools).
    if (first[:1] == b"\x80" and first[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")) or first[:2] in (b"c_", b"(d"):
        return _PICKLE
    return "", ""


def archive_at_end(tail: bytes) -> bool:
    """Whether a ZIP archive ends where the file does (APPNOTE.TXT, section 4.3.16), whatever stands before it."""
    at = tail.rfind(_END_OF_ARCHIVE)
    while at >= 0:
        rest = len(tail) - at - _END_BYTES
        if rest >= 0 and int.from_bytes(tail[at + 20 : at + 22], "little") == rest:
            return True
        at = tail.rfind(_END_OF_ARCHIVE, 0, at + 3)
    return False
