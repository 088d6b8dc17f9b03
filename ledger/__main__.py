"""``python -m ledger`` is ``tdz-ledger``."""

from ledger.cli.main import run

run()
