"""Accelerators of this machine behind one port: the CPU, CUDA devices, and Ascend NPUs.

A port discovers; the inventory puts alike devices together; a run chooses one of them. The facts of an accelerator
go into the provenance of whatever is trained on it, so nothing is guessed: what stands neither in the driver's
answer nor in the table below is "unknown" or 0, and "unknown" never helps whoever asks.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from gateway.compute.devices import Known, known_device
from gateway.errors import AcceleratorError, InputError
from gateway.model.policy_facts import Device

Kind = Literal["cpu", "cuda", "npu"]
KINDS: Final[tuple[Kind, ...]] = ("cpu", "cuda", "npu")

_CPUINFO: Final = "/proc/cpuinfo"
_CPUINFO_MAX: Final = 1 << 20
_COUNT_MAX: Final = 4_096
_CPU_VENDORS: Final = {
    "GenuineIntel": ("Intel", "US"),
    "AuthenticAMD": ("AMD", "US"),
    "HygonGenuine": ("Hygon", "CN"),
    "CentaurHauls": ("Zhaoxin", "CN"),
    "  Shanghai  ": ("Zhaoxin", "CN"),
}


@dataclass(frozen=True)
class Accelerator:
    """Devices of one model in this machine.

    Args:
        kind: what torch calls it.
        vendor: the maker's name, or "unknown".
        sku: the model as its driver names it.
        vendor_country: ISO 3166-1 alpha-2, or "unknown".
        eccn: export control classification, or "unknown".
        tops: dense tera operations per second at `bits`, 0 where not known.
        bits: the operands' width that `tops` is for.
        die_mm2: the die's area, 0 where not known.
        memory_bytes: of one device; for the CPU the machine's memory.
        devices: torch device strings, one for each.
    """

    kind: Kind
    vendor: str
    sku: str
    vendor_country: str
    eccn: Literal["3A090.a", "3A090.b", "4A090", "none", "unknown"]
    tops: int
    bits: int
    die_mm2: int
    memory_bytes: int
    devices: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.devices)

    @property
    def device(self) -> str:
        """The first of them, as torch names it."""
        return self.devices[0]

    def facts(self, count: int = 1) -> Device:
        """What a provenance and the policy input say of the devices that a run used.

        Args:
            count: how many the run used.
        """
        return Device(
            sku=self.sku,
            vendor=self.vendor,
            vendor_country=self.vendor_country,
            eccn=self.eccn,
            count=count,
            tops=self.tops,
            bits=self.bits,
            die_mm2=self.die_mm2,
        )

    def document(self) -> dict[str, Any]:
        """The facts with count, memory and device strings, as JSON values."""
        facts = self.facts(self.count).document()
        return {"kind": self.kind, **facts, "memory_bytes": self.memory_bytes, "devices": list(self.devices)}


class AcceleratorPort(Protocol):
    """Finds devices of one kind. Nothing is kept: each call asks the machine anew, and an absent library is none."""

    kind: Kind

    def discover(self) -> tuple[Accelerator, ...]:
        """The devices of this kind that work here, alike ones together; none where there are none."""


class Cpu:
    """The machine's processor, which numpy and torch both use."""

    kind: Kind = "cpu"

    def __init__(self, cpuinfo: str = _CPUINFO) -> None:
        self._cpuinfo = cpuinfo

    def discover(self) -> tuple[Accelerator, ...]:
        """One accelerator, always."""
        vendor_id, sku = self._names()
        vendor, country = _CPU_VENDORS.get(vendor_id, ("unknown", "unknown"))
        return (_accelerator("cpu", sku, _memory_bytes(), ("cpu",), vendor=vendor, country=country),)

    def _names(self) -> tuple[str, str]:
        try:
            with open(self._cpuinfo, encoding="utf-8", errors="replace") as file:
                lines = file.read(_CPUINFO_MAX).splitlines()
        except OSError:
            lines = []
        found: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            found.setdefault(name.strip(), value[1:])
        # Arm's kernels give numbers in place of a name; the machine's architecture is all that is sure then.
        return found.get("vendor_id", ""), _text(found.get("model name", "")) or os.uname().machine


class Cuda:
    """NVIDIA devices through torch, where torch is installed and finds a driver."""

    kind: Kind = "cuda"

    def __init__(self, load: Callable[[], Any] = lambda: importlib.import_module("torch")) -> None:
        self._load = load

    def discover(self) -> tuple[Accelerator, ...]:
        """See `AcceleratorPort.discover`."""
        torch = _loaded(self._load)
        # ROCm's torch speaks of "cuda" too, with devices of another vendor.
        if torch is None or getattr(getattr(torch, "version", None), "hip", None):
            return ()
        return _through_torch("cuda", getattr(torch, "cuda", None), vendor="NVIDIA", country="US")


