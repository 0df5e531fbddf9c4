"""From the sums of every look to effects, intervals and corrected p-values: what is known, before anybody says it.

Everything is computed again from the cumulative sums of all looks, so there is no state to lose. What it means is
recsys/experiments/analysis/verdict.py's. An arm or segment below min_reports has no figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from operator import add
from typing import Any, TypeVar

from data.errors import DataError, SumsTooSmall
from recsys.evaluation.statistics import Floats, benjamini_hochberg, holm
from recsys.experiments.analysis.boundaries import NEVER
from recsys.experiments.analysis.designs import Design, LookDifference, criticals, p_value, timing
from recsys.experiments.analysis.estimates import difference
from recsys.experiments.analysis.intervals import interval, normal_z
from recsys.experiments.analysis.sample_ratio import SampleRatio, sample_ratio
from recsys.experiments.analysis.segments import interaction_p
from recsys.experiments.analysis.spending import stagewise_estimate
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.definition.definition import Experiment, Method, Segment
from recsys.experiments.definition.metric_definitions import Metric, Role


@dataclass(frozen=True)
class Look:
    """Cumulative sums when `number` of the planned windows were in: arm → sums by cell, in the definition's order."""

    number: int
    arms: Mapping[str, Sequence[ArmSums]]


@dataclass(frozen=True)
class Effect:
    """One arm against control in one metric, of all shoppers or of a level of a segment.

    Figures are None where there is a problem. relative: to control. p_value: valid at this look; adjusted_p: for the
    family's number. reduction: share of variance that the covariate took away; noise_share: that privacy's noise is.
    """

    metric: str
    arm: str
    look: int
    segment: str | None = None
    level: str | None = None
    shoppers: float | None = None
    control: float | None = None
    treatment: float | None = None
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    relative: float | None = None
    relative_low: float | None = None
    relative_high: float | None = None
    p_value: float | None = None
    adjusted_p: float | None = None
    reduction: float | None = None
    noise_share: float | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Interaction:
    """A test: does an arm's effect on the primary metric differ between the levels of a segment?

    adjusted_p: by Holm, over all segments and arms.
    """

    segment: str
    arm: str
    p_value: float | None
    problem: str | None = None
    adjusted_p: float | None = None


Tested = TypeVar("Tested", Effect, Interaction)


