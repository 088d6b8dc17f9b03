"""Two zones' ledgers side by side: what stands on both, what differs, what stands on one only."""
