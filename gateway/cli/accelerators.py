"""`tdz accelerators`: what this machine can train on."""

from __future__ import annotations

from rich.markup import escape

from gateway.cli import show
from gateway.cli.output import JsonOption, emit, failures


def accelerators(as_json: JsonOption = False) -> None:
    """List the accelerators of this machine: CPU, CUDA devices, Ascend NPUs. Asks no gateway.

    Devices other than the CPU are found through torch, which the extra `compute` brings; Ascend needs torch_npu too.

    Example: tdz accelerators --json
    """
    from gateway.compute.accelerators import inventory

    with failures(as_json=as_json):
        found = inventory()

        def human() -> None:
            show.table(
                ("kind", ">count", "model", "vendor", "country", ">memory", "eccn", ">TOPS", "devices"),
                (
                    (
                        each.kind,
                        show.number(each.count),
                        escape(each.sku),
                        each.vendor,
                        each.vendor_country,
                        show.size(each.memory_bytes or -1),
                        each.eccn,
                        f"{each.tops:,} at {each.bits} bits" if each.tops else "–",
                        ", ".join(each.devices),
                    )
                    for each in found
                ),
                empty="no accelerators were found",
            )

        emit({"accelerators": [each.document() for each in found]}, human, as_json=as_json)
