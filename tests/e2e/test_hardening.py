"""What was found by trying to break it: owner's masks, a storm of handshakes, the gateway's own certificate."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from gateway.errors import ConfigError, DeniedError
from gateway.identity.verifier import load_certificate
from tests.e2e.conftest import Scene
from tests.e2e.material import CYBERJAYA, LINGANG, open_dataset
from tests.e2e.small import Small, held

pytestmark = pytest.mark.e2e

_THREADS = 8
_CONNECTIONS = 60  # each


@pytest.mark.parametrize(
    "obligation",
    [
        {"kind": "mask_columns", "params": {"columns": {"n": "null"}}},
        {"kind": "row_filter", "params": {"all": [{"column": "n", "op": ">", "value": 3}]}},
        {"kind": "aggregate_only", "params": {"min_group": 10}},
    ],
)
def test_an_owners_obligation_that_nobody_can_fulfil_yet_denies(scene: Scene, obligation: dict[str, Any]) -> None:
    publication = open_dataset(f"owed-{obligation['kind'].replace('_', '-')}")
    publication["terms"]["obligations"] = [obligation]
    with scene.connect("lab") as lab:
        name = lab.publish(scene.table, publication).name
    with scene.connect("um") as um, pytest.raises(DeniedError) as refused:
        um.request(name, purpose="research")
    assert "TDZ-OBLIGATION" in [finding[0] for finding in refused.value.findings]


def test_an_owners_require_approval_parks_the_request(scene: Scene) -> None:
    publication = open_dataset("owed-approval")
    publication["terms"]["obligations"] = [{"kind": "require_approval", "params": {"by": ["owner"]}}]
    with scene.connect("lab") as lab:
        name = lab.publish(scene.table, publication).name
    said = scene.run("request", name, "--purpose", "research", "--json", as_="um")
    assert said.code == 3
    assert "owner" in said.out


def test_a_storm_of_handshakes_without_certificate_leaves_the_gateway_serving(scene: Scene) -> None:
    endpoint = scene.cyberjaya.settings.endpoint
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    made: list[int] = []

    def connect() -> None:
        for _ in range(_CONNECTIONS):
            with socket.create_connection((endpoint.host, endpoint.port), timeout=10) as plain:
                try:
                    with context.wrap_socket(plain):
                        made.append(1)
                except OSError:
                    made.append(0)

    threads = [threading.Thread(target=connect) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == _THREADS * _CONNECTIONS
    assert scene.cyberjaya.running
    with scene.connect("um") as um:
        assert um.datasets()


async def test_the_gateway_renews_its_own_certificate_and_stays_reachable(
    small: Any,
) -> None:
    opened: AbstractAsyncContextManager[Small] = small()
    async with opened as corridor:
        path = corridor.a.settings.layout.gateway_certificate
        before = load_certificate(path.read_bytes())
        assert not await corridor.a.renewal.renew_if_due()
        corridor.a.renewal._clock = lambda: int(before.not_valid_after_utc.timestamp()) - 1
        assert await corridor.a.renewal.renew_if_due()
        after = load_certificate(path.read_bytes())
        assert after.serial_number != before.serial_number
        assert (await corridor.a.corridor.reach(LINGANG)).reachable
        assert (await corridor.b.corridor.reach(CYBERJAYA)).reachable
        recorded = await corridor.a.house.journal.entries(0, corridor.a.house.journal.size, 1 << 20)
        assert any(f"{after.serial_number:040x}".encode() in entry for entry in recorded)


async def test_a_renewed_certificate_makes_new_connections_and_leaves_the_mirrors_open(small: Any) -> None:
    opened: AbstractAsyncContextManager[Small] = small()
    async with opened as corridor:
        gateway, journal = corridor.a, corridor.a.house.journal
        mirror, client = journal.mirror(LINGANG), gateway.corridor.get(LINGANG)
        resource = await corridor.offered()
        await gateway.corridor.reconnect()
        assert gateway.corridor.get(LINGANG) is not client
        assert journal.mirror(LINGANG) is mirror
        access = await (await corridor.um()).request(resource, purpose="research")  # needs both mirrors
        assert (await (await access.pull()).to_arrow()).num_rows > 0
        await held(journal, journal.size)
        assert (await gateway.corridor.reach(LINGANG)).detail == "our ledger is mirrored there"


async def test_a_gateway_whose_state_is_gone_refuses_to_start(small: Any) -> None:
    opened: AbstractAsyncContextManager[Small] = small()
    async with opened as corridor:
        await corridor.stop(CYBERJAYA)
        corridor.corridor.zone(CYBERJAYA).layout.state.unlink()
        with pytest.raises(ConfigError, match="is gone"):
            await corridor.start(CYBERJAYA)
