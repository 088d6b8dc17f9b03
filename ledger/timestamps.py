"""RFC 3161 time stamps over checkpoints: an authority's word on when a log had which size.

A stamp is over SHA-256 of the text of a checkpoint's note, so that it can be checked with `openssl ts -verify` as
well. It lies in ``timestamps/<size>-<tsa>.tsr``, exactly as the authority sent it. Needs the extra ``timestamp``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cryptography import x509

from ledger.canonical import JsonValue
from ledger.checkpoint import Checkpoint
from ledger.errors import LedgerError, OperationalError, TamperedError
from ledger.merkle import tree_root
from ledger.storage import DiskStorage
from ledger.tiles import TileReader, read_regular_file

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

__all__ = ["FOLDER", "Timestamp", "authority_name", "newest_timestamp", "request_timestamp", "verify_timestamps"]

FOLDER: Final = "timestamps"
MAX_STAMP_BYTES: Final = 64 * 1024
MAX_FILES: Final = 100_000
DEADLINE_S: Final = 30.0

_GRANTED: Final = 0
_SHA256: Final = "2.16.840.1.101.3.4.2.1"
_NAME: Final = re.compile(r"(0|[1-9][0-9]{0,18})-([a-z0-9][a-z0-9.-]{0,62})\.tsr", re.ASCII)
_TSA: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Timestamp:
    """What became of one file.

    Args:
        file: below the log's directory.
        size: the checkpoint's size; None where the file's name says none.
        tsa: the authority, as the file's name calls it.
        time: when it was stamped, as the stamp says.
        problem: why it is no stamp of that checkpoint; empty where it is one.
        trusted: whether its signature leads to an authority that was handed in.
    """

    file: str
    size: int | None
    tsa: str
    time: datetime | None
    problem: str
    trusted: bool

    def as_json(self) -> dict[str, JsonValue]:
        """As one document."""
        return {
            "file": self.file,
            "problem": self.problem,
            "size": self.size,
            "time": self.time.isoformat() if self.time else None,
            "trusted": self.trusted,
            "tsa": self.tsa,
        }


def authority_name(url: str, name: str = "") -> str:
    """What files call an authority: the name that was chosen for it, or its host.

    Raises:
        OperationalError: it is no authority's URL, or its host gives no name.
    """
    name = name or re.sub(r"[^a-z0-9.-]+", "-", (urlsplit(url).hostname or "").lower()).strip("-.")
    if urlsplit(url).scheme not in ("http", "https") or not _TSA.fullmatch(name):
        raise OperationalError(f"{url!r} is no authority's URL", remedy="give --tsa https://… and, if need be, --name")
    return name


def newest_timestamp(directory: Path, head: Checkpoint, tsa: str) -> Timestamp | None:
    """The stamp of the largest size that an authority gave; its signature is not judged. None where there is none.

    Args:
        directory: the log's directory.
        head: its newest checkpoint.
        tsa: as :func:`authority_name` has it.

    Raises:
        OperationalError: the folder cannot be read.
    """
    try:
        found = [m for m in map(_NAME.fullmatch, os.listdir(directory / FOLDER)) if m and m[2] == tsa]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OperationalError(f"cannot read {directory / FOLDER}: {error.strerror}") from error
    newest = max(found, key=lambda match: int(match[1]), default=None)
    return None if newest is None else _verify(directory, f"{FOLDER}/{newest[0]}", head, None)


def request_timestamp(
    directory: Path,
    head: Checkpoint,
    checkpoint: Checkpoint,
    url: str,
    *,
    ca: bytes = b"",
    name: str = "",
    deadline: float = DEADLINE_S,
) -> Timestamp:
    """Have a checkpoint stamped, verify the answer and keep it; one that is there already is kept and verified.

    Durability: the file is on disk when it returns, complete or not at all.

    Args:
        directory: the log's directory.
        head: its newest checkpoint.
        checkpoint: the one to stamp.
        url: the authority's, over HTTP or HTTPS; the answer is signed.
        ca: certificates of authorities that are trusted (PEM); without any the signature is not judged.
        name: what the file calls the authority; by default its host.
        deadline: for its answer, in seconds.

    Raises:
        OperationalError: it does not answer, refuses, or answers what is no stamp of this request.
    """
    library = _library()
    name = authority_name(url, name)
    file = f"{FOLDER}/{checkpoint.size}-{name}.tsr"
    if not os.path.lexists(directory / file):
        text = checkpoint.text.encode()
        builder = library.TimestampRequestBuilder().data(text).hash_algorithm(library.HashAlgorithm.SHA256)
        request = builder.nonce(nonce=True).cert_request(cert_request=True).build()
        answer = _post(url, request.as_bytes(), deadline)
        try:
            stamp = _decode(answer)
            # RFC 3161, section 2.4.2: the nonce MUST be that of the request.
            if stamp.tst_info.nonce != request.nonce:
                raise TamperedError("it carries another nonce than the request")
            _judge(stamp, checkpoint, _trust(ca))
        except TamperedError as error:
            raise OperationalError(f"the authority {name} answers no stamp of this request: {error.message}") from error
        _keep(directory, file, answer)
    return _verify(directory, file, head, _trust(ca))


def verify_timestamps(directory: Path, head: Checkpoint, *, ca: bytes = b"") -> Iterator[Timestamp]:
    """Judge every stamp of a log by ascending size.

    Each must be over the text of the checkpoint that the log's tiles give at its size, and its signature must lead to
    an authority of ``ca``; the certificates have to be valid at the stamp's own time.

    Args:
        directory: the log's directory; its tiles are believed, so verify them first.
        head: its newest checkpoint.
        ca: certificates of authorities that are trusted (PEM); without any no stamp is ``trusted``.

    Raises:
        OperationalError: the folder cannot be read, or ``ca`` holds no certificates.
    """
    trust = _trust(ca)
    folder = directory / FOLDER
    if os.path.islink(folder):
        yield Timestamp(FOLDER, None, "", None, "it is a symbolic link", trusted=False)
        return
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OperationalError(f"cannot read {folder}: {error.strerror}") from error
    if len(names) > MAX_FILES:
        raise OperationalError(f"{folder} holds more than {MAX_FILES} files")
    for name in sorted(names, key=lambda each: (int(m[1]) if (m := _NAME.fullmatch(each)) else -1, each)):
        if not name.startswith("."):  # unfinished
            yield _verify(directory, f"{FOLDER}/{name}", head, trust)


class _Trust:
    """Certificates that a signature must lead to."""

    def __init__(self, certificates: list[x509.Certificate]) -> None:
        self.roots = [each for each in certificates if each.issuer == each.subject]
        self.intermediates = [each for each in certificates if each.issuer != each.subject]


def _trust(ca: bytes) -> _Trust | None:
    if not ca:
        return None
    try:
        trust = _Trust(x509.load_pem_x509_certificates(ca))
    except ValueError as error:
        raise OperationalError("the authorities' file holds no certificates", remedy="give PEM certificates") from error
    if not trust.roots:
        raise OperationalError("the authorities' file holds no root", remedy="add the self-signed certificate")
    return trust


def _verify(directory: Path, file: str, head: Checkpoint, trust: _Trust | None) -> Timestamp:
    match = _NAME.fullmatch(file.removeprefix(f"{FOLDER}/"))
    if match is None:
        return Timestamp(file, None, "", None, "it is not named <size>-<tsa>.tsr", trusted=False)
    size, tsa, when = int(match[1]), match[2], None
    try:
        stamp = _decode(read_regular_file(str(directory / file), MAX_STAMP_BYTES))
        when = stamp.tst_info.gen_time
        if size > head.size:
            raise TamperedError(f"the log has {head.size} entries only")
        root = tree_root(TileReader(directory).nodes(head.size), size)
        _judge(stamp, Checkpoint(head.origin, size, root), trust)
    except OperationalError:
        raise
    except LedgerError as error:
        return Timestamp(file, size, tsa, when, error.message, trusted=False)
    return Timestamp(file, size, tsa, when, "", trusted=trust is not None)


def _judge(stamp: TimeStampResponse, checkpoint: Checkpoint, trust: _Trust | None) -> None:
    """The stamp is of this checkpoint's text, and signed by one who is trusted.

    Raises:
        TamperedError: it is not.
    """
    library = _library()
    imprint = stamp.tst_info.message_imprint
    if imprint.hash_algorithm.dotted_string != _SHA256:
        raise TamperedError("it is not over SHA-256")
    digest = hashlib.sha256(checkpoint.text.encode()).digest()
    if imprint.message != digest:
        raise TamperedError(f"it is not over the text of our checkpoint of size {checkpoint.size}")
    if trust is None:
        return
    verifier = library.VerifierBuilder(roots=list(trust.roots), intermediates=list(trust.intermediates)).build()
    try:
        verifier.verify(stamp, digest)
    except (library.VerificationError, ValueError) as error:
        raise TamperedError(f"its signature does not lead to a trusted authority: {_one_line(error)}") from error


def _decode(data: bytes) -> TimeStampResponse:
    """Parse a granted stamp.

    Raises:
        TamperedError: it is none.
    """
    try:
        stamp: TimeStampResponse = _library().decode_timestamp_response(data)
        if stamp.status != _GRANTED:
            raise TamperedError(f"the authority refused, with status {stamp.status}")
        stamp.tst_info.gen_time  # noqa: B018 (parsed only now)
    except ValueError as error:
        raise TamperedError(f"it is no time stamp: {_one_line(error)}") from error
    return stamp


def _library() -> Any:
    try:
        import rfc3161_client
    except ModuleNotFoundError as error:
        raise OperationalError(
            f"{error.name} is not installed", remedy="pip install 'tdz-gateway[timestamp]'"
        ) from error
    return rfc3161_client


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The authority that was named is the one that is asked."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """Follow nothing."""


def _post(url: str, query: bytes, deadline: float) -> bytes:
    headers = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
    request = urllib.request.Request(url, data=query, headers=headers)  # noqa: S310 (the scheme was checked)
    opener = urllib.request.build_opener(_NoRedirect)
    until = time.monotonic() + deadline
    try:
        with opener.open(request, timeout=deadline) as response:
            answer = b""
            while part := response.read1(16 * 1024):
                answer += part
                if len(answer) > MAX_STAMP_BYTES:
                    raise OperationalError(f"the authority answers more than {MAX_STAMP_BYTES} bytes")
                if time.monotonic() > until:
                    raise OperationalError(f"the authority did not answer within {deadline:g} s")
            return answer
    except urllib.error.HTTPError as error:
        error.close()
        raise OperationalError(f"the authority answers HTTP {error.code}", remedy="is that its URL?") from error
    except (OSError, ValueError) as error:
        raise OperationalError(f"the authority cannot be reached: {_one_line(error)}", remedy="try again") from error


def _keep(directory: Path, file: str, data: bytes) -> None:
    storage = DiskStorage()
    target = str(directory / file)
    temporary = str(directory / FOLDER / f".new-{os.getpid()}")
    try:
        storage.make_directory(str(directory / FOLDER))
        storage.sync_directory(str(directory))
        with contextlib.suppress(FileNotFoundError):  # what a killed process of this number left
            os.unlink(temporary)
        storage.create(temporary, data)
        try:
            with contextlib.suppress(FileExistsError):  # another was faster: its stamp is as good
                storage.link(temporary, target)
        finally:
            storage.unlink(temporary)
        storage.sync_directory(str(directory / FOLDER))
    except OSError as error:
        raise OperationalError(f"cannot write {target}: {error.strerror}", remedy="free space there") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
