"""Computation beside the data: accelerators, training apps, and the process that runs them."""
