"""From an entry to rows: decisions, agreements, transfers, receipts and registers; runs are in `runs.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from ledger.canonical import MAX_INTEGER, JsonValue
from ledger.checkpoint import Checkpoint
from ledger.entry import Entry, body_bytes
from ledger.errors import LedgerError
from ledger.facts.opened import Object, Signed, boolean, compact, items, mapping, moment, number, signed, text
from ledger.facts.rows import Row, row
from ledger.facts.runs import device_columns, run_rows

__all__ = ["rows_of", "whole_row"]

_Reader: TypeAlias = Callable[[str, Entry], Iterator[Row]]


def whole_row(log: str, entry: Entry, data: bytes, leaf_hash: bytes) -> Row:
    """An entry's own row.

    Args:
        log: the zone whose ledger it stands on.
        entry: parsed.
        data: its bytes, whose canonical form the row's body has.
        leaf_hash: of these bytes.
    """
    return row(
        "entries",
        log,
        entry,
        id=entry.id,
        kind=entry.kind,
        subject=entry.subject,
        leaf_hash=leaf_hash.hex(),
        body=body_bytes(entry, data).decode(),
    )


def rows_of(log: str, entry: Entry) -> Iterator[Row]:
    """What one entry says, as rows of the tables, without its own row in ``entries``.

    Args:
        log: the zone whose ledger it stands on.
        entry: parsed.
    """
    yield from _decided(log, entry)
    reader = _READERS.get(entry.kind)
    if reader is not None:
        yield from reader(log, entry)
    elif entry.kind.startswith(("job.", "run.", "round.")) or entry.kind == "release":
        yield from run_rows(log, entry)
    elif entry.kind.startswith(_REGISTERS):
        yield from _register(log, entry)


# --- decisions ------------------------------------------------------------------------------------------------


def _decided(log: str, entry: Entry) -> Iterator[Row]:
    """Own decisions, the other zone's signed ones, and outcomes without a decision of policy."""
    body = entry.body
    if entry.kind != "decision" and _DECIDING.isdisjoint(body):
        return
    asked = mapping(body.get("request")) or body
    offer = signed(body.get("offer"))
    known: Object = {
        "participant": text(asked.get("participant")) or text(body.get("recipient")),
        "resource": text(asked.get("resource")),
        "version": text(asked.get("version")),
        "purpose": text(asked.get("purpose")),
        "outcome": text(body.get("effect")),
    }
    if offer is not None:
        known = {**{name: text(offer.body.get(name)) for name in known}, **{k: v for k, v in known.items() if v}}
    own = mapping(body.get("decision"))
    if own:
        yield from _decision(log, entry, own, known, heard=False, reason=text(body.get("reason")))
    heard = signed(body.get("peer_decision"))
    if heard is not None:
        theirs = mapping(heard.body.get("decision"))
        said = {**known, "held_by": text(heard.body.get("held_by"))}
        yield from _decision(log, entry, theirs, said, heard=True, zone=heard.issuer)
    together = signed(body.get("peer_decisions"))
    for each in items(together.body.get("decisions")) if together is not None else ():
        about = {
            **known,
            "resource": text(each.get("resource")),
            "participant": text(each.get("recipient")),
            "version": text(each.get("version")),
        }
        yield from _decision(log, entry, mapping(each.get("decision")), about, heard=True, zone=_issuer(together))
    if entry.kind == "decision" and not own and heard is None:
        finding = mapping(body.get("finding"))
        alone: Object = {"effect": body.get("effect"), "findings": [finding] if finding else []}
        said = {**known, "held_by": text(body.get("held_by"))}
        yield from _decision(log, entry, alone, said, heard=False, reason=text(body.get("reason")))


def _issuer(statement: Signed | None) -> str:
    return "" if statement is None else statement.issuer


def _decision(
    log: str, entry: Entry, decision: Object, known: Object, *, heard: bool, zone: str = "", reason: str = ""
) -> Iterator[Row]:
    who = zone or text(decision.get("zone")) or log
    identifier = text(decision.get("decision_id"))
    yield row(
        "decisions",
        log,
        entry,
        **{"held_by": "", **known},
        subject=entry.subject,
        zone=who,
        heard=heard,
        decision_id=identifier,
        effect=text(decision.get("effect")),
        reason=reason,
        obligations=_listed(decision.get("obligations")),
    )
    for each in items(decision.get("findings")):
        told = {name: text(each.get(name)) for name in ("code", "effect", "authority", "cite", "remedy")}
        yield row("findings", log, entry, subject=entry.subject, zone=who, decision_id=identifier, **told)
    for each in items(decision.get("packs")):
        yield row(
            "packs",
            log,
            entry,
            zone=who,
            decision_id=identifier,
            pack=text(each.get("id")),
            revision=text(each.get("revision")),
            valid_until=moment(each.get("valid_until")),
            verdict=text(each.get("verdict")),
        )


def _listed(value: JsonValue) -> str:
    return compact(value if isinstance(value, list) else [])


# --- the exchange ---------------------------------------------------------------------------------------------


def _negotiated(log: str, entry: Entry) -> Iterator[Row]:
    """What a decision on a model says of its making; a refused pull is about a transfer."""
    made, asked = mapping(entry.body.get("lineage")), mapping(entry.body.get("request"))
    if made:
        yield from _made_from(log, entry, made, asked)
    if entry.subject.startswith("transfers/") and text(entry.body.get("effect")) == "deny":
        yield from _transfer(log, entry)


