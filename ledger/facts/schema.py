"""The tables that entries are read into: stable columns, each with its meaning.

A column's type is ``text``, ``int``, ``bool``, ``time`` (UTC) or ``json``. Every table begins with ``log`` (the zone
whose ledger says it) and ``seq`` (the entry that says it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["SCHEMA_VERSION", "TABLES", "VIEWS", "Column", "Table"]

SCHEMA_VERSION: Final = 1
"""Raised with every change of a column; an index of another version is built anew."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    type: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its columns in order, and what one row of it is."""

    name: str
    meaning: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names in order."""
        return tuple(column.name for column in self.columns)


_HEAD: Final = (
    Column("log", "text", "zone whose ledger holds the entry"),
    Column("seq", "int", "the entry's number in that ledger"),
)
_TIME: Final = Column("time", "time", "the entry's own time, UTC: the gateway's word")


def _table(name: str, meaning: str, lines: str, *, time: bool = True) -> Table:
    """A table from lines of ``name type meaning``."""
    columns = [Column(*line.split(None, 2)) for line in lines.strip().splitlines()]
    return Table(name, meaning, (*_HEAD, *((_TIME,) if time else ()), *columns))


TABLES: Final[dict[str, Table]] = {
    table.name: table
    for table in (
        _table(
            "entries",
            "an entry, as it stands",
            """
            id text UUIDv7 of the event
            kind text what happened, dotted
            subject text what it happened to, as transfers/ID
            leaf_hash text the leaf hash in hex, SHA-256(0x00, entry)
            body json the rest of the entry, JSON
            """,
        ),
        _table(
            "decisions",
            "a zone's decision, as its own entry or a signed statement of the other zone in an entry has it",
            """
            subject text the entry's subject: a negotiation, transfer or run
            zone text who decided
            heard bool whether the other zone decided, and this ledger holds its signed statement
            decision_id text the decision's UUIDv7; empty where only an effect was recorded
            effect text allow, review or deny
            outcome text the effect after both zones' decisions, where the entry says it
            participant text who asked, or would receive
            resource text datasets/ID or models/ID
            version text the version's digest
            purpose text what it was asked for
            reason text why, where no rule speaks
            held_by text who has to approve, where it waits
            obligations json what must be done to the data, JSON
            """,
        ),
        _table(
            "findings",
            "a rule that spoke in a decision",
            """
            subject text the entry's subject
            zone text who decided
            decision_id text the decision it stands in
            code text the rule
            effect text what the rule asks for
            authority text binding law, guidance or house rule
            cite text the law's or the house's words for it
            remedy text what would mend it
            """,
        ),
        _table(
            "packs",
            "a policy pack that a decision was made with",
            """
            zone text who decided
            decision_id text the decision
            pack text the pack's id, as my or cn
            revision text the pack's revision
            valid_until time when that revision ends
            verdict text what the pack said
            """,
        ),
        _table(
            "agreement_entries",
            "an entry about an agreement",
            """
            id text the agreement's UUIDv7
            outcome text countersigned (at the consumer), in_force (at the provider) or not_confirmed
            negotiation text the negotiation it came from
            provider text URI of who provides
            provider_zone text its zone
            consumer text URI of who receives
            consumer_zone text its zone
            resource text datasets/ID or models/ID
            version text the version's digest
            view text digest of the view: version, obligations and key
            purpose text what for
            expires_at time when it ends at the latest
            onward bool whether it may be passed on
            pulls int how many pulls, 0 without limit
            rows int how many rows, 0 without limit
            bytes int how many bytes, 0 without limit
            mechanisms json references of the legal mechanisms
            obligations json what must be done to the data
            consumer_decision text the decision of the consumer's zone
            provider_decision text the decision of the provider's zone
            payload_digest text SHA-256 of the bytes that the zones signed
            signatures int how many signatures stand under it
            reason text why it was not confirmed
            """,
        ),
        _table(
            "transfer_entries",
            "an entry about a transfer",
            """
            id text the transfer's UUIDv7, the same on both ledgers
            event text started, resumed, completed, aborted or refused
            agreement text the agreement it is made under
            version text the version's digest
            view text the view's digest
            first_chunk int where it began
            chunks int chunks in all
            rows int rows that crossed
            bytes int bytes that crossed
            root text RFC 6962 root over the chunks
            reason text why it was aborted
            """,
        ),
        _table(
            "receipts",
            "a signed receipt in an entry",
            """
            transfer text the transfer
            side text consumer or provider
            issuer text zone that signed it
            agreement text the agreement
            version text the version's digest
            view text the view's digest
            chunks int chunks
            rows int rows
            bytes int bytes
            root text RFC 6962 root over the chunks
            started_at time when it began
            ended_at time when it ended
            payload_digest text SHA-256 of the signed bytes
            checkpoint text the signer's newest witnessed checkpoint, a signed note
            log_size int the size that this checkpoint names
            log_root text the root that it names, in hex
            """,
        ),
        _table(
            "run_entries",
            "an entry about a run or job as a whole",
            """
            run text the run's UUIDv7
            event text submitted, proposed, answered, agreed, started, completed, failed, cancelled or refused
            outcome text signed or in_force, of an agreement; allow or deny, of an answer
            participant text who started it
            purpose text what for
            app text the training app and its version
            app_digest text its code's digest
            strategy text FedAvg and so on
            rounds int how many
            spec_digest text digest of what was asked for
            coordinator_zone text where it was started
            participant_zone text the other zone
            payload_digest text SHA-256 of the agreement's signed bytes
            signatures int how many signatures stand under it
            digest text digest of the final parameters
            model text the model that it became here
            version text that model's version digest, of this zone alone
            artifact text its files' digest, the same in both zones
            licence text the model's licence
            reason text why it ended
            """,
        ),
        _table(
            "run_datasets",
            "a dataset that a run trains on, as an entry of the run names it",
            """
            run text the run
            resource text datasets/ID
            version text the version's digest
            owner text URI of whose data it is
            zone text where the data lie
            rows int rows in it
            """,
            time=False,
        ),
        _table(
            "releases",
            "a release of a run's output for one dataset behind it and one institution that receives it",
            """
            run text the run
            direction text out of this zone or in
            what text sums, parameters, update or outcome
            round int the round
            resource text the dataset that stands behind it
            version text that dataset's version digest
            recipient text URI of who receives it
            bytes int bytes that left
            digest text their SHA-256
            effect text allow, review or deny
            decision_id text the decision
            """,
        ),
        _table(
            "round_entries",
            "an entry about a round",
            """
            run text the run
            round int the round, 0 for what comes before the first
            event text started, released, accepted, completed or refused
            direction text out of this zone or in
            what text sums, parameters, update or outcome
            zone text whose it is
            digest text digest of what was sent, taken in or aggregated
            bytes int bytes
            examples int rows behind it
            smallest_group int the fewest rows of one institution behind it
            payload_digest text SHA-256 of the sender's signed statement
            reason text why it was refused
            """,
        ),
        _table(
            "devices",
            "an accelerator or processor that a zone says it computed on",
            """
            run text the run
            zone text whose device
            sku text its name
            vendor text who made it
            vendor_country text where its maker sits
            eccn text its export classification
            count int how many
            """,
            time=False,
        ),
        _table(
            "model_inputs",
            "what a model says it was made from, as the decision on it has it from signed provenance",
            """
            resource text models/ID
            version text the model's version digest
            artifact text its files' digest
            provenance text verified, unverified or missing
            input text dataset, base_model, code or run
            name text its name
            input_digest text its digest, empty where not known
            licence text a base model's licence
            """,
            time=False,
        ),
        _table(
            "identity_entries",
            "a certificate that was issued or revoked",
            """
            event text issued or revoked
            identity text URI of the institution; empty where it is a person's
            zone text its zone
            role text gateway, partner, admin or auditor
            usage text tls or signing
            certificate text SHA-256 of the certificate
            key text SHA-256 of the public key
            not_before time valid from
            not_after time valid until
            """,
        ),
        _table(
            "register_entries",
            "a change of a register: institutions, mechanisms, paired zones, trusted signers, policy",
            """
            event text as participant.registered, mechanism.added, zone.paired, policy.activated
            subject text what changed
            participant text the institution, where it is one
            digest text digest or commitment of the new facts
            by text certificate of the administrator
            jurisdiction text a paired zone's law
            """,
        ),
    )
}

VIEWS: Final[dict[str, tuple[str, str]]] = {
    "agreements": (
        "an agreement: the newest word of each ledger on it",
        """SELECT * FROM agreement_entries
        QUALIFY row_number() OVER (PARTITION BY log, id ORDER BY seq DESC) = 1""",
    ),
    "transfers": (
        "a transfer: its agreement, and how far it came on each ledger",
        """SELECT t.log, t.id, a.provider, a.consumer, a.resource, a.purpose,
            arg_max(t.agreement, t.seq) AS agreement,
            CASE WHEN bool_or(t.event = 'completed') THEN 'completed'
                ELSE arg_max(CASE WHEN t.event IN ('started', 'resumed') THEN 'open' ELSE t.event END, t.seq)
            END AS state,
            min(t.time) FILTER (WHERE t.event = 'started') AS started_at,
            max(t.time) FILTER (WHERE t.event IN ('completed', 'aborted', 'refused')) AS ended_at,
            count(*) FILTER (WHERE t.event = 'resumed') AS resumed,
            max(t.version) AS version, max(t.view) AS view, max(t.chunks) AS chunks, max(t.rows) AS rows,
            max(t.bytes) AS bytes, max(t.root) AS root, arg_max(t.reason, t.seq) AS reason
        FROM transfer_entries t LEFT JOIN agreements a ON a.log = t.log AND a.id = t.agreement
        GROUP BY t.log, t.id, a.provider, a.consumer, a.resource, a.purpose""",
    ),
    "runs": (
        "a run: who started it, and what it came to on each ledger",
        """SELECT log, run AS id, max(participant) AS participant, max(purpose) AS purpose, max(app) AS app,
            max(strategy) AS strategy, max(rounds) AS rounds, arg_max(event, seq) AS state, min(time) AS begun_at,
            max(time) FILTER (WHERE event IN ('completed', 'failed', 'cancelled', 'refused')) AS ended_at,
            max(coordinator_zone) AS coordinator_zone, max(participant_zone) AS participant_zone,
            max(model) AS model, max(version) AS version, max(artifact) AS artifact, max(digest) AS digest,
            max(payload_digest) AS payload_digest, arg_max(reason, seq) AS reason
        FROM run_entries GROUP BY log, run""",
    ),
    "rounds": (
        "a round of a run: what came in and went out",
        """SELECT log, run, round, min(time) AS begun_at,
            max(time) FILTER (WHERE event = 'completed') AS completed_at,
            max(digest) FILTER (WHERE event = 'completed') AS digest,
            coalesce(sum(bytes) FILTER (WHERE event = 'accepted'), 0) AS bytes_in,
            bool_or(event = 'refused') AS refused
        FROM round_entries GROUP BY log, run, round""",
    ),
    "refusals": (
        "a decision that did not allow, with each rule that spoke",
        """SELECT d.log, d.seq, d.time, d.subject, d.zone, d.effect,
            coalesce(nullif(d.participant, ''), d.asked_by) AS participant,
            coalesce(nullif(d.resource, ''), d.asked_for) AS resource,
            coalesce(nullif(d.purpose, ''), d.asked_why) AS purpose,
            d.reason, f.code, f.authority, f.cite, f.remedy
        FROM (SELECT *, max(participant) OVER whole AS asked_by, max(resource) OVER whole AS asked_for,
                max(purpose) OVER whole AS asked_why
            FROM decisions WINDOW whole AS (PARTITION BY log, subject)) d
        LEFT JOIN findings f ON f.log = d.log AND f.seq = d.seq AND f.zone = d.zone AND f.decision_id = d.decision_id
        WHERE d.effect <> 'allow'""",
    ),
    "identities": (
        "a certificate, and until when it speaks for whom",
        """SELECT i.log, i.certificate, i.identity, i.zone, i.role, i.usage, i.key, i.not_before, i.not_after,
            i.time AS issued_at, r.time AS revoked_at
        FROM identity_entries i LEFT JOIN identity_entries r
            ON r.log = i.log AND r.certificate = i.certificate AND r.event = 'revoked'
        WHERE i.event = 'issued'""",
    ),
    "policies": (
        "a revision of a policy pack, and how often it decided",
        """SELECT log, zone, pack, revision, max(valid_until) AS valid_until, min(time) AS first_used,
            max(time) AS last_used, count(*) AS decisions
        FROM packs GROUP BY log, zone, pack, revision""",
    ),
}
"""Views by name: what one row is, and the query; later ones may name earlier ones."""
