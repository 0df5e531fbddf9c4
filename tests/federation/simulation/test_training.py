"""Federated training: what a run may depend on, how it stops and resumes, and that it learns what there is to learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from data.errors import BatchTooSmall, FederationError
from data.interactions import Interactions, interactions
from data.split import known_at, temporal
from federation.lab.recipes import Recipe, privately
from federation.learning.item_step import StepState
from federation.learning.taste_update import Clips
from federation.simulation.cohort import holdout_devices
from federation.simulation.learning_curve import RoundRecord
from federation.simulation.run import Run
from federation.simulation.training import TrainConfig, train
from recsys.evaluation.arms import Personalized
from recsys.evaluation.baselines import popularity
from recsys.evaluation.evaluation import evaluate
from recsys.model.profile import ProfileConfig
from tests.federation.learning.test_taste_update import NOW

PROFILE = ProfileConfig(alpha=0.1, reg=0.01, half_life=np.inf, floor=1.0, kind_weights=(1.0,) * 5, repeat_weight=0.0)  # type: ignore[arg-type]
CONFIG = TrainConfig(dim=8, rounds=12, cohort_size=40, holdout_share=0.2, profile=PROFILE, patience=0)


def tastes(n_users: int = 200, n_items: int = 60, groups: int = 6, events: int = 24, seed: int = 0) -> Interactions:
    """Users of `groups` tastes; nine of ten events are on the items of the own taste."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(n_users), events)
    own = (user % groups) + groups * rng.integers(0, n_items // groups, len(user))
    item = np.where(rng.random(len(user)) < 0.9, own, rng.integers(0, n_items, len(user)))
    return interactions(user, item, rng.integers(0, NOW, len(user)), n_users=n_users, n_items=n_items)


def test_training_finds_the_tastes_that_popularity_cannot_see() -> None:
    log = tastes()
    cut = NOW * 3 // 4
    split = temporal(log, cut)
    trained = train(split.train, replace(CONFIG, rounds=30), seed=0, now=cut)
    found = evaluate(
        [Personalized("personalized", trained.table, PROFILE), popularity(split.train)], split, bootstrap=2
    )
    assert np.nanmean(found.column("personalized", "ndcg@20", "new")) > 2 * np.nanmean(
        found.column("popularity", "ndcg@20", "new")
    )


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    log = tastes()
    tables = [train(log, CONFIG, seed=seed, now=NOW).table.item_embeddings for seed in (1, 1, 2)]
    np.testing.assert_array_equal(tables[0], tables[1])
    assert (tables[0] != tables[2]).any()


def test_a_run_stopped_by_ctrl_c_resumes_to_the_same_bits(tmp_path: Path) -> None:
    log = tastes()
    whole = train(log, CONFIG, seed=3, now=NOW)
    checkpoint = tmp_path / "run.checkpoint"

    def interrupt(record: RoundRecord) -> None:
        if record.round == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(log, CONFIG, seed=3, now=NOW, checkpoint=checkpoint, on_round=interrupt)
    assert checkpoint.is_file()
    rounds: list[int] = []
    resumed = train(log, CONFIG, seed=3, now=NOW, checkpoint=checkpoint, on_round=lambda one: rounds.append(one.round))
    assert rounds == list(range(5, 12))
    np.testing.assert_array_equal(resumed.table.item_embeddings, whole.table.item_embeddings)
    np.testing.assert_array_equal(resumed.table.mean_profile, whole.table.mean_profile)
    assert [str(record) for record in resumed.records] == [str(record) for record in whole.records]


def test_a_finished_run_whose_outcome_was_lost_is_not_trained_again(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint"
    whole = train(tastes(), CONFIG, seed=3, now=NOW, checkpoint=checkpoint)

    def no_round(record: RoundRecord) -> None:
        raise AssertionError(f"round {record.round} was trained again")

    again = train(tastes(), CONFIG, seed=3, now=NOW, checkpoint=checkpoint, on_round=no_round)
    np.testing.assert_array_equal(again.table.item_embeddings, whole.table.item_embeddings)
    np.testing.assert_array_equal(again.participations, whole.participations)
    assert again.best_round == whole.best_round


@pytest.mark.parametrize("other", ["seed", "config", "log"])
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, other: str) -> None:
    checkpoint = tmp_path / "run.checkpoint"

    def interrupt(_: RoundRecord) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tastes(), CONFIG, seed=3, now=NOW, checkpoint=checkpoint, on_round=interrupt)
    log = tastes(seed=9) if other == "log" else tastes()
    config = replace(CONFIG, dim=9) if other == "config" else CONFIG
    with pytest.raises(FederationError, match="another log, seed or setting"):
        train(log, config, seed=4 if other == "seed" else 3, now=NOW, checkpoint=checkpoint)


