"""Validation: its figures are those of the parts it is made of, and it finds what was planted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.errors import FederationError
from data.interactions import interactions
from federation.lab.folds import Folds, windows_of
from federation.lab.nested_cv import nested_cross_validation
from federation.lab.recipes import Recipe
from federation.lab.result_cache import ResultCache
from federation.lab.search_space import Parameter
from federation.lab.selection import cross_validate, judge
from federation.lab.tuning import Budget, tune
from federation.lab.validation import SECTIONS, Validation, validate
from tests.federation.learning.test_taste_update import NOW
from tests.federation.simulation.test_training import CONFIG, PROFILE, tastes

LOG = tastes(n_users=150)
QUICK = Recipe(replace(CONFIG, measure_every=0, rounds=6, dim=6, cohort_size=60), PROFILE)


@pytest.fixture(scope="module")
def found() -> Validation:
    return validate(LOG, "temporal", QUICK, folds=2, windows=2, search=Budget(trials=3, settings=2))


def test_every_section_is_json_with_intervals_around_its_means(found: Validation) -> None:
    assert set(SECTIONS) | {"gap", "metric", "protocol", "seed"} == set(found.to_dict())
    json.dumps(found.to_dict(), allow_nan=False)
    frame = found.to_frame()
    assert (frame["low"] <= frame["mean"]).all()
    assert (frame["mean"] <= frame["high"]).all()
    assert set(frame["section"]) == {*SECTIONS, "gap"}


def test_the_figure_over_devices_is_that_of_cross_validation(found: Validation) -> None:
    folds = Folds(LOG, "temporal", windows_of(LOG, 1), 2)
    mean = found.sections["over_devices"]["personalized"]["mean"]
    assert mean == pytest.approx(cross_validate(folds, [QUICK]).mean[0])
    each = [judge(fold, QUICK.train, [QUICK.serve], seed=0)[1].column("0", "ndcg@20") for fold in folds]
    rows = found.sections["over_devices"]["folds"]
    assert [row["personalized"]["mean"] for row in rows] == pytest.approx([np.nanmean(one) for one in each])


def test_the_last_points_of_the_curves_are_the_recipe_itself(found: Validation) -> None:
    """The recipe has no repeat counter, so its curves end where cross-validation is."""
    mean = found.sections["over_devices"]["personalized"]["mean"]
    assert found.sections["by_number_of_devices"][-1]["personalized"]["mean"] == pytest.approx(mean)
    by_rounds = {row["rounds"]: row["personalized"]["mean"] for row in found.sections["by_number_of_rounds"]}
    assert by_rounds[6] == pytest.approx(mean)
    assert list(by_rounds) == [1, 2, 6, 12]
    devices = [row["devices"] for row in found.sections["by_number_of_devices"]]
    assert devices == pytest.approx([75 / 16, 75 / 8, 75 / 4, 75 / 2, 75], abs=2)


def test_more_devices_teach_more_and_the_canary_is_silent(found: Validation) -> None:
    curve = found.sections["by_number_of_devices"]
    assert curve[0]["personalized"]["ci95"][1] < curve[-1]["personalized"]["ci95"][0]
    canary = found.sections["canary"]
    assert not canary["alarm"]
    assert canary["permuted"]["ci95"][1] < canary["intact"]["ci95"][0]
    assert canary["excess"]["ci95"][0] <= 0


def test_what_a_table_knows_by_heart_shows_in_the_gap_of_the_last_basket_only() -> None:
    """Each device has twelve random items, each once: others teach nothing about it, and the past nothing of later."""
    n_users, rng = 80, np.random.default_rng(0)
    item = np.concatenate([rng.permutation(100)[:12] for _ in range(n_users)])
    user = np.repeat(np.arange(n_users), 12)
    random = interactions(user, item, rng.integers(0, NOW, len(user)), n_users=n_users, n_items=100)
    table = replace(QUICK.train, dim=32, rounds=20, cohort_size=80, holdout_share=0.0, max_participations=20)
    gap = validate(random, "temporal", Recipe(table, PROFILE), folds=2, windows=1).sections["gap"]
    assert gap["last_basket"]["difference"]["ci95"][0] > 0.1
    low, high = gap["later"]["difference"]["ci95"]
    assert low < 0.02
    assert high < gap["last_basket"]["difference"]["ci95"][0]


def test_sessions_have_no_gap_on_later_events_since_nobody_asked_has_trained() -> None:
    start = np.sort(np.random.default_rng(1).integers(0, NOW, 300))
    user = np.repeat(np.arange(300), 8)
    item = user % 6 + 6 * np.random.default_rng(0).integers(0, 10, len(user))
    log = interactions(user, item, start[user] + np.tile(np.arange(8), 300), n_users=300, n_items=60)
    found = validate(log, "sessions", QUICK, folds=2, windows=2)
    assert found.sections["gap"]["later"] is None
    assert found.sections["gap"]["last_basket"]["trained"]["mean"] > 0
    assert found.sections["nested"] is None


def test_a_stopped_validation_goes_on_to_the_same_end(found: Validation, tmp_path: Path) -> None:
    begun: list[str] = []

    def stop_at_the_curves(section: str) -> None:
        begun.append(section)
        if section == "by_number_of_devices" and begun.count(section) == 1:
            raise KeyboardInterrupt

    def run() -> Validation:
        return validate(
            LOG, "temporal", QUICK, folds=2, windows=2, search=Budget(trials=3, settings=2),
            cache=ResultCache(tmp_path), on_section=stop_at_the_curves,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        run()
    assert len(list(tmp_path.iterdir())) == 3
    assert run().to_dict() == found.to_dict()
    kept = len(list(tmp_path.iterdir()))
    bare = validate(LOG, "temporal", QUICK, folds=2, windows=2, cache=ResultCache(tmp_path))
    assert bare.to_dict() == found.to_dict() | {"nested": None}
    assert len(list(tmp_path.iterdir())) == kept


def test_the_nested_search_never_sees_the_outer_fold() -> None:
    """Other events of one fold's devices, and after the cut, leave that fold's inner search as it was."""
    budget = Budget(trials=2, settings=2)
    folds = Folds(LOG, "temporal", windows_of(LOG, 1), 2)
    first = next(iter(folds))
    unseen = np.flatnonzero(~first.trains[LOG.user_idx] | (LOG.time >= folds.windows[0][0]))
    items = LOG.item_idx.copy()
    items[unseen] = np.random.default_rng(2).permutation(items[unseen])
    other = Folds(replace(LOG, item_idx=items), "temporal", folds.windows, 2)
    assert (
        nested_cross_validation(folds, QUICK, budget).chosen[1]
        == nested_cross_validation(other, QUICK, budget).chosen[1]
    )


def test_the_best_of_many_equals_is_flattered_and_nesting_says_so() -> None:
    """Items at random: no setting is better than another, so all that a search finds is luck."""
    rng = np.random.default_rng(4)
    user = np.repeat(np.arange(150), 12)
    item = rng.integers(0, 60, len(user))
    log = interactions(user, item, rng.integers(0, NOW, len(user)), n_users=150, n_items=60)
    space = (
        Parameter("dim", ("train.dim",), (3, 4, 5, 6, 7)),
        Parameter("first_step", ("train.step.step",), low=0.2, high=0.9),
    )
    budget, folds = Budget(trials=19, settings=1), Folds(log, "temporal", windows_of(log, 1), 2)
    naive = tune(folds, QUICK, budget, space=space).winner.mean
    found = nested_cross_validation(folds, QUICK, budget)
    assert naive > np.nanmean(found.nested)
    assert found.optimism.difference > 0


def test_one_fold_is_no_validation() -> None:
    with pytest.raises(FederationError, match="folds=1: must be 2 or more"):
        validate(LOG, "temporal", QUICK, folds=1)
