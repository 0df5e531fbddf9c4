"""What lying devices can do to the item step, what its defences take from them, and which sums are discarded."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from data.synthetic import SyntheticShop
from federation.lab.questions import default_cut
from federation.learning.item_step import GUARDED, StepConfig, item_step
from federation.learning.plausibility import implausible_parts, plausible
from federation.learning.taste_update import Clips
from federation.learning.training_sum import training_plan, vectors_of
from federation.private_sum.fixed_point import encode, to_signed
from federation.private_sum.noise import discrete_gaussian
from federation.private_sum.plan import Part, SumPlan
from federation.private_sum.randomness import seeded_bytes
from federation.private_sum.refusals import PlanRefused
from federation.private_sum.report_share import proof_plan
from federation.simulation.taste_sums import sum_updates
from recsys.model.items import ItemTable
from recsys.model.log_profiles import closed_form
from tests.benchmarks.attacks_poisoning import Attacker, approximate_shoppers
from tests.benchmarks.poisoning import (
    CLIPS,
    Shop,
    as_words,
    open_shop,
    play,
    report_of,
    round_plan,
    unpopular,
    within_bounds,
)
from tests.federation.learning.test_taste_update import CONFIG, one_by_one, random_log, sums_of, table
from tests.federation.private_sum.verified.a_cheat import cheat

ARGUMENTS = {"alpha": 0.05, "reg": 0.02, "step": 0.5}
N_ITEMS, DIM, DEVICES = 25, 6, 40


def test_no_row_grows_beyond_the_row_limit_however_much_noise_there_is() -> None:
    state, sums = sums_of(1)
    rng = np.random.default_rng(0)
    for _ in range(40):
        noisy = replace(sums, rows=rng.normal(0, 500, sums.rows.shape), second=rng.normal(0, 500, sums.second.shape))
        state = item_step(state, noisy, StepConfig(row_limit=2.0), **ARGUMENTS)
    assert np.linalg.norm(state.item_embeddings, axis=1).max() <= 2.0 * (1 + 1e-6)


def test_a_row_without_counts_is_not_pulled_by_its_gradient() -> None:
    """With row_bound a device has to say that it owns an item before it moves the item's row."""
    state, sums = sums_of(2)
    lie = sums.rows.copy()
    lie[3] += 1_000.0
    counts = sums.counts.copy()
    counts[3] = 0.0
    honest, lied = replace(sums, counts=counts, rows=_without(sums.rows, 3)), replace(sums, counts=counts, rows=lie)
    config = StepConfig(row_bound=0.5, trust_radius=np.inf)
    first, second = (item_step(state, one, config, **ARGUMENTS).item_embeddings for one in (honest, lied))
    np.testing.assert_array_equal(first, second)
    free = item_step(state, lied, StepConfig(trust_radius=np.inf), **ARGUMENTS).item_embeddings
    assert np.abs(free[3] - first[3]).max() > 1.0


def test_the_row_bound_is_a_norm_per_unit_of_count() -> None:
    """Row 4 has count 2 of 10 reports: with a bound of 0.5 its mean gradient is taken for at most 0.5 · 0.2 = 0.1."""
    state, sums = sums_of(3)
    rows, counts = np.zeros_like(sums.rows), np.zeros_like(sums.counts)
    counts[4] = 2.0
    loud, just = rows.copy(), rows.copy()
    loud[4, 0], just[4, 0] = 700.0, 1.0  # 1.0 / 10 reports = 0.1
    ten = {"reports": np.full(N_ITEMS, 10.0), "one": 10.0, "counts": counts}
    config = StepConfig(row_bound=0.5, trust_radius=np.inf)
    found = [item_step(state, replace(sums, rows=r, **ten), config, **ARGUMENTS).item_embeddings for r in (loud, just)]  # type: ignore[arg-type]
    np.testing.assert_allclose(found[0], found[1], atol=1e-7)


def test_an_item_is_believed_to_be_no_more_popular_than_the_count_limit() -> None:
    state, sums = sums_of(4)
    counts = sums.counts.copy()
    counts[5] = 1e6
    capped = counts.copy()
    capped[5] = 0.3 * sums.one
    config = StepConfig(row_bound=0.5, count_limit=0.3)
    found = [item_step(state, replace(sums, counts=c), config, **ARGUMENTS) for c in (counts, capped)]
    np.testing.assert_allclose(found[0].item_embeddings, found[1].item_embeddings, atol=1e-7)


def test_rows_below_the_count_floor_stay_where_they_are() -> None:
    state, sums = sums_of(5)
    mean = sums.counts / sums.one
    floor = float(np.median(mean))
    after = item_step(state, sums, StepConfig(count_floor=floor), **ARGUMENTS).item_embeddings
    moved = (after != state.item_embeddings).any(axis=1)
    np.testing.assert_array_equal(moved, mean >= floor)


def _without(rows: npt.NDArray[np.float64], item: int) -> npt.NDArray[np.float64]:
    cleared = rows.copy()
    cleared[item] = 0.0
    return cleared


# Attacks on a small shop.


