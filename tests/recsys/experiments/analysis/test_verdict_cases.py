"""Inputs that once gave a wrong verdict, with the numbers of each, and what is right."""

from dataclasses import replace

import numpy as np
import pytest

from recsys.experiments.analysis.analysis import Look, analyse
from recsys.experiments.analysis.sums import ArmSums, SumsNoise
from recsys.experiments.analysis.verdict import Guard, State, sign, verdicts
from recsys.experiments.definition.arm import Arm
from recsys.experiments.definition.definition import Looks, Method, OutcomeColumn, OutcomeEvent, Privacy
from recsys.experiments.definition.metric_definitions import Metric, MetricKind, Role
from recsys.experiments.results.results import results
from tests.recsys.experiments.experiments import experiment

BOUGHT = Metric("conversion", MetricKind.PROPORTION, "bought", role=Role.PRIMARY)
REVENUE = Metric("revenue", MetricKind.MEAN, "spent", cap=1000.0, role=Role.PRIMARY)
CLICKS = Metric("clicks", MetricKind.MEAN, "clicked", cap=40.0, role=Role.GUARDRAIL, margin=0.02)
OUTCOMES = (
    OutcomeColumn("bought", OutcomeEvent.PURCHASE, "any"),
    OutcomeColumn("spent", OutcomeEvent.PURCHASE, "value"),
    OutcomeColumn("clicked", OutcomeEvent.CLICK),
)
ONCE, FIVE = Looks(count=1), Looks(count=5)
PRIVACY = Privacy(None, min_reports=1_000)


def defined(*metrics, looks=ONCE, arms=("global_list", "personal"), **changes):
    made = tuple(Arm(arm) if isinstance(arm, str) else arm for arm in arms)
    names = {name for metric in metrics for name in (metric.numerator, metric.denominator) if name}
    outcomes = tuple(outcome for outcome in OUTCOMES if outcome.name in names)
    return experiment(metrics=metrics, outcomes=outcomes, looks=looks, arms=made, **({"privacy": PRIVACY} | changes))


def of_rate(n, buyers):
    return ArmSums(float(n), {"bought": float(buyers)}, {}, indicators=frozenset({"bought"}))


def of_mean(n, **moments):
    """Sums of n shoppers whose columns have these means and standard deviations."""
    return ArmSums(
        float(n),
        {x: n * mean for x, (mean, _) in moments.items()},
        {(x, x): (n - 1) * sd**2 + n * mean**2 for x, (mean, sd) in moments.items()},
    )


def look(number=1, **arms):
    return Look(number, {arm: (sums,) for arm, sums in arms.items()})


def said(made, *looks):
    return verdicts(made, analyse(made, looks))[0]


def test_nobody_who_buys_is_worse_and_not_too_few():
    made = defined(BOUGHT, looks=FIVE)
    data = look(5, global_list=of_rate(20_000, 400), personal=of_rate(20_000, 0))
    (effect,) = analyse(made, [data]).effects
    assert effect.effect == -0.02
    assert effect.relative == -1.0
    assert effect.adjusted_p < 1e-10
    found = said(made, data)
    assert found.state is State.WORSE
    assert "personal is worse than control in conversion: -100.0% (-100.0% to -99." in found.text


def test_nobody_who_buys_is_seen_under_noise_too():
    """Noise of 15 shoppers' standard deviation on counts: the dead arm's total may come out below 0."""
    made = defined(BOUGHT, looks=FIVE)
    noise = SumsNoise(225.0, {"bought": 225.0})
    for total in (-30.0, -1.0, 0.0, 20.0):
        data = look(
            5,
            global_list=replace(of_rate(20_000, 400), noise=noise),
            personal=replace(of_rate(20_000, total), noise=noise),
        )
        assert said(made, data).state is State.WORSE


def test_a_guardrail_that_died_is_hurt_whatever_revenue_does():
    made = defined(REVENUE, CLICKS)
    found = said(
        made,
        look(
            global_list=of_mean(5_000, spent=(100.0, 50.0), clicked=(2.0, 2.0)),
            personal=of_mean(5_000, spent=(105.0, 50.0), clicked=(0.0, 0.0)),
        ),
    )
    assert found.state is State.GUARDRAIL_HURT
    assert found.guardrails == {"clicks": Guard.HURT}
    assert found.text.startswith("Worse than allowed in clicks (-100.0%")


def test_a_guardrail_without_a_figure_blocks_better():
    """A ratio whose denominator died in the arm has no value there."""
    per_list = Metric(
        "clicks_per_list", MetricKind.RATIO, "clicked", denominator="bought", cap=40.0, role=Role.GUARDRAIL, margin=0.02
    )
    made = experiment(
        metrics=(REVENUE, per_list), outcomes=(*OUTCOMES[1:], replace(OUTCOMES[0], measure="count")), looks=ONCE,
        privacy=PRIVACY,
    )  # fmt: skip
    rng = np.random.default_rng(0)

    def sums(lift, alive):
        lists = rng.integers(0, 2, 5_000) * alive
        rows = {"spent": rng.gamma(4.0, 25.0 * lift, 5_000), "bought": lists, "clicked": lists * 1.0}
        return ArmSums.from_rows(rows, made.metrics)

    found = said(made, look(global_list=sums(1.0, 1), personal=sums(1.1, 0)))
    assert found.state is State.GUARDRAIL_UNKNOWN
    assert found.guardrails == {"clicks_per_list": Guard.NO_FIGURE}
    assert found.text.startswith("Not to be decided: clicks_per_list (metric clicks_per_list: mean of bought=0")


