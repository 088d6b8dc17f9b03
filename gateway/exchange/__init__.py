"""The exchange between two zones: negotiation, agreement, transfer, receipts, and what a crash leaves of them."""
