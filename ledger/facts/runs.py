"""From an entry about a computation to rows: jobs, runs, rounds, releases and devices."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.entry import Entry
from ledger.facts.opened import Object, Signed, items, mapping, number, signed, text
from ledger.facts.rows import Row, row

__all__ = ["device_columns", "run_rows"]


def run_rows(log: str, entry: Entry) -> Iterator[Row]:
    """What an entry of a kind job.*, run.*, round.* or release says."""
    run, body = entry.subject.partition("/")[2], entry.body
    group, _, event = entry.kind.partition(".")
    if entry.kind == "release":
        yield row(
            "releases",
            log,
            entry,
            **{n: text(body.get(n)) for n in ("direction", "what", "resource", "version", "recipient", "digest")},
            run=run,
            round=number(body.get("round")),
            bytes=number(body.get("bytes")),
            effect=text(body.get("effect")),
            decision_id=text(mapping(body.get("decision")).get("decision_id")),
        )
        return
    if group == "round":
        yield from _round(log, entry, run, event)
        return
    envelope = signed(body.get("agreement"))
    if entry.kind != "job.decided" or text(body.get("effect")) == "deny":
        yield _whole(log, entry, run, "refused" if entry.kind == "job.decided" else event, envelope)
    agreed = envelope.body if envelope is not None else {}
    for each in items(body.get("datasets")) or items(agreed.get("datasets")):
        yield row(
            "run_datasets",
            log,
            entry,
            **{name: text(each.get(name)) for name in ("resource", "version", "owner", "zone")},
            run=run,
            rows=number(each.get("rows")),
        )
    yield from _devices(log, entry, run, body)


def _whole(log: str, entry: Entry, run: str, event: str, envelope: Signed | None) -> Row:
    """An entry about the run as a whole; its agreement says what was asked for, and so does its submission."""
    body = entry.body
    agreed = envelope.body if envelope is not None else {}
    spec = mapping(agreed.get("spec"))
    result, app = mapping(spec.get("result")), mapping(body.get("app")) or mapping(spec.get("app"))
    version = text(app.get("version"))
    return row(
        "run_entries",
        log,
        entry,
        **{name: text(body.get(name)) for name in ("digest", "model", "version", "artifact", "reason")},
        **{name: text(agreed.get(name)) for name in ("coordinator_zone", "participant_zone")},
        run=run,
        event=event,
        outcome=text(body.get("outcome")) or text(body.get("effect")),
        participant=text(body.get("participant")) or text(agreed.get("participant")),
        purpose=text(body.get("purpose")) or text(spec.get("purpose")),
        app=f"{text(app.get('name'))} {version}".strip(),
        app_digest=text(app.get("digest")) or text(agreed.get("app_digest")),
        strategy=text(body.get("strategy")) or text(spec.get("strategy")),
        rounds=number(body.get("rounds")) or number(spec.get("rounds")),
        spec_digest=text(body.get("spec_digest")) or text(agreed.get("spec_digest")),
        payload_digest=envelope.digest if envelope is not None else "",
        signatures=envelope.signatures if envelope is not None else 0,
        licence=text(result.get("licence")),
    )


def _round(log: str, entry: Entry, run: str, event: str) -> Iterator[Row]:
    body = entry.body
    statement = signed(body.get("statement"))
    said = statement.body if statement is not None else {}
    zone = statement.issuer if statement is not None else text(body.get("zone")) or log
    yield row(
        "round_entries",
        log,
        entry,
        **{name: text(body.get(name)) for name in ("direction", "what", "digest", "reason")},
        run=run,
        round=number(body.get("round")),
        event=event,
        zone=zone,
        bytes=number(body.get("bytes")),
        examples=number(said.get("examples")),
        smallest_group=number(said.get("smallest_group")),
        payload_digest=statement.digest if statement is not None else "",
    )
    # A thousand rounds on one device say it once.
    if number(body.get("round")) in (0, 1):
        for device in items(said.get("devices")):
            yield row("devices", log, entry, run=run, zone=zone, **device_columns(device))


def _devices(log: str, entry: Entry, run: str, body: Object) -> Iterator[Row]:
    """What a run's end says of the platforms that it was computed on."""
    for platform in items(body.get("platforms")):
        for device in items(platform.get("devices")):
            yield row("devices", log, entry, run=run, zone=text(platform.get("zone")), **device_columns(device))


def device_columns(device: Object) -> Object:
    """A device's columns."""
    named = {name: text(device.get(name)) for name in ("sku", "vendor", "vendor_country", "eccn")}
    return {**named, "count": number(device.get("count"))}
