"""The command line `tdz`: one file per command group."""
