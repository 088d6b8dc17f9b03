"""The same account for a terminal, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ledger.lineage.graph import counted, party_name
from ledger.reporting.account import Account
from ledger.reporting.charts import size_text
from ledger.reporting.page import Verdict

__all__ = ["lines"]

_LISTED: Final = 10


def lines(account: Account | None, verdict: Verdict) -> Iterator[str]:
    """The lines; each may hold a log's text and is to be made printable."""
    yield verdict.words()
    for report in verdict.reports:
        yield f"  {report.origin or report.directory}: {report.entries:,} entries; {report.first_line}"
        yield from (f"    {each.file}: {each.text}" for each in report.findings[:_LISTED])
    if verdict.tally is not None:
        for kind, counts in verdict.tally.counts.items():
            told = ", ".join(f"{count:,} {standing.value}" for standing, count in sorted(counts.items()))
            yield f"  {kind}s compared: {told}"
    yield from (f"  {text}" for text in (*verdict.cards, *verdict.notices))
    if account is None:
        return
    if account.scope.words():
        yield f"Only: {account.scope.words()}"
    yield from _crossed(account)
    yield from _refused(account)
    yield from _models(account)
    yield "a page with charts, drawings and everything: -o report.html"


def _crossed(account: Account) -> Iterator[str]:
    totals = account.totals
    yield (
        f"{counted(totals['transfers'], 'transfer')} completed, {size_text(totals['bytes'])}, "
        f"{totals['rows']:,} rows; {totals['aborted']} aborted, {totals['open']} open"
    )
    for each in account.transfers.rows[:_LISTED]:
        size = size_text(each["bytes"]) if each["bytes"] is not None else ""
        who = f"{party_name(each['provider'] or 'unknown')} → {party_name(each['consumer'] or 'unknown')}"
        yield f"  {(each['begun_at'] or '')[:16]}  {each['state']:<9} {size:>9}  {who}: {each['resource'] or 'unknown'}"


def _refused(account: Account) -> Iterator[str]:
    totals = account.totals
    yield f"{counted(totals['refused'], 'request')} refused, {totals['held']} held for approval"
    for each in account.refusals.rows[:_LISTED]:
        codes = ", ".join(finding["code"] for finding in each["findings"]) or each["reason"] or "no rule named"
        what = "held" if each["effect"] == "review" else "refused"
        who = party_name(each["participant"] or "unknown")
        yield f"  {(each['time'] or '')[:16]}  {what:<9} {who}: {each['resource'] or each['subject']}: {codes}"


def _models(account: Account) -> Iterator[str]:
    yield f"{counted(totals, 'model')} left the zone" if (totals := account.totals["models"]) else "no model left"
    for graph in account.models[:_LISTED]:
        for node in graph.nodes.values():
            if node.name != graph.subject:
                continue
            received = [party_name(e.target) for e in graph.out_of(node.key) if not e.refused]
            told = f"received by {', '.join(received)}" if received else "received by nobody"
            yield f"  {node.name}{f' in {node.zone}' if node.zone else ''}: {told}"
