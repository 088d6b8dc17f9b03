"""The pages that make zones of their own: each command as it is printed, each line that it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.demo.ports import LoopbackPorts
from tests.e2e.test_readme import DEADLINE_S, ROOT, read, type_in

pytestmark = pytest.mark.e2e


def test_the_operators_page_makes_two_zones_that_work(tmp_path: Path) -> None:
    typed = read(ROOT / "docs/operators.md", tmp_path)
    ports = LoopbackPorts(2)  # kept to the end
    first, second = ports.numbers
    for each in typed:
        each.command = each.command.replace("7443", str(first)).replace("7444", str(second))
        each.output = [line.replace("7443", str(first)).replace("7444", str(second)) for line in each.output]
    type_in(typed, tmp_path)


def test_the_policy_guide_takes_an_administrator_from_nothing_to_a_rule(tmp_path: Path) -> None:
    typed = read(ROOT / "docs/policy/guide.md", tmp_path)
    assert typed
    ports = LoopbackPorts(1)  # kept to the end
    for each in typed:
        each.command = each.command.replace("7443", str(ports.numbers[0]))
    type_in(typed, tmp_path, deadline_s=3 * DEADLINE_S)  # a dozen commands, each with engines of its own


def test_the_page_on_policy_bundles_is_true(tmp_path: Path) -> None:
    typed = read(ROOT / "docs/policy/bundles.md", tmp_path)
    ports = LoopbackPorts(1)  # kept to the end
    for each in typed:
        each.command = each.command.replace("7443", str(ports.numbers[0]))
    type_in(typed, tmp_path)


def test_the_page_on_witnesses_is_true(tmp_path: Path) -> None:
    typed = read(ROOT / "docs/ledger/witnesses.md", tmp_path)
    ports = LoopbackPorts(2)  # kept to the end
    zone, witness = ports.numbers
    for each in typed:
        each.command = each.command.replace("7443", str(zone)).replace("7380", str(witness))
        each.output = [line.replace("7380", str(witness)) for line in each.output]
    type_in(typed, tmp_path)
