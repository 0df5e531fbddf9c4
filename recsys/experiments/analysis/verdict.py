"""From an analysis to words: one verdict an arm, which never says more than the numbers do.

No figure is computed here. "No difference shown" is not "no difference": what is still possible is said beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from recsys.experiments.analysis.analysis import Analysis, Effect
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.definition.metric_definitions import Direction, Metric, Role


class State(StrEnum):
    """The conclusion that an arm's figures allow."""

    INVALID = "invalid"
    GUARDRAIL_HURT = "guardrail_hurt"
    BETTER = "better"
    WORSE = "worse"
    CONTRADICTORY = "contradictory"
    NO_DIFFERENCE = "no_difference_shown"
    RUNNING = "still_running"
    TOO_FEW = "too_few"


class Guard(StrEnum):
    """The position of a guardrail's interval to its margin."""

    HURT = "hurt"
    HELD = "held"
    OPEN = "open"


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
    """Judge a guardrail metric by its interval.

    hurt: the whole interval is beyond the margin on the worse side; held: none of it; open: else, or no figure.
    """
    low, high = effect.relative_low, effect.relative_high
    if low is None or high is None or low != low:
        if not effect.control or effect.low is None or effect.high is None:
            return Guard.OPEN
        low, high = effect.low / abs(effect.control), effect.high / abs(effect.control)
    if metric.direction is Direction.DOWN:
        low, high = -high, -low
    if high < -metric.margin:
        return Guard.HURT
    return Guard.HELD if low > -metric.margin else Guard.OPEN


def _verdict(experiment: Experiment, analysis: Analysis, arm: str) -> Verdict:
    effects = {effect.metric: effect for effect in analysis.effects if effect.arm == arm}
    primary = effects[experiment.primary.name]
    guards = {m.name: guard(m, effects[m.name]) for m in experiment.metrics if m.role is Role.GUARDRAIL}
    state = _state(experiment, analysis, primary, guards)
    words = {
        State.INVALID: lambda: _invalid(analysis),
        State.GUARDRAIL_HURT: lambda: _hurt(effects, guards, primary),
        State.BETTER: lambda: _say_shown(primary, _better(experiment, arm, "better"), analysis),
        State.WORSE: lambda: _say_shown(primary, _better(experiment, arm, "worse"), analysis),
        State.CONTRADICTORY: lambda: _contradictory(analysis, primary),
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
    if primary.adjusted_p is not None and primary.adjusted_p <= analysis.alpha:
        decided = _deciding_effect(analysis, primary).effect or 0.0
        if (primary.low or 0.0) > 0 > decided or (primary.high or 0.0) < 0 < decided:
            return State.CONTRADICTORY
        return State.BETTER if (decided > 0) is (experiment.primary.direction is Direction.UP) else State.WORSE
    return State.NO_DIFFERENCE if analysis.final else State.RUNNING


def _deciding_effect(analysis: Analysis, primary: Effect) -> Effect:
    """Find the effect at the look that decided: the one whose interval first left 0.

    The last look's if no interval alone did.
    """
    points = [e for e in analysis.history if (e.metric, e.arm) == (primary.metric, primary.arm)]
    return next((e for e in points if (e.low or 0.0) > 0 or (e.high or 0.0) < 0), primary)


def _invalid(analysis: Analysis) -> str:
    ratio = analysis.sample_ratio
    assert ratio is not None
    counts = ", ".join(
        f"{arm} {seen:,.0f} (expected {ratio.expected[arm]:,.0f})" for arm, seen in ratio.observed.items()
    )
    return (
        f"Invalid: the arms do not hold the shoppers they should: {counts}; p = {ratio.p_value:.2g}. "
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


def _say_shown(primary: Effect, what: str, analysis: Analysis) -> str:
    decided = _deciding_effect(analysis, primary)
    text = f"{what}: {_interval(primary)}."
    if decided.look < analysis.looks:
        text += f" Shown at look {decided.look} of {analysis.looks}."
    if (
        decided.low is not None
        and primary.low is not None
        and primary.high is not None
        and primary.low < 0 < primary.high
    ):
        text += f" It was {_interval(decided)} then; since, the interval holds 0 again."
    crossed = next((s for s in analysis.stopped if (s.arm, s.look) == (primary.arm, primary.look)), None)
    if crossed is not None and primary.control and abs(crossed.estimate) < abs(primary.effect or 0.0):
        text += (
            f" Allowing for when it was decided, the effect is rather {crossed.estimate / abs(primary.control):+.1%}."
        )
    return text


def _contradictory(analysis: Analysis, primary: Effect) -> str:
    then = _deciding_effect(analysis, primary)
    return (
        f"Contradictory in {primary.metric}: {_interval(then)} at look {then.look}, {_interval(primary)} at look "
        f"{primary.look}. The effect changed with time or with who came: nothing may be concluded for all."
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
    names = [name for name, guard_state in guards.items() if guard_state is Guard.OPEN]
    if not names or state not in (State.BETTER, State.NO_DIFFERENCE):
        return []
    return [f"Not yet known to be unharmed: {', '.join(names)}."]


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
