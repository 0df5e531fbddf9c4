"""From an analysis to words: one verdict an arm, which never says more than the numbers do.

No figure is computed here. "No difference shown" is not "no difference": what is still possible is said beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from recsys.experiments.analysis.analysis import Analysis, Effect
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.definition.metric_definitions import Direction, Metric, Role


class State(StrEnum):
    """The conclusion that an arm's figures allow."""

    INVALID = "invalid"
    GUARDRAIL_HURT = "guardrail_hurt"
    GUARDRAIL_UNKNOWN = "guardrail_unknown"
    BETTER = "better"
    WORSE = "worse"
    CONTRADICTORY = "contradictory"
    NOT_HELD = "not_held"
    NO_DIFFERENCE = "no_difference_shown"
    RUNNING = "still_running"
    TOO_FEW = "too_few"


class Guard(StrEnum):
    """The position of a guardrail's interval to its margin."""

    HURT = "hurt"
    HELD = "held"
    OPEN = "open"
    NO_FIGURE = "no_figure"


@dataclass(frozen=True)
class Verdict:
    """state: of one arm against control. text: sentences for people. guardrails: name → what is known of it."""

    arm: str
    state: State
    text: str
    guardrails: dict[str, Guard]


def verdicts(experiment: Experiment, analysis: Analysis) -> tuple[Verdict, ...]:
    """Judge each arm but control, in the definition's order."""
    return tuple(_verdict(experiment, analysis, arm.name) for arm in experiment.arms if arm.name != experiment.control)


def guard(metric: Metric, effect: Effect) -> Guard:
    """hurt: the whole interval is beyond the margin on the worse side; held: none of it is; open: else.

    Of the relative interval; without one, of the absolute, the margin being of control's value.
    """
    if effect.effect is None or effect.control is None or effect.low is None or effect.high is None:
        return Guard.NO_FIGURE
    low, high, margin = effect.relative_low, effect.relative_high, metric.margin
    if low is None or high is None or math.isnan(low):
        low, high, margin = effect.low, effect.high, metric.margin * abs(effect.control)
    if metric.direction is Direction.DOWN:
        low, high = -high, -low
    if high < -margin:
        return Guard.HURT
    return Guard.HELD if low > -margin else Guard.OPEN


def sign(effect: Effect) -> int:
    """On which side of 0 the interval lies: 1 above, −1 below, 0 where it holds 0 or there is none."""
    if effect.low is None or effect.high is None:
        return 0
    return int(effect.low > 0.0) - int(effect.high < 0.0)


def _verdict(experiment: Experiment, analysis: Analysis, arm: str) -> Verdict:
    effects = {effect.metric: effect for effect in analysis.effects if effect.arm == arm}
    primary = effects[experiment.primary.name]
    guards = {m.name: guard(m, effects[m.name]) for m in experiment.metrics if m.role is Role.GUARDRAIL}
    state = _state(experiment, analysis, primary, guards)
    words = {
        State.INVALID: lambda: _invalid(analysis),
        State.GUARDRAIL_HURT: lambda: _hurt(effects, guards, primary),
        State.GUARDRAIL_UNKNOWN: lambda: _unknown(experiment, effects, guards, primary, analysis),
        State.BETTER: lambda: _say_shown(primary, _better(experiment, arm, "better"), analysis),
        State.WORSE: lambda: _say_shown(primary, _better(experiment, arm, "worse"), analysis),
        State.CONTRADICTORY: lambda: _contradictory(analysis, primary),
        State.NOT_HELD: lambda: _not_held(analysis, primary),
        State.NO_DIFFERENCE: lambda: _none(experiment, primary),
        State.RUNNING: lambda: _running(analysis, primary),
        State.TOO_FEW: lambda: f"Nothing to say yet: {primary.problem}.",
    }[state]()
    if state is not State.INVALID:
        words = " ".join([words, *_open(state, guards), *_segments(analysis, arm)])
    return Verdict(arm, state, words, guards)


def _state(experiment: Experiment, analysis: Analysis, primary: Effect, guards: dict[str, Guard]) -> State:
    if analysis.sample_ratio is not None and analysis.sample_ratio.mismatch:
        return State.INVALID
    if Guard.HURT in guards.values():
        return State.GUARDRAIL_HURT
    if primary.effect is None:
        return State.TOO_FEW
    now, shown = sign(primary), {sign(point) for point in _shown_before(analysis, primary)}
    if now and -now in shown:
        return State.CONTRADICTORY
    if now:
        if now != (1 if experiment.primary.direction is Direction.UP else -1):
            return State.WORSE
        return State.GUARDRAIL_UNKNOWN if Guard.NO_FIGURE in guards.values() else State.BETTER
    if shown:
        return State.NOT_HELD
    return State.NO_DIFFERENCE if analysis.final else State.RUNNING


def _shown_before(analysis: Analysis, primary: Effect) -> list[Effect]:
    """Return the figures of earlier looks whose interval had left 0, oldest first."""
    points = [e for e in analysis.history if (e.metric, e.arm) == (primary.metric, primary.arm)]
    return [e for e in points if sign(e) and e.look < primary.look]


def _invalid(analysis: Analysis) -> str:
    ratio = analysis.sample_ratio
    assert ratio is not None
    equal = "≤" if None in ratio.observed.values() else "="
    counts = ", ".join(
        f"{arm} {'fewer than are shown' if count is None else f'{count:,.0f}'} (expected {ratio.expected[arm]:,.0f})"
        for arm, count in ratio.observed.items()
    )
    return (
        f"Invalid: the arms do not hold the shoppers they should: {counts}; p {equal} {ratio.p_value:.2g}. "
        "Something loses or moves shoppers in one arm more than in another: no effect can be read from these figures."
    )


