"""Charts as SVG: bars over time, each made of parts that the page's filters can hide."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from ledger.lineage.graph import party_name
from ledger.markup import Content, Markup, el

__all__ = ["Part", "bars", "bin_width", "size_text"]

_WIDTH: Final = 560
_HEIGHT: Final = 220
_LEFT: Final = 62
_BOTTOM: Final = 34
_TOP: Final = 12
_MOST_BINS: Final = 130
_FEWEST_BINS: Final = 12
_TICKS: Final = 4
_BAR: Final = 40


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar: when, of which series, how much, and of whom and what it is.

    Args:
        at: the bin's time, as `bin_width` cuts it.
        series: 0, 1 or 2.
        value: bytes or a count.
        who: the institutions' URIs.
        what: the resource.
    """

    at: str
    series: int
    value: int
    who: tuple[str, ...] = ()
    what: str = ""


def bin_width(first: str, last: str) -> int:
    """How many characters of a time make a bin: minutes, hours, days, months or years, by the period's length."""
    if not first or not last:
        return 10
    span = _moment(last) - _moment(first)
    if span <= timedelta(minutes=90):
        return 16
    if span <= timedelta(days=_MOST_BINS - 5):
        return 13 if span <= timedelta(days=4) else 10
    return 7 if span <= timedelta(days=3650) else 4


def bars(parts: Iterable[Part], names: list[str], title: str, *, bytes_: bool, width: int, identifier: str) -> Markup:
    """A chart of stacked bars with its legend.

    Args:
        parts: in any order.
        names: of the series.
        title: said to those who cannot see it.
        bytes_: whether values are bytes; else counts.
        width: of a bin's time, from `bin_width`.
        identifier: of the chart in the page.
    """
    bins: dict[str, list[Part]] = defaultdict(list)
    for part in parts:
        bins[part.at].append(part)
    if not bins:
        return el("p", "Nothing in this period.", class_="empty")
    times = _axis(sorted(bins), width)
    most = max(sum(part.value for part in found) for found in bins.values())
    top, step = _scale(most, bytes_)
    slot = (_WIDTH - _LEFT - 10) / len(times)
    bar = min(_BAR, slot * 0.78)
    span = _HEIGHT - _BOTTOM - _TOP
    shapes: list[Content] = []
    for number in range(round(top / step) + 1):
        y = _TOP + span - span * number * step / top
        shapes.append(el("line", x1=_LEFT, x2=_WIDTH - 10, y1=_n(y), y2=_n(y), class_="grid"))
        text = size_text(round(number * step)) if bytes_ else f"{number * step:,.0f}"
        shapes.append(el("text", text, x=_LEFT - 8, y=_n(y + 4), text_anchor="end", class_="tick"))
    every = max(1, math.ceil(len(times) * (54 if width > 10 else 66) / (_WIDTH - _LEFT)))
    for at, time in enumerate(times):
        x = _LEFT + slot * at + (slot - bar) / 2
        if at % every == 0:
            shapes.append(
                el("text", _label(time), x=_n(x + bar / 2), y=_HEIGHT - 14, text_anchor="middle", class_="tick")
            )
        height = 0.0
        for part in sorted(bins.get(time, ()), key=lambda part: (part.series, part.what, part.who)):
            tall = span * part.value / top
            height += tall
            told = size_text(part.value) if bytes_ else f"{part.value:,}"
            said = ", ".join(text for text in (part.what, " and ".join(map(party_name, part.who))) if text)
            shapes.append(
                el(
                    "rect",
                    el("title", f"{time.replace('T', ' ')}: {names[part.series]}, {told}{f', {said}' if said else ''}"),
                    x=_n(x),
                    width=_n(bar),
                    y=_n(_TOP + span - height),
                    height=_n(max(tall, 0.6)),
                    class_=f"s{part.series}",
                    data_bin=at,
                    data_who=" ".join(part.who),
                    data_what=part.what,
                    data_at=time,
                )
            )
    legend = [
        el("span", el("span", class_=f"key s{number}", aria_hidden="true"), name, class_="series")
        for number, name in enumerate(names)
    ]
    svg = el(
        "svg",
        el("title", title),
        shapes,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        class_="chart",
        role="img",
        aria_label=title,
        data_base=_TOP + span,
        id=identifier,
    )
    return el("div", el("div", legend, class_="legend"), svg, class_="chartbox")


def size_text(count: int) -> str:
    """Bytes as people say them."""
    value = float(count)
    for unit in ("B", "KB", "MB", "GB", "TB", "PB"):
        if value < 1000 or unit == "PB":
            return f"{value:,.0f} {unit}" if unit == "B" or value >= 100 else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{count:,} B"


def _scale(most: int, bytes_: bool) -> tuple[float, float]:
    """The axis' top and step, round numbers."""
    least = most / _TICKS if most else 1.0
    power = 10 ** math.floor(math.log10(least)) if least > 0 else 1.0
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= least)
    if not bytes_:
        step = max(1.0, math.ceil(step))
    return step * max(1, math.ceil(most / step)), step


def _axis(known: list[str], width: int) -> list[str]:
    """Every bin from the first to the last, and some more where there are few; only the known ones of too many."""
    times = [known[0]]
    while times[-1] < known[-1]:
        if len(times) > _MOST_BINS * 2:
            return known
        times.append(_next(times[-1], width))
    while len(times) < _FEWEST_BINS and width > 7:
        times.append(_next(times[-1], width))
    return times


def _next(time: str, width: int) -> str:
    if width == 4:
        return f"{int(time) + 1:04d}"
    if width == 7:
        year, month = int(time[:4]), int(time[5:7])
        return f"{year + month // 12:04d}-{month % 12 + 1:02d}"
    step = {10: timedelta(days=1), 13: timedelta(hours=1), 16: timedelta(minutes=1)}[width]
    return (_moment(time) + step).strftime("%Y-%m-%dT%H:%M")[:width]


def _moment(time: str) -> datetime:
    filled = time[:16] + "0000-01-01T00:00"[len(time[:16]) :]
    return datetime.strptime(filled, "%Y-%m-%dT%H:%M").replace(tzinfo=UTC)


def _label(time: str) -> str:
    return {16: time[11:], 13: f"{time[8:10]}. {time[11:]}h", 10: time[5:], 7: time}.get(len(time), time)


def _n(value: float) -> str:
    return f"{value:.1f}"
