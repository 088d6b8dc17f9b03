"""The page: one file without a link to anything outside, whose texts cannot become markup or script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Final

from ledger.compare.item import Item, Tally
from ledger.facts.store import FactStore
from ledger.lineage.draw import STYLE
from ledger.lineage.graph import counted, party_name
from ledger.markup import Content, Markup, el, raw
from ledger.report import Report
from ledger.reporting import sections
from ledger.reporting.account import Account
from ledger.reporting.charts import Part, bars, bin_width, size_text

__all__ = ["Verdict", "page"]

_MOST_PARTS: Final = 1500
_OWN_KEYS: Final = (
    "The keys that this rests on came with the copies themselves. To rest it on the zones' cards instead, give "
    "--card FILE for each zone."
)


@dataclass(slots=True)
class Verdict:
    """What was verified: each directory by itself, and both against each other.

    Args:
        reports: one for each ledger.
        tally: the comparison's counts; None where there is one ledger, or one that does not hold.
        items: what is not the same, the first of it.
        notices: what a reader should know of the copies.
        cards: what was verified of the zone cards whose keys this rests on.
    """

    reports: list[Report]
    tally: Tally | None
    items: list[Item]
    notices: list[str]
    cards: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 verified, 1 tampering or divergence, 3 incomplete."""
        codes = [each.exit_code for each in self.reports] + ([self.tally.exit_code] if self.tally else [])
        return 1 if 1 in codes else 3 if 3 in codes or self.notices else 0

    def words(self) -> str:
        """The verdict in a sentence."""
        if any(each.findings for each in self.reports):
            bad = [each.origin or each.directory for each in self.reports if each.findings]
            return f"NOT VERIFIED: {' and '.join(bad)} is not as it was signed. Do not rely on this page."
        if self.tally is not None and self.tally.exit_code == 1:
            return "The two ledgers contradict each other. See below what differs."
        if self.exit_code == 3:
            return "Verified as far as it goes: something could not be judged to the end."
        if self.tally is None:
            return (
                "Verified: this ledger holds exactly what was signed. It is one side's word; the other's is not here."
            )
        return "Verified: both ledgers hold exactly what was signed, and say the same."


def page(account: Account | None, store: FactStore | None, verdict: Verdict, made_at: str) -> Iterator[str]:
    """The page, part by part.

    Args:
        account: what to tell; None where a ledger does not hold.
        store: the tables, for the charts.
        verdict: what stands at the top.
        made_at: when it was made.
    """
    style = raw(_asset("page.css") + STYLE)
    script = raw(_asset("page.js"))
    zones = " and ".join(account.zones) if account else "the zones"
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    yield "<!doctype html>\n"
    yield '<html lang="en">'
    yield str(
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", http_equiv="Content-Security-Policy", content=policy),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("meta", name="referrer", content="no-referrer"),
            el("title", f"Ledger report of {zones}"),
            el("style", style),
        )
    )
    yield "<body>"
    yield str(el("a", "To the report", href="#main", class_="skip"))
    yield str(_header(account, zones, made_at))
    yield '<main id="main">'
    yield str(_status(verdict))
    if account is not None and store is not None:
        yield str(_figures(account))
        yield str(_filters(account))
        yield str(_charts(account, store))
        for part in (sections.crossed, sections.refused, sections.models, sections.runs, sections.agreements):
            yield str(part(account))
        yield str(sections.institutions(account))
    yield "</main>"
    yield str(_footer(verdict))
    yield str(el("script", script))
    yield "</body></html>\n"


def _asset(name: str) -> str:
    return files("ledger.reporting").joinpath(name).read_text("utf-8")


def _digest(content: Markup) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(str(content).encode()).digest()).decode()}'"


