"""The parts of the page that list: transfers, refusals, models, runs, agreements, institutions and rules."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from ledger.lineage.draw import draw
from ledger.lineage.graph import Graph, Node, counted, party_name
from ledger.markup import Content, Markup, el
from ledger.reporting.account import Account, Listed, Record
from ledger.reporting.charts import size_text

__all__ = [
    "agreements",
    "badge",
    "crossed",
    "institutions",
    "models",
    "party",
    "refused",
    "row",
    "runs",
    "section",
    "table",
    "when",
]


def section(identifier: str, title: str, *content: Content) -> Markup:
    """A part of the page with its heading."""
    heading = f"{identifier}-heading"
    return el("section", el("h2", title, id=heading), content, id=identifier, aria_labelledby=heading)


def table(caption: str, heads: Sequence[str], rows: Iterable[Markup]) -> Markup:
    """A table that scrolls by itself where the page is narrow."""
    head = el("thead", el("tr", [el("th", each, scope="col") for each in heads]))
    body = el("table", el("caption", caption), head, el("tbody", rows))
    return el("div", body, class_="scroll", tabindex=0, role="region", aria_label=caption)


def row(
    *cells: Content, who: Iterable[str] | None = None, what: Iterable[str] | None = None, at: str | None = None
) -> Markup:
    """A row; the page's filters look for what it names, and leave it alone where it names nothing."""
    return el(
        "tr",
        [cell if isinstance(cell, Markup) and str(cell).startswith("<td") else el("td", cell) for cell in cells],
        data_who=None if who is None else " ".join(each for each in who if each),
        data_what=None if what is None else " ".join(each for each in what if each),
        data_at=None if at is None else at[:19],
    )


def when(time: str | None) -> Markup:
    """A time, to the minute; the whole of it on hovering."""
    text = time or ""
    return el("td", el("time", f"{text[:10]} {text[11:16]}".strip(), datetime=text, title=f"{text} UTC"), class_="time")


def party(uri: str | None) -> Markup:
    """An institution's name; its URI on hovering."""
    return el("span", party_name(uri or "unknown"), title=uri or "")


def badge(text: str, kind: str) -> Markup:
    """A word in a colour; the word says it alone too."""
    return el("span", text, class_=f"badge {kind}")


def _number(text: str) -> Markup:
    return el("td", text, class_="number")


def _more(listed: Listed, thing: str) -> Content:
    left = listed.total - len(listed.rows)
    if left <= 0:
        return None
    return el(
        "p",
        f"The newest {len(listed.rows):,} are listed; {counted(left, f'older {thing}')} not. "
        "Totals and charts know all. Narrow the report with --from and --to, or list more with --rows.",
        class_="soft small",
    )


def _is_model(resource: str | None) -> bool:
    return (resource or "").startswith("models/")


_STATES = {"completed": "good", "aborted": "bad", "refused": "bad", "open": "warn"}


def crossed(account: Account) -> Markup:
    """What crossed, and under which rule."""

    def one(each: Record) -> Markup:
        both = len((each["logs"] or "").split(",")) == 2
        rules = [*each["rules"], *(f"mechanism {name}" for name in each["mechanisms"])]
        rules += [f"obligation {kind}" for kind in each["obligations"]]
        state = [badge(each["state"], _STATES.get(each["state"], "warn"))]
        told: list[Content] = [" resumed once or more" if each["resumed"] else None]
        told.append(f" {each['reason']}" if each["reason"] else None)
        return row(
            when(each["begun_at"]),
            [party(each["provider"]), " → ", party(each["consumer"])],
            each["resource"] or "unknown",
            each["purpose"] or "",
            # A model's rows are the chunks of its files: nothing that a reader would look for.
            _number(f"{each['rows']:,}" if each["rows"] is not None and not _is_model(each["resource"]) else ""),
            _number(size_text(each["bytes"]) if each["bytes"] is not None else ""),
            el("ul", [el("li", rule) for rule in rules]) if rules else "",
            [el("code", (each["agreement"] or "")[-8:], title=each["agreement"] or "")],
            [state, told, el("br"), el("span", "on both ledgers" if both else "on one ledger", class_="soft small")],
            who=(each["provider"] or "", each["consumer"] or ""),
            what=(each["resource"] or "",),
            at=each["begun_at"] or "",
        )

    heads = (
        "When (UTC)",
        "From → to",
        "What",
        "Purpose",
        "Rows",
        "Size",
        "Under which rules",
        "Agreement",
        "How it ended",
    )
    caption = "Each transfer between the zones. A rule is a policy pack with its revision and the zone that applied it."
    found = account.transfers
    body = table(caption, heads, [one(each) for each in found.rows]) if found.rows else _none("Nothing crossed.")
    return section("crossed", "What crossed the border", body, _more(found, "transfer"))


def _none(text: str) -> Markup:
    return el("p", text, class_="empty")


