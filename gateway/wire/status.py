"""Errors across gRPC: the tree of gateway/errors.py out as rich statuses, and back in.

A status carries code, a one-line text with the remedy (so that clients of others show it), and a
`gateway.v1.Refusal` in `google.rpc.Status.details` (https://grpc.io/docs/guides/error/).
"""

from __future__ import annotations

import uuid
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from grpc_status import rpc_status

from gateway import errors
from gateway.errors import REASON_STATUS, PolicyError, TdzError
from gateway.v1 import common_pb2


def _tree(root: type[TdzError]) -> dict[str, type[TdzError]]:
    found = {root.reason: root}
    for child in root.__subclasses__():
        if "reason" in vars(child):  # a kind that a module tells apart for itself crosses as what it is a kind of
            found |= _tree(child)
    return found


_BY_REASON = _tree(TdzError)
_FINDING = ("code", "effect", "authority", "cite", "remedy")


def refusal(error: TdzError) -> common_pb2.Refusal:
    """The error as its wire form."""
    message = common_pb2.Refusal(reason=error.reason, message=error.message, remedy=error.remedy)
    if isinstance(error, PolicyError):
        message.decision_id = error.decision_id
        message.request = error.request_id
        for finding in error.findings:
            message.findings.add(**dict(zip(_FINDING, finding, strict=True)))
    return message


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: BaseException) -> NoReturn:
    """End the call with the error's status; an unknown exception becomes INTERNAL with an incident id.

    The caller has logged an unknown exception under the incident id before, see `incident`.
    """
    known = error if isinstance(error, TdzError) else incident()
    details = any_pb2.Any()
    details.Pack(refusal(known))
    code = getattr(grpc.StatusCode, REASON_STATUS[known.reason])
    status = status_pb2.Status(code=code.value[0], message=str(known), details=[details])
    rich = rpc_status.to_status(status)
    await context.abort(rich.code, rich.details, rich.trailing_metadata)
    raise AssertionError("context.abort returned")


def incident() -> TdzError:
    """An INTERNAL error that tells nothing but an id to look for in the gateway's log."""
    return TdzError(f"internal error, incident {uuid.uuid4()}", remedy="tell the zone's administrator the incident id")


def from_rpc(error: grpc.aio.AioRpcError) -> TdzError:
    """The error of the tree behind a failed call."""
    status = _details(error)
    for detail in status.details if status is not None else ():
        message = _refusal_in(detail)
        if message is not None:
            kind = _BY_REASON.get(message.reason, TdzError)
            if issubclass(kind, PolicyError):
                return kind(
                    message.message,
                    remedy=message.remedy,
                    findings=tuple((f.code, f.effect, f.authority, f.cite, f.remedy) for f in message.findings),
                    decision_id=message.decision_id,
                    request_id=message.request,
                )
            return kind(message.message, remedy=message.remedy)
    return _plain(error)


def _refusal_in(detail: Any) -> common_pb2.Refusal | None:
    message = common_pb2.Refusal()
    try:
        return message if detail.Is(common_pb2.Refusal.DESCRIPTOR) and detail.Unpack(message) else None
    except DecodeError:
        return None


def _details(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def _plain(error: grpc.aio.AioRpcError) -> TdzError:
    """A status without our details: the transport's own, or another server's."""
    code, text = error.code(), error.details() or "no details"
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return errors.PeerUnavailableError(
                f"the gateway does not answer: {text}",
                remedy="check that it runs, its address, and that both sides' certificates are valid",
            )
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.PeerUnavailableError("the gateway did not answer in time", remedy="try again")
        case grpc.StatusCode.CANCELLED:
            return errors.PeerUnavailableError(f"the gateway ended the call: {text}", remedy="try again")
        case grpc.StatusCode.UNAUTHENTICATED:
            return errors.UnauthenticatedError(text)
        case grpc.StatusCode.PERMISSION_DENIED:
            return errors.PermissionDeniedError(text)
        case grpc.StatusCode.NOT_FOUND:
            return errors.NotFoundError(text)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return errors.LimitError(text)
        case grpc.StatusCode.UNIMPLEMENTED:
            return errors.PeerError(f"the gateway does not know this call: {text}", remedy="update it")
        case _:
            return errors.PeerError(f"{code.name}: {text}")
