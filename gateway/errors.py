"""Every error of the gateway, one tree.

::

    TdzError
    ├── InputError               what was handed in is wrong; the text names the field and the remedy
    │   ├── ManifestError        a manifest does not validate: field, line, remedy
    │   ├── DataFileError        a Parquet, CSV or Arrow file cannot be read as declared
    │   ├── TooFewRowsError      a dataset has fewer rows than a run may read
    │   └── ConfigError          a settings or profile file is wrong
    ├── IdentityError            who calls is not who may call
    │   ├── UnauthenticatedError no certificate, or one that proves nothing here
    │   ├── PermissionDeniedError a proven identity without the role or the ownership
    │   └── CertificateError     expired, revoked, wrong zone, wrong names
    ├── NotFoundError            unknown, or hidden: both answer alike
    ├── ConflictError            the state forbids the step
    │   └── AlreadyExistsError   the id is known with other content
    ├── PolicyError              an evaluated refusal; carries findings
    │   ├── DeniedError
    │   └── ReviewError          parked: waits for a person
    ├── DecisionUnavailableError no decision could be made (which denies)
    ├── IntegrityError           bytes, signatures or digests do not match
    │   └── BundleError          a policy bundle is refused; the policy in force stays
    ├── TicketError              unknown, spent, expired, or another's
    ├── LimitError               a named limit was exceeded
    │   └── PaceError            more of a kind than one caller may have in a time; it passes
    ├── StorageError             disk full, a chunk missing, an fsync that failed
    ├── LedgerError              the journal could not make an entry durable
    │   ├── UncosignedError      too much of this ledger is not cosigned yet: nothing is opened
    │   └── RolledBackError      another holds what this ledger signed and does not have: nothing is signed
    ├── PeerError                the other gateway refused or broke the protocol
    │   ├── ForkError            a ledger contradicts what it signed before: nothing is opened with its zone
    │   └── PeerUnavailableError the other gateway cannot be reached in time
    │       └── MirrorFullError  the mirror of a ledger has no room for more of it: nothing is opened between the two
    ├── ClockError               the two gateways' clocks are too far apart
    ├── UpdateError              a run's update is not what the run declared
    │   ├── UpdateRunError       it is for another run, round or zone
    │   ├── UpdateShapeError     an array is missing, too many, or of another name, type or shape
    │   ├── UpdateValueError     it holds NaN or infinity
    │   ├── UpdateNormError      it is further from the global parameters than the declared bound
    │   └── UpdateExamplesError  its number of examples is none, or past the limit
    ├── ComputeError             the training process crashed, was killed or ran out of time
    │   ├── TrainingError        training gave nothing usable, and would not on another try
    │   └── AcceleratorError     the accelerator that was asked for is not here
    ├── RunEndedError            a federated run failed or was cancelled; carries the reason
    └── TransferAbortedError     the transfer was aborted; carries the reason

Each error has a one-line text, a remedy, and a stable `reason` (SCREAMING-KEBAB) that a program can test.
`REASON_STATUS` is the one table from reason to gRPC status name; `tests/unit/test_errors.py` holds it complete.
"""

from __future__ import annotations

from typing import ClassVar, Final


class TdzError(Exception):
    """Base of every error the gateway raises on purpose.

    Args:
        message: one line, what is wrong. It may be shown to the caller: no secrets, no data values.
        remedy: one line, what would mend it; empty where nothing would.
    """

    reason: ClassVar[str] = "TDZ-INTERNAL"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class InputError(TdzError):
    """What was handed in is wrong."""

    reason = "TDZ-INPUT"


class ManifestError(InputError):
    """A manifest does not validate."""

    reason = "TDZ-MANIFEST"


class DataFileError(InputError):
    """A data file cannot be read as declared."""

    reason = "TDZ-DATA-FILE"


class TooFewRowsError(InputError):
    """A dataset has fewer rows than the minimum of the run's policy."""

    reason = "TDZ-ROWS"


class ConfigError(InputError):
    """A settings or profile file is wrong."""

    reason = "TDZ-CONFIG"


class IdentityError(TdzError):
    """Who calls is not who may call."""

    reason = "TDZ-IDENTITY"


class UnauthenticatedError(IdentityError):
    """No certificate, or one that proves nothing here."""

    reason = "TDZ-UNAUTHENTICATED"


