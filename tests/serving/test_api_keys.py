from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine

from data.errors import ServingError
from federation.coordinator_store import CoordinatorStore
from federation.database import sqlite_url
from serving.api_keys import ApiKeys, IssuerBound, Mints

NOW = 1_800_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = (
        request.getfixturevalue("postgres_url") if request.param == "postgresql" else sqlite_url(tmp_path / "s.sqlite")
    )
    store = CoordinatorStore.open(url)
    yield store.engine
    store.engine.dispose()


def test_a_key_tells_whose_it_is_until_it_is_revoked(engine: Engine) -> None:
    keys = ApiKeys(engine)
    one, two = keys.create("shop-a", NOW), keys.create("shop-b", NOW + 1)
    assert (keys.issuer_of(one), keys.issuer_of(two)) == ("shop-a", "shop-b")
    first, second = keys.all()
    keys.revoke(first.key_id, NOW + 9)
    assert (keys.issuer_of(one), keys.issuer_of(two)) == (None, "shop-b")
    assert [entry.revoked_at for entry in keys.all()] == [NOW + 9, None]
    assert second.issuer == "shop-b"
    for key_id in (first.key_id, "000000000000"):
        with pytest.raises(ServingError, match="is no key that is good"):
            keys.revoke(key_id, NOW)


def test_another_secret_under_a_known_id_is_nobodys(engine: Engine) -> None:
    keys = ApiKeys(engine)
    one, two = keys.create("shop-a", NOW), keys.create("shop-b", NOW)
    for wrong in (
        one[:17] + two[17:],
        one[:-1],
        one + "x",
        one.upper(),
        "",
        "osk",
        one.replace("_", "-"),
        one[:17] + "é",
    ):
        assert keys.issuer_of(wrong) is None


def test_only_a_hash_is_stored(tmp_path: Path) -> None:
    store = CoordinatorStore.open(sqlite_url(tmp_path / "s.sqlite"))
    key = ApiKeys(store.engine).create("shop", NOW)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    prefix, key_id, secret = key.split("_", 2)
    assert prefix == "osk"
    assert key_id.encode() in stored
    assert secret.encode() not in stored
    store.engine.dispose()


@pytest.mark.parametrize("issuer", ["", "a b", "x" * 49, "é", "a:b", "../x"])
def test_an_impossible_issuer_is_refused(engine: Engine, issuer: str) -> None:
    with pytest.raises(ServingError, match="issuer="):
        ApiKeys(engine).create(issuer, NOW)


def test_an_issuer_mints_a_bounded_number_a_period(engine: Engine) -> None:
    mints = Mints(engine, period_s=100, tokens_per_period=10)
    start = NOW - NOW % 100
    mints.reserve("shop", 6, start)
    mints.reserve("shop", 4, start + 99)
    with pytest.raises(IssuerBound, match="count=1: must be at most 0"):
        mints.reserve("shop", 1, start + 99)
    assert mints.left_s(start + 99) == 1
    mints.reserve("other", 10, start + 99)
    mints.reserve("shop", 10, start + 100)
    with pytest.raises(IssuerBound, match="count=11: must be at most 10"):
        mints.reserve("new", 11, start)


def test_the_bound_holds_for_many_at_once(engine: Engine) -> None:
    mints = Mints(engine, period_s=100, tokens_per_period=25)

    def reserve(_: int) -> bool:
        try:
            mints.reserve("shop", 5, NOW)
        except IssuerBound:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert Counter(pool.map(reserve, range(20))) == {True: 5, False: 15}
