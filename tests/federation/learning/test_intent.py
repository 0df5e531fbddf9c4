from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import FederationError, ModelError
from federation.lab.recipes import PRIVATE_CLIPS, Recipe, privately
from federation.learning.intent_update import came_next, intent_update
from federation.learning.item_step import RoundSums, StepConfig, StepState, item_step, symmetric
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips, Update
from federation.private_sum.accounting import rho_of
from federation.private_sum.plan import SumPlan
from federation.simulation import training as simulation
from federation.simulation.cohort import holdout_devices
from federation.simulation.intent_sums import sum_intent_updates
from federation.simulation.learning_curve import RoundRecord, last_rounds, rounds_of
from federation.simulation.simulated_noise import add_noise
from federation.simulation.training import TrainConfig, train
from recsys.evaluation.holdout import basket_ndcg, hold_out_last
from recsys.model.intent import intent_query
from recsys.model.intent_config import IntentConfig
from recsys.model.items import INTENT, TASTE
from recsys.model.profile import make_profile
from recsys.model.profile_config import ProfileConfig
from recsys.model.scoring import score
from tests.federation.learning.test_taste_update import NOW, random_log

PROFILE = ProfileConfig(intent_pools=(0.8, 0.0), intent_scale=0.5, kind_weights=(0.25, 0.5, 1.0, 1.0, 1.0))
CONFIG = IntentConfig(horizon=3, moments=4)
TIGHT = Clips(rows=0.05, counts=0.3, second=0.05, first=0.1)
DIM = 3


