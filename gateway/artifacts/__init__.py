"""Model artifacts: what they may hold, how they are signed, where they come from."""