def test_a_torn_checkpoint_is_one_clear_error(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint"
    checkpoint.write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(FederationError, match="not a readable checkpoint"):
        train(tastes(), CONFIG, seed=0, now=NOW, checkpoint=checkpoint)


def test_no_device_is_asked_more_often_than_the_cap() -> None:
    config = replace(CONFIG, rounds=50, cohort_size=1000, max_participations=3)
    trained = train(tastes(), config, seed=0, now=NOW)
    assert trained.participations.max() == 3
    assert trained.participations.sum() == sum(record.reports + record.vanished for record in trained.records)


def test_too_few_devices_for_the_cap_is_one_clear_error() -> None:
    with pytest.raises(FederationError, match="devices=4: too few for rounds=12 with max_participations=2"):
        train(tastes(n_users=4), replace(CONFIG, max_participations=2), seed=0, now=NOW)


def test_vanished_devices_are_counted_and_the_rest_still_learns() -> None:
    trained = train(tastes(), replace(CONFIG, dropout=0.3), seed=0, now=NOW)
    vanished = sum(record.vanished for record in trained.records)
    asked = sum(record.reports + record.vanished for record in trained.records)
    assert 0.2 < vanished / asked < 0.4
    assert np.isfinite(trained.table.item_embeddings).all()


def test_hold_out_devices_never_move_the_table() -> None:
    log = tastes()
    held = holdout_devices(log.n_users, CONFIG.holdout_share, 0)
    shuffled = log.item_idx.copy()
    rows = np.flatnonzero(held[log.user_idx])
    shuffled[rows] = np.random.default_rng(1).permutation(shuffled[rows])
    one, other = (train(each, CONFIG, seed=0, now=NOW) for each in (log, replace(log, item_idx=shuffled)))
    np.testing.assert_array_equal(one.table.item_embeddings, other.table.item_embeddings)


def played(curve: npt.NDArray[np.float64], noise: float = 0.02) -> Run:
    """A run whose hold-out figures follow a curve, with noise; it stops where training would."""
    rng = np.random.default_rng(0)
    run = Run(StepState.start(2, 2, 0), smoothing=10, patience=10)
    for round_, value in enumerate(curve):
        if run.overfits():
            break
        record = RoundRecord(round_, 40, 0, 0.5, 0.9, float(value + noise * rng.normal()), 8)
        run = run.after(replace(run.state, steps=round_ + 1), record)
    return run


def test_training_stops_where_the_hold_out_curve_falls_and_keeps_the_better_table() -> None:
    curve = np.concatenate([np.linspace(0.1, 0.3, 30), np.linspace(0.3, 0.1, 70)])
    run = played(curve)
    assert 40 < len(run.records) < 80
    assert 25 <= run.choice().steps <= 45


def test_a_noisy_but_level_hold_out_curve_is_no_reason_to_stop() -> None:
    run = played(np.full(100, 0.2), noise=0.05)
    assert len(run.records) == 100
    assert run.choice().steps == 100


def test_overfitting_shows_as_a_gap_between_training_and_hold_out_devices() -> None:
    """Next to no data and regularization: devices that trained look twice as good as those that did not."""
    starved = tastes(n_users=240, events=6, groups=3, n_items=120)
    loose = replace(PROFILE, reg=1e-5, alpha=1e-4)
    gaps = []
    for log, profile in ((starved, loose), (tastes(n_users=400, events=48), PROFILE)):
        config = replace(CONFIG, dim=48, rounds=60, cohort_size=400, max_participations=60, holdout_share=0.4)
        last = train(log, replace(config, profile=profile), seed=0, now=NOW).records[-10:]
        gaps.append(np.mean([one.train_ndcg for one in last]) / np.mean([one.holdout_ndcg for one in last]))
    assert gaps[0] > 2
    assert gaps[1] < 1.4


def test_blocks_of_a_large_catalogue_reach_nearly_the_same_quality() -> None:
    log = tastes(n_users=400)
    cut = NOW * 3 // 4
    split = temporal(log, cut)
    arms = []
    for blocks in (1, 4):
        config = replace(CONFIG, rounds=60, blocks=blocks, cohort_size=200, max_participations=60, measure_every=0)
        trained = train(split.train, config, seed=0, now=cut)
        arms.append(Personalized(f"{blocks} blocks", trained.table, PROFILE))
    found = evaluate(arms, split, bootstrap=2)
    whole, cut_up = (np.nanmean(found.column(arm.name, "ndcg@20", "new")) for arm in arms)
    assert cut_up > 0.9 * whole


def test_permuting_the_users_and_their_devices_changes_nothing_when_all_take_part() -> None:
    log = tastes(n_users=40)
    order = np.random.default_rng(0).permutation(40)
    config = replace(CONFIG, cohort_size=40, holdout_share=0.0, measure_every=0, rounds=3)
    one, other = (train(each, config, seed=0, now=NOW) for each in (log, log.users(order)))
    np.testing.assert_allclose(one.table.item_embeddings, other.table.item_embeddings, atol=1e-4)


def test_clipping_bounds_what_one_loud_device_can_do() -> None:
    """A device with ten thousand events moves the clipped table hardly at all, the unclipped one a lot."""
    log = tastes(n_users=40)
    loud = interactions(
        np.concatenate([log.user_idx, np.full(10_000, 40)]),
        np.concatenate([log.item_idx, np.full(10_000, 7)]),
        np.concatenate([log.time, np.arange(10_000)]),
        n_users=41,
        n_items=60,
    )
    config = replace(CONFIG, cohort_size=41, rounds=1, holdout_share=0.0, measure_every=0)
    moved = []
    for clips in (Clips(), Clips(rows=0.05, counts=2.0, second=0.01, first=0.1)):
        tables = [
            train(each, replace(config, clips=clips, cohort_size=each.n_users), seed=0, now=NOW).table.item_embeddings
            for each in (loud, known_at(loud.where(loud.user_idx < 40), NOW))
        ]
        moved.append(float(np.abs(tables[0][7] - tables[1][7]).max()))
    assert moved[1] < 0.5 * moved[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 0}, "dim=0: must be 1..4096"),
        ({"dropout": 1.0}, "dropout=1.0: must be 0.0..0.99"),
        ({"strategy": "magic"}, "strategy='magic': must be one of profile, global, local, fine-tune"),
    ],
)
def test_settings_out_of_range_are_named_with_their_bounds(change: dict[str, object], message: str) -> None:
    with pytest.raises(FederationError, match=message):
        TrainConfig(**change)  # type: ignore[arg-type]


