"""What workers share, on both databases: concurrent writers lose nothing, and a follower misses nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from data.errors import ModelError, ServingError
from federation.storage.activations import NoEarlierVersion
from federation.storage.database import sqlite_url
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.live_items import ItemChange
from serving.shelf.served import Apps, ServedBundles
from serving.shelf.store_watcher import StoreWatcher
from serving.state.counters import ensure, last, take
from serving.state.stores import Stores
from tests.shop import make_bundle

NOW = 1_800_000_040
WRITERS, EACH = 4, 12


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "state.sqlite")
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def stores(url: str) -> Iterator[Stores]:
    made = Stores.open(url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    return [make_bundle(folder / str(seed), seed=seed) for seed in range(3)]


def at_once(*jobs: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def run(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001  # for the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_change_names_all_that_was_put_and_a_deletion_nothing(stores: Stores) -> None:
    items = stores.items
    assert (items.sequence("a"), items.changes("a")) == (0, [])
    assert items.put("a", [("x", {"price": 1.0}), ("y", {}), ("x", {"title": "“T”\x00"})]) == 2
    assert items.put("a", [("x", {"price": None})]) == 3
    assert items.delete("a", ["y"]) == 4
    assert items.put("b", [("x", {"price": 7.0})]) == 1
    x = ItemChange("x", 3, 1, {"price": None, "title": "“T”\x00"}, whole=True)
    y = ItemChange("y", 4, 2, None, whole=True)
    assert items.changes("a") == [x, y]
    assert items.changes("a", 3) == [y]
    assert items.changes("b") == [ItemChange("x", 1, 1, {"price": 7.0}, whole=True)]
    items.put("a", [("y", {"price": 2.0})])
    assert items.changes("a", 4) == [ItemChange("y", 5, 2, {"price": 2.0}, whole=True)]
    assert items.sequence("a") == 5


def test_concurrent_writers_lose_nothing_and_a_follower_misses_nothing(url: str) -> None:
    """Each writer puts a field of its own on items that all change; the follower reads by sequence meanwhile."""
    opened = [Stores.open(url) for _ in range(WRITERS + 1)]
    done = threading.Event()
    seen: dict[str, ItemChange] = {}
    heights: list[int] = []

    def write(writer: int) -> None:
        for at in range(EACH):
            fields = {f"of-{writer}": at}
            opened[writer].items.put("a", [("shared", fields), (f"item-{at}", fields), (f"own-{writer}-{at}", fields)])

    def follow() -> None:
        since, ending = 0, False
        while not ending:
            ending = done.is_set()
            for change in opened[-1].items.changes("a", since):
                assert change.sequence > since
                since = change.sequence
                seen[change.item_id] = change
            heights.append(since)

    follower = threading.Thread(target=follow)
    follower.start()
    at_once(*(lambda writer=writer: write(writer) for writer in range(WRITERS)))  # type: ignore[misc]
    done.set()
    follower.join()
    final = {change.item_id: change for change in opened[0].items.changes("a")}
    assert seen == final
    assert heights == sorted(heights)
    assert opened[0].items.sequence("a") == 3 * WRITERS * EACH
    assert final["shared"].fields == {f"of-{writer}": EACH - 1 for writer in range(WRITERS)}
    assert all(final[f"item-{at}"].fields == {f"of-{w}": at for w in range(WRITERS)} for at in range(EACH))
    assert len(final) == 1 + EACH + WRITERS * EACH
    numbers = [change.number for change in final.values()]
    assert len(set(numbers)) == len(numbers)
    for one in opened:
        one.close()


def test_numbers_are_taken_once_each_and_only_when_their_transaction_commits(url: str) -> None:
    opened = [Stores.open(url) for _ in range(WRITERS)]
    taken: list[int] = []

    def draw(writer: int) -> None:
        engine = opened[writer].engine
        ensure(engine, "a", "items")
        for n in range(1, EACH):
            with engine.begin() as connection:
                first = take(connection, "a", "items", n)
                taken.extend(range(first, first + n))
            with engine.connect() as connection, connection.begin() as given_up:
                take(connection, "a", "items", 1)
                given_up.rollback()

    at_once(*(lambda writer=writer: draw(writer) for writer in range(WRITERS)))  # type: ignore[misc]
    assert sorted(taken) == list(range(1, WRITERS * EACH * (EACH - 1) // 2 + 1))
    with opened[0].engine.connect() as connection:
        assert last(connection, "a", "items") == len(taken)
        assert last(connection, "b", "items") == last(connection, "a", "bundles") == 0
    for one in opened:
        one.close()


def test_bundles_are_added_activated_and_rolled_back(stores: Stores, bundles: list[Bundle]) -> None:
    store = stores.bundles
    first, second, third = (one.version for one in bundles)
    assert (store.active("a"), store.all("a"), store.sequence("a")) == (None, [], 0)
    with pytest.raises(ServingError, match="previous"):
        store.activate("a", "previous", NOW)
    for at, one in enumerate(bundles):
        assert store.add("a", one.folder, NOW + at, activate=at < 2) == one.version
    assert [one.version for one in store.all("a")] == [third, second, first]

    def active() -> str:
        found = store.active("a")
        assert found is not None
        return found.version

    assert active() == second
    assert store.activate("a", "previous", NOW) == first == active()
    with pytest.raises(NoEarlierVersion):
        store.activate("a", "previous", NOW)
    assert store.activate("a", second, NOW) == second == active()
    assert store.activate("a", third, NOW) == third == active()
    assert store.activate("a", "previous", NOW) == second
    with pytest.raises(ServingError, match="must be one of"):
        store.activate("a", "0123456789abcdef", NOW)
    store.add("b", bundles[0].folder, NOW)
    with pytest.raises(ServingError, match="must be one of"):
        store.activate("b", second, NOW)  # it is another app's
    assert store.apps() == ["a", "b"]
    assert active() == second


def lose(stores: Stores, bundle: Bundle) -> None:
    """Make a bundle unreadable, and the state's copy of it."""
    (bundle.folder / "manifest.json").unlink()
    if stores.copies is not None:
        (stores.copies.path(bundle.version) / "manifest.json").unlink()


