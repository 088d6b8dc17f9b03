"""The guard around every handler: proves the caller, checks the role, watches the call, maps its errors.

gRPC's interceptors cannot see the peer, so each handler is wrapped. The `Registrar` stands where a server is
expected while services register: nothing reaches the server but through the guard, and each method's name is
known before the first call.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import DecodeError

from gateway.errors import ConfigError, InputError, PermissionDeniedError, TdzError, UnauthenticatedError
from gateway.identity.verifier import VerifiedPeer, Verifier
from gateway.model.participant import Identity, Role
from gateway.server.access.calls import OpenCall, OpenCalls
from gateway.server.access.readiness import Readiness
from gateway.server.access.roles import METHOD_ROLES, check_complete
from gateway.wire.status import abort, incident

CERTIFICATE_PROPERTY: Final = "x509_pem_cert"
URI_PROPERTY: Final = "peer_uri"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call, as the client certificate proves it.

    Args:
        identity: zone, role and id.
        fingerprint: SHA-256 in hex over the certificate's DER.
        not_after: until when the certificate is valid, Unix seconds UTC.
        serial: the certificate's serial number, 40 lowercase hex digits.
        not_before: from when on it is valid, Unix seconds UTC.
    """

    identity: Identity
    fingerprint: str
    not_after: int
    serial: str
    not_before: int


_current: ContextVar[tuple[object, VerifiedPeer] | None] = ContextVar("tdz_caller", default=None)


def caller(context: object) -> Caller:
    """Who makes the call that this context belongs to.

    Raises:
        UnauthenticatedError: the handler does not run behind the guard.
    """
    current = _current.get()
    if current is None or current[0] is not context:
        raise UnauthenticatedError("the call has no proven caller")
    peer = current[1]
    return Caller(peer.identity, peer.fingerprint, peer.not_after, peer.serial, peer.not_before)


