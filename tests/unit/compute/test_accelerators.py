"""Accelerators behind their port: this machine's CPU as it is, CUDA and Ascend through a fake torch.

The fake implements what the ports ask of torch: `is_available`, `device_count`, `get_device_properties`. This is the
one place where hardware is played; on a machine that has it the same ports ask the real library.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.compute.accelerators import AcceleratorPort, AscendNpu, Cpu, Cuda, choose, inventory
from gateway.compute.devices import is_3a090a, known_device, known_rows
from gateway.errors import AcceleratorError, InputError
from gateway.model.policy_facts import Device

ROOT = Path(__file__).resolve().parents[3]
GIB = 1 << 30


@dataclass
class Devices:
    """`torch.cuda` or `torch.npu` of a machine with these devices."""

    found: list[tuple[str, int]] = field(default_factory=list)
    fails_at: str = ""

    def _ask(self, what: str) -> None:
        if self.fails_at == what:
            raise RuntimeError("the driver does not answer")

    def is_available(self) -> bool:
        self._ask("is_available")
        return bool(self.found)

    def device_count(self) -> int:
        self._ask("device_count")
        return len(self.found)

    def get_device_properties(self, number: int) -> Any:
        self._ask("get_device_properties")
        name, memory = self.found[number]
        return SimpleNamespace(name=name, total_memory=memory)


def cuda(*found: tuple[str, int], **more: Any) -> Cuda:
    return Cuda(lambda: SimpleNamespace(cuda=Devices(list(found), **more), version=SimpleNamespace(hip=None)))


def ascend(*found: tuple[str, int], **more: Any) -> AscendNpu:
    return AscendNpu(lambda: SimpleNamespace(npu=Devices(list(found), **more)))


H100 = ("NVIDIA H100 80GB HBM3", 80 * GIB)
A100 = ("NVIDIA A100-SXM4-40GB", 40 * GIB)
ASCEND = ("Ascend910B3", 64 * GIB)


def missing() -> Any:
    raise ModuleNotFoundError("No module named 'torch'", name="torch")


def test_this_machine_has_a_cpu_with_memory() -> None:
    (found,) = Cpu().discover()
    assert (found.kind, found.device, found.count) == ("cpu", "cpu", 1)
    assert found.memory_bytes > 0
    assert found.sku
    assert isinstance(found.facts(), Device)


@pytest.mark.parametrize(
    ("text", "vendor", "country", "sku", "eccn"),
    [
        (
            "vendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Gold 6430\n",
            "Intel",
            "US",
            "Intel(R) Xeon(R) Gold 6430",
            "none",
        ),
        ("vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9654\n", "AMD", "US", "AMD EPYC 9654", "none"),
        ("vendor_id\t: HygonGenuine\nmodel name\t: Hygon C86 7285\n", "Hygon", "CN", "Hygon C86 7285", "unknown"),
        ("vendor_id\t: Other\nmodel name\t: So\x07me  CPU\n", "unknown", "unknown", "So me CPU", "unknown"),
    ],
)
def test_a_cpu_is_named_as_the_kernel_names_it(
    tmp_path: Path, text: str, vendor: str, country: str, sku: str, eccn: str
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    (found,) = Cpu(str(tmp_path / "cpuinfo")).discover()
    assert (found.vendor, found.vendor_country, found.sku, found.eccn) == (vendor, country, sku, eccn)


def test_without_cpuinfo_a_cpu_is_of_unknown_make() -> None:
    (found,) = Cpu("/nonexistent").discover()
    assert (found.vendor, found.eccn) == ("unknown", "unknown")
    found.facts()


def test_alike_devices_stand_together_with_their_torch_names() -> None:
    h100, a100 = cuda(H100, A100, H100).discover()
    assert (h100.sku, h100.count, h100.devices) == ("NVIDIA H100 80GB HBM3", 2, ("cuda:0", "cuda:2"))
    assert (a100.count, a100.device, a100.memory_bytes) == (1, "cuda:1", 40 * GIB)
    assert h100.facts(2).document() == {
        "sku": "NVIDIA H100 80GB HBM3",
        "vendor": "NVIDIA",
        "vendor_country": "US",
        "eccn": "3A090.a",
        "count": 2,
        "tops": 1979,
        "bits": 8,
        "die_mm2": 814,
    }


def test_an_ascend_npu_is_found_through_torch_npu() -> None:
    (found,) = ascend(ASCEND, ASCEND).discover()
    assert (found.kind, found.vendor, found.vendor_country) == ("npu", "Huawei", "CN")
    assert found.devices == ("npu:0", "npu:1")
    assert found.facts().tops * found.facts().bits == 5_120


def test_a_model_that_no_table_knows_is_unknown() -> None:
    (found,) = cuda(("NVIDIA Something New", GIB)).discover()
    assert (found.eccn, found.tops, found.die_mm2) == ("unknown", 0, 0)
    found.facts()


@pytest.mark.parametrize(
    "port",
    [
        pytest.param(Cuda(missing), id="no torch"),
        pytest.param(AscendNpu(missing), id="no torch_npu"),
        pytest.param(Cuda(lambda: SimpleNamespace()), id="a torch without cuda"),
        pytest.param(AscendNpu(lambda: SimpleNamespace()), id="a torch without npu"),
        pytest.param(cuda(), id="no device"),
        pytest.param(cuda(H100, fails_at="is_available"), id="a driver that fails at once"),
        pytest.param(cuda(H100, fails_at="get_device_properties"), id="a driver that fails later"),
        pytest.param(
            Cuda(lambda: SimpleNamespace(cuda=Devices([H100]), version=SimpleNamespace(hip="6.0"))),
            id="another vendor's torch",
        ),
    ],
)
def test_what_is_not_there_or_does_not_work_is_none(port: AcceleratorPort) -> None:
    assert port.discover() == ()


def test_a_run_gets_what_it_asks_for() -> None:
    ports = (Cpu(), cuda(A100, H100), ascend(ASCEND))
    assert choose("cpu", ports).device == "cpu"
    assert choose("cuda", ports).device == "cuda:1"
    assert choose("npu", ports).device == "npu:0"
    assert choose("any", ports).sku == "NVIDIA H100 80GB HBM3"
    assert choose("any", (Cpu(), cuda(), ascend())).kind == "cpu"
    assert [each.kind for each in inventory(ports)] == ["cpu", "cuda", "cuda", "npu"]
    with pytest.raises(AcceleratorError, match="no npu"):
        choose("npu", (Cpu(), cuda(H100)))
    with pytest.raises(InputError):
        choose("tpu", ports)


def test_asking_for_the_cpu_loads_no_torch() -> None:
    code = "import sys; from gateway.compute.accelerators import choose; choose('cpu'); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"


def test_the_table_agrees_with_the_rule_that_it_cites() -> None:
    for row in known_rows():
        assert row.source
        assert (row.eccn == "3A090.a") == is_3a090a(row)
    assert known_device("NVIDIA", "NVIDIA A100-SXM4-40GB").tops * 16 == 4_992
    assert known_device("AMD", "NVIDIA H100").eccn == "unknown"


def test_the_command_lists_this_machine_as_table_and_as_json() -> None:
    result = CliRunner().invoke(app, ["accelerators", "--json"])
    assert result.exit_code == 0
    first = json.loads(result.stdout)["accelerators"][0]
    assert first["kind"] == "cpu"
    assert first["devices"] == ["cpu"]
    shown = CliRunner().invoke(app, ["accelerators"])
    assert shown.exit_code == 0
    assert first["vendor"] in shown.stdout
