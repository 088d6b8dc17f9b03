"""Nothing is served that nobody declared, and nothing but through the guard."""

from __future__ import annotations

import importlib
import pkgutil

import grpc
import pytest

import gateway.v1
from gateway.errors import ConfigError, UnauthenticatedError
from gateway.model.participant import Role
from gateway.server.access import METHOD_ROLES, Registrar, caller, check_complete


async def answer(request, context):
    return b""


def handlers(behaviour=answer):
    return {"Say": grpc.unary_unary_rpc_method_handler(behaviour)}


def declared():
    """Every method of every service in the contracts."""
    for module in pkgutil.iter_modules(gateway.v1.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"gateway.v1.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                yield from (f"/{service.full_name}/{method.name}" for method in service.methods)


def test_every_method_of_the_contracts_has_declared_roles():
    methods = set(declared())
    assert len(methods) > 30
    check_complete(methods)
    stale = {method for method in METHOD_ROLES if method.startswith("/gateway.")} - methods
    assert stale == set()


def test_no_role_but_administrators_changes_identities_or_pairings():
    for service in ("IdentityService", "ZoneService", "MechanismService"):
        for method, roles in METHOD_ROLES.items():
            if service in method and not method.endswith(
                ("/Renew", "/ListCertificates", "/GetZoneCard", "/GetStatus", "/GetParticipant", "/ListParticipants",
                 "/ListMechanisms")
            ):  # fmt: skip
                assert roles == {Role.ADMIN}, method


def test_only_gateways_speak_as_peers():
    for method, roles in METHOD_ROLES.items():
        if "PeerService" in method or "MirrorService" in method:
            assert roles == {Role.GATEWAY}, method


@pytest.fixture
def registrar(gate):
    return Registrar(grpc.aio.server(), gate.access)


def test_an_undeclared_method_is_not_served(registrar):
    with pytest.raises(ConfigError, match=r"/tdz\.test\.Other/Say"):
        registrar.add_service("tdz.test.Other", handlers())


def test_a_handler_that_is_not_asynchronous_is_not_served(gate):
    with pytest.raises(ConfigError, match="not asynchronous"):
        gate.access.guard("/tdz.test.Probe/Who", handlers(lambda request, context: b"")["Say"])


def test_a_handler_that_hides_its_methods_is_not_served(registrar):
    class Hidden(grpc.GenericRpcHandler):
        def service(self, handler_call_details):
            return handlers()["Say"]

    with pytest.raises(ConfigError, match="hides its methods"):
        registrar.add_generic_rpc_handlers((Hidden(),))
    registrar.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tdz.test.Late", handlers()),))
    with pytest.raises(ConfigError, match=r"tdz\.test\.Late"):
        registrar.finish()


def test_a_service_is_registered_once(gate):
    with pytest.raises(ConfigError, match="twice"):
        gate.registrar.add_service("gateway.v1.ZoneService", {})
    gate.registrar.finish()


def test_without_the_guard_nobody_is_the_caller():
    with pytest.raises(UnauthenticatedError):
        caller(object())


async def test_health_and_reflection_register_through_the_guard(registrar):
    from grpc_health.v1 import health_pb2_grpc
    from grpc_health.v1.health import aio as health
    from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), registrar)
    names = reflection.aio.ReflectionServicer(["gateway.v1.ZoneService"])
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(names, registrar)
    registrar.finish()
    assert "/grpc.health.v1.Health/Check" in registrar.methods
