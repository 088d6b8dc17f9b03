"""One corridor of real gateways for the tests of a module; whatever they did, it must hold together in the end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.exchange.invariants import check
from tests.faults.exchange.stage import Stage, stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def corridor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """Both gateways run when a test begins and when it ends."""
    async with stage(tmp_path_factory.mktemp("corridor")) as made:
        yield made
        await made.quiet()
        check(made)
