from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.http.app import ServiceSettings
from serving.http.cursor import MAX_CURSOR_CHARS, decode_cursor, encode_cursor
from serving.refusal import Refusal

VERSION = "0123456789abcdef"


@given(st.one_of(st.lists(st.integers(0, 999), max_size=300), st.lists(st.integers(0, 2**31 - 1), max_size=50)))
def test_a_cursor_says_what_was_shown(shown: list[int]) -> None:
    cursor = encode_cursor(VERSION, np.array(shown, dtype=np.int32))
    assert cursor is not None
    assert set(decode_cursor(cursor, VERSION).tolist()) == set(shown)


@pytest.mark.parametrize("n", [255, 256, 5_000])
def test_many_items_are_bits_where_that_is_shorter(n: int) -> None:
    dense, sparse = (encode_cursor(VERSION, np.arange(n, dtype=np.int32) * step) for step in (20, 400))
    assert dense is not None
    assert sparse is not None
    assert sorted(decode_cursor(dense, VERSION)) == list(range(0, 20 * n, 20))
    assert sorted(decode_cursor(sparse, VERSION)) == list(range(0, 400 * n, 400))
    assert len(sparse) >= 4 / 3 * 4 * n
    assert len(dense) < (4 / 3 * 2.5 * n + 20 if n >= 256 else 4 / 3 * 4 * n + 20)


def test_a_list_of_a_million_items_never_ends_early_and_a_cursor_never_outgrows_a_body() -> None:
    for n in (3_000, 60_000, 1_000_000):
        cursor = encode_cursor(VERSION, np.arange(n, dtype=np.int32))
        assert cursor is not None
        assert len(decode_cursor(cursor, VERSION)) == n
    spread = np.arange(60_000, dtype=np.int32) * 30_000
    assert encode_cursor(VERSION, spread) is None
    longest = encode_cursor(VERSION, spread[:49_000])
    assert longest is not None
    assert len(longest) <= MAX_CURSOR_CHARS < ServiceSettings().max_body_bytes


def test_a_cursor_of_another_bundle_is_refused() -> None:
    cursor = encode_cursor(VERSION, np.arange(3, dtype=np.int32))
    assert cursor is not None
    with pytest.raises(Refusal, match="this bundle_version"):
        decode_cursor(cursor, "another")


@pytest.mark.parametrize("wrong", ["", "?", "AAAA", "é", "A" * 9])
def test_what_is_no_cursor_is_refused(wrong: str) -> None:
    with pytest.raises(Refusal, match="cursor"):
        decode_cursor(wrong, VERSION)


def test_items_this_worker_has_not_heard_of_are_kept() -> None:
    cursor = encode_cursor(VERSION, np.array([2**31 - 1], dtype=np.int32))
    assert cursor is not None
    assert decode_cursor(cursor, VERSION).tolist() == [2**31 - 1]


def test_numbers_that_are_no_item_and_torn_cursors_are_refused() -> None:
    cursor = encode_cursor(VERSION, np.array([-1], dtype=np.int32))
    assert cursor is not None
    with pytest.raises(Refusal, match="cursor"):
        decode_cursor(cursor, VERSION)
    good = encode_cursor(VERSION, np.array([100], dtype=np.int32))
    assert good is not None
    torn = base64.urlsafe_b64encode(base64.urlsafe_b64decode(good)[:-1]).decode()
    with pytest.raises(Refusal, match="cursor"):
        decode_cursor(torn, VERSION)
