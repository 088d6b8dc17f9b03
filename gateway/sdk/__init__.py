"""What partner institutions import: ask for access, pull as Arrow, publish.

::

    import gateway.sdk as tdz

    with tdz.connect("um.toml") as zone:
        flights = zone.request("datasets/nyc-flights", purpose="research").pull().to_arrow()

Everything raised is an error of `gateway.errors`, re-exported here where a caller would catch it.
"""

from gateway.errors import (
    CertificateError,
    ConfigError,
    DeniedError,
    IntegrityError,
    NotFoundError,
    PeerUnavailableError,
    ReviewError,
    RunEndedError,
    TdzError,
)
from gateway.sdk.access import AsyncAccess
from gateway.sdk.accounts import Receipt, Timeline, TimelineStep
from gateway.sdk.pull import AsyncPull
from gateway.sdk.resources import (
    AccessRequest,
    Agreement,
    Column,
    Dataset,
    Decision,
    Finding,
    Model,
    ModelFile,
    Progress,
    Published,
    Transfer,
)
from gateway.sdk.reviews import Appeal, Outlook, Review, ReviewAnswer, ReviewFinding, ZoneOutlook
from gateway.sdk.runs import AsyncRun, RunDataset, RunRound, RunStatus, ZoneMetrics
from gateway.sdk.sync import Access, Pull, Run, Zone, connect
from gateway.sdk.zone import AsyncZone, connect_async

__all__ = [
    "Access",
    "AccessRequest",
    "Agreement",
    "Appeal",
    "AsyncAccess",
    "AsyncPull",
    "AsyncRun",
    "AsyncZone",
    "CertificateError",
    "Column",
    "ConfigError",
    "Dataset",
    "Decision",
    "DeniedError",
    "Finding",
    "IntegrityError",
    "Model",
    "ModelFile",
    "NotFoundError",
    "Outlook",
    "PeerUnavailableError",
    "Progress",
    "Published",
    "Pull",
    "Receipt",
    "Review",
    "ReviewAnswer",
    "ReviewError",
    "ReviewFinding",
    "Run",
    "RunDataset",
    "RunEndedError",
    "RunRound",
    "RunStatus",
    "TdzError",
    "Timeline",
    "TimelineStep",
    "Transfer",
    "Zone",
    "ZoneMetrics",
    "ZoneOutlook",
    "connect",
    "connect_async",
]