@dataclass(frozen=True)
class FinalEffect:
    """The primary effect as it is known once an arm's bound was crossed, or the plan was full: without optimism.

    look: that decided. estimate: median-unbiased. low, high, p_value: by the order of stages.
    """

    arm: str
    look: int
    estimate: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Analysis:
    """The results of all sums at the last look.

    effects: every metric and arm, at the last look. history: the same at every look, without p-values. segments:
    primary metric by level. sample_ratio: None while an arm is below min_reports, and where both arms make every list.
    """

    experiment: str
    version: int
    look: int
    looks: int
    method: str
    alpha: float
    sample_ratio: SampleRatio | None
    effects: tuple[Effect, ...]
    history: tuple[Effect, ...]
    segments: tuple[Effect, ...]
    interactions: tuple[Interaction, ...]
    stopped: tuple[FinalEffect, ...]

    @property
    def final(self) -> bool:
        """Whether all planned windows are in."""
        return self.look >= self.looks

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values as JSON has them; unbounded and unknown figures are None."""
        plain = _finite(asdict(self))
        assert isinstance(plain, dict)
        return plain


def analyse(experiment: Experiment, looks: Sequence[Look]) -> Analysis:
    """Analyse an experiment from the cumulative sums of its looks, oldest first.

    Primary and secondary metrics are each corrected by Holm over metrics and arms, interactions over segments and arms,
    their levels by Benjamini and Hochberg, guardrails not: each alone may stop an experiment. Raises DataError for
    looks that are not of this experiment.
    """
    _check(experiment, looks)
    design = Design.of(experiment)
    rivals = [arm.name for arm in experiment.arms if arm.name != experiment.control]
    whole = [{arm: _merge_cells(cells, range(len(cells))) for arm, cells in look.arms.items()} for look in looks]
    numbers = [look.number for look in looks]
    effects: list[Effect] = []
    history: list[Effect] = []
    ended: list[FinalEffect] = []
    for metric in experiment.metrics:
        for arm in rivals:
            seen, problem = _look_differences(experiment, metric, arm, numbers, whole)
            points = _points(design, seen, Effect(metric.name, arm, numbers[-1]))
            history.extend(points)
            effects.append(_last(design, seen, points, Effect(metric.name, arm, numbers[-1], problem=problem)))
            if metric.role is Role.PRIMARY and design.method is Method.GROUP_SEQUENTIAL and seen:
                ended.extend(_final_effects(design, arm, seen))
    segments, interactions = _segments(experiment, design, rivals, looks)
    return Analysis(
        experiment=experiment.id,
        version=experiment.version,
        look=numbers[-1],
        looks=experiment.looks.count,
        method=str(design.method),
        alpha=design.alpha,
        sample_ratio=_sample_ratio(experiment, whole),
        effects=tuple(_correct(effects, experiment.metrics)),
        history=tuple(history),
        segments=tuple(_adjust(segments, benjamini_hochberg)),
        interactions=tuple(_adjust(interactions, holm)),
        stopped=tuple(ended),
    )


def _check(experiment: Experiment, looks: Sequence[Look]) -> None:
    numbers = [look.number for look in looks]
    if not numbers or numbers != sorted(set(numbers)) or not 1 <= numbers[0] <= numbers[-1] <= experiment.looks.count:
        raise DataError(f"looks={numbers}: must be one or more, rise, and lie in 1..{experiment.looks.count}")
    names = set(experiment.groups)
    for look in looks:
        if set(look.arms) != names or any(len(cells) != experiment.n_cells for cells in look.arms.values()):
            raise DataError(f"look {look.number}: must have the arms {', '.join(sorted(names))} with every cell")


def _merge_cells(cells: Sequence[ArmSums], which: Iterable[int]) -> ArmSums:
    return reduce(add, (cells[cell] for cell in which))


def _look_differences(
    experiment: Experiment, metric: Metric, arm: str, numbers: Sequence[int], looks: Sequence[Mapping[str, ArmSums]]
) -> tuple[list[LookDifference], str | None]:
    """Collect the looks at which the sums say something, and why the last does not if it does not."""
    seen, problem = [], None
    for number, arms in zip(numbers, looks, strict=True):
        control, treatment = (arms[experiment.group_of(name)] for name in (experiment.control, arm))
        problem = None
        try:
            if min(control.n, treatment.n) < experiment.privacy.min_reports:
                raise SumsTooSmall(
                    f"fewer than min_reports={experiment.privacy.min_reports} shoppers in an arm: hidden"
                )
            seen.append(LookDifference(number, difference(metric, control, treatment)))
        except SumsTooSmall as error:
            problem = str(error)
    return seen, problem


def _points(design: Design, seen: Sequence[LookDifference], blank: Effect) -> list[Effect]:
    """Compute effects with their intervals at every look."""
    if not seen:
        return []
    effects = []
    for look, critical in zip(seen, criticals(design, seen), strict=True):
        d = look.difference
        bounds = interval(d, critical)
        effects.append(
            replace(
                blank,
                look=look.number,
                shoppers=d.shoppers,
                control=d.control,
                treatment=d.treatment,
                effect=d.effect,
                low=bounds.low,
                high=bounds.high,
                relative=d.relative,
                relative_low=bounds.relative_low,
                relative_high=bounds.relative_high,
                reduction=d.reduction,
                noise_share=1.0 - d.sampling_variance / d.variance,
            )
        )
    return effects


def _last(design: Design, seen: Sequence[LookDifference], points: Sequence[Effect], blank: Effect) -> Effect:
    """Compute the last look's effect with its p-value.

    With a problem there, only what earlier looks had rejected stays.
    """
    if not seen:
        return blank
    p = p_value(design, seen)
    return replace(blank, p_value=p) if blank.problem else replace(points[-1], p_value=p)


def _final_effects(design: Design, arm: str, seen: Sequence[LookDifference]) -> list[FinalEffect]:
    z = [normal_z(look.difference) for look in seen]
    crossed = [k for k, bound in enumerate(criticals(design, seen)) if abs(z[k]) >= bound]
    if not crossed and seen[-1].number < design.count:
        return []
    k = crossed[0] if crossed else len(seen) - 1
    if timing(design, seen[: k + 1]).spend(design.spending, design.alpha)[-1] < NEVER:
        return []
    estimate = stagewise_estimate(timing(design, seen[: k + 1]), design.spending, design.alpha, z[k])
    unit = math.sqrt(seen[k].difference.variance)
    return [
        FinalEffect(
            arm, seen[k].number, estimate.estimate * unit, estimate.low * unit, estimate.high * unit, estimate.p_value
        )
    ]


def _segments(
    experiment: Experiment, design: Design, rivals: Sequence[str], looks: Sequence[Look]
) -> tuple[list[Effect], list[Interaction]]:
    effects: list[Effect] = []
    interactions: list[Interaction] = []
    numbers = [look.number for look in looks]
    for position, segment in enumerate(experiment.segments):
        for arm in rivals:
            by_level = []
            for level in segment.levels:
                cells = [i for i, cell in enumerate(experiment.cells) if cell[position] == level]
                merged = [{name: _merge_cells(sums, cells) for name, sums in look.arms.items()} for look in looks]
                seen, problem = _look_differences(experiment, experiment.primary, arm, numbers, merged)
                blank = Effect(experiment.primary.name, arm, numbers[-1], segment.name, level, problem=problem)
                effects.append(_last(design, seen, _points(design, seen, blank), blank))
                by_level.append(seen)
            interactions.append(_interaction(design, segment, arm, by_level))
    return effects, interactions


def _interaction(
    design: Design, segment: Segment, arm: str, by_level: Sequence[Sequence[LookDifference]]
) -> Interaction:
    """Compare the levels' effects over the looks at which every level has figures."""
    common = set.intersection(*({look.number for look in seen} for seen in by_level))
    if not common:
        return Interaction(segment.name, arm, None, "a level has too few shoppers yet")
    levels = [[look for look in seen if look.number in common] for seen in by_level]
    return Interaction(segment.name, arm, interaction_p(design, list(zip(*levels, strict=True))))


