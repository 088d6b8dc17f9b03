"""Which services a gateway offers: each is registered here, behind the guard."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from gateway.exchange.publishing import Publisher
from gateway.identity.approvals import Approvals
from gateway.identity.authority import ZoneAuthority
from gateway.identity.card import SignedCard
from gateway.identity.enrolment import Enrolment
from gateway.identity.keys import load_tls_key
from gateway.identity.own import load_authorities
from gateway.identity.pairing import Pairings
from gateway.identity.participants import Participants
from gateway.server.access import Registrar
from gateway.server.catalog_service import CatalogService
from gateway.server.exchange_service import ExchangeService
from gateway.server.flight import SERVICE as FLIGHT
from gateway.server.flight import FlightService
from gateway.server.health import Health
from gateway.server.identity_service import IdentityService
from gateway.server.ledger_operations import LedgerOperationsService
from gateway.server.mechanism_service import MechanismService
from gateway.server.mirroring import LedgerService, MirrorService
from gateway.server.peer_service import SERVICE as PEER
from gateway.server.peer_service import PeerFlows, PeerService
from gateway.server.policy_service import PolicyService
from gateway.server.renewal import Renewal
from gateway.server.review_service import PreviewService, ReviewService
from gateway.server.run_peer_service import RunPeerService
from gateway.server.run_service import RunService
from gateway.server.signer_service import SignerService
from gateway.server.status import Status
from gateway.server.zone_service import ZoneService
from gateway.v1 import (
    catalog_pb2_grpc,
    exchange_pb2_grpc,
    identity_pb2_grpc,
    ledger_pb2_grpc,
    mechanism_pb2_grpc,
    policy_pb2_grpc,
    preview_pb2_grpc,
    review_pb2_grpc,
    run_pb2_grpc,
    run_peer_pb2_grpc,
    signer_pb2_grpc,
    zone_pb2_grpc,
)

if TYPE_CHECKING:
    from gateway.server.main import Gateway


def register(gateway: Gateway, registrar: Registrar, card: SignedCard) -> tuple[Health, Renewal]:
    """Register every service of a gateway whose flows are there; its health, and what renews its certificate."""
    house, registry, settings = gateway.house, gateway.registry, gateway.settings
    layout = settings.layout
    target: Any = registrar  # it stands where generated code expects the server
    (certificate, *_) = load_authorities(layout.ca.read_bytes())
    authority = ZoneAuthority(settings.zone, certificate, load_tls_key(layout.ca_key))
    enrolment = Enrolment(authority, registry, time.time)

    def withdrawn(mechanism: str) -> None:
        gateway.serving.decide_again(mechanism)
        gateway.pulls.decide_again(mechanism)

    identity_pb2_grpc.add_IdentityServiceServicer_to_server(
        IdentityService(settings.zone, enrolment, registry, time.time), target
    )
    zone_pb2_grpc.add_ZoneServiceServicer_to_server(
        ZoneService(
            lambda: gateway.card,
            registry,
            Pairings(card, registry, time.time),
            Participants(settings.zone, registry, time.time),
            Status(gateway.corridor, house.journal, gateway.tls, gateway.witnessing, gateway.timestamping),
            time.time,
        ),
        target,
    )
    mechanism_pb2_grpc.add_MechanismServiceServicer_to_server(MechanismService(house, withdrawn), target)
    policy_pb2_grpc.add_PolicyServiceServicer_to_server(PolicyService(gateway.activations), target)
    signer_pb2_grpc.add_SignerServiceServicer_to_server(SignerService(house, gateway.signers), target)
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(CatalogService(house, gateway.offers), target)
    exchange_pb2_grpc.add_ExchangeServiceServicer_to_server(
        ExchangeService(house, gateway.consumer, gateway.pulls, gateway.revoking), target
    )
    ledger_pb2_grpc.add_MirrorServiceServicer_to_server(MirrorService(house.journal), target)
    ledger_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerService(house.journal), target)
    ledger_pb2_grpc.add_LedgerOperationsServiceServicer_to_server(
        LedgerOperationsService(gateway, Approvals(registry, time.time)), target
    )
    run_pb2_grpc.add_RunServiceServicer_to_server(RunService(gateway.federation), target)
    run_peer_pb2_grpc.add_RunPeerServiceServicer_to_server(RunPeerService(gateway.federation), target)
    review_pb2_grpc.add_ReviewServiceServicer_to_server(ReviewService(house, gateway.desk, gateway.appeals), target)
    preview_pb2_grpc.add_PreviewServiceServicer_to_server(PreviewService(gateway.previews), target)
    flows = PeerFlows(
        house,
        gateway.offers,
        gateway.provider,
        gateway.serving,
        gateway.receipts,
        gateway.appeals,
        gateway.revoking,
        gateway.previews,
    )
    registrar.add_service(PEER, PeerService(flows).handlers())
    registrar.add_service(FLIGHT, FlightService(house, gateway.pulls, Publisher(house)).handlers())
    health = Health()
    health_pb2_grpc.add_HealthServicer_to_server(health, target)
    names = (*registrar.services, reflection.SERVICE_NAME)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(ReflectionServicer(names), target)
    return health, Renewal(settings, enrolment, gateway.tls, gateway.corridor.reconnect, house.clock)
