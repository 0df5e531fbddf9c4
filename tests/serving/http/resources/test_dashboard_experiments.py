"""The dashboard's experiments: what the sums of one's own app say, and nothing of an arm below min_reports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from federation.learning.experiment_sum import experiment_plan, window_task
from federation.private_sum.sealing import Suite
from federation.service.round_store import StoredSum
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.definition.definition_file import experiment_of
from tests.browser import chromium, visit
from tests.listening import listening
from tests.recsys.experiments.an_experiment import raw_experiment
from tests.serving.http.resources.test_experiment_routes import DAY, Live, end, live_service, now

MIN_REPORTS = 40


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    made = live_service(tmp_path_factory.mktemp("experiments"))
    begin(made, "personal-home", {"global": 0.2, "personal": 0.8}, shoppers=60)
    begin(made, "few", {"global": 0.2, "personal": 0.8}, shoppers=10)
    begin(made, "theirs", {"global": 0.5, "personal": 0.5}, shoppers=60, app="other")
    made.rounds.store.put("shop", experiment_of(raw_experiment(id="a-draft")), now())
    yield made
    end(made)


def begin(live: Live, name: str, rates: dict[str, float], shoppers: int, app: str = "shop") -> None:
    """Start an experiment and let two of its three windows be summed, each of so many new shoppers an arm."""
    start = now() - 5 * DAY
    raw = raw_experiment(id=name, starts_at=start, ends_at=start + 8 * DAY, outcome_days=1, layer={"name": name},
                         privacy={"epsilon": None, "min_reports": MIN_REPORTS, "max_reports": 1_000})  # fmt: skip
    experiment, store, rng = experiment_of(raw), live.rounds.store, np.random.default_rng(1)
    store.put(app, experiment, now())
    store.start(app, name, now())
    layout = layout_of(experiment)
    for window in range(2):
        total = np.zeros(layout.length, dtype=np.int64)
        for arm, rate in rates.items():
            for _ in range(shoppers):
                bought = float(rng.random() < rate)
                values = {"converted": bought, "spent": 20 * bought * (1 + rng.random()), "spent_before": 0.0,
                          "clicks": float(rng.integers(0, 4)), "lists": float(rng.integers(2, 6))}  # fmt: skip
                risen = layout.risen(values, rng.random((2, len(layout.slots))))
                total += layout.contribution(arm, int(rng.integers(0, 2)), risen)
        task = window_task(experiment, window, f"{app}-{name}-{window}", deadline=now(), come_back_at=now(),
                           suite=Suite.X25519)  # fmt: skip
        assert experiment_plan(experiment).length == layout.length
        store.windows.draft(app, experiment, task)
        store.windows.opened(replace(task, round_public_key=bytes(32), signature=bytes(64)))
        store.windows.close(task.task_id)
        store.windows.keep_sum(task.task_id, 0, StoredSum(2 * shoppers, 0, total.astype(np.int32)))
        store.windows.summed(task.task_id, now())


def shown(live: Live, app: str = "shop") -> dict[str, Any]:
    found = live.asks("analyst", app).get("/v1/dashboard").json()
    return {one["id"]: one for one in found["experiments"]}


def test_they_are_the_apps_own_and_were_started(live: Live) -> None:
    assert set(shown(live)) == {"personal-home", "few"}
    assert set(shown(live, "other")) == {"theirs"}


def test_figures_are_those_of_the_results(live: Live) -> None:
    one = shown(live)["personal-home"]
    found = live.asks("analyst").get("/v1/experiments/personal-home/results").json()
    points = [point for point in found["analysis"]["history"] if point["metric"] == "conversion"]
    assert [e["look"] for e in one["effects"]] == [1, 2] == [point["look"] for point in points]
    assert [e["effect"] for e in one["effects"]] == [point["relative"] for point in points]
    assert [v["text"] for v in one["verdicts"]] == [v["text"] for v in found["verdicts"]]
    assert one["mismatch_p"] == found["analysis"]["sample_ratio"]["p_value"]
    assert (one["look"], one["looks"], one["reports"], one["epsilon"]) == (2, 3, 240, None)


def test_nothing_of_an_arm_below_min_reports_is_in_the_answer(live: Live) -> None:
    one = shown(live)["few"]
    assert (one["effects"], one["mismatch"], one["mismatch_p"]) == ([], None, None)
    assert [verdict["state"] for verdict in one["verdicts"]] == ["too_few"]


def test_nothing_but_sums_is_in_the_answer(live: Live) -> None:
    text = json.dumps(shown(live))
    for word in ("task_id", "words", "totals", "products", "token"):
        assert word not in text


def test_the_page_draws_them_and_asks_nobody_else(live: Live) -> None:
    answer = shown(live)
    key = live.keys["shop", "analyst"]
    with listening(live.app) as url, chromium() as browser:
        for phone in (False, True):
            with visit(browser, f"{url}/dashboard", phone=phone, dark=phone) as seen:
                seen.page.get_by_label("API key").fill(key)
                seen.page.get_by_role("button", name="Show").click()
                box = seen.page.locator("#experiments")
                box.locator("svg").first.wait_for()
                titles = box.locator("svg title").all_text_contents()
                drawn = [e for one in answer.values() for e in one["effects"]]
                assert [title.partition(":")[0] for title in titles] == [f"{e['arm']}, look {e['look']}" for e in drawn]
                for title, effect in zip(titles, drawn, strict=True):
                    assert float(title.partition(": ")[2].split(" ")[0]) == pytest.approx(
                        100 * effect["effect"], rel=5e-3
                    )
                text = box.inner_text()
                for one in answer.values():
                    assert f"{one['id']}, version 1: running" in text
                    assert all(verdict["text"] in text for verdict in one["verdicts"])
                assert "An arm has too few shoppers to be shown." in text
                assert "theirs" not in text
                assert seen.sideways <= 0
                assert seen.complaints == []
                assert {httpx.URL(one).path for one in seen.requests} == {"/dashboard", "/v1/dashboard"}