def _hurt(effects: dict[str, Effect], guards: dict[str, Guard], primary: Effect) -> str:
    hurt = [f"{name} ({_interval(effects[name])})" for name, state in guards.items() if state is Guard.HURT]
    return f"Worse than allowed in {', '.join(hurt)}. The primary metric {primary.metric}: {_interval(primary)}."


def _better(experiment: Experiment, arm: str, word: str) -> str:
    """Say what is shown, of an arm that is better or worse than control."""
    if not experiment.interleaved:
        return f"{arm} is {word} than control in {experiment.primary.name}"
    liked, other = (arm, experiment.control) if word == "better" else (experiment.control, arm)
    return f"Shoppers click {liked} rather than {other}, which is not yet what it earns; {arm}'s sessions won less lost"


def _unknown(
    experiment: Experiment, effects: dict[str, Effect], guards: dict[str, Guard], primary: Effect, analysis: Analysis
) -> str:
    missing = [f"{name} ({effects[name].problem})" for name, known in guards.items() if known is Guard.NO_FIGURE]
    return f"Not to be decided: {', '.join(missing)} has no figure, and is a guardrail. " + _say_shown(
        primary, _better(experiment, primary.arm, "better"), analysis
    )


def _say_shown(primary: Effect, what: str, analysis: Analysis) -> str:
    first = next(iter(_shown_before(analysis, primary)), primary)
    text = f"{what}: {_interval(primary)}."
    if first.look < analysis.looks:
        text += f" Shown at look {first.look} of {analysis.looks}."
    crossed = next((s for s in analysis.stopped if (s.arm, s.look) == (primary.arm, primary.look)), None)
    several = analysis.looks > 1 and crossed is not None
    if several and crossed and primary.control and abs(crossed.estimate) < abs(primary.effect or 0.0):
        text += (
            f" Allowing for when it was decided, the effect is rather {crossed.estimate / abs(primary.control):+.1%}."
        )
    return text


def _contradictory(analysis: Analysis, primary: Effect) -> str:
    then = next(e for e in _shown_before(analysis, primary) if sign(e) == -sign(primary))
    return (
        f"Contradictory in {primary.metric}: {_interval(then)} at look {then.look}, {_interval(primary)} at look "
        f"{primary.look}. The effect changed with time or with who came: nothing may be concluded for all."
    )


def _not_held(analysis: Analysis, primary: Effect) -> str:
    """Return an effect that an earlier look showed, and the last one does not.

    No arm is called better or worse for it.
    """
    then = _shown_before(analysis, primary)[-1]
    return (
        f"Shown at look {then.look} of {analysis.looks}, not held since: {primary.metric} was {_interval(then)} then, "
        f"and is {_interval(primary)} at look {primary.look}. The effect faded or came of who was there first."
    )


def _none(experiment: Experiment, primary: Effect) -> str:
    text = f"No difference in {primary.metric} was shown: {_interval(primary)}. That is no proof that there is none"
    low, high, least = primary.relative_low, primary.relative_high, experiment.minimum_effect
    if low is None or high is None or low != low:
        return text + "."
    if -least < low and high < least:
        return text + f", but an effect of {least:.1%}, which the plan was for, is ruled out."
    return text + f": an effect of {least:.1%}, which the plan was for, is still possible."


def _running(analysis: Analysis, primary: Effect) -> str:
    watch = (
        "it may be watched at any time"
        if analysis.method == "always_valid"
        else f"look {primary.look} of {analysis.looks} allows no decision"
    )
    return f"Still running, nothing shown yet in {primary.metric}: {_interval(primary)}; {watch}."


def _open(state: State, guards: dict[str, Guard]) -> list[str]:
    names = [name for name, found in guards.items() if found in (Guard.OPEN, Guard.NO_FIGURE)]
    if not names or state not in (State.BETTER, State.NO_DIFFERENCE):
        return []
    return [f"Not yet known to be within its margin: {', '.join(names)}."]


def _segments(analysis: Analysis, arm: str) -> list[str]:
    """Describe levels only where their effects differ, and only those that stand after correction."""
    sentences = []
    for interaction in analysis.interactions:
        p = interaction.adjusted_p
        if interaction.arm != arm or p is None or p > analysis.alpha:
            continue
        levels = [
            f"{effect.level} {_interval(effect)}"
            for effect in analysis.segments
            if (effect.arm, effect.segment) == (arm, interaction.segment)
            and effect.adjusted_p is not None
            and effect.adjusted_p <= analysis.alpha
        ]
        sentences.append(
            f"The effect differs by {interaction.segment}"
            + (f": {'; '.join(levels)}." if levels else ", but of no level alone is it shown.")
        )
    return sentences


def _interval(effect: Effect) -> str:
    """Format an interval: "+3.1 % (+0.4 % to +5.9 %)". It is absolute where nothing can be said relative to control."""
    if effect.relative is None or effect.relative_low is None or effect.relative_low != effect.relative_low:
        if effect.effect is None:
            return "no figure yet"
        return f"{effect.effect:+.4g} ({effect.low:+.4g} to {effect.high:+.4g})"
    return f"{effect.relative:+.1%} ({effect.relative_low:+.1%} to {effect.relative_high:+.1%})"
