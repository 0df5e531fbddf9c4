"""The dashboard's figures are what was asked: counts alone, and of one's own app alone."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from federation.storage.database import open_engine, sqlite_url
from serving.access import SCOPES
from serving.http.app import create_app
from serving.http.web_pages import PAGES, page_policy
from serving.state.schema import traffic as table
from serving.state.stores import Stores
from serving.state.traffic import KEPT_S, KINDS, Traffic
from tests.federation.service.a_lineage import a_line, stop
from tests.serving.asked import ASKED, ask_everything
from tests.serving.keyed import Keyed, keyed_service
from tests.shop import DIM, InProcess, make_bundle

NOW = 1_800_000_000


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[Keyed]:
    stores = Stores.open(sqlite_url(tmp_path / "counts.sqlite"))
    with keyed_service(tmp_path, stores=stores) as made:
        yield made
    stores.close()


def figures(keyed: Keyed, app: str = "shop-a", **query: int) -> dict[str, Any]:
    with keyed.client(app, "analyst") as client:
        answer = client.get("/v1/dashboard", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def counted(answer: dict[str, Any]) -> dict[tuple[str, str], int]:
    found: Counter[tuple[str, str]] = Counter()
    for one in answer["traffic"]:
        found[one["kind"], one["outcome"]] += one["n"]
    return dict(found)


def test_the_figures_are_what_was_asked_once_counts_are_written(keyed: Keyed) -> None:
    with keyed.client() as client:
        ask_everything(client, keyed.bundle.version, [0.25] * DIM)
    assert figures(keyed)["traffic"] == []
    now = int(time.time())
    keyed.app.state.stores.traffic.flush(now)
    found = figures(keyed)
    assert counted(found) == ASKED | {("other", "ok"): 1}  # the figures that were asked for before
    assert all(one["minute"] % 60 == 0 and now - 120 < one["minute"] <= now for one in found["traffic"])
    assert {name for one in found["traffic"] for name in one} == {"minute", "kind", "outcome", "n"}
    assert (found["app"], found["hours"], found["epsilon"], found["rounds"]) == ("shop-a", 6, None, [])
    (bundle,) = found["bundles"]
    assert (bundle["version"], bundle["current"]) == (keyed.bundle.version, True)
    assert (bundle["n_items"], bundle["dim"]) == (keyed.bundle.table.n_items, DIM)


@pytest.mark.parametrize("scope", sorted({*SCOPES} - {"analyst"}))
def test_another_scope_does_not_open_it(keyed: Keyed, scope: str) -> None:
    with keyed.client("shop-a", scope) as client:
        answer = client.get("/v1/dashboard")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_missing")


def test_without_a_key_there_is_the_page_and_no_figure(keyed: Keyed) -> None:
    with keyed.bare() as client:
        assert client.get("/v1/dashboard").status_code == 401
        page = client.get("/dashboard")
    assert (page.status_code, page.content) == (200, (PAGES / "dashboard.html").read_bytes())
    assert page.headers["content-security-policy"] == page_policy(page.content)


def test_another_apps_traffic_bundles_and_rounds_are_not_shown(tmp_path: Path) -> None:
    line = a_line(tmp_path / "line")
    task = line.open()
    line.fill(task, per_block=4)
    line.settle()
    with keyed_service(tmp_path, coordinator=line.coordinator) as keyed:
        with keyed.client("shop-a") as client:
            ask_everything(client, keyed.bundle.version, [0.25] * DIM)
        keyed.app.state.stores.traffic.flush(int(time.time()))
        found = figures(keyed, "shop-b")
        assert counted(figures(keyed, "shop-a")) == ASKED
    assert found["traffic"] == []
    assert [one["n_items"] for one in found["bundles"]] == [30]
    assert (found["rounds"], found["epsilon"]) == ([], None)  # they are the app shop's
    stop(line)


def test_a_planted_profile_item_and_key_are_neither_in_the_answer_nor_in_the_store(
    keyed: Keyed, tmp_path: Path
) -> None:
    profile = np.linspace(0.1234567, 0.7654321, DIM).astype("<f4")
    ask = {"mode": "profile", "bundle_version": keyed.bundle.version, "exclude": ["planted-item"], "context": "sku-7"}
    sent = [profile.tolist(), base64.b64encode(profile.tobytes()).decode()]
    with keyed.client() as client:
        for one in sent:
            assert client.post("/v1/recommendations", json=ask | {"profile": one}).status_code == 200
        assert client.get("/v1/items/planted-item/similar").status_code == 404
        assert client.get("/v1/items/sku-7/similar?planted=planted-item").status_code in (200, 422)
    stores = keyed.app.state.stores
    stores.traffic.flush(int(time.time()))
    answer = json.dumps(figures(keyed)).encode()
    written = b"".join(path.read_bytes() for path in tmp_path.glob("counts.sqlite*"))
    assert b"profile" in written  # the mode: what is looked at below is what was written
    planted = [b"planted", b"sku-7", profile.tobytes(), profile[:1].tobytes(), sent[1].encode()]
    planted += [repr(value)[:7].encode() for value in profile.tolist()]
    planted += [key.encode() for key in keyed.keys.values()]
    for content in (answer, written):
        assert [one for one in planted if one in content] == []


def test_the_stores_columns_are_the_agreed_ones() -> None:
    assert {column.name for column in table.columns} == {"app", "minute", "kind", "outcome", "n"}


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(KINDS), st.sampled_from([200, 304, 422, 503]),
                       st.integers(NOW, NOW + 600), st.booleans(), st.booleans()), max_size=30)
)  # fmt: skip
def test_several_workers_counts_add_up(asked: list[tuple[str, str, int, int, bool, bool]]) -> None:
    engine = open_engine("sqlite://")
    workers = Traffic(engine), Traffic(engine)
    expected: Counter[tuple[str, int, str, str]] = Counter()
    for app, kind, status, at, second, flush in asked:
        workers[second].count(app, kind, status, at)
        expected[app, at // 60 * 60, kind, {2: "ok", 3: "ok", 4: "refused", 5: "error"}[status // 100]] += 1
        if flush:
            workers[second].flush(at)
    for worker in workers:
        worker.flush(NOW + 600)
    found = {(app, one.minute, one.kind, one.outcome): one.n for app in "ab" for one in workers[0].since(app, NOW - 60)}
    assert found == expected
    engine.dispose()


def test_counts_that_could_not_be_written_are_kept_for_the_next_time(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "counts.sqlite"))
    counts = Traffic(engine)
    counts.count("a", "profile", 200, NOW)
    table.drop(engine)
    with pytest.raises(OperationalError):
        counts.flush(NOW)
    table.create(engine)
    counts.count("a", "profile", 200, NOW)
    counts.flush(NOW)
    counts.flush(NOW)  # nothing is counted twice
    assert [one.n for one in counts.since("a", 0)] == [2]
    engine.dispose()


def test_counts_older_than_a_week_are_forgotten(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "counts.sqlite"))
    counts = Traffic(engine)
    for at in (NOW, NOW + 120):
        counts.count("a", "profile", 200, at)
    counts.flush(NOW)
    counts.flush(NOW + KEPT_S + 60)
    assert [one.minute for one in counts.since("a", 0)] == [NOW + 120]
    engine.dispose()


def test_a_rounds_version_shows_its_own_figure_never_the_one_it_began_from(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    trainings: list[dict[str, Any]] = [{"round": {"holdout_ndcg": 0.0}}, {"round": {}}, {}]
    manifests = [{**bundle.manifest, "training": {"holdout_ndcg": 0.25, **one}} for one in trainings]
    shown = [replace(bundle, manifest=one) for one in manifests]
    for one, expected in zip(shown, (0.0, None, 0.25), strict=True):
        with httpx.Client(transport=InProcess(create_app([one])), base_url="http://shop.test") as client:
            assert client.get("/v1/dashboard").json()["bundles"][0]["holdout_ndcg"] == expected
