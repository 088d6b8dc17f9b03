"""A bundle's container: written the same way each time, and nothing but plain files is read."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib

import pytest

from gateway.decisions.bundles import archive
from gateway.errors import IntegrityError, LimitError
from gateway.model.limits import BUNDLE_FILE_MAX, BUNDLE_MAX, BUNDLE_UNPACKED_MAX

FILES = {"tdz/zone/x/rules.rego": b"package tdz.zone.x\n", ".manifest": b"{}", "tdz/zone/x/data.json": b"{}" * 400}


def tar(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.USTAR_FORMAT) -> bytes:  # noqa: A002
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as file:
        for info, content in members:
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_the_same_files_give_the_same_bytes_in_any_order_and_come_back() -> None:
    packed = archive.pack(FILES)
    assert packed == archive.pack(dict(reversed(FILES.items())))
    assert archive.unpack(packed) == FILES


def test_pythons_tar_reads_what_is_packed() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive.pack(FILES)), mode="r:gz") as file:
        found = {info.name: (info.mode, info.mtime, info.isreg()) for info in file.getmembers()}
    assert found == {f"/{name}": (0o600, 0, True) for name in FILES}


def test_what_pythons_tar_packs_is_read() -> None:
    packed = gzip.compress(tar(*((member(name), content) for name, content in FILES.items())))
    assert archive.unpack(packed) == FILES


@pytest.mark.parametrize(
    "name", ["../x.rego", "a/../x.rego", "a//x.rego", "./x.rego", "a/./x.rego", "//x.rego", "a\\x.rego", "a b.rego", ""]
)
def test_names_that_climb_or_are_not_plain_are_refused(name: str) -> None:
    with pytest.raises(IntegrityError):
        archive.unpack(gzip.compress(tar((member(name), b"x"))))


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "a.rego"),
        (tarfile.DIRTYPE, ""),
        (tarfile.CHRTYPE, ""),
        (tarfile.FIFOTYPE, ""),
        (tarfile.CONTTYPE, ""),
    ],
)
def test_links_folders_and_devices_are_refused(kind: bytes, target: str) -> None:
    with pytest.raises(IntegrityError, match="no plain file"):
        archive.unpack(gzip.compress(tar((member("b.rego", kind, target), b""))))


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_in_extended_headers_are_refused(form: int) -> None:
    with pytest.raises(IntegrityError):
        archive.unpack(gzip.compress(tar((member("a/" * 60 + "x" * 120), b"x"), format=form)))


def test_a_name_that_stands_twice_is_refused_with_and_without_a_slash() -> None:
    for first, second in (("a.rego", "a.rego"), ("a.rego", "/a.rego")):
        with pytest.raises(IntegrityError, match="twice"):
            archive.unpack(gzip.compress(tar((member(first), b"x"), (member(second), b"y"))))


def test_every_truncation_is_refused() -> None:
    packed = archive.pack(FILES)
    for length in range(len(packed)):
        with pytest.raises(IntegrityError):
            archive.unpack(packed[:length])


def test_a_tar_that_is_cut_or_goes_on_is_refused() -> None:
    whole = zlib.decompress(archive.pack(FILES), 31)
    for cut in range(0, len(whole), 512):
        with pytest.raises(IntegrityError):
            archive.unpack(gzip.compress(whole[:cut]))
    with pytest.raises(IntegrityError, match="does not end"):
        archive.unpack(gzip.compress(whole + tar((member("late.rego"), b"x"))))


def test_what_follows_the_gzip_is_refused() -> None:
    packed = archive.pack(FILES)
    for more in (b"\0", packed):
        with pytest.raises(IntegrityError, match="follows"):
            archive.unpack(packed + more)


def test_every_flipped_bit_of_a_header_is_refused_or_changes_nothing_that_is_read() -> None:
    whole = zlib.decompress(archive.pack({"a.rego": b"x"}), 31)
    read = []
    for place in range(512):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            try:
                assert archive.unpack(gzip.compress(bytes(flipped), 1)) == {"a.rego": b"x"}
                read.append(place)
            except IntegrityError:
                continue
    assert set(read) <= set(range(148, 156))  # how the checksum itself is written


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = gzip.compress(bytes(BUNDLE_UNPACKED_MAX + 1024), 9)
    assert len(bomb) < BUNDLE_MAX / 100
    with pytest.raises(LimitError, match="unpacks"):
        archive.unpack(bomb)


def test_too_long_a_bundle_or_a_file_is_refused() -> None:
    with pytest.raises(LimitError):
        archive.unpack(bytes(BUNDLE_MAX + 1))
    with pytest.raises(LimitError, match="too long"):
        archive.unpack(gzip.compress(tar((member("a.rego"), bytes(BUNDLE_FILE_MAX + 1)))))
    with pytest.raises(LimitError):
        archive.pack({"a/" * 50 + "x.rego": b""})


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b", b"no gzip at all", zlib.compress(b"x")])
def test_what_is_no_gzip_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        archive.unpack(data)
