"""The one way from a flow to the ledger, and what it knows of the paired zones' ledgers."""

from gateway.journal.gate import Bounds
from gateway.journal.journal import Journal, Recorded
from gateway.journal.own_log import Batch
from gateway.journal.peer_mirror import PeerMirror

__all__ = ["Batch", "Bounds", "Journal", "PeerMirror", "Recorded"]