def test_a_bundle_whose_folder_is_gone_is_not_activated(stores: Stores, tmp_path: Path) -> None:
    kept, lost = (make_bundle(tmp_path / name, seed=seed) for seed, name in enumerate(("kept", "lost")))
    for one in (lost, kept):
        stores.bundles.add("a", one.folder, NOW)
    lose(stores, lost)
    for version in (lost.version, "previous"):
        with pytest.raises(ModelError):
            stores.bundles.activate("a", version, NOW)
    found = stores.bundles.active("a")
    assert found is not None
    assert found.version == kept.version


def test_activations_of_several_processes_are_all_kept(url: str, bundles: list[Bundle]) -> None:
    opened = [Stores.open(url) for _ in range(WRITERS)]

    def switch(writer: int) -> None:
        for one in bundles:
            opened[writer].bundles.add("a", one.folder, NOW, activate=False)
        for at in range(6):
            opened[writer].bundles.activate("a", bundles[(at + writer) % 3].version, NOW)

    at_once(*(lambda writer=writer: switch(writer) for writer in range(WRITERS)))  # type: ignore[misc]
    assert opened[0].bundles.sequence("a") == 6 * WRITERS
    assert len(opened[0].bundles.all("a")) == 3
    for one in opened:
        one.close()


def test_counts_of_several_processes_add_up(url: str) -> None:
    opened = [Stores.open(url) for _ in range(WRITERS)]

    def count(writer: int) -> None:
        for at in range(EACH):
            opened[writer].traffic.count("a", "profile", (200, 404, 500)[at % 3], NOW)
            opened[writer].traffic.count("b", "no such kind", 200, NOW - 60)
            opened[writer].traffic.flush(NOW)

    at_once(*(lambda writer=writer: count(writer) for writer in range(WRITERS)))  # type: ignore[misc]
    minute = NOW - NOW % 60
    found = [(one.minute, one.kind, one.outcome, one.n) for one in opened[0].traffic.since("a", 0)]
    assert found == [(minute, "profile", outcome, WRITERS * EACH // 3) for outcome in ("error", "ok", "refused")]
    [other] = opened[1].traffic.since("b", 0)
    assert (other.minute, other.kind, other.n) == (minute - 60, "other", WRITERS * EACH)
    for one in opened:
        one.traffic.flush(NOW + 8 * 86_400)
        assert one.traffic.since("a", 0) == []
        one.close()


def test_counts_that_could_not_be_written_are_written_later(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.traffic.count("a", "profile", 200, NOW)

    def broken(*_: Any) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(stores.traffic, "_add", broken)
        with pytest.raises(OSError):
            stores.traffic.flush(NOW)
    stores.traffic.count("a", "profile", 200, NOW)
    stores.traffic.flush(NOW)
    stores.traffic.flush(NOW)
    assert [one.n for one in stores.traffic.since("a", 0)] == [2]


def test_a_bundle_that_cannot_be_read_holds_up_no_item(
    stores: Stores, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (make_bundle(tmp_path / name, seed=seed) for seed, name in enumerate(("first", "second")))
    shelf = ServedBundles([first])
    watcher = StoreWatcher(Apps({"a": shelf}), stores)
    stores.bundles.add("a", first.folder, NOW)
    stores.bundles.add("a", second.folder, NOW + 1)
    manifest = (second.folder / "manifest.json").read_bytes()
    lose(stores, second)
    stores.items.put("a", [("sku-1", {"available": False})])
    for _ in range(3):
        watcher.sync()
    assert shelf.current.version == first.version
    assert not shelf.current.live.available[1]
    assert caplog.text.count("cannot be read") == 1
    (second.folder / "manifest.json").write_bytes(manifest)
    watcher.sync()
    assert shelf.current.version == second.version
    assert not shelf.current.live.available[1]
    lose(stores, first)
    stores.bundles.activate("a", second.version, NOW)
    watcher.sync()
    assert [one.version for one in shelf.all()] == [second.version]


def test_a_shelf_that_is_changed_from_two_sides_loses_nothing(stores: Stores, bundles: list[Bundle]) -> None:
    """Live training replaces bundles while items are followed."""
    shelf = ServedBundles(bundles[:1])
    watcher = StoreWatcher(Apps({"a": shelf}), stores, elsewhere=["a"])
    stop = time.monotonic() + 2.0

    def switch() -> None:
        at = 0
        while time.monotonic() < stop:
            at += 1
            shelf.replace([bundles[at % 2], bundles[1 - at % 2]])

    def change() -> None:
        at = 0
        while time.monotonic() < stop:
            at += 1
            stores.items.put("a", [(f"new-{at}", {"title": "Thing"})])
            watcher.sync()
            for one in shelf.all():
                assert one.live.sequence == at
                assert one.live.index_of([f"new-{at}"])[0] >= 0

    def read() -> None:
        while time.monotonic() < stop:
            assert len(shelf.changed_since(0)) <= shelf.sequence

    at_once(switch, change, read)