@pytest.fixture(scope="module")
def shop() -> Shop:
    log = SyntheticShop(500, 200, 15_000, seed=4, n_clusters=8, drift=0.2).interactions()
    return open_shop(log, default_cut(log), seed=0, watched=300)


def peak(shop: Shop, attack: str, claim: str, share: float, step: StepConfig, *, discard: bool) -> float:
    target = unpopular(shop.histories, 1, seed=0)[0]
    attacker = Attacker(attack, target, CLIPS, shop.recipe.train.profile, claim)  # type: ignore[arg-type]
    return play(shop, attacker, share, step, discard=discard, seed=0, rounds=20, cohort=100, dim=8).peak(10)


@pytest.mark.parametrize("attack", ["fedrec", "a-ra"])
@pytest.mark.parametrize("claim", ["quiet", "owner"])
def test_ten_per_cent_of_liars_within_the_clips_win_without_defences_and_far_less_with_them(
    shop: Shop, attack: str, claim: str
) -> None:
    bare = peak(shop, attack, claim, 0.1, StepConfig(), discard=False)
    guarded = peak(shop, attack, claim, 0.1, GUARDED, discard=True)
    assert bare >= 0.4
    assert guarded <= 0.65 * bare


def test_random_words_lose_the_round_and_not_the_table(shop: Shop) -> None:
    target = unpopular(shop.histories, 1, seed=0)[0]
    attacker = Attacker("random words", target, CLIPS, shop.recipe.train.profile)
    settings = {"seed": 0, "rounds": 6, "cohort": 100, "dim": 8}
    found = play(shop, attacker, 0.01, GUARDED, discard=True, **settings)  # type: ignore[arg-type]
    assert found.discarded == 6
    assert play(shop, None, 0.0, GUARDED, discard=True, **settings).discarded == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("attack", ["random words", "optimised words"])
def test_where_reports_prove_their_bounds_whoever_ignores_the_clips_is_left_out_and_no_round_is_lost(
    shop: Shop, attack: str
) -> None:
    target = unpopular(shop.histories, 1, seed=0)[0]
    attacker = Attacker(attack, target, CLIPS, shop.recipe.train.profile)  # type: ignore[arg-type]
    settings = {"seed": 0, "rounds": 10, "cohort": 100, "dim": 8, "discard": True, "verified": True}
    found = play(shop, attacker, 0.05, GUARDED, **settings)  # type: ignore[arg-type]
    assert (found.discarded, found.dropped, found.proofs) == (0, 10 * 5, 1)
    assert found.peak(10) < 10 / 200  # as often as an item by chance


def test_the_loudest_words_that_can_be_proved_pass_and_one_step_more_does_not(shop: Shop) -> None:
    plan = round_plan(200, 8, 50, verified=True)
    V = np.random.default_rng(0).normal(0, 0.3, (200, 8)).astype(np.float32)
    attacker = Attacker("provable words", 7, CLIPS, shop.recipe.train.profile)
    rng = np.random.default_rng(1)
    shoppers = approximate_shoppers("provable words", V, np.zeros(8, np.float32), shop.public, attacker.config, rng)
    report = report_of(attacker.sums(V, shoppers, 4, plan=plan, reports=100, rng=rng), plan, 4)
    rows = plan.parts[0]
    assert within_bounds(report, plan)
    assert np.sqrt(report[: rows.length] @ report[: rows.length]) > rows.clip_norm * rows.scale
    loudest = np.zeros_like(report)
    loudest[0] = math.isqrt(rows.bound_squared)
    assert within_bounds(loudest, plan)
    assert cheat(proof_plan(plan), loudest, "the loudest")
    loudest[0] += 1
    assert not within_bounds(loudest, plan)
    assert not cheat(proof_plan(plan), loudest, "one step more")


@pytest.mark.parametrize("claim", ["quiet", "owner", "rivals"])
def test_an_attacker_that_obeys_the_clips_does(shop: Shop, claim: str) -> None:
    """The benchmark's attackers are as strong as they may be and no stronger."""
    profile = shop.recipe.train.profile
    V = np.random.default_rng(0).normal(0, 0.3, (200, 8)).astype(np.float32)
    attacker = Attacker("fedrec", 7, CLIPS, profile, claim)  # type: ignore[arg-type]
    shoppers = approximate_shoppers(
        "fedrec", V, np.zeros(8, np.float32), shop.public, profile, np.random.default_rng(1)
    )
    plan = training_plan(200, 8, CLIPS, min_reports=1, max_reports=100)
    one = attacker.sums(V, shoppers, 1, plan=plan, reports=100, rng=np.random.default_rng(2))
    norms = [float(np.linalg.norm(part)) for part in (one.rows, one.counts, one.second, one.first)]
    assert all(a <= b * (1 + 1e-9) for a, b in zip(norms, (1.0, 4.0, 0.5, 0.5), strict=True))
    assert norms[0] == pytest.approx(1.0)
    assert one.one == 1.0


# Sums that no honest batch has.


def plan_of(sigma: int = 0) -> SumPlan:
    clips = Clips(rows=1.0, counts=4.0, second=0.5, first=0.5)
    return training_plan(N_ITEMS, DIM, clips, min_reports=1, max_reports=200, sigma=sigma)


