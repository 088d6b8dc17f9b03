"""What is published: rows and manifest, in the forms in which people have them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from gateway.errors import InputError, ManifestError
from gateway.model.canonical import CanonicalError, encode
from gateway.model.dataset import Publication, load_publication
from gateway.sdk.files import open_reader


def open_rows(source: Any, chosen: str, table: str) -> Any:
    """A `pyarrow.RecordBatchReader` over a file or over what offers the Arrow C stream interface.

    Raises:
        DataFileError: the file is not what it should be.
        InputError: the object is no source of rows, or the file's format is unknown.
    """
    if isinstance(source, str | Path):
        return open_reader(source, format=chosen, table=table)
    if isinstance(source, pa.RecordBatchReader):
        return source
    try:
        return pa.RecordBatchReader.from_stream(source)
    except TypeError as error:
        raise InputError(
            f"a {type(source).__name__} is no source of rows",
            remedy="give a file, a pyarrow.Table or RecordBatchReader, or an object with __arrow_c_stream__",
        ) from error


def read_publication(manifest: Path | str | Mapping[str, Any] | Publication) -> Publication:
    """A publication from a YAML file, from its content, or as it is.

    Raises:
        ManifestError: file, line, field and remedy.
    """
    if isinstance(manifest, Publication):
        return manifest
    if isinstance(manifest, str | Path):
        return load_publication(Path(manifest))
    try:
        return Publication.parse(encode(dict(manifest)))
    except CanonicalError as error:
        raise ManifestError(f"the manifest is no JSON document: {error}", remedy="use texts and integers") from error
