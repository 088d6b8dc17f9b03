"""Writing small files so that a crash leaves the old one or the new one."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from gateway.errors import ConfigError, StorageError


def write_file(path: Path, data: bytes, *, mode: int, replace: bool = True) -> None:
    """Write a file so that its name never holds a part of it; durable on return.

    Args:
        path: where; its directory exists.
        data: the whole content.
        mode: permission bits, in force before the first byte.
        replace: whether an existing file may be replaced.

    Raises:
        ConfigError: the file exists and `replace` is false.
        StorageError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)
            temporary.unlink()
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except FileExistsError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"{path} exists", remedy="choose another place, or move it away first") from error
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror}", remedy="free space, mend permissions") from error