class PermissionDeniedError(IdentityError):
    """A proven identity without the role or the ownership that the call needs."""

    reason = "TDZ-PERMISSION"


class CertificateError(IdentityError):
    """A certificate is expired, revoked, of the wrong zone or wrongly named."""

    reason = "TDZ-CERTIFICATE"


class NotFoundError(TdzError):
    """Unknown, or hidden from the caller: both answer alike."""

    reason = "TDZ-NOT-FOUND"


class ConflictError(TdzError):
    """An id is known with other content, or the state does not allow the step."""

    reason = "TDZ-CONFLICT"


class AlreadyExistsError(ConflictError):
    """A request id was used with another body."""

    reason = "TDZ-ALREADY-EXISTS"


class PolicyError(TdzError):
    """Policy evaluated and did not allow.

    Args:
        findings: tuples of (code, effect, authority, cite, remedy), already fit for the caller's eyes.
        decision_id: the decision that stands on the ledger.
        request_id: the negotiation's id.
    """

    reason = "TDZ-POLICY"

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        findings: tuple[tuple[str, str, str, str, str], ...] = (),
        decision_id: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.findings = findings
        self.decision_id = decision_id
        self.request_id = request_id


class DeniedError(PolicyError):
    """A zone's policy, the owner's terms or the gateway's own rule said no."""

    reason = "TDZ-DENIED"


class ReviewError(PolicyError):
    """Parked for a person's approval; nothing may move yet."""

    reason = "TDZ-REVIEW"


class DecisionUnavailableError(TdzError):
    """The engine gave no decision in time; callers must treat it as a denial."""

    reason = "TDZ-DECISION-UNAVAILABLE"


class IntegrityError(TdzError):
    """Bytes, signatures or digests do not match what was promised."""

    reason = "TDZ-INTEGRITY"


class BundleError(IntegrityError):
    """A policy bundle is refused: malformed, wrongly signed, foreign, out of date, replayed, or it does not work."""

    reason = "TDZ-BUNDLE"


class TicketError(TdzError):
    """A ticket is unknown, spent, expired or another's; all answer alike."""

    reason = "TDZ-TICKET"


class LimitError(TdzError):
    """A named limit was exceeded."""

    reason = "TDZ-LIMIT"


class PaceError(LimitError):
    """More of a kind than one caller may have in a time; the remedy says how long to wait."""

    reason = "TDZ-PACE"


class StorageError(TdzError):
    """The disk is full, a chunk is missing, or a sync failed."""

    reason = "TDZ-STORAGE"


class LedgerError(TdzError):
    """The journal could not make an entry durable; the step did not happen."""

    reason = "TDZ-LEDGER"


class UncosignedError(LedgerError):
    """Too many entries, or too old ones, are not cosigned yet; what closes is still recorded."""

    reason = "TDZ-UNCOSIGNED"


class RolledBackError(LedgerError):
    """Another holds a checkpoint of this ledger that is not in it; nothing is signed any more."""

    reason = "TDZ-ROLLED-BACK"


class PeerError(TdzError):
    """The other gateway refused or broke the protocol."""

    reason = "TDZ-PEER"


class ForkError(PeerError):
    """A ledger contradicts what it signed before: the other zone's, or ours as the other zone has it."""

    reason = "TDZ-FORK"


class PeerUnavailableError(PeerError):
    """The other gateway cannot be reached before the deadline."""

    reason = "TDZ-PEER-UNAVAILABLE"


class MirrorFullError(PeerUnavailableError):
    """The mirror of one zone's ledger at the other has no room for more of it; it passes when there is room."""

    reason = "TDZ-MIRROR-FULL"


class ClockError(TdzError):
    """The gateways' clocks are further apart than the leeway."""

    reason = "TDZ-CLOCK"


class UpdateError(TdzError):
    """An update of a federated run is not what the run declared; the round does not take it in."""

    reason = "TDZ-UPDATE"


class UpdateRunError(UpdateError):
    """An update is for another run, another round, or from another zone."""

    reason = "TDZ-UPDATE-RUN"


class UpdateShapeError(UpdateError):
    """An array is missing, too many, or of another name, type or shape than in the global parameters."""

    reason = "TDZ-UPDATE-SHAPE"


