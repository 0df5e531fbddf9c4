import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from data.errors import DataError
from recsys.evaluation.statistics import holm
from recsys.experiments.analysis.analysis import Look, analyse
from recsys.experiments.analysis.estimates import difference
from recsys.experiments.analysis.intervals import fixed_p
from recsys.experiments.analysis.sums import ArmSums, SumsNoise
from recsys.experiments.analysis.verdict import verdicts
from recsys.experiments.definition.arm import Arm
from recsys.experiments.definition.definition import Looks, Method, Privacy
from tests.recsys.experiments.experiments import METRICS, SEGMENT, experiment, looks, rows

ONCE = experiment(looks=Looks(count=1))
PLANNED = experiment()
ANY_TIME = experiment(looks=Looks(Method.ALWAYS_VALID, 5))
EQUAL = {"global_list": [0.1], "personal": [0.1]}
LIFTED = {"global_list": [0.1], "personal": [0.125]}


def effect(analysis, metric="conversion", arm="personal"):
    return next(e for e in analysis.effects if (e.metric, e.arm) == (metric, arm))


def test_one_planned_look_is_welchs_test():
    data = looks(ONCE, LIFTED)
    made = effect(analyse(ONCE, data))
    oracle = difference(METRICS[0], data[0].arms["global_list"][0], data[0].arms["personal"][0])
    assert made.p_value == fixed_p(oracle)
    t = stats.t.isf(0.025, oracle.df)
    assert made.high - made.effect == pytest.approx(t * np.sqrt(oracle.variance), rel=1e-9)


@pytest.mark.parametrize("made", [PLANNED, ANY_TIME], ids=["planned looks", "any time"])
def test_p_is_at_most_alpha_exactly_when_an_interval_has_left_zero(made):
    for seed in range(12):
        for rates in (EQUAL, LIFTED):
            done = analyse(made, looks(made, rates, seed=seed, per_look=500))
            left = any(e.low > 0 or e.high < 0 for e in done.history if e.metric == "conversion")
            assert (effect(done).p_value <= 0.05) == left


def test_intervals_at_planned_looks_are_wider_early_and_near_the_fixed_one_at_the_end():
    data = looks(PLANNED, EQUAL)
    history = [e for e in analyse(PLANNED, data).history if e.metric == "conversion"]
    fixed = effect(analyse(ONCE, [replace(data[-1], number=1)]))
    assert [e.look for e in history] == [1, 2, 3, 4, 5]
    widths = [e.high - e.low for e in history]
    assert widths == sorted(widths, reverse=True)
    assert 1.0 < widths[-1] / (fixed.high - fixed.low) < 1.05
    anytime = effect(analyse(ANY_TIME, data))
    assert 1.3 < (anytime.high - anytime.low) / (fixed.high - fixed.low) < 1.7


def test_later_looks_do_not_change_what_earlier_ones_said():
    data = looks(PLANNED, LIFTED)
    for made in (PLANNED, ANY_TIME):
        assert analyse(made, data[:2]).history == tuple(e for e in analyse(made, data).history if e.look <= 2)


def test_several_arms_are_corrected_together_and_guardrails_not():
    arms = (Arm("global_list"), Arm("personal"), Arm("diverse"))
    made = experiment(arms=arms, looks=Looks(count=1))
    done = analyse(made, looks(made, LIFTED | {"diverse": [0.11]}, seed=4))
    primary = [effect(done, arm=arm) for arm in ("personal", "diverse")]
    assert [e.adjusted_p for e in primary] == [min(1.0, 2 * e.p_value) for e in primary]
    assert [(e.low > 0 or e.high < 0) for e in primary] == [e.adjusted_p <= 0.05 for e in primary]
    guard = effect(done, "load")
    assert guard.adjusted_p == guard.p_value


def test_segments_are_levels_summed_over_their_cells_and_tested_for_interaction():
    made = experiment(segments=(SEGMENT,), looks=Looks(count=2))
    data = looks(made, {"global_list": [0.1, 0.1], "personal": [0.1, 0.16]}, per_look=4000)
    done = analyse(made, data)
    new, returning = done.segments
    assert (new.segment, new.level, returning.level) == ("loyalty", "new", "returning")
    assert returning.adjusted_p < 0.001 < new.adjusted_p
    assert done.interactions[0].p_value < 0.001
    alone = difference(METRICS[0], data[-1].arms["global_list"][1], data[-1].arms["personal"][1])
    assert returning.effect == alone.effect
    same = analyse(made, looks(made, {"global_list": [0.1, 0.3], "personal": [0.1, 0.3]}, per_look=4000))
    assert same.interactions[0].p_value > 0.05


