"""Datasets as documents: what a person publishes, what describes a version, and the manifest that addresses it.

``Publication`` is written by a person (YAML) or sent as JSON; ``Description`` is its descriptive part with the
columns as the data has them; ``DatasetManifest`` is what a version digest is taken over. Terms belong to the
publication alone: they may change while the version stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError

from gateway.errors import ManifestError
from gateway.model import canonical, documents, limits, manifest_yaml
from gateway.model.policy_facts import (
    Category,
    CnFacts,
    Column,
    ColumnTag,
    Country,
    DatasetFacts,
    Deidentification,
    Digest,
    FactText,
    Items,
    MyFacts,
    NonEmpty,
    Onward,
    OptionalFactText,
    OptionalText,
    Part,
    Text,
    UnixSeconds,
    as_tuple,
    in_words,
)
from gateway.model.policy_input import dataset_contradictions
from gateway.model.terms import Terms

_MANIFEST_BYTES_MAX: Final = 4_096
_NO_DIGEST: Final = "0" * 64

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Description_ = Annotated[str, StringConstraints(max_length=limits.DESCRIPTION_MAX_CHARS)]


class TaggedColumn(Part):
    """Tags that the publisher gives a column; its type comes from the data."""

    name: FactText
    tags: Items[ColumnTag]


class _Facts(Part):
    sector: FactText
    origin_jurisdictions: NonEmpty[Country]
    origin: Literal["domestic", "foreign_in_transit", "mixed"]
    controller: FactText
    gov_source: Literal["none", "federal", "state", "statutory_body", "open"]
    category: Category
    my: MyFacts
    cn: CnFacts
    deid: Deidentification = Deidentification(method="none", k=0, l=0, reid_tested_at=0)
    retention_until: UnixSeconds = 0
    onward: Items[Onward] = ()


class PersonsKey(Part):
    """How the rows name their persons, so that a person is counted once in a year; it stays on the own side.

    Args:
        column: names each row's person, as text or a whole number.
        namespace: what kind of name that is; datasets of one institution with the same one share their persons.
            By default a dataset shares none.
        sensitive: a boolean column that says of whom a row tells something sensitive; needed where
            ``cn.subjects_non_sensitive`` and ``cn.subjects_sensitive`` are both above 0.
    """

    column: FactText
    namespace: OptionalText = ""
    sensitive: OptionalFactText = ""


class PublishedFacts(_Facts):
    """The facts of the policy input's ``dataset`` that the publisher knows."""

    columns: Annotated[tuple[TaggedColumn, ...], Field(max_length=limits.COLUMNS_MAX), BeforeValidator(as_tuple)] = ()


class DescribedFacts(_Facts):
    """The same facts, with every column as the data has it."""

    columns: Annotated[
        tuple[Column, ...], Field(min_length=1, max_length=limits.COLUMNS_MAX), BeforeValidator(as_tuple)
    ]


