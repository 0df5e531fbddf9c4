"""Settings chosen on a device: by hand, against the batched arm, and where a device does have a taste of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.interactions import MICROS_PER_DAY, EventKind, Interactions, interactions
from recsys.evaluation.arms import Personalized
from recsys.evaluation.device_settings import (
    AT_LEAST,
    BASKETS,
    DeviceTunedArm,
    choose,
    choose_config,
    neighbours,
    own_scores,
)
from recsys.model.items import ItemTable
from recsys.model.profile import ProfileConfig
from recsys.model.solver import Solver

DAY = MICROS_PER_DAY
NOW = 100 * DAY
DEFAULT = ProfileConfig(half_life=10.0, reg=0.01, repeat_weight=0.3)
PURCHASE, DISLIKE = EventKind.PURCHASE, EventKind.DISLIKE


def random_table(seed: int, n_items: int = 30, dim: int = 6) -> ItemTable:
    rng = np.random.default_rng(seed)
    V = rng.normal(0, 0.5, (n_items, dim)).astype(np.float32)
    return ItemTable(V, rng.random(n_items).astype(np.float32), np.zeros(dim, np.float32))


def random_log(seed: int, n_users: int = 10, n_events: int = 200) -> Interactions:
    """Baskets of several events at few moments, histories of all lengths; the last user has none."""
    rng = np.random.default_rng(seed)
    users = (rng.random(n_events) ** 2 * (n_users - 1)).astype(int)
    moments = np.where(users % 5 == 4, 7, rng.integers(0, 12, n_events)) * 8 * DAY  # some have one moment only
    return interactions(
        users, rng.integers(0, 30, n_events), moments, n_users=n_users, n_items=30,
        kind=rng.choice(list(EventKind), n_events, p=[0.2, 0.1, 0.5, 0.1, 0.1]),
    )  # fmt: skip


def on_the_device(table: ItemTable, log: Interactions, user: int, default: ProfileConfig, others) -> ProfileConfig:
    own = log.of(user)
    return choose_config(table, log.item_idx[own], log.kind[own], log.time[own], default, others)


def drifting(length: int) -> tuple[ItemTable, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Two kinds of items at right angles, and a shopper who went over from one to the other for good."""
    V = np.zeros((40, 2), dtype=np.float32)
    V[:20, 0] = V[20:, 1] = np.linspace(0.8, 1.2, 20)
    table = ItemTable(V, np.zeros(40, np.float32), np.zeros(2, np.float32))
    items = np.concatenate([np.arange(length) % 20, 20 + np.arange(6)]).astype(np.int32)
    return table, (items, np.full(len(items), PURCHASE, np.uint8), np.arange(len(items)) * DAY)


# the rule


def test_the_default_stays_where_nothing_is_clearly_better():
    assert choose(np.empty((0, 3))) == 0
    assert choose(np.array([[0.0, 9.0, 9.0]])) == 0  # one basket
    assert choose(np.zeros((4, 3))) == 0  # no difference
    # gains 3, −0.4: mean 1.3, standard deviation 3.4 / √2, standard error 1.7
    assert choose(np.array([[0.0, 3.0], [0.0, -0.4]])) == 0


def test_the_candidate_with_the_largest_lower_bound_is_taken():
    # gains of the first candidate 3, 1: mean 2 − standard error 1; of the second 1.5, 1.4: 1.45 − 0.05
    assert choose(np.array([[0.0, 3.0, 1.5], [0.0, 1.0, 1.4]])) == 2
    assert choose(np.array([[5.0, 8.0, 4.0], [7.0, 8.0, 6.0]])) == 1


def test_baskets_without_figures_do_not_count():
    row, nothing = [0.0, 1.0], [np.nan, np.nan]
    assert choose(np.array([row, nothing, nothing])) == 0
    assert choose(np.array([row, nothing, row])) == 1


def test_candidates_are_the_grid_around_the_default_without_itself():
    found = neighbours(DEFAULT)
    assert len(found) == 8
    assert {(one.half_life, one.reg) for one in (*found, DEFAULT)} == {
        (half_life, reg) for half_life in (10 * (1 / 3), 10.0, 30.0) for reg in (0.005, 0.01, 0.02)
    }
    assert all(replace(one, half_life=10.0, reg=0.01) == DEFAULT for one in found)


def test_an_endless_half_life_has_only_other_strengths_to_choose_from():
    found = neighbours(replace(DEFAULT, half_life=float("inf")))
    assert [(one.half_life, one.reg) for one in found] == [(float("inf"), 0.005), (float("inf"), 0.02)]


# one device


def test_a_shopper_whose_taste_has_changed_chooses_to_forget_faster():
    table, history = drifting(30)
    slow = replace(DEFAULT, half_life=1000.0, floor=0.0, repeat_weight=0.0)
    fast = replace(slow, half_life=1.0)
    assert choose_config(table, *history, slow, [fast]) == fast
    assert choose_config(table, *history, fast, [slow]) == fast