class Access:
    """Admits calls by certificate and role.

    Args:
        verifier: proves identities.
        calls: keeps the open calls.
        table: which roles may call which method.
        readiness: holds calls back while the gateway starts; None where it is ready.
    """

    def __init__(
        self,
        verifier: Verifier,
        calls: OpenCalls,
        table: Mapping[str, frozenset[Role]] = METHOD_ROLES,
        *,
        readiness: Readiness | None = None,
    ) -> None:
        self._readiness = readiness
        self._verifier = verifier
        self._calls = calls
        self._table = table

    def guard(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """The handler behind the guard; serializers and arity stay.

        Args:
            method: full name, `/package.Service/Method`.
            handler: of any of the four kinds; a coroutine function or an asynchronous generator function.

        Raises:
            ConfigError: no role may call the method, or the handler is not asynchronous.
        """
        check_complete([method], self._table)
        roles = self._table[method]
        kind, behaviour, make = _parts(handler)
        read = _reader(method, kind, handler.request_deserializer)
        if inspect.isasyncgenfunction(behaviour):
            if kind not in ("unary_stream", "stream_stream"):
                raise ConfigError(f"the handler of {method} yields, yet answers once")
            guarded = self._yielding(method, roles, behaviour, read)
        elif inspect.iscoroutinefunction(behaviour):
            guarded = self._awaiting(method, roles, behaviour, read)
        else:
            raise ConfigError(f"the handler of {method} is not asynchronous", remedy="make it async")
        # Bytes are read behind the guard: nobody's are parsed before it is known who sent them.
        return make(guarded, request_deserializer=None, response_serializer=handler.response_serializer)

    def _awaiting(
        self, method: str, roles: frozenset[Role], behaviour: Callable[..., Any], read: Callable[[Any], Any]
    ) -> Callable[..., Any]:
        async def guarded(request: Any, context: Any) -> Any:
            async with _Admission(self, method, roles, context):
                return await behaviour(read(request), context)

        return guarded

    def _yielding(
        self, method: str, roles: frozenset[Role], behaviour: Callable[..., Any], read: Callable[[Any], Any]
    ) -> Callable[..., Any]:
        async def guarded(request: Any, context: Any) -> AsyncIterator[Any]:
            async with (
                _Admission(self, method, roles, context),
                aclosing(behaviour(read(request), context)) as answers,
            ):
                async for answer in answers:
                    yield answer

        return guarded

    def admit(self, method: str, roles: frozenset[Role], context: grpc.aio.ServicerContext[Any, Any]) -> OpenCall:
        """Prove who calls, check the role, register the call.

        Raises:
            UnauthenticatedError, CertificateError: the certificate proves nothing here.
            PermissionDeniedError: it proves a role that may not call the method.
        """
        properties = context.auth_context()
        pems = properties.get(CERTIFICATE_PROPERTY, ())
        if len(pems) != 1:
            raise UnauthenticatedError("the connection has no client certificate", remedy="connect with mTLS")
        if len(list(properties.get(URI_PROPERTY, ()))) != 1:
            raise UnauthenticatedError("the client certificate has not exactly one URI")
        peer = self._verifier.verify(pems[0])
        if peer.identity.role not in roles:
            raise PermissionDeniedError(
                f"{method} is not for the role {peer.identity.role.value}",
                remedy=f"call it as {' or '.join(sorted(role.value for role in roles))}",
            )
        return self._calls.open(method, peer, pems[0], context)

    async def ready(self, method: str) -> None:
        """Wait until the gateway is ready for a method, or refuse it."""
        if self._readiness is not None:
            await self._readiness.require(method)

    def leave(self, call: OpenCall) -> None:
        """The call has ended."""
        self._calls.close(call)


class _Admission:
    """One call's stay: admitted on entry, closed on exit, its errors sent as statuses."""

    __slots__ = ("_access", "_call", "_context", "_method", "_roles")

    def __init__(self, access: Access, method: str, roles: frozenset[Role], context: Any) -> None:
        self._access = access
        self._method = method
        self._roles = roles
        self._context = context
        self._call: OpenCall | None = None

    async def __aenter__(self) -> None:
        try:
            self._call = self._access.admit(self._method, self._roles, self._context)
            await self._access.ready(self._method)
        except TdzError as error:
            if self._call is not None:
                self._access.leave(self._call)
            _log.warning(
                "call refused",
                method=self._method,
                reason=error.reason,
                why=error.message,
                peer=self._context.peer(),
            )
            await abort(self._context, error)
        _current.set((self._context, self._call.peer))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        call = self._call
        if call is None:
            return
        self._access.leave(call)
        # A call that was ended from outside has its status already.
        if call.ended or not isinstance(error, Exception) or isinstance(error, grpc.aio.BaseError):
            return
        if isinstance(error, TdzError):
            await abort(self._context, error)
        told = incident()
        # The text of an unknown exception may carry data values: its kind and its place are enough.
        _log.error(
            "incident",
            method=self._method,
            incident=told.message,
            kind=type(error).__name__,
            trace=[f"{at.filename}:{at.lineno} {at.name}" for at in traceback.extract_tb(trace)],
        )
        await abort(self._context, told)


class Registrar:
    """Stands for the server while services register; hands it guarded handlers alone.

    Args:
        server: a grpc.aio server that is not started.
        access: the guard.
    """

    def __init__(self, server: grpc.aio.Server, access: Access) -> None:
        self._server = server
        self._access = access
        self._methods: set[str] = set()
        self._announced: set[str] = set()
        self._services: set[str] = set()

    @property
    def methods(self) -> frozenset[str]:
        """Full names of the methods that were registered."""
        return frozenset(self._methods)

    @property
    def services(self) -> frozenset[str]:
        """Full names of the services that were registered."""
        return frozenset(self._services)

    def add_service(self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        """Register a service by its methods' names.

        Raises:
            ConfigError: a method has no declared roles or no asynchronous handler, or the service stands.
        """
        if service in self._services:
            raise ConfigError(f"the service {service} is registered twice")
        guarded = {name: self._access.guard(f"/{service}/{name}", handler) for name, handler in handlers.items()}
        self._services.add(service)
        self._methods |= {f"/{service}/{name}" for name in handlers}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, guarded),))

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler]
    ) -> None:
        """What generated code calls; methods that the service does not implement are left out.

        Their handlers are the generated base class's, and gRPC answers UNIMPLEMENTED by itself.
        """
        implemented = {name: handler for name, handler in method_handlers.items() if not _generated(_parts(handler)[1])}
        self.add_service(service_name, implemented)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """What generated code calls first; the handlers come again by name, and are taken then.

        Raises:
            ConfigError: a handler that does not name its service, so that its methods cannot be known.
        """
        for handler in generic_rpc_handlers:
            if not isinstance(handler, grpc.ServiceRpcHandler):
                raise ConfigError("a generic handler hides its methods", remedy="register it with add_service")
            self._announced.add(handler.service_name())

    def finish(self) -> None:
        """Make sure that all that was announced is registered behind the guard, which knows its roles.

        Raises:
            ConfigError: it is not.
        """
        hidden: Iterable[str] = self._announced - self._services
        for service in hidden:
            raise ConfigError(f"the service {service} hides its methods", remedy="register it with add_service")


def _generated(behaviour: Callable[..., Any]) -> bool:
    return str(getattr(behaviour, "__module__", "")).endswith("_pb2_grpc")


def _parts(handler: grpc.RpcMethodHandler) -> tuple[str, Callable[..., Any], Callable[..., Any]]:
    makers = {
        (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
        (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
        (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
        (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
    }
    kind, make = makers[bool(handler.request_streaming), bool(handler.response_streaming)]
    return kind, getattr(handler, kind), make


def _reader(method: str, kind: str, deserializer: Callable[[bytes], Any] | None) -> Callable[[Any], Any]:
    """What turns a request, or each message of a stream of them, from bytes into what the handler takes."""
    if deserializer is None:
        return lambda request: request

    def one(data: bytes) -> Any:
        try:
            return deserializer(data)
        except DecodeError as error:
            raise InputError(
                f"the request to {method} cannot be read", remedy="use the protocol buffers of this gateway's version"
            ) from error

    async def each(messages: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for data in messages:
            yield one(data)

    return each if kind.startswith("stream") else one
