"""The ledger as a DuckDB database: built from the tiles, proven against the signed checkpoint, thrown away at will."""