def tables(n_items: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    V = rng.normal(size=(n_items, DIM)).astype(np.float32)
    D = rng.normal(size=(n_items, 2 * DIM)).astype(np.float32)
    V.flags.writeable = D.flags.writeable = False
    return V, D


def test_what_came_next_counts_by_its_first_event_and_no_dislike() -> None:
    """Items 5 (view), 6 (dislike), 5 again, 7 (purchase); decay .5, horizon 4: 5 → .25, 7 → 1·.5³ = .125."""
    found = came_next(
        np.array([5, 6, 5, 7]), np.array([0, 4, 2, 2], dtype=np.uint8), PROFILE, IntentConfig(decay=0.5, horizon=4)
    )
    assert found == {5: 0.25, 7: 0.125}


def sum_of(updates: list[Update], n_items: int) -> RoundSums:
    total = RoundSums.zeros(n_items, 2 * DIM)
    for one in updates:
        total = total + RoundSums(
            one.rows, one.counts, one.second, one.first, np.full(n_items, one.one), one.one, one.metrics
        )
    return total


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_many_devices_at_once_say_what_each_says_alone(seed: int, clip: bool) -> None:
    log = random_log(seed, n_users=7)
    V, D = tables(log.n_items, seed)
    clips = TIGHT if clip else Clips()
    devices = np.array([0, 2, 3, 6])
    found = sum_intent_updates(V, D, log, devices, PROFILE, CONFIG, clips)
    alone = [
        intent_update(V, D, log.item_idx[log.of(one)], log.kind[log.of(one)], PROFILE, CONFIG, clips)
        for one in devices.tolist()
    ]
    expected = sum_of(alone, log.n_items)
    for name in ("rows", "counts", "second", "first", "reports", "one"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_device_reports_rows_and_counts_of_its_own_block_only() -> None:
    log = random_log(1, n_users=4)
    V, D = tables(log.n_items)
    drawn = np.array([2, 0, 1, 2], dtype=np.int32)
    found = sum_intent_updates(V, D, log, np.arange(4), PROFILE, CONFIG, TIGHT, blocks=3, device_block=drawn)
    size = -(-log.n_items // 3)
    rows = np.zeros_like(found.rows)
    for device, block in enumerate(drawn.tolist()):
        items = range(block * size, min((block + 1) * size, log.n_items))
        own = log.of(device)
        rows[items.start : items.stop] += intent_update(
            V, D, log.item_idx[own], log.kind[own], PROFILE, CONFIG, TIGHT, block=items
        ).rows
    np.testing.assert_allclose(found.rows, rows, rtol=1e-4, atol=1e-6)


def test_no_part_of_an_update_is_longer_than_its_clip() -> None:
    log = random_log(2, n_users=5)
    V, D = tables(log.n_items)
    for device in range(5):
        own = log.of(device)
        found = intent_update(V, D, log.item_idx[own], log.kind[own], PROFILE, CONFIG, TIGHT)
        for name in ("rows", "counts", "second", "first"):
            assert np.linalg.norm(getattr(found, name)) <= getattr(TIGHT, name) * (1 + 1e-12)


def test_rows_and_unseen_items_are_the_exact_gradient_of_the_loss() -> None:
    """rows + α·D·A against central differences of Σ_t κ·(α Σ_i (q·d_i)² + Σ_next w(q·d_i − 1)²) / 2."""
    log = random_log(4, n_users=1)
    V, D = tables(log.n_items)
    item_idx, kind = log.item_idx, log.kind
    n = len(item_idx)

    def loss(output: np.ndarray) -> float:
        total = 0.0
        for t in range(max(1, n - CONFIG.moments), n):
            targets = came_next(item_idx[t:], kind[t:], PROFILE, CONFIG)
            if not targets:
                continue
            scores = output @ intent_query(V[item_idx[:t]], kind[:t], PROFILE).astype(np.float64)
            own = CONFIG.alpha * (scores**2).sum() + sum(w * (scores[i] - 1) ** 2 for i, w in targets.items())
            total += own / len(targets) ** 0.5 / 2
        return total

    update = intent_update(V, D, item_idx, kind, PROFILE, CONFIG, Clips())
    gradient = update.rows + CONFIG.alpha * D @ symmetric(update.second, 2 * DIM)
    for i, j in [(int(item_idx[-1]), 0), (int(item_idx[-2]), 4), (0, 5)]:
        up, down = D.astype(np.float64), D.astype(np.float64)
        up[i, j] += 1e-4
        down[i, j] -= 1e-4
        assert gradient[i, j] == pytest.approx((loss(up) - loss(down)) / 2e-4, rel=1e-4, abs=1e-6)


def test_rounds_of_private_sums_reach_the_table_that_pooled_data_would_give() -> None:
    """Against the ridge solution of each item's own normal equations, which nobody but a central trainer could form."""
    log = random_log(8, n_users=60)
    V, _ = tables(log.n_items)
    config = replace(CONFIG, reg=0.02)
    step, state = StepConfig(step=1.0, final_step=0.2, memory=1.0, momentum=0.0), StepState.start(log.n_items, 6, 0)
    for round_ in range(150):
        sums = sum_intent_updates(V, state.item_embeddings, log, np.arange(60), PROFILE, config, Clips())
        state = item_step(state, sums, step, alpha=config.alpha, reg=config.reg, step=step.step_at(round_, 150))
    A, b, c = np.zeros((log.n_items, 6, 6)), np.zeros((log.n_items, 6)), np.zeros(log.n_items)
    for user in range(60):
        items, kinds = log.item_idx[log.of(user)], log.kind[log.of(user)]
        for t in range(max(1, len(items) - config.moments), len(items)):
            targets = came_next(items[t:], kinds[t:], PROFILE, config)
            q = intent_query(V[items[:t]], kinds[:t], PROFILE).astype(np.float64)
            kappa = len(targets) ** -0.5 if targets else 0.0
            A += config.alpha * kappa * np.outer(q, q) / 60
            for item, weight in targets.items():
                A[item] += kappa * weight * np.outer(q, q) / 60
                b[item] += kappa * weight * q / 60
                c[item] += kappa * weight / 60
    exact = np.linalg.solve(A + (config.reg * (c + config.alpha))[:, None, None] * np.eye(6), b[:, :, None])[:, :, 0]
    np.testing.assert_allclose(state.item_embeddings, exact, atol=2e-3)


def test_a_training_with_an_intent_ships_both_parts_and_counts_every_participation() -> None:
    log = random_log(9, n_users=40)
    profile = replace(PROFILE, intent_pools=(0.9, 0.5, 0.0))
    taste = TrainConfig(dim=4, rounds=4, cohort_size=10, profile=profile, measure_every=0)
    both = replace(taste, intent=IntentConfig(rounds=3, cohort_size=20))
    alone, found = (train(log, config, seed=1, now=NOW) for config in (taste, both))
    assert found.table.parts == ((TASTE, 4), (INTENT, 12))
    np.testing.assert_array_equal(found.table.rows_of(TASTE), alone.table.item_embeddings)
    assert (found.participations - alone.participations).sum() == 60
    assert found.table.rows_of(INTENT).any()
    assert found.table.mean_profile[found.table.part(INTENT)].any()
    again = train(log, both, seed=1, now=NOW)
    np.testing.assert_array_equal(found.table.item_embeddings, again.table.item_embeddings)


BOTH = TrainConfig(
    dim=4,
    rounds=4,
    cohort_size=10,
    smoothing=2,
    profile=replace(PROFILE, intent_pools=(0.9, 0.5, 0.0)),
    intent=IntentConfig(rounds=5, cohort_size=20),
    holdout_share=0.3,
)


@pytest.mark.parametrize("stopped_at", [1, 3, 4, 6, 8])
def test_a_training_stopped_in_either_part_goes_on_to_the_same_bytes(tmp_path: Path, stopped_at: int) -> None:
    """Rounds 0 to 3 are of the taste, 4 to 8 of the intent; a stop after the last of a part is one too."""
    log, checkpoint, after = random_log(9, n_users=40), tmp_path / "run.checkpoint", []
    whole = train(log, BOTH, seed=1, now=NOW)

    def interrupt(record: RoundRecord) -> None:
        if record.round == stopped_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(log, BOTH, seed=1, now=NOW, checkpoint=checkpoint, on_round=interrupt)
    resumed = train(log, BOTH, seed=1, now=NOW, checkpoint=checkpoint, on_round=lambda one: after.append(one.round))
    assert after == list(range(stopped_at + 1, 9))
    assert resumed.table.item_embeddings.tobytes() == whole.table.item_embeddings.tobytes()
    assert resumed.table.mean_profile.tobytes() == whole.table.mean_profile.tobytes()
    assert resumed.participations.tolist() == whole.participations.tolist()
    assert [str(record) for record in resumed.records] == [str(record) for record in whole.records]


def test_the_learning_curve_goes_on_over_the_rounds_of_the_intent() -> None:
    found = train(random_log(9, n_users=40), BOTH, seed=1, now=NOW)
    assert [record.part for record in found.records] == [TASTE] * 4 + [INTENT] * 5
    assert [record.round for record in found.records] == list(range(9))
    assert [record.step for record in found.records][4:] == [BOTH.step.step_at(round_, 5) for round_ in range(5)]
    assert all(record.holdout_devices and np.isfinite(record.train_ndcg) for record in found.records)
    assert [record.round for record in last_rounds(found.records, 2)] == [7, 8]
    assert [record.round for record in last_rounds(found.records, 20)] == [4, 5, 6, 7, 8]
    assert (rounds_of(found.records, TASTE), rounds_of(found.records, INTENT), found.best_round) == (4, 5, 3)


def test_a_round_measures_what_devices_would_rank_by_the_table_before_it() -> None:
    """All 40 devices in one round, a third of them held out: each folds in what it did before its last basket."""
    log = random_log(9, n_users=40)
    config = replace(BOTH, intent=IntentConfig(rounds=2, cohort_size=40))
    before = train(log, replace(config, intent=IntentConfig(rounds=1, cohort_size=40)), seed=1, now=NOW).table
    record = train(log, config, seed=1, now=NOW).records[-1]
    held, figures = hold_out_last(log), []
    for user in np.flatnonzero(holdout_devices(40, 0.3, 1)):
        own, moment = held.before.of(user), int(held.moments[user])
        columns = held.before.item_idx[own], held.before.kind[own], held.before.time[own]
        profile = make_profile(before, *columns, moment, config.profile, "b").vector[None]
        figures.append(basket_ndcg(score(before, profile, 0.0), held.basket.users(np.array([user])))[0])
    measured = [value for value in figures if not np.isnan(value)]
    assert record.holdout_devices == len(measured)
    assert record.holdout_ndcg == pytest.approx(np.mean(measured), abs=1e-6)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [({"horizon": 0}, "intent.horizon=0"), ({"decay": 0.0}, "intent.decay"), ({"alpha": -1.0}, "intent.alpha")],
)
def test_settings_out_of_bounds_are_named(wrong: dict, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        IntentConfig(**wrong)


def test_an_intent_without_pools_is_refused() -> None:
    with pytest.raises(FederationError, match="intent_pools"):
        TrainConfig(intent=IntentConfig())


def private(epsilon: float) -> TrainConfig:
    base = Recipe(replace(BOTH, dim=3, measure_every=0, holdout_share=0.0), BOTH.profile)
    return privately(base, epsilon=epsilon, delta=1e-6, n_devices=40).train


def test_the_epsilon_of_a_training_counts_the_rounds_of_both_parts() -> None:
    """Every device is in all 4 + 4 rounds, and in what is published; ε of 4 of them would leave parts out."""
    trained = train(random_log(9, n_users=40), private(8.0), seed=0, now=NOW)
    plan = trained.config.privacy
    assert plan is not None
    assert (trained.participations == 8).all()
    assert plan.max_participations == 9
    assert 7.99 < plan.statement(9)["epsilon"] <= 8.0
    assert plan.statement(4)["epsilon"] < 6.0
    assert [record.part for record in trained.records] == [TASTE] * 4 + [INTENT] * 4


def test_the_sums_of_every_round_of_either_part_carry_the_noise_of_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def noisy(sums: RoundSums, plan: SumPlan, *arguments: Any, **named: Any) -> RoundSums:
        seen.append(
            (plan.parts[0].name, plan.sigma**2 >= config.privacy.noise_multiplier**2 * plan.sensitivity_squared)
        )
        return add_noise(sums, plan, *arguments, **named)

    config = private(8.0)
    monkeypatch.setattr(simulation, "add_noise", noisy)
    train(random_log(9, n_users=40), config, seed=0, now=NOW)
    assert seen == [("rows", True)] * 4 + [("intent_rows", True)] * 4


def test_less_epsilon_is_more_noise_in_the_intent() -> None:
    log = random_log(9, n_users=40)
    exact, *noisy = (train(log, private(epsilon), seed=0, now=NOW).table for epsilon in (np.inf, 1e4, 1e3, 1e2))
    errors = [np.abs(table.rows_of(INTENT) - exact.rows_of(INTENT)).mean() for table in noisy]
    assert 0 < errors[0] < errors[1] < errors[2]


def test_a_plan_for_the_rounds_of_the_taste_alone_is_refused_for_both() -> None:
    config = private(8.0)
    plan = replace(config.privacy, max_participations=4)
    with pytest.raises(FederationError, match=r"max_participations=4: must be at least 8.*of all parts together"):
        replace(config, privacy=plan)
    assert replace(config, privacy=plan, intent=None).privacy is plan
    assert replace(config, strategy="fine-tune").all_participations == 4


@pytest.mark.parametrize("part", [TASTE, INTENT])
def test_a_live_round_of_either_part_costs_a_device_what_its_plan_says(part: str) -> None:
    """ρ of a participation, as the device's ledger counts it from the task, is at most 1/(2z²): ten rows of a taste of
    4, or of an intent of 12."""
    plan = PrivacyPlan.calibrated(8.0, 1e-6, 6, PRIVATE_CLIPS, min_reports=50, max_reports=500)
    cost = rho_of(plan.sum_plan(10, 4 if part == TASTE else 12, part))
    assert 0.99 / (2 * plan.noise_multiplier**2) < cost <= 1 / (2 * plan.noise_multiplier**2)
