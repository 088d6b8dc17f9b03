"""The Trusted Data Zone gateway: datasets cross a border under two policies and two ledgers."""

__version__ = "0.1.0"
