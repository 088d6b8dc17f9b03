"""An OPA server that is away, hangs, lies, or has another policy: denied, said why, and mended without a restart."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal

import pytest
from aiohttp import web

from gateway.decisions.example import example
from gateway.decisions.opa import OpaEngine
from gateway.decisions.opa_bundle import OpaBundle
from gateway.decisions.opa_client import OpaClient
from gateway.decisions.point import DecisionPoint
from gateway.errors import ConfigError, DecisionUnavailableError, StorageError
from gateway.model import canonical
from tests.conformance.policy.faulty_opa import FaultyOpa, stalled
from tests.opa_server import certificate, make_server

_LONG_S = 60.0
_DOCUMENT = canonical.encode(example())
_NOT_THIS_ONE = r"another policy|no answer in time"  # a loaded machine may not even answer in so short a time


@pytest.fixture
def policy(policy_set):
    return policy_set.for_zone("lingang")


@pytest.fixture
def server(policy, tmp_path):
    """A server of the test's own, which it may stop, kill and reload."""
    made = make_server(tmp_path / "opa")
    made.load(policy)
    made.start()
    yield made
    made.stop()


def _engine(policy, settings, **changes) -> OpaEngine:
    opa = dataclasses.replace(settings, **{"failures": 1_000, "rest_s": 0.01, **changes})
    return OpaEngine(policy, opa, deadline_s=_LONG_S)


async def _refused(engine, says: str) -> None:
    with pytest.raises(DecisionUnavailableError, match=says):
        await engine.evaluate(_DOCUMENT)


async def test_a_server_that_ends_denies_and_one_that_is_back_decides(policy, policy_set, server):
    engine = _engine(policy, server.settings)
    await engine.start()
    try:
        point = DecisionPoint(policy_set, "lingang", engine=engine)
        assert (await point.decide(example())).effect == "allow"
        server.signal(signal.SIGKILL)
        server.stop()
        denied = await point.decide(example())
        assert (denied.effect, denied.findings[0].code) == ("deny", "TDZ-DECISION-UNAVAILABLE")
        assert "cannot be reached" in denied.findings[0].cite
        assert "cannot be reached" in engine.state
        server.start()
        await engine.in_force(_LONG_S)
        assert (await point.decide(example())).effect == "allow"
    finally:
        await engine.close()


async def test_a_server_that_stands_still_costs_a_decision_its_deadline_only(policy, policy_set, server):
    engine = OpaEngine(policy, dataclasses.replace(server.settings, rest_s=0.01), deadline_s=1.0)
    await engine.start()
    try:
        await engine.in_force(_LONG_S)
        point = DecisionPoint(policy_set, "lingang", engine=engine)
        server.signal(signal.SIGSTOP)
        denied = await asyncio.gather(*(point.decide(example()) for _ in range(8)))
        assert {decision.findings[0].code for decision in denied} == {"TDZ-DECISION-UNAVAILABLE"}
        server.signal(signal.SIGCONT)
        await engine.in_force(_LONG_S)
    finally:
        server.signal(signal.SIGCONT)
        await engine.close()


async def test_the_bundle_is_written_for_the_server_and_the_next_policy_takes_over(policy, policy_set, server):
    first = _engine(policy, server.settings)
    await first.start()
    await first.in_force(_LONG_S)
    files = {name: text for name, text in policy.modules.items() if not name.startswith("tdz/zone/")}
    rule = 'package tdz.zone.lingang\n\nfindings contains {"code": "LG-NO", "effect": "deny", "fields": []} if true\n'
    tighter = dataclasses.replace(policy, modules={**files, "tdz/zone/lingang/rules.rego": rule})
    second = _engine(tighter, server.settings)
    try:
        assert (await first.evaluate(_DOCUMENT))["effect"] == "allow"
        await second.start()
        await second.in_force(_LONG_S)
        assert (await second.evaluate(_DOCUMENT))["effect"] == "deny"
        await _refused(first, "another policy loaded than the one in force")
        with pytest.raises(DecisionUnavailableError, match=_NOT_THIS_ONE):
            await first.in_force(0.5)
        await first.start()  # back to the first one
        await first.in_force(_LONG_S)
        assert (await first.evaluate(_DOCUMENT))["effect"] == "allow"
        with pytest.raises(DecisionUnavailableError, match=_NOT_THIS_ONE):
            await second.in_force(0.5)  # it decided a moment ago, and what it saw then is true no more
        await _refused(second, "another policy loaded than the one in force")
    finally:
        await first.close()
        await second.close()


