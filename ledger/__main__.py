"""``python -m ledger`` is ``tdz-ledger``."""

from ledger.cli.main import run

if __name__ == "__main__":  # worker processes import it under another name
    run()
