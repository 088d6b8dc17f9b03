"""Policy bundles in OPA's own format: built, signed, read strictly, put together, and kept."""