def honest_words(plan: SumPlan, seed: int) -> npt.NDArray[np.int32]:
    """The sum of DEVICES honest reports and both parties' noise."""
    log, V = random_log(seed, n_users=DEVICES), table(seed, N_ITEMS, DIM)
    clips = Clips(rows=1.0, counts=4.0, second=0.5, first=0.5)
    random = seeded_bytes(np.random.default_rng(seed))
    total = np.zeros(plan.length, dtype=np.uint32)
    for update in one_by_one(V, log, np.arange(DEVICES), clips, CONFIG):
        total += encode(plan, vectors_of(update, N_ITEMS), random)
    for _ in range(2):
        total += discrete_gaussian(plan.sigma, plan.length, random).astype(np.uint32)
    return to_signed(total)


@pytest.mark.parametrize("sigma", [0, 1_000, 10_000_000])
def test_honest_batches_are_plausible_with_any_noise(sigma: int) -> None:
    plan = plan_of(sigma)
    for seed in range(8):
        assert implausible_parts(honest_words(plan, seed), plan, DEVICES) == ()


def test_noise_alone_is_plausible() -> None:
    plan = plan_of(1_000_000)
    random = seeded_bytes(np.random.default_rng(0))
    noise = discrete_gaussian(plan.sigma, plan.length, random) + discrete_gaussian(plan.sigma, plan.length, random)
    assert plausible(noise.astype(np.int32), plan, 0)


@pytest.mark.parametrize("sigma", [0, 1_000])
def test_one_report_of_random_words_is_not(sigma: int) -> None:
    plan = plan_of(sigma)
    rng = np.random.default_rng(1)
    for seed in range(8):
        words = rng.integers(-(2**31), 2**31, plan.length).astype(np.int32)
        assert not plausible(words + honest_words(plan, seed), plan, DEVICES)


@pytest.mark.parametrize("name", ["rows", "counts", "second", "first", "one", "metrics"])
def test_a_part_beyond_the_reports_bounds_is_named(name: str) -> None:
    plan = plan_of(1_000)
    words = honest_words(plan, 3).astype(np.int64)
    part = next(part for part in plan.parts if part.name == name)
    where = plan.slices()[name]
    words[where.start] += int(2 * DEVICES * np.sqrt(part.bound_squared))
    assert implausible_parts(words.astype(np.int32), plan, DEVICES) == (name,)
    assert not plausible(words.astype(np.int32), plan, DEVICES)


@pytest.mark.parametrize("name", ["counts", "one", "metrics"])
def test_negative_counters_are_implausible(name: str) -> None:
    plan = plan_of(10)
    words = honest_words(plan, 4)
    words[plan.slices()[name].start] = -1_000
    assert implausible_parts(words, plan, DEVICES) == (name,)


def test_a_second_moment_with_a_negative_direction_is_implausible() -> None:
    plan = plan_of(10)
    words = honest_words(plan, 5)
    part = next(part for part in plan.parts if part.name == "second")
    words[plan.slices()["second"].start] -= int(0.3 * DEVICES * np.sqrt(part.bound_squared))
    assert implausible_parts(words, plan, DEVICES) == ("second",)


def test_one_report_as_loud_as_half_of_all_passes() -> None:
    """What the check cannot see: nobody can look at one share. The item step's defences are for this."""
    plan = plan_of()
    words = honest_words(plan, 6)
    part = next(part for part in plan.parts if part.name == "rows")
    words[0] += int(0.5 * DEVICES * np.sqrt(part.bound_squared))
    assert plausible(words, plan, DEVICES)


def test_plans_of_other_sums_are_checked_by_their_norms() -> None:
    plan = SumPlan((Part("votes", 3, 1.0, 1_000.0),), min_reports=1, max_reports=10, sigma=0)
    assert plausible(np.array([4_000, 0, 0], dtype=np.int32), plan, 5)
    assert not plausible(np.array([6_000, 0, 0], dtype=np.int32), plan, 5)


def test_sums_of_another_shape_and_impossible_counts_of_reports_are_refused() -> None:
    plan = plan_of()
    with pytest.raises(PlanRefused, match="sum has shape"):
        plausible(np.zeros(3, dtype=np.int32), plan)
    with pytest.raises(PlanRefused, match=r"reports=201: must be 0\.\.max_reports=200"):
        plausible(np.zeros(plan.length, dtype=np.int32), plan, 201)


def test_the_batched_honest_sum_is_plausible_too(shop: Shop) -> None:
    """The simulation's own sums, in words, pass the check that a coordinator would make."""
    V = np.random.default_rng(0).normal(0, 0.3, (200, 8)).astype(np.float32)
    solver = closed_form(ItemTable(V, shop.trend, np.zeros(8, np.float32)), shop.recipe.train.profile)
    plan = training_plan(200, 8, CLIPS, min_reports=1, max_reports=1_000)
    sums = sum_updates(solver, shop.histories, shop.devices, CLIPS)
    assert plausible(as_words(sums, plan), plan, len(shop.devices))
