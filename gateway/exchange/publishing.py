"""Publishing: a partner's stream of Arrow messages becomes a version and a row in the catalog.

A dataset's rows are cut into chunks here; a model's rows are its chunks, cut where its files say, and its seal
follows them: what the publisher signed.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable

import pyarrow as pa
import pyarrow.ipc as ipc

from gateway.artifacts.publishing import ModelPublishSession
from gateway.artifacts.trust import Signer, Trust
from gateway.catalog.register import Published as CatalogEntry
from gateway.errors import DataFileError, InputError, IntegrityError, ManifestError
from gateway.exchange.house import House
from gateway.exchange.inbox import ArrowFile, Inbox, Message, check_batch
from gateway.flow.locks import settled
from gateway.model import canonical
from gateway.model.canonical import CanonicalError
from gateway.model.dataset import Publication
from gateway.model.described import parse_description
from gateway.model.participant import Identity
from gateway.model.submission import ModelAnnouncement, ModelSeal
from gateway.storage.arrow_chunks import read_schema_message
from gateway.storage.ipc_frames import join_message, join_schema
from gateway.storage.model_chunks import MODEL_SCHEMA, read_model_batch, read_model_message
from gateway.storage.publishing import Published, PublishSession

_Work = Callable[[Inbox], Published]


def _read(manifest: bytes) -> Publication | ModelAnnouncement:
    """What is published, by its kind."""
    try:
        document = canonical.decode(manifest)
    except CanonicalError as error:
        raise ManifestError(f"the manifest is not canonical JSON: {error}") from error
    if isinstance(document, dict) and document.get("kind") == "model":
        return ModelAnnouncement.parse(manifest)
    return Publication.parse(manifest)


def _kind(publication: Publication | ModelAnnouncement) -> str:
    return "model" if isinstance(publication, ModelAnnouncement) else "dataset"


class Publisher:
    """Publishes for this zone's institutions."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def publish(self, owner: Identity, manifest: bytes, messages: AsyncIterator[Message]) -> Published:
        """Publish a dataset or model, or a new version of an own one.

        Nothing is visible unless the whole stream was good; what is returned is durable.

        Args:
            owner: the publishing institution.
            manifest: the publication, or a model's announcement, as canonical JSON.
            messages: the schema, then dictionaries and record batches; of a model, its seal at last.

        Raises:
            ManifestError: the publication is wrong.
            ConflictError: the id belongs to another institution.
            DataFileError: the stream is not Arrow, a row does not fit a chunk, or a file is none that a model holds.
            IntegrityError: a model is not the one that was signed, or its signer is not trusted here.
            StorageError: the disk is full or failed.
        """
        house = self._house
        publication = _read(manifest)
        await house.catalog.check_owner(f"{_kind(publication)}s/{publication.id}", owner.uri)
        if publication.terms is not None and await house.exporter(owner.uri) is None:
            raise InputError(
                "the institution is not in the register, so nothing of it can be offered",
                remedy="ask the administrator for `tdz participant add`",
            )
        work = await self._work(owner, publication)
        inbox = Inbox()
        storing = asyncio.ensure_future(asyncio.to_thread(_stored, inbox, work))
        try:
            await inbox.fill(messages, storing.done)
            published = await settled(storing)
        except BaseException:
            inbox.fail()
            await asyncio.gather(asyncio.shield(storing), return_exceptions=True)
            raise
        version = await house.chunks.run(lambda: house.versions.open(published.version))
        version.chunks.close()
        await house.catalog.put(
            CatalogEntry(
                owner=owner.uri,
                manifest=published.manifest,
                description=parse_description(version.description_bytes),
                terms=publication.terms,
                published_at=house.clock(),
            )
        )
        return published

    async def _work(self, owner: Identity, publication: Publication | ModelAnnouncement) -> _Work:
        """What the thread does with the messages."""
        house = self._house
        if isinstance(publication, Publication):
            return lambda inbox: self._store_rows(inbox, publication, owner)
        trust, now = await house.trust(), house.clock()
        return lambda inbox: self._store_runs(inbox, publication, owner, trust, now)

    def _store_rows(self, inbox: Inbox, publication: Publication, owner: Identity) -> Published:
        """A dataset's rows, read by pyarrow; its persons are counted as they pass."""
        with ipc.open_stream(pa.PythonFile(ArrowFile(inbox), mode="r")) as reader:
            session = PublishSession(self._house.chunks, self._house.versions, reader.schema, publication)
            counter = None
            try:
                counter = self._house.subjects.counter(owner.uri, publication, reader.schema)
                for batch in reader:
                    session.write(batch)
                    if counter is not None:
                        counter.add(batch)
                published = session.finish()
                if counter is not None:
                    counter.finish(published.version)
                return published
            finally:
                session.abort()
                if counter is not None:
                    counter.close()

    def _store_runs(
        self, inbox: Inbox, announcement: ModelAnnouncement, owner: Identity, trust: Trust, now: int
    ) -> Published:
        """A model's runs, as they come; pyarrow reads those that are not framed as ours."""
        session = ModelPublishSession(self._house.chunks, self._house.versions, announcement)
        try:
            _check_schema(inbox.take())
            while (message := inbox.take()) is not None and message.header:
                session.write(_run_in(message))
            if message is None:
                raise IntegrityError("the model ended before it was sealed", remedy="publish with the current `tdz`")
            _check_signer(session.seal(ModelSeal.parse(bytes(message.metadata)), trust, now), owner)
            if inbox.take() is not None:
                raise InputError("more was sent after the model's seal", remedy="publish with the current `tdz`")
            return session.finish()
        finally:
            session.abort()


def _stored(inbox: Inbox, work: _Work) -> Published:
    """Do the work of a thread; whoever still sends goes on at once when it ends."""
    try:
        return work(inbox)
    except (pa.ArrowException, OSError, ValueError, queue.Empty) as error:
        raise DataFileError(
            f"the stream is not readable as Arrow: {type(error).__name__}: {str(error)[:200]}",
            remedy="check the file with pyarrow, then publish again",
        ) from error
    finally:
        inbox.abandon()


def _check_schema(message: Message | None) -> None:
    if message is None or not read_schema_message(join_schema(bytes(message.header))).equals(MODEL_SCHEMA):
        raise DataFileError("a model is sent as one column `data` of large_binary", remedy="tdz model publish DIR")


def _run_in(message: Message) -> memoryview:
    header, body = memoryview(message.header), memoryview(message.body)
    run = read_model_message(header, body)
    if run is not None:
        return run
    check_batch(message)
    framed = ipc.read_message(join_message(header, body) + bytes(header) + bytes(body))
    batch = ipc.read_record_batch(framed, MODEL_SCHEMA)
    batch.validate(full=True)
    return read_model_batch(batch)


def _check_signer(signer: Signer, owner: Identity) -> None:
    """A model is its publisher's own, or of an outside signer."""
    if signer.certificate and signer.name != owner.uri:
        raise InputError(
            f"the model is signed by {signer.name}, and published by {owner.uri}",
            remedy="sign it with your own signing key",
        )
