"""The one declared table: which roles may call which method. What is not in it is not served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from gateway.errors import ConfigError
from gateway.model.participant import Role

ANY: Final = frozenset(Role)
_GATEWAY: Final = frozenset({Role.GATEWAY})
_PARTNER: Final = frozenset({Role.PARTNER})
_ADMIN: Final = frozenset({Role.ADMIN})
_OVERSIGHT: Final = frozenset({Role.ADMIN, Role.AUDITOR})
_PEOPLE: Final = frozenset({Role.PARTNER, Role.ADMIN, Role.AUDITOR})

_SERVICES: Final[dict[str, dict[str, frozenset[Role]]]] = {
    "gateway.v1.IdentityService": {
        "Approve": _ADMIN,
        "Renew": _PEOPLE,
        "Revoke": _ADMIN,
        "ListCertificates": _OVERSIGHT,
    },
    "gateway.v1.ZoneService": {
        "GetZoneCard": ANY,
        "Pair": _ADMIN,
        "Unpair": _ADMIN,
        "GetStatus": ANY,
        "PutParticipant": _ADMIN,
        "GetParticipant": _OVERSIGHT,
        "ListParticipants": _OVERSIGHT,
        "ScreenParticipant": _ADMIN,
    },
    "gateway.v1.MechanismService": {
        "AddMechanism": _ADMIN,
        "ListMechanisms": _OVERSIGHT,
        "WithdrawMechanism": _ADMIN,
    },
    "gateway.v1.PolicyService": {
        "ProposePolicy": _ADMIN,
        "WithdrawPolicy": _ADMIN,
        "GetPolicyStatus": _OVERSIGHT,
    },
    "gateway.v1.SignerService": {
        "AddSigner": _ADMIN,
        "ListSigners": _PEOPLE,
        "RemoveSigner": _ADMIN,
    },
    "gateway.v1.CatalogService": {
        "ListDatasets": _PEOPLE,
        "GetDataset": _PEOPLE,
        "ListModels": _PEOPLE,
        "GetModel": _PEOPLE,
        "VerifyDataset": _PEOPLE,
        "WithdrawDataset": _PARTNER,
    },
    "gateway.v1.ExchangeService": {
        "RequestAccess": _PARTNER,
        "GetRequest": _PEOPLE,
        "ListRequests": _PEOPLE,
        "GetAgreement": _PEOPLE,
        "ListAgreements": _PEOPLE,
        "RevokeAgreement": frozenset({Role.PARTNER, Role.ADMIN}),
        "OpenTransfer": _PARTNER,
        "GetTransfer": _PEOPLE,
        "ListTransfers": _PEOPLE,
        "WatchTransfer": _PEOPLE,
        "GetTransferReceipt": _PEOPLE,
        "ExplainTransfer": _PEOPLE,
    },
    "gateway.v1.ReviewService": {
        "ListReviews": _PEOPLE,
        "GetReview": _PEOPLE,
        "AnswerReview": frozenset({Role.PARTNER, Role.ADMIN}),
        "AppealRequest": _PARTNER,
    },
    "gateway.v1.PreviewService": {"PreviewAccess": frozenset({Role.PARTNER, Role.ADMIN})},
    "gateway.v1.RunService": {
        "StartRun": _PARTNER,
        "GetRun": _PEOPLE,
        "ListRuns": _PEOPLE,
        "WatchRun": _PEOPLE,
        "CancelRun": frozenset({Role.PARTNER, Role.ADMIN}),
    },
    "gateway.v1.RunPeerService": {
        "Propose": _GATEWAY,
        "ConfirmRun": _GATEWAY,
        "SendParameters": _GATEWAY,
        "FetchUpdate": _GATEWAY,
        "HoldRun": _GATEWAY,
        "EndRun": _GATEWAY,
    },
    "gateway.v1.LedgerService": {"GetHead": _PEOPLE},
    "gateway.v1.LedgerOperationsService": {"RotateKey": _ADMIN, "EraseValue": _ADMIN, "AcceptClock": _ADMIN},
    "gateway.v1.PeerService": {
        "Hello": _GATEWAY,
        "ListCards": _GATEWAY,
        "GetCard": _GATEWAY,
        "Negotiate": _GATEWAY,
        "Confirm": _GATEWAY,
        "IssueTicket": _GATEWAY,
        "Read": _GATEWAY,
        "DeliverReceipt": _GATEWAY,
        "Abort": _GATEWAY,
        "Reviewed": _GATEWAY,
        "Appeal": _GATEWAY,
        "EndAgreement": _GATEWAY,
        "Preview": _GATEWAY,
    },
    "gateway.v1.MirrorService": {"Push": _GATEWAY, "GetHeld": _GATEWAY, "Fetch": _GATEWAY},
    "arrow.flight.protocol.FlightService": {
        "Handshake": _PARTNER,
        "ListFlights": _PARTNER,
        "GetFlightInfo": _PARTNER,
        "PollFlightInfo": _PARTNER,
        "GetSchema": _PARTNER,
        "DoGet": _PARTNER,
        "DoPut": _PARTNER,
        "DoExchange": _PARTNER,
        "DoAction": _PARTNER,
        "ListActions": _PARTNER,
    },
    "grpc.health.v1.Health": {"Check": ANY, "List": ANY, "Watch": ANY},
    "grpc.reflection.v1.ServerReflection": {"ServerReflectionInfo": ANY},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": ANY},
}

METHOD_ROLES: Final[Mapping[str, frozenset[Role]]] = MappingProxyType(
    {f"/{service}/{method}": roles for service, methods in _SERVICES.items() for method, roles in methods.items()}
)

# While a gateway starts it may not record yet. Services and methods that are answered all the same, at once:
EARLY: Final = frozenset(
    {"/gateway.v1.MirrorService", "/grpc.health.v1.Health", "/grpc.reflection.v1alpha.ServerReflection"}
)
# and those that wait a little, then are answered although it may not: who watches, and what closes.
WATCHED: Final = frozenset(
    {
        "/gateway.v1.ZoneService/GetStatus",
        "/gateway.v1.ZoneService/GetZoneCard",
        "/gateway.v1.ZoneService/Unpair",
        "/gateway.v1.LedgerService/GetHead",
        "/gateway.v1.IdentityService/Revoke",
    }
)


def check_complete(methods: Iterable[str], table: Mapping[str, frozenset[Role]] = METHOD_ROLES) -> None:
    """Refuse to serve a method for which nobody declared who may call it.

    Args:
        methods: full names of the registered methods, `/package.Service/Method`.
        table: declared roles.

    Raises:
        ConfigError: a method is not in the table, or no role may call it.
    """
    missing = sorted(method for method in methods if not table.get(method))
    if missing:
        raise ConfigError(
            f"no roles are declared for {', '.join(missing)}", remedy="declare them in gateway/server/access/roles.py"
        )