def refused(account: Account) -> Markup:
    """What was refused or is held, by which rule, and what would mend it."""

    def one(each: Record) -> Markup:
        findings = [
            el(
                "li",
                el("strong", finding["code"]),
                f" {finding['cite']} ",
                el("span", f"({finding['authority']}; {finding['zone']})", class_="soft"),
                el("div", f"What would mend it: {finding['remedy']}", class_="remedy") if finding["remedy"] else None,
            )
            for finding in each["findings"]
        ]
        held = each["effect"] == "review"
        what = each["resource"] or each["subject"]
        return row(
            when(each["time"]),
            party(each["participant"]),
            what,
            each["purpose"] or "",
            [badge("held for approval" if held else "refused", "warn" if held else "bad")],
            (each["by_zones"] or each["held_by"] or "").replace(",", ", "),
            el("ul", findings) if findings else (each["reason"] or "no rule is named"),
            who=(each["participant"] or "",),
            what=(each["resource"] or "",),
            at=each["time"] or "",
        )

    heads = ("When (UTC)", "Who asked", "For what", "Purpose", "Outcome", "By", "Why")
    caption = "Requests that were not allowed. The stricter of both zones' decisions counts."
    found = account.refusals
    body = table(caption, heads, [one(each) for each in found.rows]) if found.rows else _none("Nothing was refused.")
    return section("refused", "What was refused or held, and why", body, _more(found, "request"))


# --- models -----------------------------------------------------------------------------------------------------


def models(account: Account) -> Markup:
    """Which models left, trained on what, whose data, on which devices, who received them."""
    rows = [
        _model_row(graph, node)
        for graph in account.models
        for node in graph.nodes.values()
        if node.kind == "model" and node.name == graph.subject
    ]
    heads = ("Model", "Received by", "Trained on", "Whose data", "On which devices", "Provenance")
    caption = "Which models left, trained on what, whose data, on which devices, and who received them."
    body = table(caption, heads, rows) if rows else _none("No entry speaks of a model.")
    left = account.models_left_out
    more = (
        el("p", f"{counted(left, 'more model')} not shown; tdz-ledger lineage models/ID shows any.") if left else None
    )
    cards = [_lineage(graph) for graph in (*account.models, *account.datasets)]
    return section("models", "Models: where they came from and where they went", body, more, cards)


def _model_row(graph: Graph, node: Node) -> Markup:
    up = _upstream(graph, node.key)
    data = [graph.nodes[key] for key in up if graph.nodes[key].kind in {"dataset", "base"}]
    owners = {edge.source for each in data for edge in graph.into(each.key) if edge.what == "owns"}
    devices = {fact for key in (*up, node.key) for fact in graph.nodes[key].facts if fact.startswith("on ")}
    got = [edge for edge in graph.out_of(node.key) if graph.nodes[edge.target].kind == "party"]
    received = [
        el(
            "li",
            badge("not received", "warn") if edge.refused else None,
            " ",
            party(edge.target),
            el("span", f" {'; '.join((edge.what, *edge.facts))}", class_="soft small"),
        )
        for edge in sorted(got, key=lambda edge: edge.refused)
    ]
    trained = [f"{each.name}{f' in {each.zone}' if each.zone else ''}" for each in data]
    provenance = next((fact.removeprefix("provenance ") for fact in node.facts if fact.startswith("provenance ")), "")
    named = {"verified": "good", "missing": "warn", "unverified": "bad"}
    return row(
        [el("strong", node.name), el("br"), el("span", f"in {node.zone}" if node.zone else "", class_="soft small")],
        el("ul", received) if received else "nobody in the other zone",
        el("ul", [el("li", each) for each in trained]) if trained else "not known to the ledgers",
        el("ul", [el("li", party(each)) for each in sorted(owners)]) if owners else "not known to the ledgers",
        el("ul", [el("li", each.removeprefix("on ")) for each in sorted(devices)]) if devices else "not said",
        badge(provenance, named.get(provenance, "warn")) if provenance else "not judged",
        who=_who(graph),
        what=_what(graph),
        at=_newest(graph),
    )


def _upstream(graph: Graph, key: str) -> list[str]:
    found: dict[str, None] = {}
    waiting = [key]
    while waiting:
        for edge in graph.into(waiting.pop()):
            if edge.source not in found and graph.nodes[edge.source].kind != "party":
                found[edge.source] = None
                waiting.append(edge.source)
    return list(found)


def _who(graph: Graph) -> list[str]:
    return [key for key, node in graph.nodes.items() if node.kind == "party"]


def _what(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes.values() if node.kind in {"dataset", "model"}]


def _newest(graph: Graph) -> str:
    facts = (fact for edge in graph.edges.values() for fact in edge.facts if fact.startswith("last "))
    return max((fact.removeprefix("last ") for fact in facts), default="")