class UpdateValueError(UpdateError):
    """An update holds NaN or infinity."""

    reason = "TDZ-UPDATE-VALUE"


class UpdateNormError(UpdateError):
    """An update is further from the global parameters than the declared bound."""

    reason = "TDZ-UPDATE-NORM"


class UpdateExamplesError(UpdateError):
    """The number of examples behind an update is none, or past the limit."""

    reason = "TDZ-UPDATE-EXAMPLES"


class ComputeError(TdzError):
    """The training process crashed, was killed or ran out of time; the order can be given again."""

    reason = "TDZ-COMPUTE"


class TrainingError(ComputeError):
    """Training gave nothing usable: it diverged. The same order would end so again."""

    reason = "TDZ-TRAINING"


class AcceleratorError(ComputeError):
    """The accelerator that was asked for is not on this machine, or its library is missing."""

    reason = "TDZ-ACCELERATOR"


class RunEndedError(TdzError):
    """A federated run failed or was cancelled; the text carries the recorded reason."""

    reason = "TDZ-RUN-ENDED"


class TransferAbortedError(TdzError):
    """The transfer was aborted; the text carries the recorded reason."""

    reason = "TDZ-ABORTED"


REASON_STATUS: Final[dict[str, str]] = {
    "TDZ-INTERNAL": "INTERNAL",
    "TDZ-INPUT": "INVALID_ARGUMENT",
    "TDZ-MANIFEST": "INVALID_ARGUMENT",
    "TDZ-DATA-FILE": "INVALID_ARGUMENT",
    "TDZ-ROWS": "FAILED_PRECONDITION",
    "TDZ-CONFIG": "FAILED_PRECONDITION",
    "TDZ-IDENTITY": "PERMISSION_DENIED",
    "TDZ-UNAUTHENTICATED": "UNAUTHENTICATED",
    "TDZ-PERMISSION": "PERMISSION_DENIED",
    "TDZ-CERTIFICATE": "UNAUTHENTICATED",
    "TDZ-NOT-FOUND": "NOT_FOUND",
    "TDZ-CONFLICT": "FAILED_PRECONDITION",
    "TDZ-ALREADY-EXISTS": "ALREADY_EXISTS",
    "TDZ-POLICY": "PERMISSION_DENIED",
    "TDZ-DENIED": "PERMISSION_DENIED",
    "TDZ-REVIEW": "FAILED_PRECONDITION",
    "TDZ-DECISION-UNAVAILABLE": "UNAVAILABLE",
    "TDZ-INTEGRITY": "DATA_LOSS",
    "TDZ-BUNDLE": "FAILED_PRECONDITION",
    "TDZ-TICKET": "PERMISSION_DENIED",
    "TDZ-LIMIT": "RESOURCE_EXHAUSTED",
    "TDZ-PACE": "RESOURCE_EXHAUSTED",
    "TDZ-STORAGE": "RESOURCE_EXHAUSTED",
    "TDZ-LEDGER": "UNAVAILABLE",
    "TDZ-UNCOSIGNED": "UNAVAILABLE",
    "TDZ-ROLLED-BACK": "FAILED_PRECONDITION",
    "TDZ-PEER": "FAILED_PRECONDITION",
    "TDZ-FORK": "FAILED_PRECONDITION",
    "TDZ-PEER-UNAVAILABLE": "UNAVAILABLE",
    "TDZ-MIRROR-FULL": "UNAVAILABLE",
    "TDZ-CLOCK": "FAILED_PRECONDITION",
    "TDZ-UPDATE": "INVALID_ARGUMENT",
    "TDZ-UPDATE-RUN": "INVALID_ARGUMENT",
    "TDZ-UPDATE-SHAPE": "INVALID_ARGUMENT",
    "TDZ-UPDATE-VALUE": "INVALID_ARGUMENT",
    "TDZ-UPDATE-NORM": "INVALID_ARGUMENT",
    "TDZ-UPDATE-EXAMPLES": "INVALID_ARGUMENT",
    "TDZ-COMPUTE": "UNAVAILABLE",
    "TDZ-TRAINING": "FAILED_PRECONDITION",
    "TDZ-ACCELERATOR": "FAILED_PRECONDITION",
    "TDZ-RUN-ENDED": "ABORTED",
    "TDZ-ABORTED": "ABORTED",
}
