"""Model artifacts as documents: what a person publishes, what a client sends, what describes a version.

An artifact is a directory of files that its publisher signed. ``ModelDescription`` is the descriptive part of a
version whose ``DatasetManifest`` has the kind ``model``; what a publisher writes and sends is in
``gateway.model.submission``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from gateway.errors import IntegrityError
from gateway.model import canonical, documents, limits
from gateway.model.dataset import DatasetManifest, Description_, Slug
from gateway.model.policy_facts import (
    Digest,
    EndUse,
    MemorisationTest,
    ModelFormat,
    Openness,
    OptionalText,
    Part,
    Text,
    as_tuple,
)

WEIGHTS: Final[dict[str, str]] = {"safetensors": ".safetensors", "onnx": ".onnx", "gguf": ".gguf"}

# Controls, invisible format characters, lone surrogates, private and unassigned code points, line separators.
_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def name_problem(name: str) -> str:
    """What is wrong with a file's name within an artifact; empty where nothing is.

    A name is a relative POSIX path that means the same on every system that unpacks it.
    """
    parts = name.split("/")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not Unicode text"
    if not name or size > limits.MODEL_FILE_NAME_MAX:
        return f"has {size} bytes; a name has 1 to {limits.MODEL_FILE_NAME_MAX}"
    if any(unicodedata.category(char) in _HIDDEN_CATEGORIES for char in name):
        return "holds a control character or an invisible one"
    if name.startswith("/"):
        return "is an absolute path"
    if any(part in {"", ".", ".."} for part in parts):
        return "climbs or is not in its shortest form"
    if any(part.startswith(".") for part in parts):
        return "is hidden (it starts with a dot)"
    if any(char in name for char in '\\:*?"<>|') or any(part[-1] in ". " or part[0] == " " for part in parts):
        return "means something else on other systems"
    if unicodedata.normalize("NFC", name) != name:
        return "is not in Unicode's composed form (NFC)"
    if len(parts) > limits.MODEL_FILE_DEPTH_MAX + 1:
        return f"lies more than {limits.MODEL_FILE_DEPTH_MAX} directories deep"
    return ""


def name_order(name: str) -> tuple[str, ...]:
    """The key by which files are sorted: path component by component, as OpenSSF Model Signing sorts them."""
    return tuple(name.split("/"))


def names_problem(names: Iterable[str]) -> str:
    """What is wrong with a set of names that are each in order: two that fall together, or a file in a file."""
    seen: dict[tuple[str, ...], str] = {}
    for name in names:
        folded = tuple(unicodedata.normalize("NFC", part.casefold()) for part in name_order(name))
        if folded in seen:
            other = seen[folded]
            return f"{name!r} stands twice" if other == name else f"{name!r} and {other!r} differ in case alone"
        seen[folded] = name
    for folded, name in seen.items():
        for end in range(1, len(folded)):
            if folded[:end] in seen:
                return f"{seen[folded[:end]]!r} is a file and the directory of {name!r}"
    return ""


def _file_name(name: str) -> str:
    problem = name_problem(name)
    if problem:
        raise PydanticCustomError("file_name", "{problem}", {"problem": f"the name {name[:80]!r} {problem}"})
    return name


def _plain_name(name: str) -> str:
    if "/" in name:
        raise PydanticCustomError("file_name", "name a file that lies beside the manifest")
    return _file_name(name)


FileName = Annotated[str, AfterValidator(_file_name)]
PlainName = Annotated[str, AfterValidator(_plain_name)]
Envelope = Annotated[str, StringConstraints(min_length=2, max_length=limits.PROVENANCE_ENVELOPE_MAX)]
Envelopes = Annotated[
    tuple[Envelope, ...], Field(max_length=limits.PROVENANCE_STATEMENTS_MAX), BeforeValidator(as_tuple)
]
Bundle = Annotated[str, StringConstraints(min_length=2, max_length=limits.MODEL_SIGNATURE_MAX)]


class ModelDeclaration(Part):
    """What only the publisher can say of a model.

    Args:
        format: of the weights; at least one file has its suffix.
        openness: who may have the weights.
        end_use: what the model is for.
        memorisation_test: whether it was tested for giving back what it was trained on.
    """

    format: ModelFormat
    openness: Openness
    end_use: EndUse
    memorisation_test: MemorisationTest = "none"


class PlannedFile(Part):
    """One file of an artifact before it is read through.

    Args:
        name: relative POSIX path.
        bytes: its size.
        chunks: how many consecutive chunks of the version make it; 0 for an empty file.
    """

    name: FileName
    bytes: Annotated[int, Field(ge=0, le=limits.ROWS_MAX)]
    chunks: Annotated[int, Field(ge=0, le=limits.CHUNKS_MAX)]

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if not self.chunks <= self.bytes <= self.chunks * limits.MODEL_CHUNK_DATA:
            raise PydanticCustomError(
                "chunks", "{chunks} chunks cannot make {bytes} bytes", {"chunks": self.chunks, "bytes": self.bytes}
            )
        return self


class FileEntry(PlannedFile):
    """One file of an artifact.

    Args:
        digest: SHA-256 of the file in hex.
    """

    digest: Digest


PlannedFiles = Annotated[
    tuple[PlannedFile, ...], Field(min_length=1, max_length=limits.MODEL_FILES_MAX), BeforeValidator(as_tuple)
]
Files = Annotated[
    tuple[FileEntry, ...], Field(min_length=1, max_length=limits.MODEL_FILES_MAX), BeforeValidator(as_tuple)
]


class Model(Part):
    """What is said of a model before and after it is signed.

    Args:
        files: every file, in the order of ``name_order``; their chunks follow one another in this order.
    """

    v: Literal[1] = 1
    kind: Literal["model"] = "model"
    id: Slug
    title: Text
    description: Description_
    licence: OptionalText
    model: ModelDeclaration
    files: PlannedFiles

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [file.name for file in self.files]
        if names != sorted(names, key=name_order):
            raise PydanticCustomError("files", "the files are not sorted by name")
        problem = names_problem(names)
        if problem:
            raise PydanticCustomError("files", "{problem}", {"problem": problem})
        if not 1 <= self.chunks <= limits.CHUNKS_MAX or self.bytes > limits.ROWS_MAX:
            raise PydanticCustomError("files", "the files have no bytes, or too many")
        suffix = WEIGHTS[self.model.format]
        if not any(name.lower().endswith(suffix) for name in names):
            raise PydanticCustomError("files", "no file has weights ({suffix})", {"suffix": suffix})
        return self

    @property
    def chunks(self) -> int:
        """Chunks over all files."""
        return sum(file.chunks for file in self.files)

    @property
    def bytes(self) -> int:
        """Bytes over all files, without the framing of chunks."""
        return sum(file.bytes for file in self.files)


class SignedModelPart(Model):
    """A model with its files' digests and what was signed of them.

    Args:
        artifact: SHA-256 in hex of the exact bytes of the signed statement: the artifact's id.
        signature: the text of the Sigstore bundle.
        provenance: the texts of DSSE envelopes.
    """

    files: Files
    artifact: Digest
    signature: Bundle
    provenance: Envelopes


class ModelDescription(SignedModelPart):
    """The descriptive part of a model's version, addressed by the manifest's ``descriptive`` digest."""

    def encode(self) -> Any:
        """The canonical bytes."""
        return canonical.encode(self.document())

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Read the descriptive part of another zone's version.

        Raises:
            IntegrityError: too long, not canonical, or not a descriptive part.
        """
        return documents.read_stored(cls, data, limits.MANIFEST_MAX, "descriptive part")

    def require_manifest(self, manifest: DatasetManifest) -> None:
        """Make sure that a machine manifest is one of this model: its digest alone does not say so.

        Raises:
            IntegrityError: another kind, id or encoding, or not one row and one chunk for each run of the files.
        """
        found = (manifest.kind, manifest.id, manifest.encoding, manifest.rows, manifest.chunks)
        if found != ("model", self.id, "none", self.chunks, self.chunks):
            raise IntegrityError(
                f"the manifest is not that of the model {self.id}", remedy="ask the provider to publish it again"
            )
