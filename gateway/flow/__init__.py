"""What every flow of a zone's gateway shares: recorded steps, decisions, statements, locks, findings, paces."""
