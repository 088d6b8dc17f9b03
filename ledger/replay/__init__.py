"""A recorded decision made again: from the ledger's entry, the zone's decision log and the policy that was in force."""