@pytest.mark.parametrize("length", [0, 1, 2])
def test_a_short_history_keeps_the_default(length):
    table, (items, kind, time) = drifting(30)
    assert AT_LEAST == 2  # two events hold one basket out
    fast = replace(DEFAULT, half_life=0.1)
    assert choose_config(table, items[:length], kind[:length], time[:length], DEFAULT, [fast]) is DEFAULT


def test_without_candidates_the_default_is_all_there_is():
    table, history = drifting(30)
    assert choose_config(table, *history, DEFAULT, []) is DEFAULT


def test_a_history_of_dislikes_keeps_the_default():
    table, (items, kind, time) = drifting(30)
    fast = replace(DEFAULT, half_life=0.1)
    assert choose_config(table, items, np.full_like(kind, DISLIKE), time, DEFAULT, [fast]) is DEFAULT


def test_the_history_is_only_read():
    table, history = drifting(30)
    for array in history:
        array.flags.writeable = False
    assert choose_config(table, *history, DEFAULT, neighbours(DEFAULT)) in (DEFAULT, *neighbours(DEFAULT))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0, 1, 2, 3, 3, 3, 4, 5, 5], [(7, 5), (6, 4), (3, 3), (2, 2)]),
        ([3, 3, 3], [(2, 3), (1, 3)]),  # a session without times: its last event, alone, and the one before
        ([2, 2, 2, 6], [(3, 6), (2, 2), (1, 2)]),
    ],
)
def test_each_basket_is_foretold_from_what_was_before_it_at_its_own_moment(monkeypatch, times, expected):
    table, n = drifting(30)[0], len(times)
    history = (np.arange(n, dtype=np.int32), np.full(n, PURCHASE, np.uint8), np.array(times) * DAY)
    asked: list[tuple[int, float]] = []

    def watched(table, item_idx, kind, time, now, config):
        assert item_idx.tolist() == [*range(len(time))]
        asked.append((len(item_idx), now / DAY))
        return own_scores(table, item_idx, kind, time, now, config)

    monkeypatch.setattr("recsys.evaluation.device_settings.own_scores", watched)
    assert choose_config(table, *history, DEFAULT, []) is DEFAULT
    assert BASKETS == 4
    assert asked == expected


# the arm


def precise(table: ItemTable, config: ProfileConfig) -> Solver:
    return Solver(torch.from_numpy(table.item_embeddings.copy()).double(), alpha=config.alpha, reg=config.reg)


# Figures of ranks: two scores that nearly tie could change places with the precision of the solve.
@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from(["days", "events"]))
def test_the_arm_chooses_as_each_device_does(seed, unit):
    table, log = random_table(seed), random_log(seed)
    default = replace(DEFAULT, half_life_unit=unit, half_life=10.0 if unit == "days" else 3.0)
    others = neighbours(default)
    arm = DeviceTunedArm(Personalized("personalized", table, default, precise), others)
    users = np.random.default_rng(seed).permutation(log.n_users)
    found = arm.choices(log, users)
    expected = [on_the_device(table, log, int(user), default, others) for user in users]
    assert [(default, *others)[place] for place in found] == expected


def test_random_devices_choose_different_settings_and_the_default():
    table, log = random_table(1), random_log(1, n_users=60, n_events=3_000)
    found = DeviceTunedArm(Personalized("personalized", table, DEFAULT), neighbours(DEFAULT)).choices(
        log, np.arange(60)
    )
    assert found[59] == 0
    assert len(set(found.tolist())) > 3


def test_the_arm_scores_each_user_by_the_settings_it_chose():
    table, log, users = random_table(2), random_log(2, n_users=40, n_events=1_500), np.arange(40)[::-1].copy()
    arm = DeviceTunedArm(Personalized("personalized", table, DEFAULT), neighbours(DEFAULT))
    found = arm.scores(log, users, NOW)
    assert arm.name == "personalized_chosen"
    assert (found.shape, found.dtype) == ((40, 30), np.float32)
    for row, user in zip(found, users, strict=True):
        own = log.of(int(user))
        history = (log.item_idx[own], log.kind[own], log.time[own])
        config = choose_config(table, *history, DEFAULT, neighbours(DEFAULT))
        np.testing.assert_allclose(row, own_scores(table, *history, NOW, config), atol=1e-4)


def test_without_candidates_the_arm_is_the_arm_it_is_made_of():
    table, log, users = random_table(3), random_log(3), np.arange(10)
    plain = Personalized("personalized", table, DEFAULT)
    np.testing.assert_array_equal(DeviceTunedArm(plain, ()).scores(log, users, NOW), plain.scores(log, users, NOW))
