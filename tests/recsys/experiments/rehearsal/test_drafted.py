"""Interleaving rehearsed on a log: drafts of both arms, sessions by their clicks, and the sums of the live design."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from data.dataset import Dataset
from data.errors import DataError
from federation.lab.recipes import recipe
from federation.lab.rehearsal import plan_on, rehearse_on
from recsys.experiments.analysis.verdict_report import report_html
from recsys.experiments.definition.definition import DAY_S, Experiment
from recsys.experiments.definition.metric_definitions import LOST, WON
from recsys.experiments.device.outcomes import MICROS
from recsys.experiments.rehearsal.drafted import DRAFTED, drafts, sessions_of
from recsys.experiments.rehearsal.logged import EnrolledShopper, LoggedVisits
from recsys.experiments.rehearsal.response import Scope, ShopperResponse
from tests.recsys.experiments.an_experiment import an_interleaving
from tests.recsys.replay.replay_logs import dataset_of, small_dataset

PRIVACY = {"epsilon": None, "min_reports": 20, "max_reports": 1_000}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return small_dataset(1, n_users=150, n_items=60, n_events=4_000, days=8)


def an_interleaved(**changes: Any) -> Experiment:
    made = an_interleaving(outcome_days=1, privacy=PRIVACY, segments=[], eligibility=[], **changes)
    return replace(made, ends_at=made.starts_at + 2 * DAY_S)


def test_an_interleaved_design_is_rehearsed_by_its_own_sums(dataset: Dataset) -> None:
    made = recipe("purchases")
    quick = replace(made, mix=None, train=replace(made.train, rounds=3, dim=8))
    found = rehearse_on(dataset, an_interleaved(), quick, lift=0.5)
    json.dumps(found.to_dict(), allow_nan=False)
    (both,) = found.looks[-1].arms["both"]
    assert found.protocol["exposed"] == {"both": int(both.n)}
    truth = found.truth["preference"]
    assert truth["global"] == 0.0
    assert both.mean("preference") == pytest.approx(truth["personal"])
    assert truth["personal"] != 0.0
    assert found.to_dict()["rehearsal"]["assumptions"][-1] == DRAFTED
    assert f">{truth['personal']:+.4g}</data>" in report_html(found.to_dict())
    again = rehearse_on(dataset, an_interleaved(), quick, lift=0.5)
    assert again.truth == found.truth


def test_a_session_is_its_lists_clicks_within_half_an_hour_and_counts_when_settled(dataset: Dataset) -> None:
    """Three visits: won by the challenger (a second click is nobody's); the challenger's click too late; lost."""
    minute = 60 * MICROS
    minutes, items = [0, 10, 100, 125, 150, 300], [5, 6, 7, 8, 9, 5]
    times = minute * np.array(minutes)
    logged = LoggedVisits.of(dataset_of(np.zeros(6, int), np.array(items), np.zeros(6, int), times, 1, 10))
    part = EnrolledShopper(0, "global", 0, 0, range(3), 0)
    lists = np.array([[5, 6, 1], [9, 8, -1], [5, 0, -1]], np.int32)
    picked_by = np.array([[1, -1, 0], [1, -1, -1], [0, 1, -1]], np.int8)
    scope = Scope(np.arange(6), logged.visit, np.ones(6, bool), {})
    answer = ShopperResponse(np.array([1, 1, 1, 1, 1, 1]), {})
    found = sessions_of(
        replace(an_interleaved(), starts_at=0, ends_at=DAY_S), logged, [part], (lists, picked_by), scope, answer
    )
    assert found.preference.tolist() == [1, 0, -1]
    assert found.settled_at.tolist() == [30 * minute + 1, 130 * minute + 1, 330 * minute + 1]
    at = [found.values(0, 3, 3, minutes * minute) for minutes in (30, 31, 330, 331)]
    assert [(one[WON], one[LOST]) for one in at] == [(0, 0), (1, 0), (1, 0), (1, 1)]
    gone = replace(answer, copies=np.zeros(6, np.int64))
    assert not sessions_of(an_interleaved(), logged, [part], (lists, picked_by), scope, gone).preference.any()


def test_drafts_are_of_both_arms_and_end_where_both_do() -> None:
    made = {
        "global": np.array([[1, 2, 3], [4, -1, -1]], np.int32),
        "personal": np.array([[7, 8, 9], [-1] * 3], np.int32),
    }
    lists, picked_by = drafts(an_interleaved(), made, np.random.default_rng(0))
    assert lists["global"] is made["global"]
    assert {1, 7} <= set(lists["both"][0].tolist())
    assert [sorted(row) for row in picked_by[:, :2].tolist()] == [[0, 1], [-1, -1]]
    assert lists["both"][1].tolist() == [4, -1, -1]


def test_an_interleaved_design_is_not_planned_on_a_log(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="design=interleaved: cannot be planned on a log"):
        plan_on(dataset, an_interleaved())
