"""What a publisher writes and sends to publish a model.

``ModelPublication`` is written by a person. The client makes of it and of the files as they lie an announcement,
sends their runs, hashes them on the way, and ends with a seal: what was signed. So every file is read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.errors import ManifestError
from gateway.model import canonical, documents, limits
from gateway.model.artifact import (
    Bundle,
    Envelopes,
    FileEntry,
    Model,
    ModelDeclaration,
    ModelDescription,
    PlainName,
    PlannedFile,
    SignedModelPart,
    name_order,
    names_problem,
)
from gateway.model.dataset import Description_, Slug
from gateway.model.policy_facts import Digest, OptionalText, Part, Text, as_tuple
from gateway.model.terms import Terms

_Digests = Annotated[
    tuple[Digest, ...], Field(min_length=1, max_length=limits.MODEL_FILES_MAX), BeforeValidator(as_tuple)
]


class ModelSubmission(SignedModelPart):
    """A model as its publisher means it: announced, and sealed."""

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


class ModelSeal(Part):
    """What follows a model's last run: the digests of its files, and what was signed of them.

    Args:
        artifact: the artifact's id in hex.
        digests: SHA-256 in hex of each file, in the order of the announcement.
        signature: the text of the Sigstore bundle.
        provenance: the texts of DSSE envelopes.
    """

    v: Literal[1] = 1
    kind: Literal["model-seal"] = "model-seal"
    artifact: Digest
    digests: _Digests
    signature: Bundle
    provenance: Envelopes

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


class ModelAnnouncement(Model):
    """What a client sends before a model's first run, as canonical JSON."""

    terms: Terms | None = None

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

    def sealed(self, seal: ModelSeal) -> ModelSubmission:
        """The whole of it.

        Raises:
            ManifestError: they do not fit together; the text names the field.
        """
        if len(seal.digests) != len(self.files):
            raise ManifestError("digests: not one for each file", remedy="publish with the current `tdz`")
        document = self.document()
        files = [{**file.document(), "digest": digest} for file, digest in zip(self.files, seal.digests, strict=True)]
        document |= {"files": files, "artifact": seal.artifact, "signature": seal.signature}
        document["provenance"] = list(seal.provenance)
        return documents.read_sent(ModelSubmission, canonical.encode(document), 2 * limits.MODEL_SUBMISSION_MAX)


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
        if self.terms is not None and "transfer_model" not in self.terms.actions:
            raise PydanticCustomError("terms", "terms.actions: a model is offered for transfer_model")
        return self

    def announce(self, files: Sequence[PlannedFile]) -> ModelAnnouncement:
        """Put the publisher's words and the files as they lie together.

        Args:
            files: every file, in any order.

        Raises:
            ManifestError: they do not fit together; the text names the field.
        """
        document = {name: value for name, value in self.document().items() if name != "provenance"}
        plain = [{"name": file.name, "bytes": file.bytes, "chunks": file.chunks} for file in files]
        plain.sort(key=lambda file: name_order(str(file["name"])))
        return ModelAnnouncement.parse(canonical.encode(document | {"v": 1, "kind": "model", "files": plain}))

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
        ordered = sorted(files, key=lambda file: name_order(file.name))
        return self.announce(files).sealed(seal_of(artifact, ordered, signature, provenance))


def seal_of(artifact: str, files: Sequence[FileEntry], signature: str, provenance: Sequence[str]) -> ModelSeal:
    """The seal of files that were read.

    Args:
        artifact: the artifact's id in hex.
        files: every file, in the order of the announcement.
        signature: the text of the bundle.
        provenance: the texts of DSSE envelopes.

    Raises:
        ManifestError: something of it is too long.
    """
    document: dict[str, canonical.JsonValue] = {
        "v": 1,
        "kind": "model-seal",
        "artifact": artifact,
        "digests": [file.digest for file in files],
        "signature": signature,
        "provenance": list(provenance),
    }
    return ModelSeal.parse(canonical.encode(document))


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