def _load_npu() -> Any:
    torch = importlib.import_module("torch")
    importlib.import_module("torch_npu")  # adds torch.npu
    return torch


class AscendNpu:
    """Huawei Ascend devices through torch and torch_npu, where both are installed and find a driver."""

    kind: Kind = "npu"

    def __init__(self, load: Callable[[], Any] = _load_npu) -> None:
        self._load = load

    def discover(self) -> tuple[Accelerator, ...]:
        """See `AcceleratorPort.discover`."""
        torch = _loaded(self._load)
        return (
            () if torch is None else _through_torch("npu", getattr(torch, "npu", None), vendor="Huawei", country="CN")
        )


def default_ports() -> tuple[AcceleratorPort, ...]:
    """The ports of this version."""
    return (Cpu(), Cuda(), AscendNpu())


def inventory(ports: Sequence[AcceleratorPort] | None = None) -> tuple[Accelerator, ...]:
    """Everything that this machine can train on. Loads torch where it is installed, so call it in a thread."""
    return tuple(found for port in (default_ports() if ports is None else ports) for found in port.discover())


def choose(wanted: str, ports: Sequence[AcceleratorPort] | None = None) -> Accelerator:
    """The accelerator that a run asks for.

    Args:
        wanted: "cpu", "cuda", "npu", or "any": an NPU or GPU where there is one, of those the one with most
            memory, else the CPU. Only the kinds that are asked for are looked for: "cpu" never loads torch.
        ports: where to look; the machine's own where left out.

    Raises:
        InputError: another word.
        AcceleratorError: there is none of this kind here.
    """
    if wanted not in (*KINDS, "any"):
        raise InputError("no kind of accelerator", remedy="ask for cpu, cuda, npu or any")
    looking = [port for port in (default_ports() if ports is None else ports) if wanted in (port.kind, "any")]
    found = inventory(looking)
    if not found:
        raise AcceleratorError(f"no {wanted} device works on this machine", remedy="look at `tdz accelerators`")
    return max(found, key=lambda each: (each.kind != "cpu", each.memory_bytes))


def load_torch(device: str) -> Any:
    """torch, with torch_npu where the device is an NPU.

    Raises:
        AcceleratorError: a library is not installed, or fails to load.
    """
    try:
        return _load_npu() if device.startswith("npu") else importlib.import_module("torch")
    except (ImportError, OSError, RuntimeError) as error:
        extra = "torch_npu for your CANN release" if device.startswith("npu") else "pip install 'tdz-gateway[compute]'"
        raise AcceleratorError(
            "torch is not installed here", remedy=f"install {extra}, or use the app linear"
        ) from error


def _loaded(load: Callable[[], Any]) -> Any:
    """A library, or None where it is not there or its driver does not let it load."""
    try:
        return load()
    except (ImportError, OSError, RuntimeError):
        return None


def _through_torch(kind: Kind, devices: Any, *, vendor: str, country: str) -> tuple[Accelerator, ...]:
    """What `torch.cuda` or `torch.npu` says of its devices; a driver that fails has none."""
    if devices is None:
        return ()
    found: dict[tuple[str, int], list[str]] = {}
    try:
        if not devices.is_available():
            return ()
        for number in range(min(int(devices.device_count()), _COUNT_MAX)):
            about = devices.get_device_properties(number)
            name = _text(str(about.name)) or "unknown"
            found.setdefault((name, max(int(about.total_memory), 0)), []).append(f"{kind}:{number}")
    except (RuntimeError, AssertionError, AttributeError, OSError, ValueError, TypeError):
        return ()
    return tuple(
        _accelerator(kind, sku, memory, tuple(names), vendor=vendor, country=country)
        for (sku, memory), names in found.items()
    )


def _accelerator(
    kind: Kind, sku: str, memory: int, devices: tuple[str, ...], *, vendor: str, country: str
) -> Accelerator:
    known: Known = known_device(vendor, sku)
    return Accelerator(
        kind=kind,
        vendor=vendor,
        sku=sku,
        vendor_country=country,
        eccn=known.eccn,
        tops=known.tops,
        bits=known.bits,
        die_mm2=known.die_mm2,
        memory_bytes=memory,
        devices=devices,
    )


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _text(text: str) -> str:
    """A driver's text as a fact: printable, one space between words, at most 200 characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
