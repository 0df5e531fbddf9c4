"""Two arms that draft every list together: what a definition may say, and what any look at their sums concludes."""

from __future__ import annotations

import json
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from data.errors import DataError
from recsys.experiments.analysis.analysis import Look, analyse
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.analysis.preferences import preference_sums
from recsys.experiments.definition.amendments import fixed_hash
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.definition.definition_file import canonical_json, content_hash, experiment_of
from recsys.experiments.results.results import results
from tests.recsys.experiments.an_experiment import an_experiment, an_interleaving, raw_interleaving
from tests.vectors.interleaving import contributions

FIVE = an_interleaving(looks={"count": 5}, privacy={"epsilon": None, "min_reports": 50})
ANY_TIME = an_interleaving(looks={"method": "always_valid", "count": 5}, privacy={"epsilon": None, "min_reports": 50})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"design": "crossed", "metrics": [], "outcomes": []}, r"design='crossed': must be one of parallel, interl"),
        (
            {"arms": [{"name": "global"}, *raw_interleaving()["arms"][1:], {"name": "third"}]},
            r"arms=3: must be 2 of eq",
        ),
        ({"arms": [{"name": "global", "weight": 3}, {"name": "b"}]}, r"arms=2: must be 2 of equal weight"),
        ({"arms": [{"name": "global"}, {"name": "b"}]}, r"settings of interleaved arms must differ"),
        (
            {"arms": [{"name": "global"}, {"name": "b", "settings": {"mode": "cluster"}}]},
            r"arm b: settings\.mode of an interleaved arm='cluster': must be one of None, device",
        ),
        (
            {"arms": [{"name": "global"}, {"name": "b", "settings": {"model": "local"}}]},
            r"arm b: settings\.model of an interleaved arm='local': must be one of None, personalized, ",
        ),
        (
            {"arms": [{"name": "global"}, {"name": "b", "settings": {"bundle_version": "b-2"}}]},
            r"arm b: settings\.bundle_version: must be left out",
        ),
        ({"metrics": [{"name": "m", "numerator": "x", "role": "primary"}]}, r"measures? the preference alone"),
        ({"outcomes": [{"name": "x", "event": "click"}]}, r"measures? the preference alone"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        experiment_of(raw_interleaving(**changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cap": 2.5}, r"metric preference: cap=2\.5: must be 1\.\.100 sessions, whole"),
        ({"role": "secondary"}, r"must be primary and up for a preference"),
        ({"covariate": "x"}, r"covariate, centre: must not be given for a preference"),
    ],
)
def test_a_preference_is_a_primary_metric_of_whole_sessions(change: dict[str, Any], message: str) -> None:
    metric = {"name": "preference", "kind": "preference", "numerator": "preference", "role": "primary", **change}
    with pytest.raises(DataError, match=message):
        experiment_of(raw_interleaving(metrics=[metric]))


def test_a_preference_needs_interleaved_lists() -> None:
    with pytest.raises(DataError, match="a preference needs design=interleaved"):
        an_experiment(metrics=raw_of(an_interleaving())["metrics"])


def test_the_design_is_in_the_hash_and_older_definitions_keep_theirs() -> None:
    made = experiment_of(raw_interleaving())
    assert made == an_interleaving() == experiment_of(raw_of(made))
    assert content_hash(made) != content_hash(an_interleaving(cap=2))
    plain = an_experiment()
    assert "design" not in canonical_json(plain)
    assert content_hash(plain).hex() == "8dcc351f50b7d6a5fb9ef9490475bd0774e043735eb181d5862ce4f64c0fdefc"
    assert fixed_hash(plain).hex() == "3baa15ee03e957265aa081356f28bd8887acc246cfb6e1d571e39a000d41e42d"


def raw_of(experiment: Experiment) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(canonical_json(experiment))
    return found


def looks_of_rows(x: np.ndarray, parts: int = 5) -> list[Look]:
    """Cumulative sums of shoppers with these preferences, who came in so many equal parts."""
    stops = [len(x) * (k + 1) // parts for k in range(parts)]
    return [
        Look(k + 1, {"both": [preference_sums(stop, float(x[:stop].sum()), float((x[:stop] ** 2).sum()))]})
        for k, stop in enumerate(stops)
    ]


def test_a_single_look_is_students_test() -> None:
    x = np.random.default_rng(3).integers(-3, 4, 400).astype(float) + 0.0
    x[:60] = 1.0
    one = an_interleaving(looks={"count": 1}, privacy={"epsilon": None, "min_reports": 50})
    analysis = analyse(one, looks_of_rows(x, 1))
    (effect,), theirs = analysis.effects, stats.ttest_1samp(x, 0.0)
    assert (effect.arm, effect.metric, effect.shoppers) == ("personal", "preference", 400.0)
    assert effect.effect == pytest.approx(x.mean())
    assert effect.p_value == pytest.approx(theirs.pvalue, abs=1e-9)
    low, high = theirs.confidence_interval(0.95)
    assert (effect.low, effect.high) == pytest.approx((low, high), abs=1e-9)
    assert effect.relative_low is None or np.isnan(effect.relative_low)
    assert analysis.sample_ratio is None


@pytest.mark.parametrize(("experiment", "runs"), [(FIVE, 120), (ANY_TIME, 600)])
def test_shoppers_who_prefer_nobody_are_believed_to_at_the_nominal_rate_over_all_looks(
    experiment: Experiment, runs: int
) -> None:
    rng = np.random.default_rng(11)
    rejected = 0
    for _ in range(runs):
        x = (rng.binomial(3, 0.2, 400) - rng.binomial(3, 0.2, 400)).astype(float)
        (effect,) = analyse(experiment, looks_of_rows(x)).effects
        rejected += (effect.adjusted_p or 0.0) <= 0.05
    assert rejected / runs <= 0.05 + 2 * (0.05 * 0.95 / runs) ** 0.5


@pytest.mark.parametrize(
    ("share", "state", "words"),
    [
        (0.35, "better", "Shoppers click personal rather than global"),
        (0.08, "worse", "Shoppers click global rather than personal"),
        (0.2, "no_difference_shown", "No difference in preference was shown"),
    ],
)
def test_the_verdict_says_what_the_sums_say(share: float, state: str, words: str) -> None:
    rng = np.random.default_rng(5)
    x = (rng.binomial(3, share, 600) - rng.binomial(3, 0.2, 600)).astype(float)
    shown = results(FIVE, looks_of_rows(x))
    (verdict,) = shown["verdicts"]
    assert (verdict["arm"], verdict["state"]) == ("personal", state)
    assert verdict["text"].startswith(words)
    assert shown["arms"]["both"]["all"]["totals"]["preference"] == x.sum()
    json.dumps(shown, allow_nan=False)


def test_too_few_shoppers_have_no_figure() -> None:
    shown = results(FIVE, looks_of_rows(np.array([1.0] * 30 + [-1.0] * 19)))
    assert shown["arms"]["both"]["all"] is None
    assert shown["verdicts"][0]["state"] == "too_few"
    assert shown["analysis"]["effects"][0]["effect"] is None


SHOPPERS = st.lists(
    st.lists(st.lists(st.sampled_from([-1, 0, 1]), max_size=4), min_size=3, max_size=3), min_size=2, max_size=12
)


@given(SHOPPERS, st.randoms(use_true_random=False))
def test_order_and_batching_change_no_sum(shoppers: list[list[list[int]]], rng: Any) -> None:
    layout = layout_of(FIVE)
    windowed = [sum(contributions(layout, windows, 3)) for windows in shoppers]
    at_once = [contributions(layout, [[one for window in windows for one in window]], 3)[0] for windows in shoppers]
    rng.shuffle(at_once)
    total = reduce(add, windowed)
    assert (total == reduce(add, at_once)).all()
    (sums,) = layout.sums(total)["both"]
    x = [min(f.count(1), 3) - min(f.count(-1), 3) for f in ([one for w in s for one in w] for s in shoppers)]
    assert (sums.n, sums.totals["preference"]) == (len(x), sum(x))
    assert sums.products["preference", "preference"] == sum(value**2 for value in x)
