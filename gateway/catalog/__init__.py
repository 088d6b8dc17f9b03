"""What this zone holds and offers, and what the other zones' cards say they offer."""
