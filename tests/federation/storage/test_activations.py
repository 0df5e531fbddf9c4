from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import ServingError
from federation.storage.activations import NoEarlierVersion, chosen_version, path_to_current


@pytest.mark.parametrize(
    ("activated", "available", "path"),
    [
        ("", "abc", ""),
        ("abc", "abc", "abc"),
        ("abcb", "abc", "ab"),  # b was current before: back to it
        ("abcbc", "abc", "abc"),  # and forward again, by name
        ("abcbd", "abcd", "abd"),  # c was rolled back from; nothing leads to it
        ("abc", "ac", "ac"),  # b is not there any more
        ("abca", "abc", "a"),
        ("abac", "bc", "c"),  # nothing leads back to b, also when a is gone
        ("aa", "a", "a"),
    ],
)
def test_the_path_to_the_current_version(activated: str, available: str, path: str) -> None:
    assert path_to_current(activated, available) == list(path)


@given(st.lists(st.sampled_from("abcdef"), min_size=1))
def test_previous_walks_back_and_then_there_is_none(activated: list[str]) -> None:
    log, available = list(activated), set(activated)
    visited = [log[-1]]
    while len(path_to_current(log, available)) > 1:
        log.append(chosen_version("previous", log, available))
        visited.append(log[-1])
    with pytest.raises(NoEarlierVersion, match="there is none before the current one"):
        chosen_version("previous", log, available)
    assert len(set(visited)) == len(visited) <= len(available)
    assert visited == path_to_current(activated, available)[::-1]


def test_a_version_that_is_not_there_is_refused() -> None:
    assert chosen_version("b", "ab", "ab") == "b"
    with pytest.raises(ServingError, match=r"version=c: must be one of a, b"):
        chosen_version("c", "abc", "ab")
    with pytest.raises(ServingError, match="must be one of none"):
        chosen_version("c", "", "")
