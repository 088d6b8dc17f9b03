"""What an agreement lets through in all: pulls, rows and bytes over its life."""

from __future__ import annotations

from gateway.errors import LimitError
from gateway.exchange.rows import AgreementRow
from gateway.model.dataset import DatasetManifest
from gateway.model.statements import Agreement


def require_room(agreement: AgreementRow, body: Agreement, manifest: DatasetManifest) -> None:
    """Refuse a new pull that would go beyond the agreement; the caller holds the agreement's lock.

    Raises:
        LimitError: it would; the text names the limit, what is used, and what this pull needs.
    """
    bounds = body.limits
    for name, limit, taken, more in (
        ("pulls", bounds.pulls, agreement.pulls, 1),
        ("rows", bounds.rows, agreement.rows, manifest.rows),
        ("bytes", bounds.bytes, agreement.bytes, manifest.bytes),
    ):
        if limit and taken + more > limit:
            raise LimitError(
                f"the agreement allows {limit} {name}, {taken} are used and this pull needs {more}",
                remedy="request access again",
            )
