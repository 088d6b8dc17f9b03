"""Model artifacts as documents: what a person publishes, what a client sends, what describes a version.

An artifact is a directory of files that its publisher signed. ``ModelPublication`` is written by a person,
``ModelSubmission`` is what the client makes of it and of the files, ``ModelDescription`` is the descriptive part
of a version whose ``DatasetManifest`` has the kind ``model``. As with datasets, terms belong to the publication
alone.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from gateway.errors import ManifestError
from gateway.model import canonical, documents, limits
from gateway.model.dataset import Description_, Slug
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
from gateway.model.terms import Terms

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


class FileEntry(Part):
    """One file of an artifact.

    Args:
        name: relative POSIX path.
        bytes: its size.
        digest: SHA-256 of the file in hex.
        chunks: how many consecutive chunks of the version make it; 0 for an empty file.
    """

    name: FileName
    bytes: Annotated[int, Field(ge=0, le=limits.ROWS_MAX)]
    digest: Digest
    chunks: Annotated[int, Field(ge=0, le=limits.CHUNKS_MAX)]

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if not self.chunks <= self.bytes <= self.chunks * limits.MODEL_CHUNK_DATA:
            raise PydanticCustomError(
                "chunks", "{chunks} chunks cannot make {bytes} bytes", {"chunks": self.chunks, "bytes": self.bytes}
            )
        return self


Files = Annotated[
    tuple[FileEntry, ...], Field(min_length=1, max_length=limits.MODEL_FILES_MAX), BeforeValidator(as_tuple)
]


class _Artifact(Part):
    """What a submission and a description share.

    Args:
        artifact: SHA-256 in hex of the exact bytes of the signed statement: the artifact's id.
        files: every file, in the order of ``name_order``; their chunks follow one another in this order.
        signature: the text of the Sigstore bundle.
        provenance: the texts of DSSE envelopes.
    """

    v: Literal[1] = 1
    kind: Literal["model"] = "model"
    id: Slug
    title: Text
    description: Description_
    licence: OptionalText
    model: ModelDeclaration
    artifact: Digest
    files: Files
    signature: Bundle
    provenance: Envelopes

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


class ModelDescription(_Artifact):
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


class ModelSubmission(_Artifact):
    """What a client sends to its own gateway, as canonical JSON."""

    terms: Terms | None = None

    def describe(self) -> ModelDescription:
        """The descriptive part.

        Raises:
            ManifestError: it is too long for a version.
        """
        described = ModelDescription(**{name: getattr(self, name) for name in ModelDescription.model_fields})
        size = len(described.encode())
        if size > limits.MANIFEST_MAX:
            raise ManifestError(
                f"the files, signature and provenance of {self.id} take {size} bytes to describe; "
                f"the limit is {limits.MANIFEST_MAX}",
                remedy="publish fewer files with shorter names, or shorter provenance",
            )
        return described

    def encode(self) -> Any:
        """The canonical JSON that ``parse`` reads."""
        return canonical.encode(self.document())

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Read what a publisher sent.

        Raises:
            ManifestError: too long, not canonical JSON, or wrong; the text names the first field at fault.
        """
        return documents.read_sent(cls, data, limits.MODEL_SUBMISSION_MAX)


class ModelPublication(Part):
    """What a person writes to publish a model.

    Args:
        provenance: files beside the manifest, each with one signed DSSE envelope.
        terms: to whom it is offered; the action is ``transfer_model`` where none is written.
    """

    id: Slug
    title: Text
    description: Description_ = ""
    licence: OptionalText = ""
    model: ModelDeclaration
    provenance: Annotated[
        tuple[PlainName, ...], Field(max_length=limits.PROVENANCE_STATEMENTS_MAX), BeforeValidator(as_tuple)
    ] = ()
    terms: Annotated[Terms | None, BeforeValidator(lambda value: _for_models(value))] = None

    @model_validator(mode="after")
    def _once(self) -> Self:
        problem = names_problem(self.provenance)
        if problem:
            raise PydanticCustomError("provenance", "provenance: {problem}", {"problem": problem})
        return self

    def submit(
        self, *, artifact: str, files: Sequence[FileEntry], signature: str, provenance: Sequence[str]
    ) -> ModelSubmission:
        """Put the publisher's words, the files and what was signed together.

        Args:
            artifact: the artifact's id in hex.
            files: every file, in any order.
            signature: the text of the bundle.
            provenance: the contents of the files that ``provenance`` names.

        Raises:
            ManifestError: they do not fit together; the text names the field.
        """
        document = self.document()
        document |= {
            "v": 1,
            "kind": "model",
            "artifact": artifact,
            "files": [file.document() for file in sorted(files, key=lambda file: name_order(file.name))],
            "signature": signature,
            "provenance": list(provenance),
        }
        return ModelSubmission.parse(canonical.encode(document))


def _for_models(value: object) -> object:
    """Terms of a model, where the person left out the one action that there is."""
    return {"actions": ["transfer_model"], **value} if isinstance(value, dict) else value


def load_model_publication(path: Path) -> ModelPublication:
    """Read the manifest that a person wrote.

    Args:
        path: a YAML file of at most ``limits.MANIFEST_MAX`` bytes.

    Raises:
        ManifestError: file, line, field, what was found and the remedy.
    """
    publication, _ = documents.read_written(ModelPublication, path)
    return publication
