"""The figures: `python -m benchmarks`; peers are measured in the same run."""