class Description(Part):
    """The descriptive part of a version, addressed by the manifest's ``descriptive`` digest."""

    v: Literal[1] = 1
    kind: Literal["dataset"] = "dataset"
    id: Slug
    title: Text
    description: Description_
    licence: OptionalText
    dataset: DescribedFacts

    def encode(self) -> bytes:
        """The canonical bytes."""
        return canonical.encode(self.document())

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the descriptive part of another zone's version.

        Raises:
            IntegrityError: too long, not canonical, or not a descriptive part.
        """
        return documents.read_stored(cls, data, limits.MANIFEST_MAX, "descriptive part")

    def facts(self, version: str) -> DatasetFacts:
        """The policy input's ``dataset``.

        Args:
            version: the version digest in hex.
        """
        members = {name: getattr(self.dataset, name) for name in DescribedFacts.model_fields}
        return DatasetFacts(id=self.id, digest=version, **members)


class Publication(Part):
    """What a person writes to publish a dataset."""

    id: Slug
    title: Text
    description: Description_ = ""
    licence: OptionalText = ""
    dataset: PublishedFacts
    persons: PersonsKey | None = None
    terms: Terms | None = None

    def describe(self, columns: Sequence[tuple[str, str]]) -> Description:
        """Put the publisher's facts and the data's columns together.

        Args:
            columns: (name, Arrow type as pyarrow prints it) of each column of the data, in order.

        Raises:
            ManifestError: a tag for a column that the data does not have, or a name that no document holds.
        """
        names = [name for name, _ in columns]
        tags: dict[str, tuple[ColumnTag, ...]] = {}
        for index, column in enumerate(self.dataset.columns):
            field = f"dataset.columns.{index}.name"
            if column.name not in names:
                raise ManifestError(
                    f"{field}: the data has no column {column.name!r}",
                    remedy=manifest_yaml.nearest(column.name, names) or f"columns: {', '.join(names)[:500]}",
                )
            if column.name in tags:
                raise ManifestError(f"{field}: column {column.name!r} stands twice", remedy="join its tags")
            tags[column.name] = column.tags
        try:
            described = DescribedFacts(
                **{name: getattr(self.dataset, name) for name in _Facts.model_fields},
                columns=tuple(
                    Column(name=name, arrow_type=arrow_type, tags=tags.get(name, ())) for name, arrow_type in columns
                ),
            )
        except ValidationError as error:
            raise ManifestError(
                f"a column's name or type cannot be described: {in_words(error.errors()[0])}",
                remedy="column names have 1 to 200 characters, no quotation marks, backslashes or control characters",
            ) from error
        return Description(
            id=self.id,
            title=self.title,
            description=self.description,
            licence=self.licence,
            dataset=described,
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a publication that a partner sent as JSON.

        Raises:
            ManifestError: too long, not JSON, or wrong; the text names the first field at fault.
        """
        publication = documents.read_sent(cls, data, limits.MANIFEST_MAX)
        _refuse_contradictions(publication, "manifest", {})
        return publication

    def facts_to_check(self) -> DatasetFacts:
        """The facts with stand-ins for what only the data knows."""
        members = {name: getattr(self.dataset, name) for name in _Facts.model_fields}
        column = Column(name="unknown", arrow_type="unknown", tags=())
        return DatasetFacts(id=self.id, digest=_NO_DIGEST, columns=(column,), **members)

    def encode(self) -> bytes:
        """The canonical JSON that ``parse`` reads."""
        return canonical.encode(self.document())


class DatasetManifest(Part):
    """The machine manifest; the version digest is SHA-256 of its canonical JSON.

    Args:
        kind: ``dataset``, or ``model`` for an artifact on the same storage.
        schema_digest: SHA-256 of the schema message.
        descriptive_digest: SHA-256 of the descriptive part.
        chunks: number of chunks.
        rows: rows over all chunks.
        bytes: bytes over all chunk files.
        root: RFC 6962 tree hash over the chunk digests.
        encoding: how the chunks' buffers are compressed.
    """

    v: Literal[1] = 1
    kind: Literal["dataset", "model"] = "dataset"
    id: Slug
    schema_digest: Digest = Field(alias="schema")
    descriptive_digest: Digest = Field(alias="descriptive")
    chunks: Annotated[int, Field(ge=0, le=limits.CHUNKS_MAX)]
    rows: Annotated[int, Field(ge=0, le=limits.ROWS_MAX)]
    bytes: Annotated[int, Field(ge=0, le=limits.ROWS_MAX)]
    root: Digest
    encoding: Literal["none", "lz4", "zstd"]

    def encode(self) -> Any:
        """The canonical bytes that are hashed, stored and sent."""
        return canonical.encode(self.document())

    @property
    def version(self) -> str:
        """The version digest in hex."""
        return hashlib.sha256(self.encode()).hexdigest()

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Read a manifest, strictly.

        Raises:
            IntegrityError: too long, not canonical, or not a manifest.
        """
        return documents.read_stored(cls, data, _MANIFEST_BYTES_MAX, "manifest")


def load_publication(path: Path) -> Publication:
    """Read the manifest that a person wrote.

    Args:
        path: a YAML file of at most ``limits.MANIFEST_MAX`` bytes.

    Raises:
        ManifestError: file, line, field, what was found and the remedy.
    """
    publication, lines = documents.read_written(Publication, path)
    _refuse_contradictions(publication, str(path), lines)
    return publication


def _refuse_contradictions(publication: Publication, where: str, lines: manifest_yaml.Lines) -> None:
    for problem in dataset_contradictions(publication.facts_to_check(), path="dataset"):
        path = tuple(problem.fields[0].split("."))
        others = ", ".join(problem.fields[1:])
        raise manifest_yaml.at(where, lines, path, problem.text, f"mend it or {others}" if others else "")