def _made_from(log: str, entry: Entry, made: Object, asked: Object) -> Iterator[Row]:
    common = {
        "resource": text(asked.get("resource")),
        "version": text(asked.get("version")),
        "artifact": text(made.get("artifact")),
        "provenance": text(made.get("provenance")),
    }
    base = mapping(made.get("base"))
    for kind, name, digest in [
        *(("dataset", text(each.get("name")), text(each.get("digest"))) for each in items(made.get("data"))),
        ("base_model", text(base.get("id")), text(base.get("digest"))),
        ("run", "", ""),
    ]:
        if kind == "run" or name or digest:
            licence = text(base.get("licence")) if kind == "base_model" else ""
            yield row("model_inputs", log, entry, **common, input=kind, name=name, input_digest=digest, licence=licence)
    for run in items(made.get("runs")):
        for device in items(run.get("devices")):
            yield row(
                "devices",
                log,
                entry,
                run=common["resource"],
                zone=text(run.get("site")),
                **device_columns(device),
            )


def _agreement(log: str, entry: Entry) -> Iterator[Row]:
    envelope = signed(entry.body.get("agreement"))
    body = envelope.body if envelope is not None else {}
    limits, decisions = mapping(body.get("limits")), mapping(body.get("decisions"))
    plain = ("negotiation", "provider", "provider_zone", "consumer", "consumer_zone")
    yield row(
        "agreement_entries",
        log,
        entry,
        **{name: text(body.get(name)) for name in (*plain, "resource", "version", "view", "purpose")},
        **{name: number(limits.get(name)) for name in ("pulls", "rows", "bytes")},
        id=text(body.get("id")) or entry.subject.partition("/")[2],
        outcome=text(entry.body.get("outcome")),
        expires_at=moment(limits.get("expires_at")),
        onward=boolean(limits.get("onward")),
        mechanisms=_listed(body.get("mechanisms")),
        obligations=_listed(body.get("obligations")),
        consumer_decision=text(decisions.get("consumer")),
        provider_decision=text(decisions.get("provider")),
        payload_digest=envelope.digest if envelope is not None else "",
        signatures=envelope.signatures if envelope is not None else 0,
        reason=text(entry.body.get("reason")),
    )


def _transfer(log: str, entry: Entry) -> Iterator[Row]:
    body = entry.body
    yield row(
        "transfer_entries",
        log,
        entry,
        **{name: text(body.get(name)) for name in ("agreement", "version", "view", "root", "reason")},
        **{name: number(body.get(name)) for name in ("first_chunk", "chunks", "rows", "bytes")},
        id=entry.subject.partition("/")[2],
        event="refused" if entry.kind == "decision" else entry.kind.partition(".")[2],
    )
    listed = body.get("receipts")
    for envelope in (body.get("receipt"), *(listed if isinstance(listed, list) else ())):
        yield from _one_receipt(log, entry, envelope)


def _receipt(log: str, entry: Entry) -> Iterator[Row]:
    yield from _one_receipt(log, entry, entry.body.get("receipt"))


def _one_receipt(log: str, entry: Entry, envelope: JsonValue) -> Iterator[Row]:
    receipt = signed(envelope)
    if receipt is None:
        return
    body = receipt.body
    yield row(
        "receipts",
        log,
        entry,
        **{name: text(body.get(name)) for name in ("side", "agreement", "version", "view", "root", "checkpoint")},
        **{name: number(body.get(name)) for name in ("chunks", "rows", "bytes")},
        transfer=text(body.get("transfer")),
        issuer=receipt.issuer,
        started_at=moment(body.get("started_at")),
        ended_at=moment(body.get("ended_at")),
        payload_digest=receipt.digest,
        **_named(text(body.get("checkpoint"))),
    )


def _named(note: str) -> Object:
    """The size and root that a checkpoint names, where it is one."""
    try:
        checkpoint = Checkpoint.parse(note.partition("\n\n")[0] + "\n")
    except LedgerError:
        return {}
    size = checkpoint.size
    return {"log_size": size, "log_root": checkpoint.root.hex()} if size <= MAX_INTEGER else {}


# --- registers ------------------------------------------------------------------------------------------------


def _identity(log: str, entry: Entry) -> Iterator[Row]:
    body = entry.body
    yield row(
        "identity_entries",
        log,
        entry,
        **{name: text(body.get(name)) for name in ("identity", "role", "certificate", "key")},
        event=entry.kind.partition(".")[2],
        zone=text(body.get("zone")) or log,
        usage=text(body.get("usage")) or "tls",
        not_before=moment(body.get("not_before")),
        not_after=moment(body.get("not_after")),
    )


def _register(log: str, entry: Entry) -> Iterator[Row]:
    body = entry.body
    names = ("commitment", "digest", "card", "key", "revision")
    yield row(
        "register_entries",
        log,
        entry,
        event=entry.kind,
        subject=entry.subject,
        participant=text(body.get("participant")),
        digest=next((found for name in names if (found := text(body.get(name)))), ""),
        by=text(body.get("by")),
        jurisdiction=text(body.get("jurisdiction")),
    )


_DECIDING: Final = frozenset({"decision", "peer_decision", "peer_decisions"})
"""Members of bodies that hold decisions."""
_REGISTERS: Final = ("participant.", "mechanism.", "zone.", "signer.", "policy.", "key.")
_READERS: Final[dict[str, _Reader]] = {
    "decision": _negotiated,
    "agreement": _agreement,
    "transfer.started": _transfer,
    "transfer.resumed": _transfer,
    "transfer.completed": _transfer,
    "transfer.aborted": _transfer,
    "receipt": _receipt,
    "identity.issued": _identity,
    "identity.revoked": _identity,
}
