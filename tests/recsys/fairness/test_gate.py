from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from data.errors import ModelError
from data.interactions import MICROS_PER_DAY
from recsys.fairness.gate import (
    GatePolicy,
    GateResult,
    ReleaseEvidence,
    SpentPrivacy,
    gap_error,
    gap_to_rest,
    harm_p,
    interval,
    judge_release,
)
from recsys.fairness.groups import Grouping

N, END = 600, 100 * MICROS_PER_DAY
PLAN = SpentPrivacy(epsilon=2.0, stated=2.0, promised=3.0, participations=2, cap=3)


def release(seed: int, *, version: str = "new", base: int = 0, lost: float = 0.0) -> ReleaseEvidence:
    """Evidence of N shoppers: the same shoppers by `base`, another training by `seed`."""
    shoppers, draw = np.random.default_rng(base), np.random.default_rng(seed)
    ndcg = np.clip(shoppers.beta(1, 2, N) + draw.normal(0, 0.05, N) - lost, 0, 1)
    return ReleaseEvidence(version, ndcg, shoppers.beta(2, 6, N), END - 5 * MICROS_PER_DAY, PLAN)


def groups(seed: int = 9, levels: int = 3) -> Grouping:
    names = tuple(f"level {level}" for level in range(levels))
    return Grouping("kind", names, np.random.default_rng(seed).integers(0, levels, N))


def judged(new: ReleaseEvidence, old: ReleaseEvidence, policy: GatePolicy | None = None) -> GateResult:
    return judge_release(new, old, [groups()], policy or GatePolicy(), log_end=END)


def failed(result: GateResult) -> list[str]:
    assert result.passed == (not [check for check in result.checks if not check.passed])
    return [check.name for check in result.checks if not check.passed]


OLD = release(1, version="old")


def test_honest_releases_pass_about_always() -> None:
    verdicts = [judged(release(2 + seed), OLD).passed for seed in range(20)]
    assert sum(verdicts) >= 19


def test_a_loss_beyond_the_margin_is_stopped_and_one_within_it_is_not() -> None:
    mean = OLD.ndcg.mean()
    assert "quality" in failed(judged(replace(OLD, ndcg=OLD.ndcg - 0.08 * mean), OLD))
    assert failed(judged(replace(OLD, ndcg=OLD.ndcg - 0.04 * mean), OLD)) == []  # the same shoppers: no spread at all


def test_quality_that_too_few_shoppers_show_is_not_shown() -> None:
    few = {name: getattr(OLD, name)[:20] for name in ("ndcg", "tail_share")}
    noisy = np.random.default_rng(3).normal(0, 0.3, 20)
    new, old = replace(OLD, **few | {"ndcg": few["ndcg"] + noisy - noisy.mean()}), replace(OLD, **few)
    result = judge_release(new, old, [], GatePolicy(), log_end=END)
    assert failed(result) == ["quality"]
    assert result.checks[0].p_holm is not None
    assert result.checks[0].p_holm > 0.05  # no harm is shown either


def test_a_group_that_pays_for_the_others_is_named() -> None:
    members = groups().level_of == 1
    n, mean = members.sum(), OLD.ndcg.mean()
    moved = np.where(members, -0.25 * mean, 0.25 * mean * n / (N - n))  # the mean of all stays
    result = judged(replace(OLD, ndcg=OLD.ndcg + moved), OLD)
    assert failed(result) == ["group:kind=level 1"]
    (check,) = [check for check in result.checks if check.name == "group:kind=level 1"]
    assert check.value == pytest.approx(gap_to_rest(moved, members))


def test_a_group_served_better_than_the_rest_is_not_a_worst_group() -> None:
    members = groups().level_of == 1
    result = judged(replace(OLD, ndcg=np.where(members, 0.9, 0.3)), replace(OLD, ndcg=np.where(members, 1.0, 0.3)))
    assert "group:kind=level 1" not in [check.name for check in result.checks]


def test_small_groups_are_not_judged() -> None:
    small = Grouping("kind", ("few", "many"), (np.arange(N) >= 49).astype(np.int64))
    ndcg = np.where(small.level_of == 0, 0.0, OLD.ndcg)
    names = [
        check.name for check in judge_release(replace(OLD, ndcg=ndcg), OLD, [small], GatePolicy(), log_end=END).checks
    ]
    assert names == ["quality", "exposure", "epsilon", "stale"]


def test_the_tails_floor_is_four_fifths_of_before_or_what_the_policy_says() -> None:
    assert failed(judged(replace(OLD, tail_share=OLD.tail_share * 0.9), OLD)) == []
    assert failed(judged(replace(OLD, tail_share=OLD.tail_share * 0.6), OLD)) == ["exposure"]
    assert failed(judged(OLD, OLD, GatePolicy(tail_floor=0.5))) == ["exposure"]
    assert failed(judged(OLD, OLD, GatePolicy(tail_floor=0.2))) == []