def _lineage(graph: Graph) -> Markup:
    def end(key: str) -> Content:
        node = graph.nodes[key]
        return party(key) if node.kind == "party" else f"{node.name}{f' in {node.zone}' if node.zone else ''}"

    steps = [
        el("li", end(edge.source), el("span", f" — {edge.what} — ", class_="soft"), end(edge.target),
           el("span", f" ({'; '.join(edge.facts)})" if edge.facts else "", class_="soft small"))
        for edge in graph.edges.values()
    ]  # fmt: skip
    left = el("p", f"{graph.left_out} more, left out of drawing and list") if graph.left_out else None
    return el(
        "div",
        el("h3", f"Lineage of {graph.subject}"),
        el(
            "div",
            draw(graph).svg,
            class_="drawing",
            tabindex=0,
            role="region",
            aria_label=f"Drawing of {graph.subject}",
        ),
        el("details", el("summary", f"The same as a list ({counted(len(steps), 'step')})"), el("ul", steps)),
        left,
        data_who=" ".join(_who(graph)),
        data_what=" ".join(_what(graph)),
        data_at=_newest(graph),
    )


# --- runs, agreements, institutions -----------------------------------------------------------------------------


def runs(account: Account) -> Markup:
    """Computations that went to the data."""

    def one(each: Record) -> Markup:
        data = [
            el("li", f"{data['resource']} in {data['zone']}, {data['rows'] or 0:,} rows, of ", party(data["owner"]))
            for data in each["datasets"]
        ]
        out = [
            el("li", f"from {sent['zone']} to ", party(sent["recipient"]),
               f": {counted(sent['releases'], 'release')}, {size_text(sent['bytes'] or 0)}")
            for sent in each["releases"]
        ]  # fmt: skip
        devices = [el("li", f"{device['sku']} in {device['zone']}") for device in each["devices"]]
        kind = (
            ("completed", "good") if each["completed"] else ("given up", "bad") if each["failed"] else ("open", "warn")
        )
        return row(
            when(each["time"]),
            [el("code", each["run"][-8:], title=each["run"]), el("br"), party(each["participant"])],
            f"{each['app']}, {each['strategy']}, {each['rounds'] or 0} rounds",
            el("ul", data),
            el("ul", out) if out else "nothing",
            el("ul", devices) if devices else "not said",
            [badge(*kind), f" {each['model'] or each['reason'] or ''}"],
            who=(each["participant"] or "", *(data["owner"] or "" for data in each["datasets"])),
            what=(each["model"] or "", *(data["resource"] for data in each["datasets"])),
            at=each["time"] or "",
        )

    heads = ("When (UTC)", "Run, started by", "Method", "On whose data", "What left its zone", "Devices", "Outcome")
    caption = "Training that went to the data. Sums and model parameters crossed, never rows."
    found = account.runs
    body = table(caption, heads, [one(each) for each in found.rows]) if found.rows else _none("No run.")
    return section("runs", "Computations that went to the data", body, _more(found, "run"))


def agreements(account: Account) -> Markup:
    """Agreements between institutions."""

    def one(each: Record) -> Markup:
        ended = ("never confirmed", "warn") if each["not_confirmed"] else ("signed by one side", "warn")
        kind = ("in force from then on", "good") if each["in_force"] else ended
        return row(
            when(each["time"]),
            [party(each["provider"]), " → ", party(each["consumer"])],
            each["resource"] or "",
            each["purpose"] or "",
            ", ".join(str(name) for name in _loaded(each["mechanisms"])) or "none",
            when(each["expires_at"]),
            badge(*kind),
            el("code", each["id"][-8:], title=each["id"]),
            who=(each["provider"] or "", each["consumer"] or ""),
            what=(each["resource"] or "",),
            at=each["time"] or "",
        )

    heads = ("When (UTC)", "From → to", "What", "Purpose", "Legal mechanisms", "Until", "State", "Id")
    caption = "What institutions may receive, signed by both zones. One may end before its date."
    found = account.agreements
    body = table(caption, heads, [one(each) for each in found.rows]) if found.rows else _none("No agreement.")
    return section("agreements", "Agreements", body, _more(found, "agreement"))


def _loaded(text: str | None) -> list[Any]:
    found = json.loads(text) if text else []
    return found if isinstance(found, list) else []


def institutions(account: Account) -> Markup:
    """Who may speak, and under which policy revisions decisions were made."""
    who = [
        row(
            party(each["identity"]),
            each["zone"],
            when(each["since"]),
            when(each["until"]),
            _number(f"{each['certificates']}"),
            _number(f"{each['revoked']}"),
            who=(each["identity"],),
        )
        for each in account.parties
    ]
    rules = [
        row(each["zone"], each["pack"], each["revision"], when(each["first_used"]), when(each["last_used"]),
            when(each["valid_until"]), _number(f"{each['decisions']:,}"))
        for each in account.packs
    ]  # fmt: skip
    heads = ("Institution", "Zone", "Since", "Certificates until", "Certificates", "Revoked")
    pack_heads = ("Zone", "Policy pack", "Revision", "First used", "Last used", "Valid until", "Decisions")
    return section(
        "who",
        "Who takes part, and under which rules",
        table("Institutions that hold a certificate.", heads, who) if who else _none("No institution."),
        table("Policy packs that decided.", pack_heads, rules) if rules else None,
    )
