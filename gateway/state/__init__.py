"""The gateway's own state: one database, one writer. It can be lost and rebuilt; the ledger wins."""

from gateway.state.store import StateStore

__all__ = ["StateStore"]
