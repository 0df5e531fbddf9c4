from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.ask_bodies import MAX_CURSOR_CHARS
from serving.cursor import MAX_SHOWN, decode_cursor, encode_cursor
from serving.refusal import Refusal

VERSION = "0123456789abcdef"


@given(st.lists(st.integers(0, 99), max_size=200))
def test_a_cursor_says_what_was_shown(shown: list[int]) -> None:
    cursor = encode_cursor(VERSION, np.array(shown, dtype=np.int32))
    assert cursor is not None
    assert decode_cursor(cursor, VERSION).tolist() == shown


def test_the_longest_cursor_is_one_that_a_request_may_hold() -> None:
    longest = encode_cursor(VERSION, np.arange(MAX_SHOWN - 1, dtype=np.int32))
    assert longest is not None
    assert len(longest) <= MAX_CURSOR_CHARS
    assert encode_cursor(VERSION, np.arange(MAX_SHOWN, dtype=np.int32)) is None


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
