"""A state that cannot be used: 503 with the reason in the log, said by readiness, and nothing acknowledged is lost."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from federation.storage.database import sqlite_url, truncate_log
from serving.http.app import create_app
from serving.state.health import StateHealth
from serving.state.stores import Stores
from tests.shop import InProcess, make_bundle

ITEM = {"items": [{"item_id": "sku-1", "price": 2.5}]}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def shop(tmp_path: Path, state: Path) -> Iterator[httpx.Client]:
    stores = Stores.open(sqlite_url(state / "state.sqlite"))
    health = StateHealth(stores.engine)
    health_now: Callable[[], None] = lambda: (setattr(health, "_good_until", 0.0), health.probe())[1]  # noqa: E731
    app = create_app([make_bundle(tmp_path / "b")], stores=stores, state=health_now)
    yield httpx.Client(transport=InProcess(app), base_url="http://shop.test")
    stores.close()


def gone(state: Path) -> None:
    shutil.rmtree(state)


def only_the_file(state: Path) -> None:
    for path in state.glob("state.sqlite*"):
        path.unlink()


def replaced(state: Path) -> None:
    only_the_file(state)
    Stores.open(sqlite_url(state / "state.sqlite")).close()


@pytest.mark.parametrize("lose", [gone, only_the_file, replaced])
def test_a_write_into_a_lost_state_is_refused_and_readiness_says_why(
    shop: httpx.Client, state: Path, lose: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    assert shop.put("/v1/items", json=ITEM).status_code == 200
    assert shop.get("/readyz").status_code == 200
    lose(state)
    with caplog.at_level(logging.ERROR):
        refused = shop.put("/v1/items", json=ITEM)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "state_unavailable")
    assert refused.headers["retry-after"] == "5"
    assert "state: cannot be used (" in caplog.text
    ready = shop.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["error"]["details"] == {"reason": "state"}
    assert "does not answer (" in ready.json()["error"]["message"]
    assert lose is replaced or not (state / "state.sqlite").exists()
    asked = {"mode": "profile", "bundle_version": shop.get("/v1/catalogue/current").headers["location"].split("/")[-1]}
    assert shop.post("/v1/recommendations", json=asked | {"profile": None}).status_code == 200  # lists go on


def test_damaged_pages_are_refused_too(shop: httpx.Client, state: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert shop.put("/v1/items", json=ITEM).status_code == 200
    engine = shop._transport.app.state.stores.engine  # type: ignore[attr-defined]
    truncate_log(engine)
    engine.dispose()
    with (state / "state.sqlite").open("r+b") as file:
        file.seek(100)
        file.write(os.urandom((state / "state.sqlite").stat().st_size - 100))
    refused = shop.put("/v1/items", json=ITEM)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "state_unavailable")
    assert "SQLITE_CORRUPT" in caplog.text
    assert shop.get("/readyz").status_code == 503


def test_a_full_disk_is_named_in_the_log_and_gone_when_there_is_room(
    shop: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    stores = shop._transport.app.state.stores  # type: ignore[attr-defined]
    with stores.engine.connect() as connection:  # a bound on pages is what a full disk is to SQLite
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    many = {"items": [{"item_id": f"new-{n}", "title": "x" * 200} for n in range(400)]}
    refused = shop.put("/v1/items", json=many)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "state_unavailable")
    assert "SQLITE_FULL" in caplog.text
    with stores.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 100000")
    assert shop.put("/v1/items", json=many).status_code == 200
