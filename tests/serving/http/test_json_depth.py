from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.http.json_depth import deeper_than

leaves = st.none() | st.integers() | st.text(alphabet='[]{}"\\a é', max_size=8)
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text("[{\\", max_size=3), inner))


def depth_of(value: Any) -> int:
    """The obvious way."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(values, st.integers(0, 6), st.booleans())
def test_it_is_the_depth_that_a_parser_finds(value: Any, bound: int, plain: bool) -> None:
    body = json.dumps(value, ensure_ascii=plain).encode()
    assert deeper_than(body, bound) == (depth_of(value) > bound)


@pytest.mark.parametrize(
    "body",
    [b"[" * 500_000, b'{"a":' * 100_000, b"[]," * 170_000, b'"\\"' * 170_000, b'"' + b"\\" * 500_001, b'["' * 250_000],
    ids=["open", "objects", "flat", "quotes", "escapes", "strings"],
)
def test_half_a_megabyte_takes_no_time_whatever_it_holds(body: bytes) -> None:
    begun = time.process_time()
    deeper_than(body, 32)
    assert time.process_time() - begun < 0.25