@pytest.mark.parametrize(
    ("privacy", "policy", "passes"),
    [
        (PLAN, GatePolicy(), True),
        (replace(PLAN, epsilon=3.0, stated=3.0, participations=3), GatePolicy(), True),  # all of it, no more
        (replace(PLAN, epsilon=3.1, stated=3.1), GatePolicy(), False),  # more than the old release promised
        (replace(PLAN, participations=4), GatePolicy(), False),  # beyond its own cap
        (replace(PLAN, stated=1.0), GatePolicy(), False),  # the manifest says less than its noise makes
        (replace(PLAN, stated=None), GatePolicy(), False),
        (replace(PLAN, epsilon=None, stated=None), GatePolicy(), False),  # no noise any more
        (None, GatePolicy(), False),
        (PLAN, GatePolicy(epsilon=1.9), False),
        (PLAN, GatePolicy(epsilon=2.0), True),
    ],
)
def test_epsilon(privacy: SpentPrivacy | None, policy: GatePolicy, passes: bool) -> None:
    assert failed(judged(replace(OLD, privacy=privacy), OLD, policy)) == ([] if passes else ["epsilon"])


def test_without_any_promise_there_is_none_to_break() -> None:
    bare = replace(OLD, privacy=None)
    assert failed(judged(bare, bare)) == []
    assert failed(judged(bare, bare, GatePolicy(epsilon=8.0))) == ["epsilon"]


@pytest.mark.parametrize(("days", "passes"), [(5, True), (4, True), (6, False), (0, True), (None, False)])
def test_a_release_of_older_data_is_stale(days: int | None, passes: bool) -> None:
    until = None if days is None else END - days * MICROS_PER_DAY
    assert failed(judged(replace(OLD, learned_until=until), OLD)) == ([] if passes else ["stale"])


def test_a_release_is_stale_when_the_log_went_on_without_it() -> None:
    both = replace(OLD, learned_until=END - 61 * MICROS_PER_DAY)
    assert failed(judged(both, both)) == ["stale"]
    assert failed(judged(both, both, GatePolicy(max_age_days=61))) == []


def test_many_groups_do_not_stop_an_honest_release_more_often() -> None:
    # 12 groupings of 10 levels: without Holm one of 120 tests at 5 % is nearly always below
    many = [groups(seed, 10) for seed in range(12)]
    policy = GatePolicy(group_margin=0.0, min_group=2)
    passed = [
        judge_release(release(50 + seed, base=seed), release(150 + seed, base=seed), many, policy, log_end=END).passed
        for seed in range(40)
    ]
    assert sum(passed) >= 34  # of 40 at 95 % each, fewer come about once in 300 times


def test_the_p_value_of_a_gap_is_welchs() -> None:
    values, members = np.random.default_rng(0).normal(size=N), np.arange(N) < 150
    values[members] *= 3
    oracle = stats.ttest_ind(values[~members], values[members], equal_var=False, alternative="greater")
    error, freedom = gap_error(values, members)
    assert harm_p(gap_to_rest(values, members), error, freedom) == pytest.approx(oracle.pvalue, rel=1e-9)
    low, high = oracle.confidence_interval().low, interval(gap_to_rest(values, members), error, freedom)
    assert low > high[0]  # one-sided bounds are narrower than two-sided ones
    two_sided = stats.ttest_ind(values[~members], values[members], equal_var=False).confidence_interval()
    assert high == pytest.approx((two_sided.low, two_sided.high))
    assert harm_p(0.1, 0.0, 5.0) == 0.0
    assert harm_p(0.0, 0.0, 5.0) == 1.0


def test_other_shoppers_are_refused_and_so_are_impossible_margins() -> None:
    with pytest.raises(ModelError, match="same"):
        judge_release(OLD, replace(OLD, ndcg=OLD.ndcg[:-1]), [], GatePolicy(), log_end=END)
    for wrong in (
        {"quality_margin": -0.1},
        {"tail_floor": 1.1},
        {"min_group": 1},
        {"epsilon": 0.0},
        {"max_age_days": 0},
    ):
        with pytest.raises(ModelError, match=next(iter(wrong))):
            GatePolicy(**wrong)  # type: ignore[arg-type]


def test_the_result_is_plain_json_with_the_verdict_first() -> None:
    result = judged(OLD, OLD).to_dict()
    assert list(result)[:4] == ["passed", "new", "old", "users"]
    assert result["passed"] is True
    assert result["policy"]["quality_margin"] == GatePolicy().quality_margin
