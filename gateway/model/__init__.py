"""Pure domain: no I/O, no network, no clock of its own."""
