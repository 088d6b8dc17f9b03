"""Every reason for which a run may end says what a person can do about it."""

from __future__ import annotations

import pytest

from gateway.model.run import END_REASONS, RunEnd
from gateway.model.run_remedies import REMEDIES, remedy_of


@pytest.mark.parametrize("reason", sorted(END_REASONS))
def test_every_reason_has_a_remedy_of_one_line(reason: str) -> None:
    assert remedy_of(reason).strip()
    assert "\n" not in remedy_of(reason)


def test_a_remedy_stands_for_a_reason_that_there_is() -> None:
    assert set(REMEDIES) <= END_REASONS
    assert set(RunEnd) - set(REMEDIES) == {RunEnd.OTHER}


def test_a_run_without_a_reason_needs_no_remedy() -> None:
    assert remedy_of("") == ""
