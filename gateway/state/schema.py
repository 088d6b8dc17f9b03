"""The tables. Blobs stay in the chunk store; rows hold references, documents and states.

Documents are canonical JSON text, digests lowercase hex, times Unix seconds UTC. Rooms read and write only the
tables named after them in the comments.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION: Final = 6

metadata = MetaData()

# --- identity -------------------------------------------------------------------------------------------

participants = Table(
    "participants",
    metadata,
    Column("id", String(63), primary_key=True),  # the <id> of tdz://<zone>/partner/<id>
    Column("facts", Text, nullable=False),  # exporter and recipient parts of the policy input
    Column("updated_at", BigInteger, nullable=False),
)

certificates = Table(
    "certificates",
    metadata,
    Column("fingerprint", String(64), primary_key=True),  # SHA-256 of the DER
    Column("serial", String(64), nullable=False),
    Column("uri", String(300), nullable=False, index=True),
    Column("key_fingerprint", String(64), nullable=False),  # SHA-256 of the SubjectPublicKeyInfo
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger, nullable=False, default=0),
    Column("reason", String(200), nullable=False, default=""),
    Column("pem", Text, nullable=False),
)

enrolment_approvals = Table(
    "enrolment_approvals",
    metadata,
    Column("uri", String(300), primary_key=True),
    Column("key_fingerprint", String(64), primary_key=True),
    Column("approver", String(300), primary_key=True),
    Column("approved_at", BigInteger, nullable=False),
)

act_approvals = Table(
    "act_approvals",
    metadata,
    Column("act", String(64), primary_key=True),  # SHA-256 of what is to be done, canonical JSON
    Column("approver", String(300), primary_key=True),
    Column("approved_at", BigInteger, nullable=False),
)

pairings = Table(
    "pairings",
    metadata,
    Column("zone", String(63), primary_key=True),
    Column("card", LargeBinary, nullable=False),  # the signed card's exact bytes
    Column("fingerprint", String(64), nullable=False),
    Column("serial", BigInteger, nullable=False),
    Column("paired_at", BigInteger, nullable=False),
    Column("unpaired_at", BigInteger, nullable=False, default=0),
)

# --- decisions ------------------------------------------------------------------------------------------

mechanisms = Table(
    "mechanisms",
    metadata,
    Column("ref", String(128), primary_key=True),
    Column("document", Text, nullable=False),  # one `mechanisms[]` member of the policy input
    Column("added_at", BigInteger, nullable=False),
    Column("withdrawn_at", BigInteger, nullable=False, default=0),
)

policy_approvals = Table(
    "policy_approvals",
    metadata,
    Column("bundle", String(64), primary_key=True),  # SHA-256 of the signed bundle
    Column("approver", String(300), primary_key=True),  # the administrator's URI; stays in this zone
    Column("fingerprint", String(64), nullable=False),  # of the certificate
    Column("document", Text, nullable=False),  # what the bundle says of itself, as people are told
    Column("approved_at", BigInteger, nullable=False),
)

policy_withdrawals = Table(
    "policy_withdrawals",
    metadata,
    Column("bundle", String(64), primary_key=True),
    Column("withdrawn_by", String(300), nullable=False),  # the administrator's URI; stays in this zone
    Column("document", Text, nullable=False),  # as in policy_approvals
    Column("withdrawn_at", BigInteger, nullable=False),
)

policy_activations = Table(
    "policy_activations",
    metadata,
    Column("seq", BigInteger, primary_key=True),  # of its ledger entry; the last one is in force
    Column("entry_id", String(36), nullable=False, unique=True),
    Column("policy", String(64), nullable=False),  # the whole policy's digest; empty where its record is lost
    Column("part", String(100), nullable=False),  # baseline, zone, packs/<id>
    Column("bundle", String(64), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("document", Text, nullable=False),  # as in policy_approvals
    Column("activated_at", BigInteger, nullable=False),
)

policy_cursor = Table(
    "policy_cursor",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("size", BigInteger, nullable=False),  # so many entries of the own ledger were looked at
)

decision_inputs = Table(
    "decision_inputs",
    metadata,
    Column("decision_id", String(36), primary_key=True),
    Column("input", Text, nullable=False),
    Column("decision", Text, nullable=False),  # whole, as no other zone sees it
    Column("salt", LargeBinary, nullable=False),  # 32 random bytes: opens the commitment in the ledger entry
    Column("decided_at", BigInteger, nullable=False, index=True),
)

decision_log_due = Table(
    "decision_log_due",
    metadata,
    Column("decision_id", String(36), primary_key=True),  # kept, and not yet in the decision log
)

# --- catalog --------------------------------------------------------------------------------------------

resources = Table(
    "resources",
    metadata,
    Column("name", String(100), primary_key=True),  # datasets/{id} or models/{id}
    Column("owner", String(300), nullable=False),  # the publishing institution's URI
    Column("version", String(64), nullable=False),  # version digest: SHA-256 of the manifest
    Column("description", Text, nullable=False),  # manifest, descriptive part and terms as JSON
    Column("published_at", BigInteger, nullable=False),
)

peer_cards = Table(
    "peer_cards",
    metadata,
    Column("zone", String(63), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("envelope", Text, nullable=False),  # the DSSE envelope as received
    Column("fetched_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

# --- exchange -------------------------------------------------------------------------------------------

negotiations = Table(
    "negotiations",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("side", String(8), nullable=False),  # consumer or provider
    Column("participant", String(300), nullable=False, index=True),  # the consumer institution's URI
    Column("request_id", String(128), nullable=False),
    Column("body_digest", String(64), nullable=False),
    Column("peer_zone", String(63), nullable=False),
    Column("resource", String(100), nullable=False),
    Column("purpose", String(40), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("held_by", String(100), nullable=False, default=""),
    Column("effect", String(8), nullable=False, default=""),  # allow, review, deny; empty while undecided
    Column("deadline", BigInteger, nullable=False),
    Column("document", Text, nullable=False),  # request, decisions, findings, the stored answer
    Column("agreement_id", String(36), nullable=False, default=""),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    UniqueConstraint("side", "participant", "request_id", name="one_body_per_request_id"),
)

agreements = Table(
    "agreements",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("side", String(8), nullable=False),
    Column("negotiation_id", String(36), nullable=False),
    Column("peer_zone", String(63), nullable=False),
    Column("consumer", String(300), nullable=False, index=True),
    Column("provider", String(300), nullable=False),
    Column("resource", String(100), nullable=False),
    Column("version", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # OFFERED, ACCEPTED, FINALIZED, TERMINATED
    Column("envelope", Text, nullable=False),  # DSSE, one or two signatures
    Column("card", Text, nullable=False, default=""),  # consumer side: the resource card's body agreed on
    Column("confirm_before", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("pulls", Integer, nullable=False, default=0),
    Column("rows", BigInteger, nullable=False, default=0),
    Column("bytes", BigInteger, nullable=False, default=0),
    Column("peer_ticket", String(100), nullable=False, default=""),  # consumer side: B's ticket, unspent
    Column("peer_ticket_until", BigInteger, nullable=False, default=0),
    Column("reason", String(300), nullable=False, default=""),  # for people
    Column("ended_as", String(16), nullable=False, server_default=""),  # gateway.model.negotiation.AgreementEnd
    Column("persons_non_sensitive", BigInteger, nullable=False, default=0),  # provider side, for usage
    Column("persons_sensitive", BigInteger, nullable=False, default=0),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

exports = Table(
    "exports",
    metadata,
    Column("exporter", String(300), primary_key=True),  # the provider institution's URI
    Column("year", Integer, primary_key=True),  # calendar year, UTC+8
    Column("version", String(64), primary_key=True),  # its persons are counted once, however often it leaves
    Column("non_sensitive", BigInteger, nullable=False),
    Column("sensitive", BigInteger, nullable=False),
    Column("transfer_id", String(36), nullable=False),  # the first in that year
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("side", String(8), nullable=False),
    Column("agreement_id", String(36), nullable=False, index=True),
    Column("participant", String(300), nullable=False, index=True),
    Column("peer_zone", String(63), nullable=False),
    Column("state", String(16), nullable=False, index=True),  # Dataspace Protocol's five
    Column("version", String(64), nullable=False),
    Column("view", String(64), nullable=False),
    Column("manifest", Text, nullable=False, default=""),
    Column("first_chunk", BigInteger, nullable=False, default=0),  # of the newest stream
    Column("chunks", BigInteger, nullable=False, default=0),
    Column("rows", BigInteger, nullable=False, default=0),
    Column("bytes", BigInteger, nullable=False, default=0),
    Column("reason", String(300), nullable=False, default=""),
    Column("receipt", Text, nullable=False, default=""),
    Column("peer_receipt", Text, nullable=False, default=""),
    Column("deadline", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

tickets = Table(
    "tickets",
    metadata,
    Column("digest", String(64), primary_key=True),  # SHA-256 of the ticket: the ticket itself is not kept
    Column("holder", String(300), nullable=False),
    Column("fingerprint", String(64), nullable=False),  # of the holder's certificate; empty binds to the URI alone
    Column("agreement_id", String(36), nullable=False),
    Column("transfer_id", String(36), nullable=False),
    Column("view", String(64), nullable=False),
    Column("first_chunk", BigInteger, nullable=False, default=0),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("spent_at", BigInteger, nullable=False, default=0),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("peer_zone", String(63), nullable=False),
    Column("subject", String(100), nullable=False),
    Column("payload", Text, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_at", BigInteger, nullable=False),
    Index("outbox_due", "next_at"),
)

reviews = Table(
    "reviews",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(8), nullable=False),  # review or appeal
    Column("process", String(12), nullable=False, server_default="negotiations"),  # negotiations or runs: what waits
    Column("process_id", String(36), nullable=False, index=True),
    Column("holder", String(8), nullable=False),  # admin or owner
    Column("owner", String(300), nullable=False, default=""),  # URI, where the owner is asked
    Column("participant", String(300), nullable=False),  # URI of the institution that would receive
    Column("peer_zone", String(63), nullable=False, default=""),
    Column("resource", String(100), nullable=False),
    Column("purpose", String(40), nullable=False),
    Column("decision_id", String(36), nullable=False),  # what asked for it, or was appealed against
    Column("basis", Text, nullable=False),  # what an approval is bound to
    Column("needed", Integer, nullable=False),  # different persons who must approve
    Column("state", String(10), nullable=False, index=True),  # gateway.model.review
    Column("note", Text, nullable=False, default=""),  # the appeal's; never on a ledger
    Column("deadline", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger, nullable=False, default=0),
)

review_votes = Table(
    "review_votes",
    metadata,
    Column("review_id", String(36), primary_key=True),
    Column("by", String(300), primary_key=True),  # URI; on the ledger stands the certificate's fingerprint
    Column("fingerprint", String(64), nullable=False),
    Column("verdict", String(8), nullable=False),  # approve or deny
    Column("note", Text, nullable=False, default=""),  # the ledger has a commitment to it
    Column("salt", String(64), nullable=False),  # 32 random bytes as hex: opens the commitments in the entry
    Column("entry_id", String(36), nullable=False),
    Column("at", BigInteger, nullable=False),
)

# --- federation -----------------------------------------------------------------------------------------

runs = Table(
    "runs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("side", String(11), nullable=False),  # coordinator or participant
    Column("participant", String(300), nullable=False, index=True),  # URI of the institution that started it
    Column("request_id", String(128), nullable=False),
    Column("body_digest", String(64), nullable=False),
    Column("peer_zone", String(63), nullable=False, default=""),
    Column("state", String(10), nullable=False, index=True),  # gateway.model.run
    Column("held_by", String(100), nullable=False, server_default=""),  # whose persons have to look at it
    Column("spec", Text, nullable=False),  # canonical JSON of the RunSpec
    Column("round", Integer, nullable=False, default=0),  # completed
    Column("bytes_out", BigInteger, nullable=False, default=0),
    Column("bytes_in", BigInteger, nullable=False, default=0),
    Column("deadline", BigInteger, nullable=False),
    Column("told", Integer, nullable=False, default=1),  # 0: the other zone does not know yet that it has ended
    Column("reason", String(300), nullable=False, default=""),
    Column("agreement", Text, nullable=False, default=""),  # DSSE, one or two signatures
    Column("outcome", String(64), nullable=False, default=""),  # SHA-256 of the final parameters' container
    Column("model", String(100), nullable=False, default=""),  # models/{id} of the published outcome
    Column("document", Text, nullable=False),  # datasets, cards, decisions, findings, the stored answer
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    UniqueConstraint("side", "participant", "request_id", name="one_run_per_request_id"),
)

run_parts = Table(
    "run_parts",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("round", Integer, primary_key=True),  # 0: the sums; rounds + 1: the outcome
    Column("direction", String(3), primary_key=True),  # out or in: what this zone released, and what it accepted
    Column("digest", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("statement", Text, nullable=False),  # the run-update's envelope; empty until it is released
)

run_rounds = Table(
    "run_rounds",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("document", Text, nullable=False),  # metrics by zone, device
    Column("milliseconds", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

# --- artifacts ------------------------------------------------------------------------------------------

model_signers = Table(
    "model_signers",
    metadata,
    Column("fingerprint", String(64), primary_key=True),  # SHA-256 of the SubjectPublicKeyInfo
    Column("name", String(200), nullable=False),  # what the administrator calls its owner
    Column("pem", Text, nullable=False),
    Column("added_at", BigInteger, nullable=False),
    Column("removed_at", BigInteger, nullable=False, default=0),
)

# --- every flow: written before its ledger entry, resolved after it (design: crashes) -------------------

pending = Table(
    "pending",
    metadata,
    Column("entry_id", String(36), primary_key=True),
    Column("flow", String(40), nullable=False),
    Column("subject", String(100), nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
