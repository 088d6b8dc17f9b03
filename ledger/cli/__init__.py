"""``tdz-ledger``: the auditor's commands."""
