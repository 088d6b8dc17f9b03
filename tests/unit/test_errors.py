"""The one tree of errors, its table of statuses, and each error's way through a real call."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import status_pb2

from gateway import errors
from gateway.decisions import opa_client  # noqa: F401, makes kinds of its own that must not cross the wire
from gateway.errors import REASON_STATUS, PolicyError, TdzError
from gateway.wire.status import abort, from_rpc

FINDINGS = (("MY-BASIS", "deny", "binding", "PDPA 2010 s.129 § 2", "register a basis"),)


def tree(root=TdzError):
    return [
        root,
        *(found for child in root.__subclasses__() for found in tree(child) if found.__module__ == root.__module__),
    ]


def test_every_error_of_the_module_is_in_the_tree():
    classes = {v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)}
    assert set(tree()) == classes
    assert len(classes) == len(tree())


def test_every_error_has_a_reason_of_its_own():
    reasons = [kind.reason for kind in tree()]
    assert len(set(reasons)) == len(reasons)
    assert all(reason.startswith("TDZ-") and reason == reason.upper() for reason in reasons)


def test_the_table_names_every_reason_and_no_other_and_only_statuses_of_grpc():
    assert REASON_STATUS.keys() == {kind.reason for kind in tree()}
    statuses = {code.name for code in grpc.StatusCode} - {"OK", "UNKNOWN", "CANCELLED"}
    assert set(REASON_STATUS.values()) <= statuses


def test_only_what_nobody_foresaw_is_internal():
    assert [reason for reason, status in REASON_STATUS.items() if status == "INTERNAL"] == ["TDZ-INTERNAL"]


def test_a_refusal_of_identity_is_never_told_as_anything_that_invites_another_try():
    for kind in tree(errors.IdentityError):
        assert REASON_STATUS[kind.reason] in {"PERMISSION_DENIED", "UNAUTHENTICATED"}


def test_the_text_of_an_error_carries_its_remedy():
    assert str(errors.InputError("wrong", remedy="mend it")) == "wrong (mend it)"
    assert str(errors.InputError("wrong")) == "wrong"


def made(kind):
    text = "zwei Ä \n 数据"
    if issubclass(kind, PolicyError):
        return kind(text, remedy="tun", findings=FINDINGS, decision_id="d-1", request_id="r-1")
    return kind(text, remedy="tun")


@pytest.fixture
async def raising():
    """A real server whose method `/t/N` ends with the N-th error of the tree, and a channel to it."""
    kinds = tree()

    class Handlers(grpc.GenericRpcHandler):
        def service(self, details):
            name = details.method.rsplit("/", 1)[1]

            async def end(_request, context):
                error = ZeroDivisionError("a secret") if name == "unknown" else made(kinds[int(name)])
                await abort(context, error)

            return grpc.unary_unary_rpc_method_handler(end)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


async def test_each_error_comes_through_a_real_call_as_itself(raising):
    for number, kind in enumerate(tree()):
        sent = made(kind)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raising.unary_unary(f"/t/{number}")(b"")
        assert caught.value.code().name == REASON_STATUS[kind.reason]
        got = from_rpc(caught.value)
        assert type(got) is kind
        assert (got.message, got.remedy, got.reason) == (sent.message, sent.remedy, sent.reason)
        if isinstance(got, PolicyError):
            assert (got.findings, got.decision_id, got.request_id) == (FINDINGS, "d-1", "r-1")


async def test_an_exception_that_nobody_foresaw_tells_an_incident_and_nothing_else(raising):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raising.unary_unary("/t/unknown")(b"")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value)
    assert "ZeroDivision" not in str(caught.value)
    assert "incident" in from_rpc(caught.value).message


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("UNAVAILABLE", errors.PeerUnavailableError),
        ("DEADLINE_EXCEEDED", errors.PeerUnavailableError),
        ("UNAUTHENTICATED", errors.UnauthenticatedError),
        ("PERMISSION_DENIED", errors.PermissionDeniedError),
        ("NOT_FOUND", errors.NotFoundError),
        ("RESOURCE_EXHAUSTED", errors.LimitError),
        ("UNIMPLEMENTED", errors.PeerError),
        ("DATA_LOSS", errors.PeerError),
        ("UNKNOWN", errors.PeerError),
    ],
)
def test_a_status_of_others_becomes_an_error_of_the_tree(code, kind):
    status = grpc.aio.AioRpcError(grpc.StatusCode[code], grpc.aio.Metadata(), grpc.aio.Metadata(), "said")
    assert type(from_rpc(status)) is kind


def test_details_that_are_no_details_are_passed_over():
    hollow = any_pb2.Any(type_url="type.googleapis.com/gateway.v1.Refusal", value=b"\xff\xff")
    for noise in (b"\xff\xff", status_pb2.Status(code=5, details=[hollow]).SerializeToString()):
        trailing = grpc.aio.Metadata(("grpc-status-details-bin", noise))
        status = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), trailing, "said")
        assert type(from_rpc(status)) is errors.NotFoundError
