"""What is publicly known of accelerator models: throughput, die and export control classification.

Total processing performance (TPP) is dense tera operations per second times the operands' bits; performance
density is TPP over the die's area (15 CFR part 774, supplement no. 1, ECCN 3A090, technical notes). 3A090.a
controls TPP of 4800 and more, or of 1600 and more with a density of 5.92 and more. A row's classification is what
its maker publishes, or where the figures alone decide it, what the figures say; a test computes it again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Eccn = Literal["3A090.a", "3A090.b", "4A090", "none", "unknown"]


@dataclass(frozen=True)
class Known:
    """One row: `tops` dense at `bits`, `die_mm2` in square millimetres (0: not published), and the row's source."""

    eccn: Eccn = "unknown"
    tops: int = 0
    bits: int = 1
    die_mm2: int = 0
    source: str = ""


TPP_ALONE: Final = 4_800
TPP_WITH_DENSITY: Final = 1_600
DENSITY: Final = 5.92

_UNKNOWN: Final = Known()
_HOPPER: Final = Known("3A090.a", 1_979, 8, 814, "NVIDIA H100 datasheet (SXM, FP8 dense); Hopper whitepaper (die)")
_AMPERE: Final = Known("3A090.a", 312, 16, 826, "NVIDIA A100 datasheet (FP16 dense); Ampere whitepaper (die)")

# The first pattern that fits a maker's model name counts.
_TABLE: Final[tuple[tuple[str, re.Pattern[str], Known], ...]] = (
    ("NVIDIA", re.compile(r"\b(H100 80GB HBM3|H100 SXM5|H200|H800)\b"), _HOPPER),
    (
        "NVIDIA",
        re.compile(r"\bH100 (PCIe|NVL)\b"),
        Known("3A090.a", 1_513, 8, 814, "NVIDIA H100 datasheet (PCIe, FP8)"),
    ),
    ("NVIDIA", re.compile(r"\bA[18]00\b"), _AMPERE),
    (
        "NVIDIA",
        re.compile(r"\bB200\b"),
        Known("3A090.a", 4_500, 8, 0, "NVIDIA DGX B200 datasheet (FP8 dense, of one GPU); die not published"),
    ),
    (
        "NVIDIA",
        re.compile(r"\bL40S\b"),
        Known("3A090.a", 733, 8, 609, "NVIDIA L40S datasheet (FP8 dense); Ada whitepaper"),
    ),
    ("NVIDIA", re.compile(r"\bT4\b"), Known("none", 130, 8, 545, "NVIDIA T4 datasheet (INT8); Turing whitepaper")),
    ("Huawei", re.compile(r"910B"), Known("3A090.a", 320, 16, 0, "Ascend 910B: public reports of 320 TFLOPS FP16")),
    ("Intel", re.compile(r"Xeon|Core"), Known("none", 0, 1, 0, "Intel ARK, export compliance: ECCN 5A992")),
    ("AMD", re.compile(r"EPYC|Ryzen"), Known("none", 0, 1, 0, "AMD export classification of processors: ECCN 5A992")),
)


def known_device(vendor: str, sku: str) -> Known:
    """The row for a model, or one that knows nothing."""
    return next(
        (known for maker, pattern, known in _TABLE if maker == vendor and pattern.search(sku) is not None), _UNKNOWN
    )


def known_rows() -> tuple[Known, ...]:
    """All rows, for the test that computes their classification again."""
    return tuple(known for _, _, known in _TABLE)


def is_3a090a(known: Known) -> bool:
    """Whether the published figures alone meet 3A090.a; False also where too little is published."""
    tpp = known.tops * known.bits
    dense = known.die_mm2 > 0 and tpp / known.die_mm2 >= DENSITY
    return tpp >= TPP_ALONE or (tpp >= TPP_WITH_DENSITY and dense)