@pytest.mark.parametrize("came", [0, 500, 999])
def test_shoppers_who_are_missing_are_a_mismatch_and_their_number_is_not_told(came):
    made = defined(BOUGHT)
    data = look(global_list=of_rate(20_000, 400), personal=of_rate(came, came // 50))
    found = said(made, data)
    assert found.state is State.INVALID
    assert "personal fewer than are shown (expected 20,000)" in found.text
    told = results(made, [data])
    assert told["arms"]["personal"]["all"] is None
    assert told["analysis"]["sample_ratio"] == {
        "observed": {"global_list": 20_000.0, "personal": None},
        "expected": {"global_list": 20_000.0, "personal": 20_000.0},
        "p_value": 1e-3,
        "mismatch": True,
    }


def test_forty_shoppers_against_none_are_early_and_no_mismatch():
    made = defined(BOUGHT)
    data = look(global_list=of_rate(40, 1), personal=of_rate(0, 0))
    assert analyse(made, [data]).sample_ratio is None
    assert said(made, data).state is State.TOO_FEW
    # 999 are expected of each here, 1,000 there: the first look that may tell does
    for n, state in ((1_998, State.TOO_FEW), (2_000, State.INVALID)):
        assert said(made, look(global_list=of_rate(n, 20), personal=of_rate(0, 0))).state is state


@pytest.mark.parametrize("third", [0, 900])
def test_an_empty_third_arm_makes_every_verdict_invalid(third):
    made = defined(BOUGHT, arms=("global_list", "personal", "diverse"))
    data = look(global_list=of_rate(9_000, 180), personal=of_rate(6_000, 120), diverse=of_rate(third, third // 50))
    assert [one.state for one in verdicts(made, analyse(made, [data]))] == [State.INVALID] * 2


@pytest.mark.parametrize("n", [500_000, 2_000_000])
@pytest.mark.parametrize("looks", [ONCE, FIVE])
def test_an_effect_of_fifty_standard_errors_is_not_made_smaller(n, looks):
    """100 → 105 of sd 50, 500,000 an arm: z = 50, and 100 with 2,000,000."""
    made = defined(REVENUE, looks=looks)
    data = look(1, global_list=of_mean(n, spent=(100.0, 50.0)), personal=of_mean(n, spent=(105.0, 50.0)))
    found = analyse(made, [data])
    assert found.stopped[0].estimate == pytest.approx(5.0, abs=1e-6)
    text = said(made, data).text
    assert "conversion" not in text
    assert "revenue: +5.0% (+" in text
    assert "rather" not in text or "rather +5.0%" in text


def test_skewed_revenue_is_decided_by_the_interval_that_is_printed():
    """Absolute, the effect is short of 1.96 or beyond it; the relative interval holds 0 exactly as that one does."""
    made = defined(REVENUE)
    for lift in np.linspace(1.30, 1.60, 61):
        data = look(global_list=of_mean(2_000, spent=(2.0, 15.0)), personal=of_mean(2_000, spent=(2.0 * lift, 22.0)))
        (effect,) = analyse(made, [data]).effects
        assert (effect.relative_low > 0) == (effect.low > 0) == (said(made, data).state is State.BETTER)


def test_three_arms_have_intervals_that_hold_at_once():
    """Alone +3.1 % (+0.2 % to +6.1 %) would be shown; of two comparisons it is not, and its interval holds 0."""
    made = defined(REVENUE, arms=("global_list", "personal", "diverse"))
    data = look(
        global_list=of_mean(10_000, spent=(100.0, 106.0)),
        personal=of_mean(10_000, spent=(103.1, 106.0)),
        diverse=of_mean(10_000, spent=(100.5, 106.0)),
    )
    done = analyse(made, [data])
    one = done.effects[0]
    assert one.p_value < 0.05 < one.adjusted_p
    assert one.low < 0 < one.high
    first = verdicts(made, done)[0]
    assert first.state is State.NO_DIFFERENCE
    assert "No difference in revenue was shown: +3.1% (-0." in first.text


def test_an_effect_that_faded_is_said_to_have_and_its_headline_is_neutral():
    """+10 % at look 1, then +0.0 % (−1.5 % to +1.5 %)."""
    made = defined(REVENUE, looks=Looks(Method.ALWAYS_VALID, 5))
    n = 30_000
    first = look(1, global_list=of_mean(n, spent=(100.0, 80.0)), personal=of_mean(n, spent=(110.0, 80.0)))
    later = look(2, global_list=of_mean(6 * n, spent=(100.0, 80.0)), personal=of_mean(6 * n, spent=(100.0, 80.0)))
    assert said(made, first).state is State.BETTER
    found = said(made, first, later)
    assert found.state is State.NOT_HELD
    assert found.text.startswith("Shown at look 1 of 5, not held since: revenue was +10.0% (+")
    assert "and is +0.0% (-" in found.text
    assert "better" not in found.text


def test_one_look_has_nothing_to_be_allowed_for():
    made = defined(REVENUE)
    found = said(made, look(global_list=of_mean(60, spent=(9.0, 5.0)), personal=of_mean(60, spent=(12.0, 5.0))))
    assert found.state is State.TOO_FEW
    made = replace(made, privacy=Privacy(None, min_reports=50))
    found = said(made, look(global_list=of_mean(60, spent=(9.0, 5.0)), personal=of_mean(60, spent=(12.0, 5.0))))
    assert found.state is State.BETTER
    assert "Allowing for" not in found.text


def test_a_guardrail_within_its_margin_is_not_called_unharmed():
    """−9 % to +45 % at a margin of .1."""
    made = defined(REVENUE, replace(CLICKS, margin=0.1))
    found = said(
        made,
        look(
            global_list=of_mean(2_000, spent=(100.0, 50.0), clicked=(2.0, 8.0)),
            personal=of_mean(2_000, spent=(110.0, 50.0), clicked=(2.36, 8.0)),
        ),
    )
    assert found.guardrails == {"clicks": Guard.HELD}
    assert "unharmed" not in found.text


def drawn(rng, n, lift, arms):
    """Skewed revenue, rare conversion and clicks of so many shoppers an arm, as exact sums."""
    metrics = (BOUGHT, replace(REVENUE, role=Role.SECONDARY), CLICKS)
    made = {}
    for k, arm in enumerate(arms):
        bought = (rng.random(n) < 0.03 * (lift if k else 1.0)).astype(float)
        rows = {"bought": bought, "spent": bought * np.minimum(rng.lognormal(3.0, 1.4, n), 1000.0)}
        rows["clicked"] = np.minimum(rng.poisson(2.0 * rng.gamma(1.0, 1.0, n)), 40).astype(float)
        made[arm] = ArmSums.from_rows(rows, metrics)
    return made


@pytest.mark.parametrize("role", ["revenue", "conversion"])
@pytest.mark.parametrize(
    "looks", [Looks(count=1), Looks(count=3), Looks(Method.ALWAYS_VALID, 4)], ids=["one", "planned", "any"]
)
def test_verdict_and_interval_agree_at_every_look_and_in_the_history(looks, role):
    """Random experiments of two and three arms, effects of any size: what is said is what the interval says."""
    rng = np.random.default_rng(len(role) + looks.count)
    metrics = tuple(
        replace(metric, role=Role.PRIMARY if metric.name == role else Role.SECONDARY) for metric in (BOUGHT, REVENUE)
    )
    states = set()
    for trial in range(60):
        arms = ("global_list", "personal", "diverse")[: 2 + trial % 2]
        made = defined(*metrics, CLICKS, looks=looks, arms=arms, privacy=Privacy(None, min_reports=50))
        lift, data, total = rng.choice([1.0, 1.2, 1.6, 0.5]), [], None
        for number in range(1, looks.count + 1):
            more = drawn(
                rng, int(rng.integers(200, 1200)), lift if number < 3 else rng.choice([lift, 1.0 / lift]), arms
            )
            total = more if total is None else {arm: total[arm] + more[arm] for arm in arms}
            data.append(look(number, **total))
        before = {}
        for k in range(1, looks.count + 1):
            done = analyse(made, data[:k])
            now = [e for e in done.history if e.look == k]
            assert {(e.metric, e.arm): (e.low, e.high) for e in now} == {
                (e.metric, e.arm): (e.low, e.high) for e in done.effects if e.effect is not None
            }
            earlier = {(e.metric, e.arm, e.look): (e.low, e.high) for e in done.history}
            assert before.items() <= earlier.items()
            before = earlier
            for e in now:
                if e.relative_low is not None and not np.isnan(e.relative_low):
                    assert (e.relative_low > 0, e.relative_high < 0) == (e.low > 0, e.high < 0)
            for one in verdicts(made, done):
                points = [e for e in done.history if (e.metric, e.arm) == (role, one.arm)]
                if Guard.HURT in one.guardrails.values() or one.state in (State.TOO_FEW, State.INVALID):
                    continue
                states.add(one.state)
                signs = [sign(e) for e in points]
                assert {1: one.state is State.BETTER, -1: one.state is State.WORSE}.get(signs[-1], True) or (
                    one.state is State.CONTRADICTORY and -signs[-1] in signs
                )
                assert signs[-1] or one.state in (State.NO_DIFFERENCE, State.RUNNING, State.NOT_HELD)
                assert (one.state is State.NOT_HELD) == (not signs[-1] and any(signs))
                effect = next(e for e in done.effects if (e.metric, e.arm) == (role, one.arm))
                assert (effect.adjusted_p <= 0.05 + 1e-9) == any(signs)
    assert {State.BETTER, State.WORSE} <= states