async def test_a_bundle_that_could_not_be_written_is_written_by_a_later_decision(policy, server):
    engine = _engine(policy, server.settings)
    server.bundle.unlink()
    in_the_way = server.bundle.with_name(f".{server.bundle.name}.{os.getpid()}.tmp")
    in_the_way.mkdir()
    try:
        with pytest.raises(StorageError):
            await engine.start()
        await _refused(engine, "the bundle for OPA cannot be written")
        in_the_way.rmdir()
        await engine.in_force(_LONG_S)
        assert server.bundle.exists()
        assert (await engine.evaluate(_DOCUMENT))["effect"] == "allow"
    finally:
        await engine.close()


async def test_what_does_not_compile_leaves_the_policy_before_it_in_force(policy, server):
    """Neither a policy that the gateway is given, nor a bundle that somebody else puts into its place."""
    engine = _engine(policy, server.settings)
    broken = dataclasses.replace(policy, modules={**policy.modules, "tdz/zone/lingang/x.rego": "package tdz.x\np if"})
    other = _engine(broken, server.settings)
    await engine.start()
    try:
        await engine.in_force(_LONG_S)
        with pytest.raises(ConfigError, match="does not compile"):
            await other.start()
        assert (await engine.evaluate(_DOCUMENT))["effect"] == "allow"
        server.load(broken)
        with pytest.raises(DecisionUnavailableError, match=_NOT_THIS_ONE):
            await other.in_force(1.0)
        assert (await engine.evaluate(_DOCUMENT))["effect"] == "allow"
    finally:
        await engine.close()
        await other.close()


async def test_what_only_opa_could_read_is_refused(policy, server):
    only_opa = "package tdz.zone.lingang\n\nx if {\n\tnot {\n\t\tinput.a\n\t\tinput.b\n\t}\n}\n"
    engine = _engine(
        dataclasses.replace(policy, modules={**policy.modules, "tdz/zone/lingang/rules.rego": only_opa}),
        server.settings,
    )
    with pytest.raises(ConfigError, match="does not compile"):
        await engine.start()
    await engine.close()


async def test_the_other_zones_policy_decides_nothing_here(policy, policy_set, server):
    server.load(policy_set.for_zone("cyberjaya"))
    engine = _engine(policy, server.settings, bundle=None)
    await engine.start()
    try:
        other = _engine(policy_set.for_zone("cyberjaya"), server.settings, bundle=None)
        await other.in_force(_LONG_S)
        await other.close()
        await _refused(engine, "another policy loaded than the one in force")
    finally:
        await engine.close()


async def test_a_server_with_another_certificate_is_not_asked(policy, server, tmp_path):
    stranger, _ = certificate(tmp_path, "stranger")
    engine = _engine(policy, server.settings, ca=stranger)
    await engine.start()
    try:
        await _refused(engine, "no identity that is trusted")
    finally:
        await engine.close()


async def test_a_wrong_token_is_refused_and_a_renewed_one_needs_no_restart(policy, server):
    right = server.token_file.read_text("ascii")
    server.token_file.write_text("wrong-and-secret\n", "ascii")
    engine = _engine(policy, server.settings)
    await engine.start()
    try:
        await _refused(engine, "does not let this gateway ask")
        assert "secret" not in engine.state
        assert "secret" not in repr(engine) + repr(server.settings)
        server.token_file.write_text(right, "ascii")
        await engine.in_force(_LONG_S)
        assert (await engine.evaluate(_DOCUMENT))["effect"] == "allow"
    finally:
        await engine.close()


async def test_nobody_writes_through_the_servers_api(policy, server):
    """Neither with the gateway's token, which may ask and no more, nor below the bundle's root at all."""
    client = OpaClient(server.settings)
    await client._init_session()
    try:
        for method, path in (
            ("PUT", "policies/x"),
            ("PUT", "data/tdz/lists/x"),
            ("DELETE", "data/tdz"),
            ("POST", "query"),
        ):
            async with client._request(method, f"{client.root_url}/{path}", data=b"{}") as answer:
                assert answer.status == 401, (method, path)
    finally:
        await client.close_connection()


@pytest.mark.parametrize(
    ("key", "content"),
    [("token_file", None), ("token_file", ""), ("ca", None), ("ca", "no certificate"), ("key", None)],
)
async def test_a_file_that_cannot_be_read_is_said_at_the_start(policy, server, tmp_path, key, content):
    path = tmp_path / "file"
    if content is not None:
        path.write_text(content, "ascii")
    changes = {"certificate": server.certificate, "key": path} if key == "key" else {key: path}
    engine = _engine(policy, server.settings, **changes)
    with pytest.raises(ConfigError, match="OPA"):
        await engine.start()
    await engine.close()


def _json(body: bytes, status: int = 200, **headers: str):
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status, content_type="application/json", headers=headers)

    return answer


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(10_000):
        await response.write(b" " * 65_536)
        await asyncio.sleep(0)  # writing to a buffer that is not full does not let others run
    return response


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"result":')
    request.transport.close()
    return response