def _sample_ratio(experiment: Experiment, looks: Sequence[Mapping[str, ArmSums]]) -> SampleRatio | None:
    if experiment.interleaved or any(sums.n < experiment.privacy.min_reports for sums in looks[-1].values()):
        return None
    return sample_ratio(
        [{arm: sums.n for arm, sums in look.items()} for look in looks],
        {arm.name: float(arm.weight) for arm in experiment.arms},
        [{arm: sums.noise.n for arm, sums in look.items()} for look in looks],
    )


def _correct(effects: Sequence[Effect], metrics: Sequence[Metric]) -> list[Effect]:
    roles = {metric.name: metric.role for metric in metrics}
    done: dict[tuple[str, str], Effect] = {}
    for role in Role:
        family = [effect for effect in effects if roles[effect.metric] is role]
        adjusted = _adjust(family, None if role is Role.GUARDRAIL else holm)
        done |= {(effect.metric, effect.arm): effect for effect in adjusted}
    return [done[effect.metric, effect.arm] for effect in effects]


def _adjust(family: Sequence[Tested], correct: Callable[[list[float]], Floats] | None) -> list[Tested]:
    """Adjust the family's p-values; one without p counts as 1, so that what is missing helps nobody."""
    p = [1.0 if effect.p_value is None else effect.p_value for effect in family]
    adjusted = p if correct is None else correct(p).tolist()
    return [
        replace(effect, adjusted_p=None if effect.p_value is None else value)
        for effect, value in zip(family, adjusted, strict=True)
    ]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
