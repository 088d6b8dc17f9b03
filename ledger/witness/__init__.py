"""A C2SP tlog-witness: who it follows, what it signed, and how it answers. Only :mod:`ledger.witness.server` needs
the extra ``witness``."""
