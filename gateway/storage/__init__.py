"""Datasets and artifacts at rest: Arrow chunks addressed by digest, versions, publishing and landing."""