def _header(account: Account | None, zones: str, made_at: str) -> Markup:
    lead: Content = f"Made {made_at[:16].replace('T', ' ')} UTC."
    if account is not None:
        law = [f"{zone} ({account.jurisdictions[zone]})" for zone in account.zones if zone in account.jurisdictions]
        told = f"Zones: {', '.join(law)}. " if law else ""
        period = f"Entries from {account.first[:10]} to {account.last[:10]}. " if account.first else ""
        scope = f"Only: {account.scope.words()}. " if account.scope.words() else ""
        lead = f"{told}{period}{scope}{lead}"
    names = (("status", "Is it true?"), ("charts", "Over time"), ("crossed", "What crossed"), ("refused", "Refused"),
             ("models", "Models"), ("runs", "Computations"), ("agreements", "Agreements"), ("who", "Who"))  # fmt: skip
    links = el("ul", [el("li", el("a", text, href=f"#{name}")) for name, text in names])
    return el(
        "header",
        el("h1", f"What crossed between {zones}" if account and len(account.zones) == 2 else f"Ledger of {zones}"),
        el("p", lead, class_="lead"),
        el("nav", links, aria_label="Parts of this page") if account else None,
    )


def _status(verdict: Verdict) -> Markup:
    kind = {0: "", 1: " bad", 3: " incomplete"}[verdict.exit_code]
    ledgers = [_ledger(each) for each in verdict.reports]
    compared: Content = None
    if verdict.tally is not None:
        told = [
            f"{counted(sum(counts.values()), name)}: "
            + ", ".join(f"{count:,} {standing.value}" for standing, count in sorted(counts.items()))
            for name, counts in verdict.tally.counts.items()
        ]
        compared = el("p", "Both sides compared. ", "; ".join(told) or "nothing to compare", ".")
    listed = [
        sections.row(
            each.kind,
            el("code", each.id),
            sections.badge(each.standing.value, "bad" if each.standing.bad else "warn"),
            each.text,
            ", ".join(f"{zone} entry {seq}" for zone, seq in sorted(each.seqs.items())),
        )
        for each in verdict.items
    ]
    heads = ("What", "Id", "Standing", "Why", "Entries")
    return el(
        "section",
        el("h2", "Is it true?", id="status-heading"),
        el("p", verdict.words(), class_="verdict"),
        el("div", ledgers, class_="ledgers"),
        compared,
        sections.table("What is not the same on both ledgers.", heads, listed) if listed else None,
        [el("p", text) for text in verdict.notices],
        [el("p", text, class_="small") for text in verdict.cards],
        el("p", _OWN_KEYS, class_="small") if any(each.keys_from_directory for each in verdict.reports) else None,
        id="status",
        aria_labelledby="status-heading",
        class_=f"status{kind}",
    )


def _ledger(report: Report) -> Markup:
    badges = {0: ("verified", "good"), 1: ("not verified", "bad"), 3: ("incomplete", "warn")}
    findings = [
        el("li", f"{f'entry {each.seq}, ' if each.seq is not None else ''}{each.file}: {each.text}")
        for each in report.findings[:10]
    ]
    more = [el("li", f"not judged: {each}") for each in report.incomplete[:10]]
    return el(
        "div",
        el("strong", report.origin or report.directory),
        " ",
        sections.badge(*badges[report.exit_code]),
        el("div", f"{report.entries:,} entries read; {report.first_line}.", class_="small"),
        el("ul", findings, more, class_="small") if findings or more else None,
        class_="ledger",
    )


def _figures(account: Account) -> Markup:
    totals = account.totals
    shown = (
        (f"{totals['transfers']:,}", "transfers completed"),
        (size_text(totals["bytes"]), "crossed in them"),
        (f"{totals['models']:,}", "models that left"),
        (f"{account.runs.total:,}", "computations"),
        (f"{totals['refused']:,}", "requests refused"),
        (f"{totals['held']:,}", "held for approval"),
        (f"{totals['aborted'] + totals['open']:,}", "transfers aborted or open"),
    )
    return el("div", [el("div", el("b", number), el("span", text), class_="figure") for number, text in shown],
              class_="figures", role="group", aria_label="Key figures of the whole report")  # fmt: skip


