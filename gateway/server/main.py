"""Wiring one zone's gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import grpc
import structlog
from grpc_health.v1 import health_pb2

from gateway.artifacts.trust_register import ModelSigners, load_trust
from gateway.catalog.register import ResourceRegister
from gateway.config import GatewaySettings
from gateway.decisions.mechanisms import MechanismRegister
from gateway.errors import ConfigError, TdzError
from gateway.exchange.appealing import Appeals
from gateway.exchange.consumer import Consumer
from gateway.exchange.house import EFFECTS, House
from gateway.exchange.offers import Offers
from gateway.exchange.outbox import Outbox
from gateway.exchange.previewing import Previews
from gateway.exchange.provider import Provider
from gateway.exchange.pulls import Pulls
from gateway.exchange.receipts import Receipts
from gateway.exchange.revoking import Revoking
from gateway.exchange.serving import Serving
from gateway.exchange.tickets import Tickets
from gateway.exchange.usage import Usage
from gateway.exchange.weighing import Weighing
from gateway.federation.effects import EFFECTS as RUN_EFFECTS
from gateway.flow.house import Timing
from gateway.flow.policy_entries import EFFECTS as POLICY_EFFECTS
from gateway.identity.card import SignedCard
from gateway.identity.keys import keep_secret, load_statement_key
from gateway.identity.participants import Participants
from gateway.identity.registry import Registry
from gateway.identity.statements import StatementSigner
from gateway.identity.verifier import Verifier
from gateway.journal import Bounds, Journal
from gateway.model import limits
from gateway.server.access import Access, OpenCalls, Readiness, Registrar
from gateway.server.assurance import Assurance
from gateway.server.corridor import Corridor
from gateway.server.desk import reviewers_desk
from gateway.server.log_key import take_up
from gateway.server.policies import activations, decision_log, policy_at_start
from gateway.server.runs import federation
from gateway.server.services import register
from gateway.server.startup import marker_folder, own_card, require_state
from gateway.server.timestamping import Timestamping
from gateway.server.tls import ServerTls
from gateway.server.witnesses import Witnesses
from gateway.state import StateStore
from gateway.storage.chunks import ChunkStore
from gateway.storage.landing import Landings
from gateway.storage.subjects import SubjectSets
from gateway.storage.versions import VersionStore
from gateway.wire.channel import ClientIdentity

_log = structlog.get_logger()
_GRACE_S: Final = 2.0
_PURGE_S: Final = 3_600
_RECONCILE_MAX_S: Final = 5.0
_LOOK_S: Final = 60.0


class Gateway:
    """One zone's gateway; made by `Gateway.start`, ended by `stop`.

    Args:
        settings: as `gateway.toml` has them.
        timing: deadlines; tests shorten them.
    """

    def __init__(self, settings: GatewaySettings, timing: Timing | None = None) -> None:
        self.settings = settings
        self.port = 0
        self.card: SignedCard
        self._timing = timing or Timing()
        self._stack = AsyncExitStack()
        self.starting: asyncio.Task[None]
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
        own_card(settings)
        require_state(settings)
        state = await StateStore.open(layout.state)
        stack.push_async_callback(state.close)
        journal = await Journal.open(
            layout.ledger,
            origin=settings.origin,
            log_key=layout.log_key,
            mirror_key=layout.mirror_key,
            marker=marker_folder(settings),
            ask=True,
            bounds=Bounds(settings.ledger.uncosigned_entries, settings.ledger.uncosigned_s),
            mirror_bytes=settings.ledger.mirror_bytes,
        )
        stack.push_async_callback(journal.close)
        card = self.card = await asyncio.to_thread(take_up, settings, journal.vkey)
        self.witnessing = Witnesses(journal, layout, time.time)
        self.witnessing.prepare()
        stack.push_async_callback(self.witnessing.close)
        self.timestamping = Timestamping(journal, settings, time.time) if settings.timestamps.authority else None
        self.registry = await Registry.open(state, journal, card.card.trusted, recover=False)
        stack.push_async_callback(self.registry.steps.close)
        policies, decisions = await policy_at_start(settings, state, stack)
        self.decision_log = decision_log(settings, state, decisions)
        data = layout.chunks.parent
        chunks = ChunkStore(data)
        stack.callback(chunks.close)
        versions = VersionStore(data)
        stack.callback(versions.close)
        landings = Landings(data, chunks, versions)
        stack.callback(landings.close)
        subjects = SubjectSets(data, keep_secret(layout.subjects_secret))
        stack.callback(subjects.close)
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
            subjects=subjects,
            jurisdiction=settings.jurisdiction,
            effects={**EFFECTS, **RUN_EFFECTS, **POLICY_EFFECTS},
            administrators=settings.approvals.administrators,
            timing=self._timing,
        )
        stack.push_async_callback(self.house.steps.close)
        self._flows()
        changed = (self.serving.decide_again, self.pulls.decide_again)
        self.activations = activations(self.house, settings, policies, decisions, changed)
        stack.push_async_callback(self.activations.close)
        self.corridor = Corridor(self.house, self._identity)
        self.house.connect(self.corridor)
        stack.push_async_callback(self.corridor.close)
        await self.corridor.reconcile()
        await self._serve(card)
        # It answers what it holds of others already now; all else waits until it may record.
        self.starting = asyncio.create_task(self._become_ready(), name="start")
        self._stack.push_async_callback(self._end_start)
        done, _ = await asyncio.wait({self.starting}, timeout=self._timing.start)
        if done:
            await self.starting
        else:
            _log.warning("not ready yet", zone=settings.zone, why=self.assurance.why())

    async def _become_ready(self) -> None:
        """Ask what others hold of the ledger, then finish what a crash left before anybody is answered.

        A repeated request must find its first answer.
        """
        await self.assurance.obtain()
        await self.registry.steps.recover()
        await self.corridor.reconcile()
        await self.house.steps.recover()
        await self.activations.take_up()
        await self.serving.take_up()
        await self.revoking.take_up()
        await self._take_up()
        self._readiness.set()

    async def _end_start(self) -> None:
        self.starting.cancel()
        await asyncio.gather(self.starting, return_exceptions=True)

    def _flows(self) -> None:
        house = self.house
        self.offers = Offers(house)
        self.tickets = Tickets(house)
        usage = Usage(house)
        weighing = Weighing(house, usage)
        self.provider = Provider(house, self.tickets, weighing)
        self.serving = Serving(house, usage, self.tickets)
        self.receipts = Receipts(house)
        self.outbox = Outbox(house)
        self.consumer = Consumer(house, self.offers)
        self.pulls = Pulls(house, self.tickets, self.outbox)
        self.appeals = Appeals(house, self.consumer.go_on)
        self.revoking = Revoking(house, self.outbox, self.pulls, self.serving)
        self.previews = Previews(house, self.offers, weighing)
        self.federation = federation(house, self.settings, self.offers)
        self.desk = reviewers_desk(house, self.outbox, self.consumer, self.federation)
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
        self.assurance = Assurance(self.house.journal, self.corridor, self.witnessing)
        self._readiness = Readiness(self._timing.start, self.assurance.why)
        registrar = Registrar(server, Access(verifier, self.calls, readiness=self._readiness))
        self._health, self.renewal = register(self, registrar, card)
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
        self._stack.push_async_callback(self.calls.stop, server, _GRACE_S)

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
        if self.timestamping is not None:
            self._loop("timestamps", self.timestamping.run)
        self._loop("renewal", self.renewal.run)
        self._loop("ledgers", self._watch_ledgers)
        self._loop("decision log", self.decision_log.run)
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
                self.desk.expire,
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

    async def _watch_ledgers(self) -> None:
        """Say on our ledger what became of the others'."""
        while True:
            try:
                await self.house.journal.record_policy()
                await self.house.journal.record_forks()
                await self.house.journal.record_heads(alone=True)
            except TdzError as error:
                _log.warning("not recorded yet", reason=error.reason, error=str(error))
            await asyncio.sleep(_LOOK_S)

    async def _end_loops(self) -> None:
        await self._health.enter_graceful_shutdown()
        await self.consumer.close()
        await self.pulls.close()
        await self.federation.stop()
        tasks = [*self._loops, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self.decision_log.carry()
        except TdzError as error:
            _log.warning("the decision log goes on at the next start", reason=error.reason, error=str(error))

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
