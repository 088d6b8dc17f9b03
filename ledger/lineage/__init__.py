"""Where a dataset or model came from and where it went, over both zones' ledgers."""
