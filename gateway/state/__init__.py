"""The gateway's own state: one database, one writer. Where it contradicts the ledger, the ledger wins."""

from gateway.state.store import StateStore

__all__ = ["StateStore"]
