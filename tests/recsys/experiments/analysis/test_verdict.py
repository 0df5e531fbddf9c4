import math
from dataclasses import replace

import pytest

from recsys.experiments.analysis.analysis import Effect, Look, analyse
from recsys.experiments.analysis.verdict import Guard, State, guard, verdicts
from recsys.experiments.definition.definition import Looks, Method, Privacy
from recsys.experiments.definition.metric_definitions import Direction, Metric, MetricKind, Role
from tests.recsys.experiments.experiments import METRICS, SEGMENT, experiment, looks

MADE = experiment()


def verdict(made, data):
    (one,) = verdicts(made, analyse(made, data))
    return one


def test_better_is_said_with_its_interval_and_open_guardrails():
    said = verdict(MADE, looks(MADE, {"global_list": [0.1], "personal": [0.13]}, count=3))
    assert said.state is State.BETTER
    assert "personal is better than control in conversion: +" in said.text
    assert "Shown at look 2 of 5." in said.text
    assert said.guardrails == {"load": Guard.HELD}


def test_what_was_decided_by_luck_is_said_to_be_rather_less():
    data = looks(MADE, {"global_list": [0.1], "personal": [0.13]}, count=2)
    found = analyse(MADE, data)
    said = verdict(MADE, data)
    assert found.stopped[0].look == 2
    rather = found.stopped[0].estimate / found.effects[0].control
    assert 0 < rather < found.effects[0].relative
    assert f"Allowing for when it was decided, the effect is rather {rather:+.1%}." in said.text


def test_worse_is_said():
    said = verdict(MADE, looks(MADE, {"global_list": [0.13], "personal": [0.1]}))
    assert said.state is State.WORSE
    assert "personal is worse than control" in said.text


def test_down_is_better_where_the_metric_says_so():
    metrics = (replace(METRICS[0], direction=Direction.DOWN), *METRICS[1:])
    made = experiment(metrics=metrics)
    assert verdict(made, looks(made, {"global_list": [0.13], "personal": [0.1]})).state is State.BETTER


def test_no_difference_shown_says_what_is_still_possible():
    rates = {"global_list": [0.1], "personal": [0.1]}
    open_end = verdict(MADE, looks(MADE, rates))
    assert open_end.state is State.NO_DIFFERENCE
    assert "no proof that there is none: an effect of 5.0%, which the plan was for, is still possible" in open_end.text
    wide = replace(MADE, minimum_effect=0.5)
    assert "an effect of 50.0%, which the plan was for, is ruled out" in verdict(wide, looks(wide, rates)).text


def test_before_the_end_nothing_shown_is_still_running():
    rates = {"global_list": [0.1], "personal": [0.1]}
    said = verdict(MADE, looks(MADE, rates, count=2))
    assert said.state is State.RUNNING
    assert "look 2 of 5 allows no decision" in said.text
    watched = experiment(looks=Looks(Method.ALWAYS_VALID, 5))
    assert "it may be watched at any time" in verdict(watched, looks(watched, rates, count=2)).text


def test_a_mismatch_makes_everything_else_unreadable():
    data = looks(MADE, {"global_list": [0.1], "personal": [0.2]}, sizes={"personal": 1500})
    said = verdict(MADE, data)
    assert said.state is State.INVALID
    assert "global_list 10,000 (expected 8,750)" in said.text
    assert "better" not in said.text


def test_a_hurt_guardrail_comes_before_a_better_primary_metric():
    data = looks(MADE, {"global_list": [0.1], "personal": [0.15]}, slower={"personal": 1.1})
    said = verdict(MADE, data)
    assert said.state is State.GUARDRAIL_HURT
    assert said.text.startswith("Worse than allowed in load (+")
    assert "The primary metric conversion: +" in said.text


def test_an_open_guardrail_is_named():
    data = looks(MADE, {"global_list": [0.1], "personal": [0.16]}, slower={"personal": 1.02}, per_look=600)
    said = verdict(MADE, data)
    assert said.state is State.BETTER
    assert "Not yet known to be within its margin: load." in said.text


def summed(before: Look, after: Look, number: int) -> Look:
    """A look with the shoppers of both."""
    arms = {a: [x + y for x, y in zip(before.arms[a], after.arms[a], strict=True)] for a in before.arms}
    return Look(number, arms)


def test_a_difference_that_turned_round_is_contradictory_and_one_that_faded_says_when_it_was_shown():
    made = experiment(looks=Looks(Method.ALWAYS_VALID, 5))
    (up,) = looks(made, {"global_list": [0.1], "personal": [0.2]}, count=1)
    (down,) = looks(made, {"global_list": [0.25], "personal": [0.1]}, count=1, per_look=6000)
    turned = verdict(made, [up, summed(up, down, 2)])
    assert turned.state is State.CONTRADICTORY
    assert "at look 1, -" in turned.text
    (flat,) = looks(made, {"global_list": [0.134], "personal": [0.1]}, count=1, per_look=6000, seed=3)
    faded = verdict(made, [up, summed(up, flat, 2)])
    assert faded.state is State.NOT_HELD
    assert faded.text.startswith("Shown at look 1 of 5, not held since: conversion was +")
    assert "better" not in faded.text


def test_too_few_says_so():
    made = experiment(privacy=Privacy(None, min_reports=5000))
    said = verdict(made, looks(made, {"global_list": [0.1], "personal": [0.2]}, count=1))
    assert said.state is State.TOO_FEW
    assert "fewer than min_reports=5000" in said.text


def test_segments_are_named_only_where_their_effects_differ():
    made = experiment(segments=(SEGMENT,))
    differ = looks(made, {"global_list": [0.1, 0.1], "personal": [0.1, 0.16]})
    assert "The effect differs by loyalty: returning +" in verdict(made, differ).text
    same = looks(made, {"global_list": [0.1, 0.1], "personal": [0.13, 0.13]})
    assert "differs by" not in verdict(made, same).text


@pytest.mark.parametrize(
    ("direction", "low", "high", "known"),
    [
        (Direction.UP, -0.10, -0.03, Guard.HURT),
        (Direction.UP, -0.10, -0.01, Guard.OPEN),
        (Direction.UP, -0.01, 0.05, Guard.HELD),
        (Direction.DOWN, 0.03, 0.10, Guard.HURT),
        (Direction.DOWN, -0.05, 0.01, Guard.HELD),
        (Direction.DOWN, -0.05, 0.03, Guard.OPEN),
    ],
)
def test_a_guardrail_is_judged_by_its_margin_on_the_worse_side(direction, low, high, known):
    metric = Metric("m", MetricKind.MEAN, "x", direction=direction, role=Role.GUARDRAIL, margin=0.02)
    absolute = Effect(
        "m",
        "b",
        1,
        control=10.0,
        effect=0.1,
        low=10 * low,
        high=10 * high,
        relative_low=math.nan,
        relative_high=math.nan,
    )
    relative = replace(absolute, relative_low=low, relative_high=high)
    assert guard(metric, relative) is known
    assert guard(metric, absolute) is known
    assert guard(metric, Effect("m", "b", 1)) is Guard.NO_FIGURE