@pytest.mark.parametrize(
    ("decide", "says"),
    [
        (_json(b"not json"), "garbage"),
        (_json(b"[]"), "garbage"),
        (_json(b"{}"), "no policy"),
        (_json(b'{"result":{}}'), "garbage"),
        (_json(b'{"result":{"policy":"x","decisions":[]}}'), "another policy"),
        (_json(b'{"result":1,"result":{"policy":"x","decisions":["allow"]}}'), "garbage"),
        (_json(b'{"result":NaN}'), "garbage"),
        (_json(b"[" * 200_000), "garbage"),
        (_json(b'{"code":"internal_error","message":"boom"}', 500), "policy failed in OPA: boom"),
        (_json(b"boom", 500), "status 500"),
        (_json(b"{}", 503), "status 503"),
        (_json(b"{}", 401), "does not let this gateway ask"),
        (_json(b"{}", 404), "status 404"),
        (_json(b"", 307, Location="https://127.0.0.1:1/"), "status 307"),
        (_json(b"\x1f\x8b", **{"Content-Encoding": "gzip"}), "compressed"),
        (_endless, "too long"),
        (_cut, "cannot be reached"),
    ],
)
async def test_what_is_no_answer_is_no_decision(policy, tmp_path, decide, says):
    async with FaultyOpa(OpaBundle.of(policy), tmp_path, decide=decide) as peer:
        engine = OpaEngine(policy, peer.settings, deadline_s=_LONG_S)
        try:
            await _refused(engine, says)
        finally:
            await engine.close()


@pytest.mark.parametrize("decisions", [None, {}, ["allow", "allow"], "allow"], ids=repr)
async def test_none_or_one_decision_and_nothing_else(policy, tmp_path, decisions):
    async with FaultyOpa(OpaBundle.of(policy), tmp_path) as peer:
        result = {"policy": peer.bundle.seal, "decisions": decisions}

        async def decide(_: web.Request) -> web.Response:
            return peer.right(result=result)

        peer.decide = decide
        engine = OpaEngine(policy, peer.settings, deadline_s=_LONG_S)
        try:
            await _refused(engine, "garbage")
        finally:
            await engine.close()


def _changed(texts: list[str]) -> list[str]:
    return [text.replace("1000000", "9000000") for text in texts]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"provenance": {"version": "1.21.2"}}, "must be 1.21.3 or later"),
        ({"provenance": {"version": ""}}, "must be 1.21.3 or later"),
        ({"provenance": {"bundles": {}}}, "anybody may change it"),
        ({"provenance": {"bundles": {"zone": {"revision": "other"}}}}, "anybody may change it"),
        ({"texts": lambda texts: [*texts, "package tdz.zone.lingang.more"]}, "modules are others"),
        ({"texts": lambda texts: texts[1:]}, "modules are others"),
        ({"texts": lambda texts: [texts[0] + "\n", *texts[1:]]}, "modules are others"),
        ({"texts": lambda texts: [*texts, "package acme"]}, "not of this policy: data.acme"),
        ({"data": lambda data: {**data, "acme": {}}}, "not of this policy: data.acme"),
        ({"data": lambda data: {"tdz": {**data["tdz"], "registry": {}}}}, "data differs at tdz.registry"),
        ({"data": lambda data: {"tdz": {**data["tdz"], "lists": {}}}}, "data differs at tdz.lists"),
        ({"data": lambda data: {"tdz": {**data["tdz"], "more": {}}}}, "data of its own at tdz.more"),
        ({"data": lambda _: {}}, "no data"),
    ],
)
async def test_a_server_is_believed_only_once_it_shows_the_policy_in_force(policy, tmp_path, made, says):
    bundle = OpaBundle.of(policy)
    right = {"texts": list(bundle.modules.values()), "data": json.loads(json.dumps(dict(bundle.data)))}
    changes = {name: change(right[name]) if callable(change) else change for name, change in made.items()}
    async with FaultyOpa(bundle, tmp_path, **changes) as peer:
        engine = OpaEngine(policy, peer.settings, deadline_s=_LONG_S)
        try:
            await _refused(engine, says)
            assert peer.asked == 0
        finally:
            await engine.close()


async def test_other_bundles_than_those_looked_at_are_looked_at_before_anything_is_believed(policy, tmp_path):
    async with FaultyOpa(OpaBundle.of(policy), tmp_path) as peer:
        engine = OpaEngine(policy, peer.settings, deadline_s=_LONG_S)
        try:
            assert await engine.evaluate(b"{}") == "allow"
            peer.provenance["bundles"] = {**peer.provenance["bundles"], "another": {"revision": "1"}}
            assert await engine.evaluate(b"{}") == "allow"  # looked at again: what it has is still right
            assert peer.asked == 3
            peer.provenance["bundles"] = {**peer.provenance["bundles"], "third": {"revision": "1"}}
            peer.texts = [*peer.bundle.modules.values(), "package tdz.zone.lingang.more"]
            await _refused(engine, "modules are others")
        finally:
            await engine.close()


