"""Wiring and running one zone's gateway."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import grpc
import structlog
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from gateway.artifacts.trust_register import ModelSigners, load_trust
from gateway.catalog.register import ResourceRegister
from gateway.config import GatewaySettings, load_settings
from gateway.decisions.mechanisms import MechanismRegister
from gateway.decisions.point import DecisionPoint
from gateway.decisions.policy_set import PolicySet
from gateway.errors import ConfigError, TdzError
from gateway.exchange.consumer import Consumer
from gateway.exchange.house import EFFECTS, House
from gateway.exchange.offers import Offers
from gateway.exchange.outbox import Outbox
from gateway.exchange.provider import Provider
from gateway.exchange.publishing import Publisher
from gateway.exchange.pulls import Pulls
from gateway.exchange.receipts import Receipts
from gateway.exchange.serving import Serving
from gateway.exchange.tickets import Tickets
from gateway.federation.effects import EFFECTS as RUN_EFFECTS
from gateway.flow.house import Timing
from gateway.identity.authority import ZoneAuthority
from gateway.identity.card import SignedCard
from gateway.identity.enrolment import Enrolment
from gateway.identity.keys import load_statement_key, load_tls_key
from gateway.identity.own import load_authorities
from gateway.identity.pairing import Pairings
from gateway.identity.participants import Participants
from gateway.identity.registry import Registry
from gateway.identity.statements import StatementSigner
from gateway.identity.verifier import Verifier
from gateway.journal import Journal
from gateway.model import limits
from gateway.server.access import Access, OpenCalls, Registrar
from gateway.server.catalog_service import CatalogService
from gateway.server.corridor import Corridor
from gateway.server.exchange_service import ExchangeService
from gateway.server.flight import SERVICE as FLIGHT
from gateway.server.flight import FlightService
from gateway.server.health import Health
from gateway.server.identity_service import IdentityService
from gateway.server.logging import configure_logging
from gateway.server.mechanism_service import MechanismService
from gateway.server.mirroring import LedgerService, MirrorService
from gateway.server.peer_service import SERVICE as PEER
from gateway.server.peer_service import PeerFlows, PeerService
from gateway.server.renewal import Renewal
from gateway.server.run_peer_service import RunPeerService
from gateway.server.run_service import RunService
from gateway.server.runs import federation
from gateway.server.signer_service import SignerService
from gateway.server.startup import own_card, require_state
from gateway.server.status import Status
from gateway.server.tls import ServerTls
from gateway.server.witnesses import Witnesses
from gateway.server.zone_service import ZoneService
from gateway.state import StateStore
from gateway.storage.chunks import ChunkStore
from gateway.storage.landing import Landings
from gateway.storage.versions import VersionStore
from gateway.v1 import (
    catalog_pb2_grpc,
    exchange_pb2_grpc,
    identity_pb2_grpc,
    ledger_pb2_grpc,
    mechanism_pb2_grpc,
    run_pb2_grpc,
    run_peer_pb2_grpc,
    signer_pb2_grpc,
    zone_pb2_grpc,
)
from gateway.wire.channel import ClientIdentity

_log = structlog.get_logger()
_GRACE_S: Final = 2.0
_PURGE_S: Final = 3_600
_RECONCILE_MAX_S: Final = 5.0


class Gateway:
    """One zone's gateway; made by `Gateway.start`, ended by `stop`.

    Args:
        settings: as `gateway.toml` has them.
        timing: deadlines; tests shorten them.
    """

    def __init__(self, settings: GatewaySettings, timing: Timing | None = None) -> None:
        self.settings = settings
        self.port = 0
        self._timing = timing or Timing()
        self._stack = AsyncExitStack()
        self._loops: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.methods: frozenset[str] = frozenset()

    async def start(self) -> None:
        """Open everything, finish what a crash left, then serve.

        Raises:
            TdzError: what is in the way, with its remedy; nothing is left running.
        """
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _start(self) -> None:
        settings, layout, stack = self.settings, self.settings.layout, self._stack
        card = own_card(settings)
        require_state(settings)
        state = await StateStore.open(layout.state)
        stack.push_async_callback(state.close)
        journal = await Journal.open(
            layout.ledger, origin=settings.origin, log_key=layout.log_key, mirror_key=layout.mirror_key
        )
        stack.push_async_callback(journal.close)
        self.witnessing = Witnesses(journal, layout, time.time)
        self.witnessing.prepare()
        self.registry = await Registry.open(state, journal, card.card.trusted)
        stack.push_async_callback(self.registry.steps.close)
        decisions = DecisionPoint(PolicySet.load(settings.policy), settings.zone)
        await decisions.start()
        stack.push_async_callback(decisions.close)
        data = layout.chunks.parent
        chunks = ChunkStore(data)
        stack.callback(chunks.close)
        versions = VersionStore(data)
        stack.callback(versions.close)
        landings = Landings(data, chunks, versions)
        stack.callback(landings.close)
        self.signers = ModelSigners(state)
        self.house = House(
            zone=settings.zone,
            gateway_id=settings.identity.id,
            signer=StatementSigner(card.card.party, load_statement_key(layout.statement_key)),
            state=state,
            journal=journal,
            registry=self.registry,
            participants=Participants(settings.zone, self.registry, time.time),
            decisions=decisions,
            mechanisms=MechanismRegister(state),
            catalog=ResourceRegister(state),
            trust=lambda: load_trust(self.registry, self.signers),
            chunks=chunks,
            versions=versions,
            landings=landings,
            jurisdiction=settings.jurisdiction,
            effects={**EFFECTS, **RUN_EFFECTS},
            timing=self._timing,
        )
        stack.push_async_callback(self.house.steps.close)
        self._flows()
        self.corridor = Corridor(self.house, self._identity)
        self.house.connect(self.corridor)
        stack.push_async_callback(self.corridor.close)
        # What a crash left is finished before anybody is answered: a repeated request must find its first answer.
        await self.house.steps.recover()
        await self.serving.take_up()
        await self.corridor.reconcile()
        await self._serve(card)
        await self._take_up()

    def _flows(self) -> None:
        house = self.house
        self.offers = Offers(house)
        self.tickets = Tickets(house)
        self.provider = Provider(house, self.tickets)
        self.serving = Serving(house, self.provider, self.tickets)
        self.receipts = Receipts(house)
        self.outbox = Outbox(house)
        self.consumer = Consumer(house, self.offers)
        self.pulls = Pulls(house, self.tickets, self.outbox)
        self.federation = federation(house, self.settings, self.offers)
        self._stack.push_async_callback(self.federation.close)

    async def _serve(self, card: SignedCard) -> None:
        settings, layout, registry = self.settings, self.settings.layout, self.registry
        self.tls = ServerTls(layout.gateway_key, layout.gateway_certificate, registry.authorities)
        verifier = Verifier(settings.zone, registry, time.time)
        self.calls = OpenCalls(verifier, time.time)
        registry.on_revoked(self.calls.revoked)
        registry.on_trust_changed(self._trust_changed)
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # else a second server on the port starts silently
                ("grpc.max_receive_message_length", limits.MESSAGE_MAX),
                ("grpc.max_send_message_length", limits.MESSAGE_MAX),
                ("grpc.max_concurrent_streams", settings.limits.concurrent_rpcs),
                ("grpc.http2.bdp_probe", 0),  # as clients do: a fixed window bounds what lies unread
                ("grpc.http2.lookahead_bytes", limits.STREAM_WINDOW),
                ("grpc.keepalive_time_ms", limits.KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", limits.KEEPALIVE_TIMEOUT_MS),
                ("grpc.http2.min_ping_interval_without_data_ms", limits.KEEPALIVE_MS // 2),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
            maximum_concurrent_rpcs=settings.limits.concurrent_rpcs,
        )
        registrar = Registrar(server, Access(verifier, self.calls))
        self._register(registrar, card)
        registrar.finish()
        self.methods = registrar.methods
        try:
            self.port = server.add_secure_port(str(settings.listen), self.tls.credentials())
        except RuntimeError as error:
            raise ConfigError(
                f"cannot listen on {settings.listen}",
                remedy="is another gateway running there? choose another [gateway] listen",
            ) from error
        await server.start()
        self._stack.push_async_callback(self._end_server, server)

    async def _end_server(self, server: grpc.aio.Server) -> None:
        await server.stop(_GRACE_S)
        await self.calls.shut()

    def _register(self, registrar: Registrar, card: SignedCard) -> None:
        house, registry, settings = self.house, self.registry, self.settings
        layout = settings.layout
        target: Any = registrar  # it stands where generated code expects the server
        (certificate, *_) = load_authorities(layout.ca.read_bytes())
        authority = ZoneAuthority(settings.zone, certificate, load_tls_key(layout.ca_key))
        enrolment = Enrolment(authority, registry, time.time)
        self.renewal = Renewal(settings, enrolment, self.tls, self.corridor.reconnect, self.house.clock)
        identity_pb2_grpc.add_IdentityServiceServicer_to_server(
            IdentityService(settings.zone, enrolment, registry, time.time), target
        )
        zone_pb2_grpc.add_ZoneServiceServicer_to_server(
            ZoneService(
                lambda: card,
                registry,
                Pairings(card, registry, time.time),
                Participants(settings.zone, registry, time.time),
                Status(self.corridor, house.journal, self.tls, self.witnessing),
                time.time,
            ),
            target,
        )
        mechanism_pb2_grpc.add_MechanismServiceServicer_to_server(MechanismService(house), target)
        signer_pb2_grpc.add_SignerServiceServicer_to_server(SignerService(house, self.signers), target)
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(CatalogService(house, self.offers), target)
        exchange_pb2_grpc.add_ExchangeServiceServicer_to_server(
            ExchangeService(house, self.consumer, self.pulls), target
        )
        ledger_pb2_grpc.add_MirrorServiceServicer_to_server(MirrorService(house.journal), target)
        ledger_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerService(house.journal), target)
        run_pb2_grpc.add_RunServiceServicer_to_server(RunService(self.federation), target)
        run_peer_pb2_grpc.add_RunPeerServiceServicer_to_server(RunPeerService(self.federation), target)
        flows = PeerFlows(house, self.offers, self.provider, self.serving, self.receipts)
        registrar.add_service(PEER, PeerService(flows).handlers())
        registrar.add_service(FLIGHT, FlightService(house, self.pulls, Publisher(house)).handlers())
        health = Health()
        health_pb2_grpc.add_HealthServicer_to_server(health, target)
        self._health = health
        names = (*registrar.services, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(ReflectionServicer(names), target)

    async def _take_up(self) -> None:
        """Go on with what was open, then let the loops run."""
        self._stack.push_async_callback(self._end_loops)
        await self.consumer.take_up()
        await self.pulls.take_up()
        await self.federation.coordinator.take_up()
        self._loop("runs", self.federation.tell)
        self._loop("outbox", self.outbox.run)
        self._loop("cards", lambda: self.corridor.follow_cards(self.offers))
        self._loop("reaper", self._reap)
        self._loop("witnesses", self.witnessing.run)
        self._loop("renewal", self.renewal.run)
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        _log.info("serving", zone=self.settings.zone, port=self.port, entries=self.house.journal.size)

    def _loop(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        async def forever() -> None:
            while True:
                try:
                    await run()
                except Exception:
                    _log.exception("a loop failed and is started again", loop=name)
                    await asyncio.sleep(self._timing.reaper)

        self._loops.append(asyncio.create_task(forever(), name=name))

    async def _reap(self) -> None:
        """End what passed its deadline."""
        purged = float("-inf")
        while True:
            for expire in (
                self.house.steps.finish_owed,
                self.consumer.expire,
                self.provider.expire_offers,
                self.pulls.expire,
                self.serving.expire,
                self.federation.expire,
            ):
                try:
                    await expire()
                except TdzError as error:
                    _log.warning("not ended yet", what=expire.__qualname__, reason=error.reason, error=str(error))
            if time.monotonic() - purged > _PURGE_S:
                await self.tickets.purge()
                purged = time.monotonic()
            await asyncio.sleep(self._timing.reaper)

    async def _end_loops(self) -> None:
        await self._health.enter_graceful_shutdown()
        await self.consumer.close()
        await self.pulls.close()
        await self.federation.stop()
        tasks = [*self._loops, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _identity(self) -> ClientIdentity:
        layout = self.settings.layout
        return ClientIdentity(
            ca=layout.ca.read_bytes(),
            certificate=layout.gateway_certificate.read_bytes(),
            key=layout.gateway_key.read_bytes(),
        )

    def _trust_changed(self, zone: str) -> None:
        self.tls.reload()
        self.calls.trust_changed(zone)
        task = asyncio.create_task(self._reconcile(), name=f"reconcile-{zone}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reconcile(self) -> None:
        wait = self._timing.retry
        while True:
            try:
                await self.corridor.reconcile()
                return
            except TdzError as error:
                _log.error("pairings are not in line yet", reason=error.reason, error=str(error))
            await asyncio.sleep(wait)
            wait = min(2 * wait, _RECONCILE_MAX_S)

    async def stop(self) -> None:
        """Finish what can be finished soon, then end; what is open goes on after the next start."""
        await self._stack.aclose()


def serve(directory: Path, ready: Callable[[int], None] | None = None) -> None:
    """Run the gateway of a zone's directory until SIGTERM or SIGINT.

    Args:
        directory: made by `tdz zone init`.
        ready: hears the port once the gateway serves.

    Raises:
        TdzError: it cannot start; the text says what is in the way.
    """
    settings = load_settings(directory)
    configure_logging(settings.layout.log)

    async def run() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stopping.set)
        gateway = Gateway(settings)
        await gateway.start()
        if ready is not None:
            ready(gateway.port)
        await stopping.wait()
        _log.info("stopping", zone=settings.zone)
        await gateway.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
