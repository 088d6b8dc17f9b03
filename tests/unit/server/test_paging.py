"""Pages of lists: bounded, without gaps and without repeats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InputError
from gateway.model import limits
from gateway.server.paging import newest_first, page_of, page_size
from gateway.v1 import common_pb2


@given(items=st.sets(st.text("abc/", min_size=1, max_size=6), max_size=40).map(sorted), size=st.integers(1, 9))
def test_the_pages_of_a_list_together_are_the_list(items, size):
    found, token, pages = [], "", 0
    while True:
        page, token = page_of(items, common_pb2.Page(size=size, token=token), key=str)
        found += page
        pages += 1
        assert len(page) <= size
        if not token:
            break
    assert found == items
    assert pages == max(1, -(-len(items) // size))


@given(count=st.integers(0, 40), size=st.integers(1, 9))
def test_the_pages_of_the_newest_first_together_are_the_list(count, size):
    everything = [f"{n:04d}" for n in reversed(range(count))]
    found, before = [], ""
    while True:
        rows = [row for row in everything if not before or row < before][: size + 1]
        page, before = newest_first(rows, size, key=str)
        found += page
        if not before:
            break
    assert found == everything


def test_a_page_without_a_size_has_a_hundred_items():
    assert page_size(common_pb2.Page()) == 100
    assert page_size(common_pb2.Page(size=limits.LIST_PAGE_MAX)) == limits.LIST_PAGE_MAX


@pytest.mark.parametrize("page", [{"size": -1}, {"size": limits.LIST_PAGE_MAX + 1}, {"token": "x" * 201}])
def test_a_page_out_of_bounds_is_refused(page):
    with pytest.raises(InputError, match="a page has 1 to"):
        page_size(common_pb2.Page(**page))
