"""``tdz-ledger prove``: proofs as small files of their own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ledger.canonical import JsonValue
from ledger.cli.output import key_argument, print_json
from ledger.cli.trust import read_input
from ledger.errors import OperationalError
from ledger.note import MAX_NOTE_BYTES, Note
from ledger.proof import ConsistencyProof, InclusionProof
from ledger.proof_set import ProofSet
from ledger.prove import Prover

__all__ = ["add_prove"]


def add_prove(command: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """Add the two kinds of proofs and their options."""
    kinds = command.add_subparsers(metavar="KIND", required=True)
    inclusion = kinds.add_parser(
        "inclusion", parents=[common], help="that an entry stands in the log (C2SP tlog-proof)"
    )
    inclusion.add_argument("seq", metavar="SEQ", type=_number, help="the entry's number")
    inclusion.add_argument("--without-entry", action="store_true", help="leave the entry's bytes out")
    inclusion.set_defaults(command=prove_inclusion)
    consistency = kinds.add_parser("consistency", parents=[common], help="that one checkpoint is a prefix of another")
    consistency.add_argument("old", metavar="OLD", help="a kept checkpoint's size, or a file with a signed checkpoint")
    consistency.add_argument("new", metavar="NEW", help="the same, or 'witnessed' for the newest witnessed one")
    consistency.set_defaults(command=prove_consistency)
    subject = kinds.add_parser("subject", parents=[common], help="every entry about a transfer, in one file to keep")
    subject.add_argument("subject", metavar="SUBJECT", help="as transfers/ID; the agreement that it names comes along")
    subject.set_defaults(command=prove_subject)
    for each in (inclusion, consistency, subject):
        each.add_argument(
            "directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the ledger's folder; default: here"
        )
        each.add_argument("-o", "--output", metavar="FILE", type=Path, help="where to write it; default: print it")
        each.add_argument(
            "--unwitnessed", action="store_true", help="name the newest checkpoint though nobody cosigned it"
        )


def prove_inclusion(arguments: argparse.Namespace) -> int:
    """Prove that an entry stands in the log."""
    proof = _prover(arguments).inclusion(arguments.seq, with_entry=not arguments.without_entry)
    return _hand_out(proof, proof.note, {"index": proof.index, "kind": "inclusion proof"}, arguments)


def prove_consistency(arguments: argparse.Namespace) -> int:
    """Prove that one signed checkpoint is a prefix of another."""
    newest = arguments.new == "witnessed"
    proof = _prover(arguments).consistency(_which(arguments.old), None if newest else _which(arguments.new))
    old_size = int(Note.parse(proof.old).text.split("\n")[1])
    return _hand_out(proof, proof.new, {"kind": "consistency proof", "old_size": old_size}, arguments)


def prove_subject(arguments: argparse.Namespace) -> int:
    """Prove every entry about a subject, in one file."""
    proofs = _prover(arguments).about(arguments.subject)
    facts: dict[str, JsonValue] = {"entries": [each.index for each in proofs.proofs], "kind": "set of proofs"}
    return _hand_out(proofs, proofs.proofs[-1].note, facts, arguments)


def _prover(arguments: argparse.Namespace) -> Prover:
    return Prover(arguments.directory, vkey=key_argument(arguments.vkey), unwitnessed=arguments.unwitnessed)


def _hand_out(
    proof: InclusionProof | ConsistencyProof | ProofSet,
    note: bytes,
    facts: dict[str, JsonValue],
    arguments: argparse.Namespace,
) -> int:
    text = Note.parse(note).text.split("\n")
    data = proof.encode()
    if arguments.output is not None:
        try:
            arguments.output.write_bytes(data)
        except OSError as error:
            raise OperationalError(f"cannot write {arguments.output}: {error.strerror}") from error
    if arguments.json:
        place: JsonValue = str(arguments.output) if arguments.output else None
        print_json({**facts, "file": place, "origin": text[0], "proof": data.decode(), "size": int(text[1])})
    elif arguments.output is not None:
        sys.stdout.write(f"{arguments.output}: {facts['kind']} of {text[0]} at size {text[1]}, {len(data)} bytes\n")
    else:
        sys.stdout.write(data.decode())
    return 0


def _which(text: str) -> int | bytes:
    return int(text) if _is_number(text) else read_input(Path(text), MAX_NOTE_BYTES)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 19


def _number(text: str) -> int:
    if not _is_number(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no entry's number")
    return int(text)