def test_an_empty_log_cannot_train() -> None:
    with pytest.raises(FederationError, match="has no events"):
        train(interactions([], [], [], n_users=3, n_items=5), CONFIG, seed=0, now=NOW)


def test_local_trains_nothing() -> None:
    trained = train(tastes(), replace(CONFIG, strategy="local"), seed=0, now=NOW)
    assert trained.records == ()
    assert trained.best_round == -1
    assert not trained.participations.any()


def private(epsilon: float, n_devices: int) -> TrainConfig:
    base = Recipe(replace(CONFIG, measure_every=0, holdout_share=0.0), PROFILE)
    return privately(base, epsilon=epsilon, delta=1e-6, n_devices=n_devices).train


def test_less_epsilon_is_more_noise_in_the_table() -> None:
    log = tastes(n_users=200)
    exact = train(log, private(np.inf, 200), seed=0, now=NOW).table.item_embeddings
    errors = []
    for epsilon in (1000.0, 100.0, 10.0):
        noisy = train(log, private(epsilon, 200), seed=0, now=NOW)
        assert noisy.config.privacy is not None
        assert noisy.config.privacy.epsilon_after(int(noisy.participations.max())) <= epsilon
        errors.append(float(np.abs(noisy.table.item_embeddings - exact).mean()))
    assert errors[0] < errors[1] < errors[2]


def test_a_round_below_min_reports_is_refused() -> None:
    with pytest.raises(BatchTooSmall, match=r"reports=40\.\.40: must be 100\.\.200 in every block"):
        train(tastes(n_users=40), private(10.0, 200), seed=0, now=NOW)


def test_a_plan_with_other_clips_than_the_training_is_refused() -> None:
    with pytest.raises(FederationError, match="its clips must be those of the training"):
        replace(private(10.0, 200), clips=Clips())
