from __future__ import annotations

import hmac
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete

from data.errors import ServingError
from federation.service.round_store import CoordinatorStore
from federation.storage.database import open_engine, sqlite_url
from serving.access import Caller
from serving.state.api_keys import ApiKeys, IssuerBound, MintCounter
from serving.state.key_book import KeyBook, open_book
from serving.state.schema import api_keys

NOW = 1_800_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return sqlite_url(tmp_path / "s.sqlite")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    opened = open_engine(url)
    yield opened
    opened.dispose()


def owner(keys: ApiKeys, key: str) -> str | None:
    found = KeyBook(keys).caller_of(key)
    return None if found is None else found.app


def test_a_key_tells_whose_it_is_until_it_is_revoked(engine: Engine) -> None:
    keys = ApiKeys(engine)
    one, two = keys.create("shop-a", ["app"], NOW), keys.create("shop-b", ["admin", "analyst", "admin"], NOW + 1)
    assert (owner(keys, one), owner(keys, two)) == ("shop-a", "shop-b")
    first, second = keys.all()
    keys.revoke(first.key_id, NOW + 9)
    assert (owner(keys, one), owner(keys, two)) == (None, "shop-b")
    assert [entry.revoked_at for entry in keys.all()] == [NOW + 9, None]
    assert (second.app, second.scopes) == ("shop-b", ("analyst", "admin"))
    for key_id in (first.key_id, "000000000000"):
        with pytest.raises(ServingError, match="is no key that is good"):
            keys.revoke(key_id, NOW)


def test_an_app_sees_and_ends_its_own_keys_only(engine: Engine) -> None:
    keys = ApiKeys(engine)
    keys.create("shop-a", ["app"], NOW)
    keys.create("shop-b", ["app"], NOW)
    [of_a] = keys.all("shop-a")
    with pytest.raises(ServingError, match="is no key that is good"):
        keys.revoke(of_a.key_id, NOW, "shop-b")
    assert keys.all("shop-a") == [of_a]
    keys.revoke(of_a.key_id, NOW, "shop-a")


def test_the_two_stores_share_a_database(url: str) -> None:
    store = CoordinatorStore.open(url)
    key = ApiKeys(store.engine).create("shop", ["app"], NOW)
    assert store.newest() is None
    with closing(open_book(url)) as book:
        assert book.caller_of(key) == Caller("shop", key.split("_")[1], frozenset({"app"}))
    store.engine.dispose()


def test_another_secret_under_a_known_id_is_nobodys(engine: Engine) -> None:
    keys = ApiKeys(engine)
    one, two = keys.create("shop-a", ["app"], NOW), keys.create("shop-b", ["app"], NOW)
    book = KeyBook(keys)
    for wrong in (
        one[:17] + two[17:],
        one[:-1],
        one + "x",
        one.upper(),
        "",
        "osk",
        one.replace("_", "-"),
        one[:17] + "é",
        f"osk_{'0' * 12}_{'x' * 43}",
    ):
        assert book.caller_of(wrong) is None


def test_only_a_hash_is_stored(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "s.sqlite"))
    key = ApiKeys(engine).create("shop", ["app"], NOW)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    prefix, key_id, secret = key.split("_", 2)
    assert prefix == "osk"
    assert key_id.encode() in stored
    assert secret.encode() not in stored
    engine.dispose()


def test_a_key_that_may_be_published_looks_different(engine: Engine) -> None:
    assert re.fullmatch(r"opk_[0-9a-f]{12}_[\w-]{43}", ApiKeys(engine).create("shop", ["device"], NOW))


@pytest.mark.parametrize("app", ["", "a b", "x" * 49, "é", "a:b", "../x", "a\n"])
def test_an_impossible_app_is_refused(engine: Engine, app: str) -> None:
    with pytest.raises(ServingError, match="app="):
        ApiKeys(engine).create(app, ["app"], NOW)


@pytest.mark.parametrize(
    ("scopes", "message"),
    [([], "none given"), (["root"], "'root' must be one of app, catalogue"), (["device", "app"], "must be alone")],
)
def test_impossible_scopes_are_refused(engine: Engine, scopes: list[str], message: str) -> None:
    with pytest.raises(ServingError, match=message):
        ApiKeys(engine).create("shop", scopes, NOW)
    assert ApiKeys(engine).all() == []


def test_every_book_follows_within_a_second_and_the_one_that_changed_it_at_once(url: str, engine: Engine) -> None:
    keys = ApiKeys(engine)
    here, elsewhere = KeyBook(keys), open_book(url)
    assert here.empty
    elsewhere.start()
    try:
        key = keys.create("shop", ["app"], NOW)
        here.refresh()
        assert here.caller_of(key) is not None
        assert took(lambda: elsewhere.caller_of(key) is not None) < 1.0
        keys.revoke(key.split("_")[1], NOW)
        here.refresh()
        assert here.caller_of(key) is None
        assert took(lambda: elsewhere.caller_of(key) is None) < 1.0
    finally:
        elsewhere.close()


def took(done: Any) -> float:
    begun = time.monotonic()
    while not done():
        assert time.monotonic() - begun < 10
        time.sleep(0.01)
    return time.monotonic() - begun


def test_a_service_that_had_keys_never_opens_up(engine: Engine) -> None:
    keys = ApiKeys(engine)
    book = KeyBook(keys)
    assert book.empty
    keys.revoke(keys.create("shop", ["app"], NOW).split("_")[1], NOW)
    book.refresh()
    assert not book.empty
    with engine.begin() as connection:
        connection.execute(delete(api_keys))
    book.refresh()
    assert not book.empty


def test_a_store_that_fails_leaves_the_keys_as_they_were(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = open_engine(sqlite_url(tmp_path / "s.sqlite"))
    keys = ApiKeys(engine)
    key = keys.create("shop", ["app"], NOW)
    book = KeyBook(keys, refresh_s=0.01)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE api_keys RENAME TO gone")
    book.start()
    try:
        assert took(lambda: "the store does not answer" in caplog.text) < 5
        assert book.caller_of(key) is not None
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO api_keys")
        keys.revoke(key.split("_")[1], NOW)
        took(lambda: book.caller_of(key) is None)
    finally:
        book.stop()
    assert caplog.text.count("does not answer") == 1
    engine.dispose()


def test_a_key_is_compared_in_constant_time_whether_its_id_is_known_or_not(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ApiKeys(engine)
    key = keys.create("shop", ["app"], NOW)
    book = KeyBook(keys)
    compared: list[tuple[int, int]] = []

    def counted(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", counted)
    assert book.caller_of(key) is not None
    assert book.caller_of(key[:-1] + ("A" if key[-1] != "A" else "B")) is None
    assert book.caller_of(f"osk_{'0' * 12}_{'x' * 43}") is None
    assert compared == [(32, 32)] * 3


def test_a_state_that_is_not_there_is_one_error_without_its_password() -> None:
    with pytest.raises(ServingError) as refused:
        open_book("postgresql://shop:hunter2@127.0.0.1:1/none")
    assert str(refused.value) == "state: does not answer (OperationalError)"


def test_an_app_mints_a_bounded_number_a_period(engine: Engine) -> None:
    mints = MintCounter(engine, period_s=100, tokens_per_period=10)
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
    mints = MintCounter(engine, period_s=100, tokens_per_period=25)

    def reserve(_: int) -> bool:
        try:
            mints.reserve("shop", 5, NOW)
        except IssuerBound:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert Counter(pool.map(reserve, range(20))) == {True: 5, False: 15}
