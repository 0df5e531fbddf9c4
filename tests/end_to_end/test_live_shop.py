"""A shop's day with two workers: items and bundles change under load, a worker is killed, and nobody notices."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from recsys.catalogue.bundle import Bundle
from serving.state.state_url import url_of
from serving.state.stores import Stores
from tests.serving.process.test_workers import Running, serving, until
from tests.shop import DIM, make_bundle

EVERY_WORKER = 12
"""Requests on connections of their own: that one of two workers takes none of them has a chance of 1 in 2,000."""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    options = ("--workers=2", f"--state={tmp_path / 'state'}", f"--index-folder={tmp_path / 'index'}")
    with serving(tmp_path, *options, "--open") as made:
        until(lambda: len(made.children()) == 2)
        assert answered(made, lambda client: client.get("/readyz").status_code) == {200}
        yield made


def answered(running: Running, ask: Callable[[httpx.Client], Any]) -> set[Any]:
    """What all workers say: on new connections, which the kernel deals out."""
    found = set()
    for _ in range(EVERY_WORKER):
        with httpx.Client(base_url=running.url, timeout=30.0) as client:
            found.add(ask(client))
    return found


def asked(version: str, **changes: Any) -> dict[str, Any]:
    return {"mode": "profile", "bundle_version": version, "profile": [0.1] * DIM, "top_k": 1_000} | changes


def shows(version: str, item_id: str) -> Callable[[httpx.Client], bool]:
    def ask(client: httpx.Client) -> bool:
        answer = client.post("/v1/recommendations", json=asked(version)).json()
        return item_id in {one["item_id"] for one in answer["recommendations"]}

    return ask


def ok(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def put(running: Running, *items: dict[str, Any]) -> None:
    ok(httpx.put(f"{running.url}/v1/items", json={"items": list(items)}, timeout=30.0))


def test_an_item_is_searchable_on_every_worker_within_a_second(running: Running, tmp_path: Path) -> None:
    version = Bundle.load(tmp_path / "b").version
    put(running, {"item_id": "warm", "title": "Thing"})  # the first new item is what the content map is learned for
    until(lambda: answered(running, shows(version, "warm")) == {True})
    for at in range(3):
        put(running, {"item_id": f"new-{at}", "title": "Thing", "category": "shelf 1", "price": 3.0})
        put(running, {"item_id": f"sku-{at}", "available": False})
        changed = time.monotonic()
        time.sleep(0.7)
        assert answered(running, shows(version, f"new-{at}")) == {True}
        assert answered(running, shows(version, f"sku-{at}")) == {False}
        assert time.monotonic() - changed < 10.0


def test_a_killed_worker_loses_nothing(running: Running, tmp_path: Path) -> None:
    version = Bundle.load(tmp_path / "b").version
    for at in range(8):
        put(running, {"item_id": f"new-{at}", "title": "Thing"}, {"item_id": f"sku-{at}", "available": False})
        if at in (2, 5):
            victim = min(running.children())
            os.kill(victim, signal.SIGKILL)
            until(lambda gone=victim: gone not in running.children() and len(running.children()) == 2)  # type: ignore[misc]
            until(lambda: _all_answer(running))
    time.sleep(0.7)
    expected = {f"new-{at}" for at in range(8)} | {f"sku-{at}" for at in range(8, 40)}

    def listed(client: httpx.Client) -> frozenset[str]:
        answer = ok(client.post("/v1/recommendations", json=asked(version)))
        return frozenset(one["item_id"] for one in answer["recommendations"])

    assert answered(running, listed) == {frozenset(expected)}
    assert "Traceback" not in running.log.read_text()


def _all_answer(running: Running) -> bool:
    try:
        return answered(running, lambda client: client.get("/healthz").status_code) == {200}
    except httpx.TransportError:  # of the worker that was killed
        return False


class Load:
    """Threads that ask all the time; whatever was not answered well is kept."""

    def __init__(self, running: Running, versions: list[str]) -> None:
        self.failures: list[str] = []
        self.current: Counter[str] = Counter()
        self.n = 0
        self._running, self._versions = running, versions
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(at,)) for at in range(4)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, at: int) -> None:
        while not self._stopped.is_set():
            with httpx.Client(base_url=self._running.url, timeout=30.0) as client:
                for version in self._versions * 10:
                    try:
                        self._one(client, version, at)
                    except Exception as error:  # noqa: BLE001  # a failed request is what is looked for
                        self.failures.append(repr(error))

    def _one(self, client: httpx.Client, version: str, at: int) -> None:
        changes: dict[str, Any] = [
            {"top_k": 10},
            {"profile": None, "top_k": 10},
            {"filter": {"category": "shelf 1"}},
            {"diversity": 0.5, "top_k": 5, "rules": {"cap": [{"by": "category", "most": 2}]}},
        ][at]
        cursor = None
        for _ in range(2):
            answer = client.post("/v1/recommendations", json=asked(version, **changes) | {"cursor": cursor})
            if answer.status_code != 200 or answer.json()["bundle_version"] != version:
                self.failures.append(answer.text)
                return
            cursor = answer.json()["cursor"]
        listed = ok(client.get("/v1/bundles"))["bundles"]
        [current] = [one["version"] for one in listed if one["current"]]
        if {one["version"] for one in listed} != set(self._versions):
            self.failures.append(str(listed))
        self.current[current] += 1
        ok(client.get(f"/v1/catalogue/{version}/changes"))
        ok(client.get("/v1/items/sku-9"))
        self.n += 5


def test_bundles_and_items_change_under_load_and_no_request_fails(running: Running, tmp_path: Path) -> None:
    first = Bundle.load(tmp_path / "b").version
    second = make_bundle(tmp_path / "second", seed=1)
    stores = Stores.open(url_of(str(tmp_path / "state")))
    stores.bundles.add("shop", second.folder, int(time.time()), activate=False)
    assert (
        ok(httpx.post(f"{running.url}/v1/bundles/{second.version}/activate", timeout=60))["version"] == second.version
    )
    both = frozenset((first, second.version))

    def versions(client: httpx.Client) -> frozenset[str]:
        return frozenset(one["version"] for one in ok(client.get("/v1/bundles"))["bundles"])

    until(lambda: answered(running, versions) == {both})
    with Load(running, [first, second.version]) as load:
        for at in range(8):
            put(running, {"item_id": f"new-{at}", "title": "Thing", "category": "shelf 1"})
            put(running, {"item_id": f"sku-{at}", "available": at % 2 == 0, "price": float(at)})
            other = "previous" if at % 2 == 0 else second.version
            ok(httpx.post(f"{running.url}/v1/bundles/{other}/activate", timeout=30.0))
            time.sleep(0.5)
    assert load.failures == []
    assert load.n > 100
    assert set(load.current) == both

    def current(client: httpx.Client) -> str:
        return str(ok(client.get("/v1/bundles"))["bundles"][0]["version"])

    # eight times back and forth is where it began, on every worker
    assert until(lambda: answered(running, current) == {second.version}) < 5.0
    refused = httpx.post(f"{running.url}/v1/bundles/0123456789abcdef/activate", timeout=60)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "unknown_bundle")
    stores.close()
    assert "Traceback" not in running.log.read_text()
