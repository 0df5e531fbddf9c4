from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from data.errors import ServingError
from federation.storage.activations import (
    RELEASES,
    Activations,
    NoEarlierVersion,
    activations,
    path_to_current,
    resolve_version,
)
from federation.storage.database import open_engine, sqlite_url


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
        log.append(resolve_version("previous", log, available))
        visited.append(log[-1])
    with pytest.raises(NoEarlierVersion, match="there is none before the current one"):
        resolve_version("previous", log, available)
    assert len(set(visited)) == len(visited) <= len(available)
    assert visited == path_to_current(activated, available)[::-1]


def test_a_version_that_is_not_there_is_refused() -> None:
    assert resolve_version("b", "ab", "ab") == "b"
    with pytest.raises(ServingError, match=r"version=c: must be one of a, b"):
        resolve_version("c", "abc", "ab")
    with pytest.raises(ServingError, match="must be one of none"):
        resolve_version("c", "", "")


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    url = sqlite_url(tmp_path / "store.sqlite")
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    engine = open_engine(url)
    activations.create(engine)
    yield engine
    engine.dispose()


def test_bundles_of_an_app_and_releases_are_activated_alike_and_apart(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for scope in (RELEASES, "shop"):
            log = Activations(scope)
            assert log.current(connection, "abc") is None
            for version in "abc":
                log.record(connection, version, 7)
            log.record(connection, log.resolve(connection, "previous", "abc"), 8)
            assert (log.current(connection, "abc"), log.versions(connection)) == ("b", list("abcb"))
            assert log.last_times(connection) == {"a": (7, 1), "b": (8, 4), "c": (7, 3)}
        Activations("shop").forget(connection, "a")
        with pytest.raises(NoEarlierVersion):
            Activations("shop").resolve(connection, "previous", "abc")
        assert Activations(RELEASES).resolve(connection, "previous", "abc") == "a"


def test_activations_at_once_are_numbered_one_after_the_other(engine: sa.Engine) -> None:
    def activate(at: int) -> None:
        with engine.begin() as connection:
            Activations("shop").record(connection, f"v{at}", at)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(activate, range(24)))
    with engine.connect() as connection:
        numbers = connection.execute(sa.select(activations.c.sequence).order_by(activations.c.sequence)).scalars()
        assert list(numbers) == list(range(1, 25))