def test_many_segments_and_arms_without_any_difference_are_rarely_said_to_differ():
    """Eight interactions at 5 % each would be claimed by a third of all experiments."""
    arms = (Arm("global_list"), Arm("personal"), Arm("diverse"))
    four = tuple(replace(SEGMENT, name=f"segment_{k}") for k in range(4))
    made = experiment(arms=arms, segments=four, looks=Looks(count=1))
    claimed = 0
    for seed in range(60):
        done = analyse(made, looks(made, {arm.name: [0.2] * 16 for arm in arms}, per_look=50, count=1, seed=seed))
        found = done.interactions
        assert len(found) == 8
        assert [one.adjusted_p for one in found] == holm([one.p_value for one in found]).tolist()
        claimed += any("The effect differs by" in one.text for one in verdicts(made, done))
    assert claimed <= 8  # P(more than 8 of 60 at 5 %) < 0.5 %


def test_an_arm_or_level_below_min_reports_is_hidden():
    made = experiment(segments=(SEGMENT,), privacy=Privacy(None, min_reports=150))
    data = looks(made, {"global_list": [0.1, 0.1], "personal": [0.1, 0.1]}, per_look=100, count=1)
    done = analyse(made, data)
    assert effect(done).effect is not None
    assert done.sample_ratio is not None
    assert all(e.effect is None and e.shoppers is None and "hidden" in e.problem for e in done.segments)
    assert done.interactions[0].p_value is None
    few = analyse(made, looks(made, {"global_list": [0.1, 0.1], "personal": [0.1, 0.1]}, per_look=70, count=1))
    assert few.sample_ratio is None  # 140 shoppers an arm are expected, below 150
    assert few.history == ()
    assert all(e.effect is None and e.control is None for e in few.effects)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(20, 160), min_size=4, max_size=4), st.integers(0, 1000))
def test_no_arm_and_no_level_below_min_reports_is_ever_shown(sizes, seed):
    made = experiment(segments=(SEGMENT,), privacy=Privacy(None, min_reports=150), looks=Looks(count=2))
    rng = np.random.default_rng(seed)
    data = []
    for number in (1, 2):
        cells = [ArmSums.from_rows(rows(n * number, 0.3, rng), made.metrics) for n in sizes]
        data.append(Look(number, {"global_list": cells[:2], "personal": cells[2:]}))
    done = analyse(made, data)
    for e in (*done.effects, *done.history, *done.segments):
        control, treatment = sizes[:2], sizes[2:]
        if e.level is not None:
            control, treatment = ([arm[made.segments[0].levels.index(e.level)]] for arm in (control, treatment))
        large = min(sum(control), sum(treatment)) * e.look >= 150
        figures = [value for name, value in vars(e).items() if isinstance(value, float)]
        assert large or not figures
        assert not large or e.effect is not None or "variance" in e.problem
    assert (done.sample_ratio is None) == (sum(sizes) < 150)


def test_noise_is_in_the_interval_and_its_share_is_told():
    data = looks(PLANNED, EQUAL)
    noisy = [
        Look(
            look.number,
            {arm: [_noisy(cell, 40.0**2 * look.number) for cell in cells] for arm, cells in look.arms.items()},
        )
        for look in data
    ]
    plain, blurred = effect(analyse(PLANNED, data)), effect(analyse(PLANNED, noisy))
    assert blurred.high - blurred.low > 1.5 * (plain.high - plain.low)
    assert 0.4 < blurred.noise_share < 0.95
    assert plain.noise_share == 0.0


def _noisy(sums, variance):
    """The same sums, said to carry noise."""
    return replace(sums, noise=SumsNoise(variance, {"bought": variance}))


def test_the_analysis_is_json_without_nan_or_infinity():
    done = analyse(PLANNED, looks(PLANNED, EQUAL, count=1, per_look=120))
    text = json.dumps(done.to_dict(), allow_nan=False)
    assert json.loads(text)["look"] == 1


def test_the_median_unbiased_figure_of_a_stopped_experiment_is_nearer_to_zero():
    done = analyse(PLANNED, looks(PLANNED, LIFTED, seed=2))
    (stopped,) = done.stopped
    at = next(e for e in done.history if e.metric == "conversion" and e.look == stopped.look)
    assert 0 < stopped.estimate <= at.effect
    assert stopped.low > 0
    assert stopped.p_value <= 0.05
    assert analyse(PLANNED, looks(PLANNED, EQUAL, count=2)).stopped == ()


def test_looks_of_another_experiment_are_refused():
    data = looks(PLANNED, EQUAL)
    with pytest.raises(DataError, match="rise"):
        analyse(PLANNED, [data[1], data[0]])
    with pytest.raises(DataError, match=r"looks=\[\]"):
        analyse(PLANNED, [])
    with pytest.raises(DataError, match="must have the arms"):
        analyse(PLANNED, [Look(1, {"personal": data[0].arms["personal"]})])
