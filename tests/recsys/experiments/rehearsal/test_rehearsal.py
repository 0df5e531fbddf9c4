"""A rehearsal is the live experiment on a log: same assignment, same facts, same sums; only answers are simulated."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from data.dataset import Dataset
from data.errors import DataError
from data.interactions import EventKind
from federation.device.experiments.enrolment import facts_of
from federation.device.state import Event
from federation.lab.recipes import recipe
from federation.lab.rehearsal import plan_on, rehearse_on
from federation.learning.experiment_sum import experiment_plan
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.definition.definition import DAY_S, Experiment, OutcomeEvent
from recsys.experiments.definition.definition_file import experiment_of
from recsys.experiments.device.outcomes import MICROS
from recsys.experiments.rehearsal.arm_lists import ArmLists
from recsys.experiments.rehearsal.log_planning import arm_noise, share_of_two_arms
from recsys.experiments.rehearsal.logged import VISIT_US, LoggedVisits, move_to_log
from recsys.experiments.rehearsal.planning import spread
from recsys.experiments.rehearsal.rehearsal import Rehearsal
from recsys.experiments.rehearsal.response import answers, scope_of
from tests.recsys.experiments.an_experiment import an_experiment
from tests.recsys.replay.replay_logs import dataset_of, small_dataset

METRICS = [
    {"name": "clicks", "numerator": "clicks", "cap": 30.0, "role": "primary"},
    {"name": "revenue", "numerator": "spent", "cap": 50.0, "covariate": "clicks_before", "covariate_cap": 30.0},
    {"name": "conversion", "kind": "proportion", "numerator": "converted"},
]
OUTCOMES = [
    {"name": "clicks", "event": "click"},
    {"name": "spent", "event": "purchase", "measure": "value"},
    {"name": "converted", "event": "purchase", "measure": "any"},
    {"name": "clicks_before", "event": "click", "before_days": 2},
]
PRIVACY = {"epsilon": None, "min_reports": 20, "max_reports": 1_000}


def definition(**changes: Any) -> Experiment:
    made = an_experiment(metrics=METRICS, outcomes=OUTCOMES, outcome_days=1, privacy=PRIVACY, **changes)
    return replace(made, ends_at=made.starts_at + 2 * DAY_S)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    made = small_dataset(1, n_users=150, n_items=60, n_events=4_000, days=8)
    prices = pl.Series(np.random.default_rng(0).integers(1, 9, made.log.height), dtype=pl.Float64)
    return replace(made, log=made.log.with_columns(price=prices))


def rehearsed(dataset: Dataset, lift: float, seed: int = 0, **changes: Any) -> Rehearsal:
    made = recipe("purchases")
    quick = replace(made, mix=None, train=replace(made.train, rounds=3, dim=8))
    return rehearse_on(dataset, definition(**changes), quick, lift=lift, seed=seed)


def test_a_lift_of_0_is_an_a_a_whose_arms_are_equal_to_the_last_bit(dataset: Dataset) -> None:
    found = rehearsed(dataset, 0.0)
    assert all(values["global"] == values["personal"] for values in found.truth.values())
    assert found.protocol["exposed"]["personal"] > 40


def test_a_lift_helps_the_arm_that_lists_more_of_what_was_wanted(dataset: Dataset) -> None:
    found = rehearsed(dataset, 2.0)
    listed = found.protocol["listed"]
    assert 0.0 < min(listed.values()) < max(listed.values()) < 1.0
    clicks = found.truth["clicks"]
    assert (clicks["personal"] > clicks["global"]) is (listed["personal"] > listed["global"])


def test_a_seed_is_a_rehearsal(dataset: Dataset) -> None:
    assert rehearsed(dataset, 0.5, 3).to_dict() == rehearsed(dataset, 0.5, 3).to_dict()
    assert rehearsed(dataset, 0.5, 3).protocol["assigned"] != rehearsed(dataset, 0.5, 4).protocol["assigned"]


def test_the_sums_hold_everybody_who_came_in_once(dataset: Dataset) -> None:
    found = rehearsed(dataset, 0.5)
    last = found.looks[-1]
    assert last.number == found.experiment.looks.count
    for arm, cells in last.arms.items():
        assert sum(sums.n for sums in cells) == found.protocol["exposed"][arm]
    assert [one["state"] for one in found.windows] == ["summed"] * 3


def test_a_rehearsal_ranks_by_the_mix_of_a_recipe_that_has_one(dataset: Dataset) -> None:
    made = recipe("purchases")
    mixed = replace(made, train=replace(made.train, rounds=3, dim=8))
    assert mixed.mix is not None
    listed = [
        rehearse_on(dataset, definition(), chosen, lift=0.0).protocol["listed"]
        for chosen in (mixed, replace(mixed, mix=None))
    ]
    assert listed[0]["global"] == listed[1]["global"]
    assert listed[0]["personal"] != listed[1]["personal"]


def test_noise_of_the_plan_is_in_the_sums_and_is_accounted_for(dataset: Dataset) -> None:
    privacy = {"epsilon": 8.0, "min_reports": 20, "max_reports": 1_000}
    made = recipe("purchases")
    quick = replace(made, mix=None, train=replace(made.train, rounds=0, dim=8))
    noisy = rehearse_on(dataset, replace(definition(), privacy=an_experiment(privacy=privacy).privacy), quick, lift=0.5)
    exact = rehearse_on(dataset, definition(), quick, lift=0.5)
    for arm in ("global", "personal"):
        for loud, quiet in zip(noisy.looks[-1].arms[arm], exact.looks[-1].arms[arm], strict=True):
            assert quiet.exact
            assert loud.noise.n > 0
            assert 0 < abs(loud.n - quiet.n) < 6 * loud.noise.n**0.5


def test_facts_of_a_log_are_those_of_a_device(dataset: Dataset) -> None:
    logged = LoggedVisits.of(dataset)
    log, head = logged.log, np.zeros(logged.log.n_items, dtype=bool)
    for user in range(10):
        rows = log.of(user)
        events = tuple(
            Event(int(log.time[row]), f"i{log.item_idx[row]}", EventKind(int(log.kind[row])))
            for row in range(rows.start, rows.stop)
        )
        at = int(log.time[(rows.start + rows.stop) // 2])
        assert logged.facts(user, at, head) == pytest.approx(facts_of(events, None, at))


def test_visits_end_with_half_an_hour_of_silence_and_never_span_shoppers() -> None:
    minute = 60_000_000
    time = np.array([0, 30 * minute, 60 * minute + 1, 60 * minute + 1], dtype=np.int64)
    logged = LoggedVisits.of(dataset_of(np.array([0, 0, 0, 1]), np.arange(4), np.zeros(4, int), time, 2, 4))
    assert 30 * minute == VISIT_US
    assert logged.visit.tolist() == [0, 0, 1, 2]
    assert (logged.first.tolist(), logged.last.tolist(), logged.user.tolist()) == ([0, 2, 3], [1, 2, 3], [0, 0, 1])


def test_only_what_one_list_held_and_the_other_did_not_happens_more_or_less_often() -> None:
    kinds = np.array([EventKind.VIEW] * 4 + [EventKind.PURCHASE] * 2)
    items = np.array([0, 1, 2, 3, 0, 1])
    log = dataset_of(np.zeros(6, int), items, kinds, np.arange(6), 1, 5).interactions()
    scope = scope_of(log, np.arange(6), np.zeros(6, np.int64), np.ones(6, dtype=bool))
    assert scope.added == {OutcomeEvent.PURCHASE: 0.5}
    lists = {"old": np.array([[1, 2, -1]], np.int32), "new": np.array([[0, 2, 4]], np.int32)}
    copies, brought, both = np.zeros(6), 0.0, 0
    for seed in range(2_000):
        made = answers(log, scope, lists, "old", 1.5, np.random.default_rng(seed))
        assert made["old"].copies.tolist() == [1] * 6
        found = made["new"]
        copies += found.copies
        brought += found.brought[OutcomeEvent.PURCHASE].sum()
        both += int(found.copies[1] == found.copies[5])
    mean = copies / 2_000
    assert mean[[2, 3, 4]].tolist() == [1.0, 1.0, 1.0]
    assert mean[0] == pytest.approx(2.5, abs=0.05)
    assert mean[1] == pytest.approx(1 / 2.5, abs=0.05)
    assert both == 2_000  # the purchase goes with its click
    assert brought / 2_000 == pytest.approx(1.5 * 0.5, abs=0.05)


def test_lists_are_made_of_what_was_before_the_moment_alone(dataset: Dataset) -> None:
    class Counting:
        name = "counting"

        def scores(self, histories: Any, users: Any, now: Any) -> np.ndarray:
            assert (histories.time < np.repeat(now, histories.counts)).all()
            made = np.zeros((len(users), histories.n_items), np.float32)
            np.add.at(made, (histories.user_idx, histories.item_idx), 1)
            return made

    logged = LoggedVisits.of(dataset)
    own = ArmLists(Counting(), np.eye(logged.log.n_items, dtype=np.float32), k=3)
    ends = logged.first[5:50]
    lists = own.at(logged.log, logged.user[5:50], ends, logged.log.time[ends])
    varied = replace(own, diversity=0.3).at(logged.log, logged.user[5:50], ends, logged.log.time[ends])
    assert lists.shape == varied.shape == (45, 3)
    assert (lists[:, 0] == varied[:, 0]).all()  # the best stays first


def test_an_experiment_is_moved_to_the_end_of_a_log_that_does_not_cover_it(dataset: Dataset) -> None:
    log = dataset.interactions()
    moved = move_to_log(definition(), log)
    end = moved.ends_at + moved.outcome_days * DAY_S
    assert 0 <= end - int(log.time.max()) // MICROS <= DAY_S
    assert moved.ends_at - moved.starts_at == 2 * DAY_S
    assert move_to_log(moved, log) == moved
    assert layout_of(moved) == layout_of(definition())
    with pytest.raises(DataError, match="must be shorter than the log's 7 days"):
        move_to_log(replace(definition(), ends_at=definition().starts_at + 30 * DAY_S), log)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eligibility": [{"fact": "events", "least": 1e6}]}, "no shopper"),
        ({"outcomes": [*OUTCOMES, {"name": "x", "event": "list", "measure": "value", "before_days": 1}]}, "rehearsed"),
    ],
)
def test_what_cannot_be_rehearsed_is_said(dataset: Dataset, changes: dict[str, Any], message: str) -> None:
    made = replace(
        an_experiment(**({"metrics": METRICS, "outcomes": OUTCOMES, "outcome_days": 1, "privacy": PRIVACY} | changes))
    )
    quick = replace(recipe("purchases"), train=replace(recipe("purchases").train, rounds=0, dim=4))
    with pytest.raises(DataError, match=message):
        rehearse_on(dataset, replace(made, ends_at=made.starts_at + 2 * DAY_S), quick, lift=0.1)


def test_a_window_without_min_reports_is_lost_as_it_is_live(dataset: Dataset) -> None:
    privacy = an_experiment(privacy={"epsilon": None, "min_reports": 900, "max_reports": 1_000}).privacy
    quick = replace(recipe("purchases"), train=replace(recipe("purchases").train, rounds=0, dim=4))
    found = rehearse_on(dataset, replace(definition(), privacy=privacy), quick, lift=0.1)
    assert [one["failure"] for one in found.windows] == ["has no min_reports=900"] * 3
    assert found.looks == ()
    assert found.to_dict()["results"]["verdicts"] is None


def test_the_example_of_the_page_is_a_definition_that_the_sample_log_covers() -> None:
    page = (Path(__file__).parents[4] / "docs" / "experiments-rehearsal.md").read_text()
    found = experiment_of(yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0]))
    log = Dataset.open("sample:online-retail").interactions()
    moved = move_to_log(found, log)
    assert int(log.time.min()) < moved.starts_at * MICROS < moved.ends_at * MICROS < int(log.time.max())


def test_a_plan_is_of_the_logs_own_outcomes_and_of_the_plans_noise(dataset: Dataset) -> None:
    made = definition()
    found = plan_on(dataset, made)
    control = rehearsed(dataset, 0.0).truth
    for row in found["metrics"]:
        quiet = row["designs"]["fixed"]["plain"]["shoppers"]
        assert row["value"] == pytest.approx(control[row["metric"]]["global"], rel=0.3)  # others are in no arm, or late
        assert quiet > 4
    assert {row["noise"] for row in found["metrics"]} == {0.0}
    privacy = an_experiment(privacy={"epsilon": 1.0, "min_reports": 20, "max_reports": 1_000}).privacy
    loud = plan_on(dataset, replace(made, privacy=privacy))
    for row, other in zip(loud["metrics"], found["metrics"], strict=True):
        assert row["designs"]["fixed"]["plain"]["shoppers"] > other["designs"]["fixed"]["plain"]["shoppers"]
    assert found["shoppers_per_day"] == pytest.approx(found["log_shoppers"] / 2)


def test_the_noise_of_a_plan_is_what_the_sums_of_a_rehearsal_carry(dataset: Dataset) -> None:
    privacy = an_experiment(privacy={"epsilon": 8.0, "min_reports": 20, "max_reports": 1_000}).privacy
    made = replace(definition(), privacy=privacy)
    sums = ArmSums.from_rows({"clicks": [1.0, 2.0], "spent": [1.0, 5.0], "converted": [0.0, 1.0],
                              "clicks_before": [0.0, 2.0]}, made.metrics)  # fmt: skip
    sigma = experiment_plan(made).sigma
    layout = layout_of(made)
    cells = layout.sums(np.zeros(layout.length, int), sigma=sigma, windows=3)["global"]
    noise = reduce(add, cells).noise
    assert arm_noise(made, sigma) == noise
    planned = spread(made.primary, sums, noise)
    assert planned.noise == pytest.approx(noise.totals["clicks"] + 1.5**2 * noise.n)


def test_two_arms_share_of_a_layer() -> None:
    weights = [{"name": "global", "weight": 2}, {"name": "a", "weight": 1}, {"name": "b", "weight": 1}]
    made = definition(arms=weights, layer={"name": "home", "start": 0, "stop": 5_000}, holdout_share=0.1)
    assert share_of_two_arms(made) == pytest.approx(0.5 * 0.9 * 3 / 4)
