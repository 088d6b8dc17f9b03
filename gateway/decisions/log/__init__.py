"""A zone's decision log: what was decided on what, on its own side alone, masked by policy, kept for a time."""
