"""The asynchronous core of the SDK: a partner's connection to its own zone's gateway."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from gateway.config import Profile
from gateway.errors import DeniedError, NotFoundError, PeerUnavailableError, ReviewError
from gateway.model import limits
from gateway.model.dataset import Publication
from gateway.sdk.access import AsyncAccess, show_agreement
from gateway.sdk.accounts import Receipt, Timeline, fetch_receipt, fetch_timeline
from gateway.sdk.models import publish_model
from gateway.sdk.pull import AsyncPull
from gateway.sdk.resources import AccessRequest, Agreement, Dataset, Model, Progress, Published, Transfer
from gateway.sdk.reviews import Answering
from gateway.sdk.runs import AsyncRun, RunStatus, Spec, list_runs, show_run, start_run
from gateway.sdk.session import Session
from gateway.sdk.sources import open_rows, read_publication
from gateway.sdk.stream import ProgressCallback
from gateway.sdk.upload import table_frames, upload
from gateway.v1 import catalog_pb2, exchange_pb2

Scope = Literal["", "own", "peer"]

_NEGOTIATION_DEADLINE_S: Final = limits.RPC_DEADLINE_S + limits.CONFIRM_BEFORE_S
_ATTEMPTS: Final = 3
_RETRY_DELAY_S: Final = 0.3


class AsyncZone(Answering):
    """A connection to the caller's own zone; make one with `connect_async`.

    Every method raises errors of `gateway.errors`: PeerUnavailableError where the gateway does not answer,
    NotFoundError for what is unknown or hidden, PermissionDeniedError where the certificate's role does not fit.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.identity = session.credentials.identity

    def __repr__(self) -> str:
        return f"<Zone {self.identity.zone} as {self.identity.uri}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; transfers that are landing in the zone go on."""
        await self.session.close()

    async def datasets(self, query: str = "", *, scope: Scope = "") -> list[Dataset]:
        """Own and offered datasets, sorted by zone and name.

        Args:
            query: words that must all occur in id, title, description, owner or column names.
            scope: `own`, `peer`, or empty for both.
        """
        request = catalog_pb2.ListDatasetsRequest(query=query, scope=scope)
        found = await self.session.pages(self.session.catalog.ListDatasets, request, "datasets")
        return [Dataset.of(each) for each in found]

    async def dataset(self, name: str) -> Dataset:
        """One dataset, by `datasets/{id}` or its id."""
        request = catalog_pb2.GetDatasetRequest(name=resource_name(name))
        return Dataset.of(await self.session.call(self.session.catalog.GetDataset, request))

    async def models(self, query: str = "", *, scope: Scope = "") -> list[Model]:
        """Own and offered models, sorted by zone and name; see `datasets`."""
        request = catalog_pb2.ListModelsRequest(query=query, scope=scope)
        found = await self.session.pages(self.session.catalog.ListModels, request, "models")
        return [Model.of(each) for each in found]

    async def model(self, name: str) -> Model:
        """One model, by `models/{id}` or its id, with its files and provenance."""
        request = catalog_pb2.GetModelRequest(name=name if "/" in name else f"models/{name}")
        return Model.of(await self.session.call(self.session.catalog.GetModel, request))

    async def verify(self, name: str, *, progress: ProgressCallback | None = None) -> str:
        """Have the gateway hash every stored chunk of an own dataset or model again.

        Returns:
            The root over the chunk digests.

        Raises:
            IntegrityError: a chunk is missing or differs.
        """
        root = ""
        call = self.session.catalog.VerifyDataset(catalog_pb2.VerifyDatasetRequest(name=resource_name(name)))
        async for step in _with_deadline(self.session.stream(call), call):
            root = step.root
            if progress is not None:
                progress(Progress(chunks=step.done, rows=-1, bytes=step.bytes, chunks_total=step.chunks))
        return root

    async def withdraw(self, name: str) -> None:
        """Take an own dataset or model out of the catalog; agreements in force stay."""
        request = catalog_pb2.WithdrawDatasetRequest(name=resource_name(name))
        await self.session.call(self.session.catalog.WithdrawDataset, request)

    async def publish(
        self,
        source: Path | str | Any,
        manifest: Path | str | Mapping[str, Any] | Publication,
        *,
        format: str = "",  # noqa: A002  the option's name
        table: str = "",
        progress: ProgressCallback | None = None,
    ) -> Published:
        """Publish a dataset; the same rows again store nothing twice.

        Args:
            source: a Parquet, CSV, Arrow or DuckDB file, or anything that pyarrow reads as a stream of batches
                (`pyarrow.Table`, `RecordBatchReader`, an object with `__arrow_c_stream__`).
            manifest: a YAML file, its content, or a `Publication`.
            format: the file's format, where its suffix does not say.
            table: the table inside a DuckDB file.
            progress: called with `Progress` after every frame that was sent.

        Raises:
            ManifestError: file, line, field and remedy.
            DataFileError: the file is not what it should be; row or place and remedy.
        """
        publication = await asyncio.to_thread(read_publication, manifest)
        reader = await asyncio.to_thread(open_rows, source, format, table)
        try:
            return await upload(self.session, publication.encode(), table_frames(reader), progress=progress)
        finally:
            await asyncio.to_thread(reader.close)

    async def publish_model(
        self,
        directory: Path | str,
        manifest: Path | str | Mapping[str, Any],
        *,
        progress: ProgressCallback | None = None,
    ) -> Published:
        """Sign a directory of weights and publish it; the same files again store nothing twice.

        Args:
            directory: the model's files; only weights and text.
            manifest: a YAML file, or its content.
            progress: called with `Progress` after every frame that was sent.

        Raises:
            ManifestError: file, line, field and remedy.
            ArtifactError: a file that no model may hold, by name.
            ConfigError: the profile names no signing key.
        """
        return await publish_model(self.session, Path(directory), manifest, progress=progress)

    async def request(
        self,
        resource: str,
        *,
        purpose: str,
        mechanisms: Sequence[str] = (),
        request_id: str | None = None,
    ) -> AsyncAccess:
        """Ask for access; answers when both zones have decided and the agreement is in force.

        Args:
            resource: `datasets/{id}`, its id, or `models/{id}`.
            purpose: a purpose of the policy input such as research.
            mechanisms: references of registered legal mechanisms that the request relies on.
            request_id: repeating a request with the same id gives the same answer for seven days; made up
                where left out.

        Raises:
            DeniedError: refused; `findings` say rule, citation and remedy.
            ReviewError: it waits for a person; `request_id` is the request's id for `access`.
        """
        message = exchange_pb2.RequestAccessRequest(
            resource=resource_name(resource),
            purpose=purpose,
            mechanisms=mechanisms,
            request_id=request_id or str(uuid.uuid4()),
        )
        method = self.session.exchange.RequestAccess
        for attempt in range(_ATTEMPTS):
            try:
                answer = await self.session.call(method, message, deadline_s=_NEGOTIATION_DEADLINE_S)
                return self._access(AccessRequest.of(answer))
            except PeerUnavailableError:  # the request id makes repeating it harmless
                if attempt + 1 == _ATTEMPTS:
                    raise
                await asyncio.sleep(_RETRY_DELAY_S)
        raise AssertionError("unreachable")

    async def access(self, request: str) -> AsyncAccess:
        """Take up an earlier request, by its id.

        Raises:
            DeniedError: it was refused.
            ReviewError: it still waits for a person.
        """
        return self._access(await self.show_request(request))

    async def show_request(self, request: str) -> AccessRequest:
        """One request, by its id."""
        message = exchange_pb2.GetRequestRequest(id=request.removeprefix("requests/"))
        return AccessRequest.of(await self.session.call(self.session.exchange.GetRequest, message))

    async def requests(self, *, state: str = "", held: bool = False) -> list[AccessRequest]:
        """Requests, newest first.

        Args:
            state: only those in this state of contract negotiation.
            held: only reviews that wait for a person.
        """
        message = exchange_pb2.ListRequestsRequest(state=state, held=held)
        found = await self.session.pages(self.session.exchange.ListRequests, message, "requests")
        return [AccessRequest.of(each) for each in found]

    async def agreements(self) -> list[Agreement]:
        """Agreements, newest first."""
        message = exchange_pb2.ListAgreementsRequest()
        found = await self.session.pages(self.session.exchange.ListAgreements, message, "agreements")
        return [Agreement.of(each) for each in found]

    async def agreement(self, agreement: str) -> Agreement:
        """One agreement, by `agreements/{id}` or its id."""
        return await show_agreement(self.session, agreement.removeprefix("agreements/"))

    async def transfers(self, *, agreement: str = "") -> list[Transfer]:
        """Transfers, newest first; only those of one agreement where it is given."""
        message = exchange_pb2.ListTransfersRequest(agreement=agreement.removeprefix("agreements/"))
        found = await self.session.pages(self.session.exchange.ListTransfers, message, "transfers")
        return [Transfer.of(each) for each in found]

    async def transfer(self, transfer: str) -> Transfer:
        """One transfer, by `transfers/{id}` or its id."""
        message = exchange_pb2.GetTransferRequest(id=transfer.removeprefix("transfers/"))
        return Transfer.of(await self.session.call(self.session.exchange.GetTransfer, message))

    async def transfer_receipt(self, transfer: str) -> Receipt:
        """A file to keep of a completed transfer, which anybody can verify offline; see `fetch_receipt`."""
        return await fetch_receipt(self.session, transfer)

    async def explain(self, what: str) -> Timeline:
        """How a request, an agreement or a transfer went, by both ledgers; see `fetch_timeline`."""
        return await fetch_timeline(self.session, what)

    async def watch(self, transfer: str, seen: Callable[[Transfer], bool]) -> Transfer:
        """Follow a transfer until it has ended or `seen` is satisfied.

        Args:
            transfer: `transfers/{id}` or its id.
            seen: called with each state on the event loop; True ends the watching.

        Returns:
            The last state that came.

        Raises:
            PeerUnavailableError: nothing changed for as long as an idle transfer may stand.
        """
        call = self.session.exchange.WatchTransfer(
            exchange_pb2.WatchTransferRequest(id=transfer.removeprefix("transfers/"))
        )
        last: Transfer | None = None
        async for message in _with_deadline(self.session.stream(call), call):
            last = Transfer.of(message)
            if last.ended or seen(last):
                break
        if last is None:
            raise NotFoundError(f"transfer {transfer} told nothing", remedy="list them with transfers()")
        return last

    async def pull(
        self,
        what: str,
        *,
        transfer: str = "",
        progress: ProgressCallback | None = None,
        stall_s: float = limits.LEASE_S,
    ) -> AsyncPull:
        """Pull under an agreement in force, without a new request.

        Args:
            what: `agreements/{id}`, its id, or a resource's name for the newest agreement in force on it.
            transfer: see `AsyncAccess.pull`.
            progress: see `AsyncAccess.pull`.
            stall_s: see `AsyncAccess.pull`.

        Raises:
            NotFoundError: no agreement in force.
            DeniedError: policy has changed since the agreement.
        """
        agreement = what.removeprefix("agreements/")
        if not what.startswith("agreements/") and not _is_uuid(what):
            agreement = await self._newest_agreement(resource_name(what))
        access = AsyncAccess(self.session, None, agreement)
        return await access.pull(transfer=transfer, progress=progress, stall_s=stall_s)

    async def _newest_agreement(self, resource: str) -> str:
        for agreement in await self.agreements():
            if agreement.resource == resource and agreement.in_force():
                return agreement.id
        raise NotFoundError(
            f"no agreement in force on {resource}", remedy=f"ask for one: tdz request {resource} --purpose …"
        )

    async def run(self, spec: Spec, *, request_id: str | None = None) -> AsyncRun:
        """Start a federated run; both zones decide, then it trains by itself, whoever watches.

        Args:
            spec: a RUN.yaml, its content, or a `RunSpec`.
            request_id: repeating a run with the same id gives the same run; made up where left out.

        Raises:
            ManifestError: file, line, field and remedy.
            InputError: the training app does not take its settings.
        """
        return await start_run(self.session, spec, request_id)

    async def runs(self, *, state: str = "") -> list[RunStatus]:
        """Runs that the caller started or has a dataset in, newest first; only those in one state where it is given."""
        return await list_runs(self.session, state)

    async def show_run(self, run: str) -> AsyncRun:
        """Take up a run, by `runs/{id}` or its id."""
        return AsyncRun(self.session, await show_run(self.session, run))

    def _access(self, request: AccessRequest) -> AsyncAccess:
        if request.agreement:
            return AsyncAccess(self.session, request, request.agreement)
        findings = tuple(finding.parts() for finding in request.findings)
        if request.state == "REQUESTED":
            decided = next((d.decision_id for d in request.decisions if d.effect == "review"), "")
            raise ReviewError(
                f"the request for {request.resource} waits for {request.held_by or 'a person'}",
                remedy=f"look again with: tdz request show {request.id}",
                findings=findings,
                decision_id=decided,
                request_id=request.id,
            )
        decided = next((d.decision_id for d in request.decisions if d.effect == "deny"), "")
        raise DeniedError(
            request.reason or f"access to {request.resource} was refused",
            remedy=next((finding.remedy for finding in request.findings if finding.remedy), ""),
            findings=findings,
            decision_id=decided,
            request_id=request.id,
        )


async def connect_async(profile: Profile | Path | str) -> AsyncZone:
    """Connect to the caller's own zone; nothing is sent before the first call.

    Args:
        profile: a profile, its file, or the directory that holds a `profile.toml`.

    Raises:
        ConfigError: the profile or one of its files is wrong.
        CertificateError: the certificate has expired, is not valid yet, or does not fit; says what to renew.
    """
    return AsyncZone(Session.open(profile))


def resource_name(text: str) -> str:
    """The resource name of a dataset: `datasets/{id}` for a bare id."""
    return text if "/" in text else f"datasets/{text}"


async def _with_deadline(messages: AsyncIterator[Any], call: Any) -> AsyncIterator[Any]:
    """End a stream that tells nothing for as long as a transfer may stand still."""
    try:
        while True:
            try:
                async with asyncio.timeout(2 * limits.LEASE_S):
                    message = await anext(messages)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise PeerUnavailableError("the gateway tells nothing any more", remedy="try again") from error
            yield message
    finally:
        call.cancel()


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
