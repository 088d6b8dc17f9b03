"""Federated runs: parameters, strategies and checks without input or output, and the flows that carry them."""
