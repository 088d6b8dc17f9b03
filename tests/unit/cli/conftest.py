"""One small gateway for the tests of the command line: a real process, real mTLS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.sdk.process import SmallZone, running


@pytest.fixture(scope="session")
def small_zone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallZone]:
    """A running small gateway with the profiles of a partner and an administrator."""
    with running(tmp_path_factory.mktemp("zone")) as zone:
        yield zone