def _filters(account: Account) -> Markup:
    who: dict[str, None] = {}
    what: dict[str, None] = {}
    for listed in (account.transfers, account.agreements):
        for each in listed.rows:
            who |= dict.fromkeys(filter(None, (each["provider"], each["consumer"])))
            what |= dict.fromkeys(filter(None, (each["resource"],)))
    for each in account.refusals.rows:
        who |= dict.fromkeys(filter(None, (each["participant"],)))
        what |= dict.fromkeys(filter(None, (each["resource"],)))
    for each in account.runs.rows:
        who |= dict.fromkeys(filter(None, (each["participant"], *(data["owner"] for data in each["datasets"]))))
        what |= dict.fromkeys(filter(None, (each["model"], *(data["resource"] for data in each["datasets"]))))

    def choice(label: str, name: str, values: dict[str, None], everything: str) -> Markup:
        options = [el("option", party_name(each) if name == "who" else each, value=each) for each in sorted(values)]
        return el("label", label, el("select", el("option", everything, value=""), options, name=name))

    return el(
        "section",
        el(
            "form",
            choice("Institution", "who", who, "every institution"),
            choice("Dataset or model", "what", what, "every dataset and model"),
            el("label", "From", el("input", type="date", name="from")),
            el("label", "To", el("input", type="date", name="to")),
            el("label", "Contains", el("input", type="search", name="text", placeholder="any word")),
            el("button", "Show all", type="reset"),
            el("button", "Print", type="button", id="print"),
            el("output", "", id="shown", aria_live="polite"),
            id="filters",
            class_="filters",
            hidden=True,
        ),
        aria_label="Filters",
    )


def _charts(account: Account, store: FactStore) -> Markup:
    scope, zones = account.scope, account.zones
    where, values = scope.where(who=("provider", "consumer"), what="resource", when="begun_at")
    asked, asked_values = scope.where(who=("participant",), what="resource", when="time")
    ends = store.one(
        f"""SELECT min(t) AS first, max(t) AS last FROM (SELECT begun_at AS t FROM crossings WHERE {where}
        UNION ALL SELECT time FROM requests WHERE {asked})""",  # noqa: S608 (our own words; values are bound)
        [*values, *asked_values],
    )
    width = bin_width(ends["first"] or "", ends["last"] or "")
    volume = f"""SELECT substr(begun_at, 1, {width}) AS at, consumer_zone AS zone, provider, consumer, resource,
        sum(bytes) AS n FROM crossings WHERE state = 'completed' AND bytes > 0 AND {where} GROUP BY 1, 2, 3, 4, 5"""  # noqa: S608
    outcomes = f"""SELECT substr(time, 1, {width}) AS at, effect AS zone, participant AS provider, '' AS consumer,
        resource, count(*) AS n FROM requests WHERE {asked} GROUP BY 1, 2, 3, 5"""  # noqa: S608
    towards = [f"into {zone}" for zone in zones]
    effects = {"allow": 0, "review": 1, "deny": 2}
    moved = _parts(store, volume, values, {zone: at for at, zone in enumerate(zones)})
    decided = _parts(store, outcomes, asked_values, effects)
    return sections.section(
        "charts",
        "Over time",
        el(
            "div",
            el("div", el("h3", "Volume that crossed"),
               bars(moved, towards, "Bytes that crossed over time, by direction", bytes_=True, width=width,
                    identifier="volume")),
            el("div", el("h3", "Requests and what became of them"),
               bars(decided, ["allowed", "held for approval", "refused"], "Requests over time, by outcome",
                    bytes_=False, width=width, identifier="outcomes")),
            class_="charts",
        ),
    )  # fmt: skip


def _parts(store: FactStore, query: str, values: list[str], series: dict[str, int]) -> list[Part]:
    """The bars' parts; where there are too many, only by time and series, and the page's filters pass them over."""
    count = store.one(f"SELECT count(*) FROM ({query})", values)[0]  # noqa: S608
    if count > _MOST_PARTS:
        query = (
            f"SELECT at, zone, '' AS provider, '' AS consumer, '' AS resource, sum(n) AS n FROM ({query}) GROUP BY 1, 2"  # noqa: S608
        )
    return [
        Part(
            at=row["at"],
            series=series[row["zone"]],
            value=row["n"],
            who=tuple(filter(None, (row["provider"], row["consumer"]))),
            what=row["resource"] or "",
        )
        for row in store.rows(query, values)
        if row["zone"] in series
    ]


def _footer(verdict: Verdict) -> Markup:
    check = "tdz-ledger verify DIR, and tdz-ledger diff-peer DIR PEER_DIR"
    return el(
        "footer",
        el(
            "p", "Made by tdz-ledger from the ledgers alone. Anybody with a copy can check it: ", el("code", check), "."
        ),
        el(
            "p",
            "Times are the gateways' own word; only a cosignature's time is another's. That entries stand here as they "
            "were signed does not prove that what they say is true in the world.",
        ),
    )
