"""Two gateways whose decisions come from OPA servers, and one whose workers are killed: denied, recorded, mended."""

from __future__ import annotations

import dataclasses
import os
import signal

import pytest
from aiohttp import web

from gateway.config import EngineSettings, write_settings
from gateway.decisions.opa_bundle import OpaBundle
from gateway.decisions.policy_set import PolicySet
from gateway.errors import DeniedError
from tests.conformance.policy.faulty_opa import FaultyOpa, stalled
from tests.e2e.material import CYBERJAYA, LINGANG
from tests.e2e.small import ADMINS, eventually, recorded, small_corridor
from tests.opa_server import make_server
from tests.unit.decisions.bundles import material

pytestmark = pytest.mark.e2e

_LONG_S = 60.0


async def _denied_and_recorded(small, name):
    """A request that neither zone's policy refuses; the codes that both ledgers then name."""
    with pytest.raises(DeniedError) as caught:
        await (await small.um()).request(name, purpose="research")
    assert "TDZ-DECISION-UNAVAILABLE" in {finding[0] for finding in caught.value.findings}
    return await recorded(
        small.a,
        lambda e: e["subject"] == f"negotiations/{caught.value.request_id}" and e["body"].get("effect") == "deny",
    )


async def test_gateways_ask_their_opa_and_deny_and_record_while_it_is_away(tmp_path):
    servers = {zone: make_server(tmp_path / zone) for zone in (CYBERJAYA, LINGANG)}

    def prepare(small):
        for zone, server in servers.items():
            process = small.corridor.zone(zone)
            opa_settings = dataclasses.replace(server.settings, rest_s=0.05)
            engine = EngineSettings(kind="opa", opa=opa_settings)
            write_settings(dataclasses.replace(process.settings, engine=engine))

    try:
        async with small_corridor(tmp_path / "small", prepare=prepare) as small:
            name = await small.offered()
            await _denied_and_recorded(small, name)  # the gateways started, and no OPA did
            for server in servers.values():
                server.start()  # with the bundle that its gateway wrote
            for gateway in (small.a, small.b):
                await gateway.house._decisions.in_force(_LONG_S)
            agreed = await (await small.um()).request(name, purpose="research")
            assert agreed.agreement
            servers[CYBERJAYA].signal(signal.SIGKILL)
            entry = await _denied_and_recorded(small, name)
            found = {finding["code"] for finding in entry["body"]["decision"]["findings"]}
            assert found == {"TDZ-DECISION-UNAVAILABLE"}
            servers[CYBERJAYA].stop()
            servers[CYBERJAYA].start()
            await small.a.house._decisions.in_force(_LONG_S)
            assert (await (await small.um()).request(name, purpose="research")).agreement
            await small.stop(CYBERJAYA)
            again = await small.start(CYBERJAYA)  # settings are read back as they were written
            assert again.settings.engine == dataclasses.replace(again.settings.engine, kind="opa")
            await again.house._decisions.in_force(_LONG_S)
    finally:
        for server in servers.values():
            server.stop()


async def test_an_activation_that_opa_takes_up_and_one_that_it_never_does(tmp_path):
    server = make_server(tmp_path / CYBERJAYA)

    def prepare(small):
        process = small.corridor.zone(CYBERJAYA)
        material.trust(process.layout.policy_trust)
        opa_settings = dataclasses.replace(server.settings, rest_s=0.05)
        write_settings(dataclasses.replace(process.settings, engine=EngineSettings(kind="opa", opa=opa_settings)))

    async def activate(small, revision):
        for who in ADMINS[:2]:
            async with small.admin(CYBERJAYA, who) as admin:
                standing = await admin.propose_policy(material.forbidding(CYBERJAYA, revision, "public_health"))
        assert standing.active
        return standing.policy_digest

    async def opa_decides():
        return not small.a.house._decisions.worker_pids

    try:
        async with small_corridor(tmp_path / "small", prepare=prepare) as small:
            server.start()
            await small.a.house._decisions.in_force(_LONG_S)
            name = await small.offered()
            um = await small.um()
            digest = await activate(small, 1)
            assert (await um.request(name, purpose="research")).agreement  # whoever of the two decides by now
            await eventually(opa_decides)
            assert small.a.house._decisions.policy.digest == digest
            assert (await um.request(name, purpose="research")).agreement
            with pytest.raises(DeniedError) as refused:
                await um.request(name, purpose="public_health")
            assert "ZONE-PURPOSE" in {finding[0] for finding in refused.value.findings}
            server.signal(signal.SIGKILL)
            server.stop()
            digest = await activate(small, 2)
            await eventually(opa_decides)
            entry = await _denied_and_recorded(small, name)
            assert entry["body"]["decision"]["findings"][0]["code"] == "TDZ-DECISION-UNAVAILABLE"
            async with small.admin(CYBERJAYA) as admin:
                assert (await admin.policy_status()).policy_digest == digest  # on the ledger, and so in force
            server.start()
            await small.a.house._decisions.in_force(_LONG_S)
            assert (await um.request(name, purpose="research")).agreement
    finally:
        server.stop()


async def _garbage(_: web.Request) -> web.Response:
    return web.Response(body=b'{"result":{"policy":"x"', content_type="application/json")


@pytest.mark.parametrize(("answer", "says"), [(_garbage, "garbage"), (stalled, "no answer in time")])
async def test_an_opa_that_answers_garbage_or_nothing_denies_and_the_finding_says_so(tmp_path, answer, says):
    bundle = OpaBundle.of(PolicySet.load().for_zone(CYBERJAYA))
    async with FaultyOpa(bundle, tmp_path / "opa", decide=answer) as peer:

        def prepare(small):
            process = small.corridor.zone(CYBERJAYA)
            opa_settings = dataclasses.replace(peer.settings, timeout_s=0.3, rest_s=0.05)
            write_settings(dataclasses.replace(process.settings, engine=EngineSettings(kind="opa", opa=opa_settings)))

        async with small_corridor(tmp_path / "small", prepare=prepare) as small:
            entry = await _denied_and_recorded(small, await small.offered())
            assert peer.asked
            (finding,) = entry["body"]["decision"]["findings"]
            assert finding["code"] == "TDZ-DECISION-UNAVAILABLE"
            assert says in small.a.house._decisions.engine_state


async def test_a_worker_killed_at_work_denies_one_request_and_the_gateway_goes_on(tmp_path):
    async with small_corridor(tmp_path / "small") as small:
        name = await small.offered()
        decisions = small.a.house._decisions
        assert len(decisions.worker_pids) >= 1
        um = await small.um()
        for pid in decisions.worker_pids[:-1]:  # all but the spare
            os.kill(pid, signal.SIGSTOP)
        for pid in decisions.worker_pids[:-1]:
            os.kill(pid, signal.SIGKILL)
        assert (await um.request(name, purpose="research")).agreement
        os.kill(decisions.worker_pids[0], signal.SIGSTOP)  # the one that is asked next: it hangs until the deadline
        await _denied_and_recorded(small, name)
        assert (await um.request(name, purpose="research")).agreement