async def test_a_try_without_an_answer_is_repeated_and_a_slow_one_given_up(policy, tmp_path):
    async with FaultyOpa(OpaBundle.of(policy), tmp_path) as peer:

        async def second(request: web.Request) -> web.StreamResponse:
            return peer.right() if peer.asked >= 2 else await _cut(request)

        peer.decide = second
        engine = OpaEngine(policy, peer.settings, deadline_s=_LONG_S)
        try:
            assert await engine.evaluate(b"{}") == "allow"
            assert peer.asked == 2
            peer.decide = _cut
            await _refused(engine, "cannot be reached")
            assert peer.asked == 2 + 3
        finally:
            await engine.close()
        peer.decide = stalled
        impatient = OpaEngine(policy, dataclasses.replace(peer.settings, timeout_s=0.2), deadline_s=1.0)
        try:
            await impatient.in_force(_LONG_S)
            await _refused(impatient, "no answer in time")
        finally:
            await impatient.close()


async def test_a_server_that_fails_in_a_row_is_left_alone_and_tried_by_one(policy, tmp_path):
    async with FaultyOpa(OpaBundle.of(policy), tmp_path, decide=_json(b"not json")) as peer:
        engine = OpaEngine(policy, peer.settings, deadline_s=_LONG_S)
        now = [0.0]
        engine._circuit._clock = lambda: now[0]
        try:
            for _ in range(3):
                await _refused(engine, "garbage")
            assert engine.state.startswith("open")
            for _ in range(5):
                await _refused(engine, "failed 3 times in a row and is left alone")
            assert peer.asked == 3
            now[0] = 3_600.0
            assert engine.state.startswith("half-open")
            outcomes = await asyncio.gather(*(engine.evaluate(b"{}") for _ in range(10)), return_exceptions=True)
            assert peer.asked == 4, "one probe, however many ask"
            assert all(isinstance(outcome, DecisionUnavailableError) for outcome in outcomes)
            assert engine.state.startswith("open")
            now[0], peer.decide = 7_200.0, None
            assert await engine.evaluate(b"{}") == "allow"
            assert engine.state == "closed"
        finally:
            await engine.close()


async def test_a_probe_whose_caller_went_away_is_taken_up_by_the_next(policy, tmp_path):
    async with FaultyOpa(OpaBundle.of(policy), tmp_path, decide=_json(b"not json")) as peer:
        engine = OpaEngine(policy, peer.settings, deadline_s=_LONG_S)
        now = [0.0]
        engine._circuit._clock = lambda: now[0]
        try:
            for _ in range(3):
                await _refused(engine, "garbage")
            now[0], peer.decide = 3_600.0, stalled
            before = peer.asked
            probe = asyncio.create_task(engine.evaluate(b"{}"))
            while peer.asked == before and not probe.done():
                await asyncio.sleep(0.01)
            assert not probe.done()
            await _refused(engine, "left alone")
            probe.cancel()
            with pytest.raises(asyncio.CancelledError):
                await probe
            peer.decide = None
            assert await engine.evaluate(b"{}") == "allow"
        finally:
            await engine.close()


async def test_a_policy_that_fails_on_one_input_is_not_held_against_the_server(policy, tmp_path):
    failing = _json(b'{"code":"internal_error","message":"conflict"}', 500)
    async with FaultyOpa(OpaBundle.of(policy), tmp_path, decide=failing) as peer:
        engine = OpaEngine(policy, peer.settings, deadline_s=_LONG_S)
        try:
            for _ in range(10):
                await _refused(engine, "conflict")
            assert engine.state == "closed"
            peer.decide = None
            assert await engine.evaluate(b"{}") == "allow"
        finally:
            await engine.close()


def test_a_bundle_is_the_same_bytes_for_the_same_policy(policy, policy_set):
    first, second = OpaBundle.of(policy), OpaBundle.of(policy_set.for_zone("lingang"))
    assert first.archive() == second.archive()
    other = dataclasses.replace(policy, data={**policy.data, "tdz": {**policy.data["tdz"], "local": {"zone": "x"}}})
    assert OpaBundle.of(other).seal != first.seal


def test_the_library_still_makes_sessions_and_requests_where_they_are_replaced():
    import inspect

    from opa_client import AsyncOpaClient

    assert inspect.iscoroutinefunction(AsyncOpaClient._init_session)
    assert list(inspect.signature(AsyncOpaClient._request).parameters) == ["self", "method", "url", "kwargs"]
    source = inspect.getsource(AsyncOpaClient)
    body = source[source.index("async def close_connection") :]
    assert "_session.request" not in body
    assert "_session.post" not in body
    assert "self._request(" in body
