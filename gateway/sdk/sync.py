"""The synchronous face: each method is the asynchronous one, run on the private event loop.

Nothing is written twice here: signatures, docstrings and behaviour are those of `AsyncZone`, `AsyncAccess` and
`AsyncPull`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from gateway.config import Profile
from gateway.model.participant import Identity
from gateway.sdk.access import AsyncAccess
from gateway.sdk.pull import AsyncPull
from gateway.sdk.resources import AccessRequest, Progress
from gateway.sdk.runs import AsyncRun, RunStatus
from gateway.sdk.runtime import Runtime
from gateway.sdk.zone import AsyncZone, connect_async

A = TypeVar("A", covariant=True)  # a base of the core lends its methods to the face
P = ParamSpec("P")
T = TypeVar("T")
W = TypeVar("W")


class Face(Generic[A]):
    """Base: an asynchronous object and the loop that it lives on."""

    def __init__(self, runtime: Runtime, core: A) -> None:
        self._runtime = runtime
        self._core = core

    def __repr__(self) -> str:
        return repr(self._core)


def blocking(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Face[A], P], T]:
    """A method that waits for its asynchronous twin."""

    @functools.wraps(method)
    def call(self: Face[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._runtime.run(method(self._core, *args, **kwargs))

    return call


def wrapping(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, T]], face: Callable[[Runtime, T], W]
) -> Callable[Concatenate[Face[A], P], W]:
    """A method that waits for its asynchronous twin and puts a face on what it gives."""

    @functools.wraps(method)
    def call(self: Face[A], /, *args: P.args, **kwargs: P.kwargs) -> W:
        return face(self._runtime, self._runtime.run(method(self._core, *args, **kwargs)))

    return call


class Pull(Face[AsyncPull]):
    """One opened transfer, to be read once; see `AsyncPull`."""

    reader = blocking(AsyncPull.reader)
    to_arrow = blocking(AsyncPull.to_arrow)
    to_pandas = blocking(AsyncPull.to_pandas)
    to_duckdb = blocking(AsyncPull.to_duckdb)
    to_file = blocking(AsyncPull.to_file)
    to_directory = blocking(AsyncPull.to_directory)
    close = blocking(AsyncPull.close)

    @property
    def transfer(self) -> str:
        """The transfer's id in both zones."""
        return self._core.transfer

    @property
    def agreement(self) -> str:
        """The agreement's id."""
        return self._core.agreement

    @property
    def resource(self) -> str:
        """What is pulled: `datasets/{id}` or `models/{id}`."""
        return self._core.resource

    @property
    def schema(self) -> Any:
        """The rows' `pyarrow.Schema`."""
        return self._core.schema

    @property
    def rows(self) -> int:
        """Rows in all; -1 where a filter is on."""
        return self._core.rows

    @property
    def bytes(self) -> int:
        """Stored bytes in all; -1 where a filter is on."""
        return self._core.bytes

    @property
    def chunks(self) -> int:
        """Chunks in all."""
        return self._core.chunks

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self._core.progress

    @property
    def end(self) -> str:
        """The gateway's signed end, a DSSE envelope as JSON; empty until all was read."""
        return self._core.end

    def batches(self) -> Iterator[Any]:
        """The rows as verified `pyarrow.RecordBatch`es, in order, a few chunks read ahead."""
        yield from self.reader()


class Access(Face[AsyncAccess]):
    """An agreement in force, with the request that brought it; see `AsyncAccess`."""

    pull = wrapping(AsyncAccess.pull, Pull)
    show = blocking(AsyncAccess.show)

    @property
    def request(self) -> AccessRequest | None:
        """The request as the gateway answered it; None where the agreement was found by its id."""
        return self._core.request

    @property
    def agreement(self) -> str:
        """The agreement's id."""
        return self._core.agreement


class Run(Face[AsyncRun]):
    """One run of the caller's zone; see `AsyncRun`."""

    status = blocking(AsyncRun.status)
    wait = blocking(AsyncRun.wait)
    cancel = blocking(AsyncRun.cancel)

    @property
    def id(self) -> str:
        """Its id, the same in both zones."""
        return self._core.id

    @property
    def last(self) -> RunStatus:
        """What the gateway last told of it."""
        return self._core.last

    def watch(self) -> Iterator[RunStatus]:
        """The run now and at each change until it has ended; see `AsyncRun.watch`."""
        states = aiter(self._core.watch())

        async def following() -> RunStatus | None:
            return await anext(states, None)

        while (status := self._runtime.run(following())) is not None:
            yield status


class Zone(Face[AsyncZone]):
    """A connection to the caller's own zone; make one with `connect`; see `AsyncZone`."""

    def __init__(self, runtime: Runtime, core: AsyncZone) -> None:
        super().__init__(runtime, core)
        self._closed = False

    datasets = blocking(AsyncZone.datasets)
    dataset = blocking(AsyncZone.dataset)
    models = blocking(AsyncZone.models)
    model = blocking(AsyncZone.model)
    publish_model = blocking(AsyncZone.publish_model)
    verify = blocking(AsyncZone.verify)
    withdraw = blocking(AsyncZone.withdraw)
    publish = blocking(AsyncZone.publish)
    request = wrapping(AsyncZone.request, Access)
    access = wrapping(AsyncZone.access, Access)
    show_request = blocking(AsyncZone.show_request)
    requests = blocking(AsyncZone.requests)
    appeal = blocking(AsyncZone.appeal)
    preview = blocking(AsyncZone.preview)
    reviews = blocking(AsyncZone.reviews)
    review = blocking(AsyncZone.review)
    answer_review = blocking(AsyncZone.answer_review)
    revoke_agreement = blocking(AsyncZone.revoke_agreement)
    agreement = blocking(AsyncZone.agreement)
    agreements = blocking(AsyncZone.agreements)
    transfer = blocking(AsyncZone.transfer)
    transfers = blocking(AsyncZone.transfers)
    transfer_receipt = blocking(AsyncZone.transfer_receipt)
    explain = blocking(AsyncZone.explain)
    watch = blocking(AsyncZone.watch)
    pull = wrapping(AsyncZone.pull, Pull)
    run = wrapping(AsyncZone.run, Run)
    runs = blocking(AsyncZone.runs)
    show_run = wrapping(AsyncZone.show_run, Run)

    @property
    def identity(self) -> Identity:
        """Who the caller is, as its certificate says."""
        return self._core.identity

    def close(self) -> None:
        """End the connection; transfers that are landing in the zone go on. Closing again does nothing."""
        if not self._closed:
            self._closed = True
            try:
                self._runtime.run(self._core.close())
            finally:
                self._runtime.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(profile: Profile | Path | str) -> Zone:
    """Connect to the caller's own zone; nothing is sent before the first call.

    Args:
        profile: a profile, its file, or the directory that holds a `profile.toml`.

    Raises:
        ConfigError: the profile or one of its files is wrong.
        CertificateError: the certificate has expired, is not valid yet, or does not fit; says what to renew.
    """
    runtime = Runtime.acquire()
    try:
        return Zone(runtime, runtime.run(connect_async(profile)))
    except BaseException:
        runtime.release()
        raise
