"""Every bound on what a peer or a partner may send, in one place.

Sizes are bytes, times are seconds, unless the name says otherwise.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# gRPC
MESSAGE_MAX: Final = 6 * MIB  # one Flight frame: a chunk of at most 4 MiB, its metadata, some room
CONTROL_MESSAGE_MAX: Final = 1 * MIB  # any message that is not a chunk
CONCURRENT_RPCS: Final = 512
STREAM_WINDOW: Final = 8 * MIB  # what may be under way to us in one stream before we take it: 80 MiB/s at 100 ms
KEEPALIVE_MS: Final = 20_000
KEEPALIVE_TIMEOUT_MS: Final = 10_000
RPC_DEADLINE_S: Final = 30.0
CONNECT_DEADLINE_S: Final = 10.0

# chunks and manifests
CHUNK_TARGET: Final = 2 * MIB  # Arrow IPC bytes before compression
CHUNK_MAX: Final = 4 * MIB  # a stored, hashed and sent chunk file
CHUNK_DECODED_MAX: Final = 16 * MIB  # after decompression: bounds a hostile ratio
CHUNKS_MAX: Final = 1 << 24
SCHEMA_MESSAGE_MAX: Final = 1 * MIB
COLUMNS_MAX: Final = 4_096
MANIFEST_MAX: Final = 512 * KIB
ROWS_MAX: Final = (1 << 53) - 1

# names and texts
ID_MAX_CHARS: Final = 63
DESCRIPTION_MAX_CHARS: Final = 4_000
REQUEST_ID_MAX_CHARS: Final = 128
REASON_MAX_CHARS: Final = 300  # of what another wrote, in a row or the log
NOTE_MAX_CHARS: Final = 2_000  # of whoever approves, denies, appeals or revokes
LIST_PAGE_MAX: Final = 500
MECHANISMS_PER_REQUEST: Final = 32

# time
CLOCK_LEEWAY_S: Final = 30
TICKET_TTL_S: Final = 300
CONFIRM_BEFORE_S: Final = 60
REVIEW_TTL_S: Final = 14 * 86_400
NOTE_MAX: Final = 500  # characters of an administrator's note
AGREEMENT_TTL_S: Final = 30 * 86_400
LEASE_S: Final = 120  # a transfer without progress for so long is aborted on both sides
STATEMENT_TTL_S: Final = 300
CARD_TTL_S: Final = 300  # how long a dataset card may be used without asking again
PEER_ANSWER_S: Final = 10.0  # how long a peer that does not answer a request is asked again, before it is denied
MIRROR_WAIT_S: Final = 10.0  # how long a receiver waits for its mirror to reach the sender's size

START_WAIT_S: Final = 5.0  # how long calls are held while a gateway that starts asks what others hold of its ledger

# what may stand on the own ledger without a cosignature before nothing is opened any more
UNCOSIGNED_ENTRIES: Final = 10_000
UNCOSIGNED_S: Final = 86_400
MIRROR_BYTES: Final = 64 * 1024 * MIB  # of entries of one paired zone's ledger that are mirrored here

# what one caller may have recorded: a bucket of so many, and so many more in each second
REQUESTS_BURST: Final = 200  # RequestAccess, by one participant
REQUESTS_PER_S: Final = 20
TICKETS_BURST: Final = 200  # tickets presented by one participant: each opens a transfer, resumes one, or is refused
TICKETS_PER_S: Final = 20
PEER_CALLS_BURST: Final = 2_000  # Negotiate, Confirm, IssueTicket and Read, by one paired zone
PEER_CALLS_PER_S: Final = 200
PREVIEWS_BURST: Final = 30  # dry runs and looks at who could get a dataset, by one participant; of one zone, ten times
PREVIEWS_PER_S: Final = 1
ACCOUNTS_BURST: Final = 60  # receipts to keep and timelines, by one caller: each reads a part of the logs
ACCOUNTS_PER_S: Final = 2
RECEIPT_MAX: Final = 4 * MIB
TIMELINE_STEPS_MAX: Final = 200
TIMELINE_TRANSFERS_MAX: Final = 20  # the newest of an agreement
PACE_CALLERS_MAX: Final = 10_000  # buckets kept in memory, of each kind

# reviews
REVIEW_ADMINISTRATORS: Final = 2  # who must approve what policy sends to review, unless the zone's settings say more
REVIEW_ADMINISTRATORS_MAX: Final = 10
PREVIEW_PURPOSES_MAX: Final = 9  # as many as there are
PREVIEW_RECIPIENTS_MAX: Final = 8

# statements (DSSE)
STATEMENT_MAX: Final = 48 * KIB  # fits a ledger entry, whose limit is 65,535 bytes
CARD_MAX: Final = 64 * KIB
CARD_STATEMENT_MAX: Final = 512 * KIB  # a dataset card: wide tables have long descriptions
CARDS_PAGE_MAX: Final = 200
CARDS_PAGE_BYTES: Final = 384 * KIB
CARDS_PAGES_MAX: Final = 10_000
CSR_MAX: Final = 16 * KIB
CERTIFICATE_MAX: Final = 16 * KIB

# decisions
DECISION_DEADLINE_S: Final = 2.0
DECISION_INPUT_MAX: Final = 1 * MIB
DECISION_OUTPUT_MAX: Final = 1 * MIB
FINDINGS_MAX: Final = 64
OBLIGATIONS_MAX: Final = 32
DECISION_KEPT_S: Final = (
    60 * 86_400
)  # in the state database, for reviews and appeals; then the decision log has it alone
DECISION_LOG_DAYS: Final = 400
DECISION_LOG_BYTES: Final = 16 * 1024 * MIB

# policy bundles
BUNDLE_MAX: Final = 4 * MIB  # the signed .tar.gz
BUNDLE_UNPACKED_MAX: Final = 16 * MIB
BUNDLE_FILE_MAX: Final = 1 * MIB
BUNDLE_FILES_MAX: Final = 2_000
BUNDLE_ROOTS_MAX: Final = 64
BUNDLE_PROPOSALS_MAX: Final = 32  # bundles that wait for a further administrator
POLICY_ADMINISTRATORS: Final = 2  # who must ask for an activation, unless the zone's settings say otherwise
POLICY_KEYS_MAX: Final = 64  # keys that a zone trusts to sign bundles

# federated runs
RUN_SPEC_MAX: Final = 24 * KIB  # with datasets and decisions its agreement fits a statement
RUN_DATASETS_MAX: Final = 16
RUN_FEATURES_MAX: Final = 1_024
RUN_CLASSES_MAX: Final = 1_000
RUN_ROUNDS_MAX: Final = 1_000
RUN_EPOCHS_MAX: Final = 1_000
RUN_BATCH_MAX: Final = 1 << 20
RUN_MIN_ROWS: Final = 10  # no agreement may set its least rows of a dataset lower
RUN_DECISIONS_MAX: Final = 64  # datasets times recipients, in each zone
RUN_PARAMETERS_MAX: Final = 512 * MIB  # the container of one set of parameters
RUN_UPDATE_SLACK: Final = 4 * KIB  # an update may be longer than the initial parameters by its header alone
RUN_SUMS_MAX: Final = 256 * KIB  # the sums of scaling, with their header
RUN_PIECE: Final = 512 * KIB  # bytes of parameters in one message
RUN_ROUND_DEADLINE_MIN_S: Final = 1
RUN_ROUND_DEADLINE_MAX_S: Final = 86_400
RUN_CONFIRM_S: Final = 60  # both zones have agreed within so long of the proposal, or nothing runs
RUN_GRACE_S: Final = 30  # a participant waits so much longer than a round's deadline before it gives the run up
RUN_METRICS_MAX: Final = 32
RUN_DEVICES_MAX: Final = 8  # kinds of accelerators behind one update
RUNS_OPEN_MAX: Final = 16  # runs of one participant, and of one paired zone, that have not ended

# model artifacts
MODEL_CHUNK_DATA: Final = 2 * MIB  # bytes of a file in one chunk, without the Arrow framing around them
MODEL_FILES_MAX: Final = 1_024
MODEL_FILE_NAME_MAX: Final = 200  # bytes of a name relative to the model's directory, in UTF-8
MODEL_FILE_DEPTH_MAX: Final = 8  # directories above a file, the model's own not counted
MODEL_TEXT_MAX: Final = 64 * MIB  # a JSON, tokenizer or text file: the largest published tokenizers have 35 MB
MODEL_HEADER_MAX: Final = 16 * MIB  # a safetensors header; the format itself allows 100 MB
MODEL_TENSORS_MAX: Final = 32_768  # in one file
MODEL_SIGNATURE_MAX: Final = 384 * KIB  # the Sigstore bundle; it names every file
MODEL_SUBMISSION_MAX: Final = 768 * KIB  # what a publisher sends: the descriptive part, terms and some room
MODEL_SIGNERS_MAX: Final = 1_000  # outside keys that a zone trusts
PROVENANCE_STATEMENTS_MAX: Final = 8
PROVENANCE_ENVELOPE_MAX: Final = 64 * KIB

# federated runs: parameters, updates and what a worker reads
PARAMETERS_MAX: Final = 4 * 1024 * MIB  # one container file
PARAMETERS_HEADER_MAX: Final = 1 * MIB
PARAMETER_ARRAYS_MAX: Final = 4_096
PARAMETER_DIMENSIONS_MAX: Final = 8
PARAMETER_NAME_MAX_CHARS: Final = 128
EXAMPLES_MAX: Final = 1_000_000_000_000  # behind one update
ROUNDS_MAX: Final = 10_000
LOCAL_EPOCHS_MAX: Final = 1_000
FEATURES_MAX: Final = 4_096
CLASSES_MAX: Final = 1_000
TRAINING_CELLS_MAX: Final = 1 << 28  # rows times features of one dataset: 2 GiB as float64
COMPUTE_FRAME_MAX: Final = 4 * MIB  # an order to a training process, or its answer
COMPUTE_MEMORY_MAX: Final = 8 * 1024 * MIB  # resident, of one training process
COMPUTE_START_S: Final = 30.0
