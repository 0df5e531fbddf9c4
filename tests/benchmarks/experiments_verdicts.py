"""Do words and intervals agree, do relative intervals hold the truth, are dead arms seen, do newer metrics keep 5 %?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from recsys.experiments.analysis.analysis import Analysis, Effect, Look, analyse
from recsys.experiments.analysis.designs import Design, LookDifference, criticals
from recsys.experiments.analysis.estimates import difference
from recsys.experiments.analysis.intervals import fixed_critical, interval, normal_z
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.analysis.verdict import State, sign, verdicts
from recsys.experiments.definition.definition import Method, Privacy
from recsys.experiments.definition.metric_definitions import Metric, MetricKind, Role
from tests.benchmarks.experiments_draws import CONTROL, CONVERSION, REVENUE, TREATMENT, Floats, experiment

SPENT = replace(REVENUE, role=Role.PRIMARY, centre=0.0)
VISITS = Metric("visits", MetricKind.MEAN, "lists", cap=40.0, role=Role.GUARDRAIL, margin=0.1)
RETENTION = Metric("retention", MetricKind.PROPORTION, "back", role=Role.PRIMARY)
FUNNEL = Metric("funnel", MetricKind.RATIO, "paid", denominator="carted", role=Role.PRIMARY)
MEDIAN = Metric(
    "median", MetricKind.QUANTILE, "spent", role=Role.PRIMARY, quantile=0.9,
    edges=tuple(float(f"{edge:.3g}") for edge in np.exp(np.linspace(0.7, 5.0, 24))),
)  # fmt: skip
MANY = Privacy(None, min_reports=1_000)


def skewed(rng: np.random.Generator, n: int, lift: float) -> dict[str, Floats]:
    """Draw revenue: 20 % buy, for a lognormal amount (σ = 1.2), capped; lists of habits."""
    bought = rng.random(n) < 0.2
    spent = np.where(bought, np.minimum(lift * rng.lognormal(3.0, 1.2, n), SPENT.cap), 0.0)
    return {"bought": bought * 1.0, "spent": spent, "lists": np.minimum(1.0 + rng.poisson(4.0, n), 40.0)}


def agreement(n: int, rng: np.random.Generator) -> int:
    """Count experiments, of n, whose verdicts say what their intervals say, at every look and in the history."""
    agreed = 0
    for trial in range(n):
        method = Method.ALWAYS_VALID if trial % 3 == 2 else Method.GROUP_SEQUENTIAL
        looks, primary = 1 + trial % 4, (SPENT, CONVERSION)[trial % 2]
        made = replace(experiment((primary, VISITS), looks=looks, method=method), privacy=replace(MANY, min_reports=50))
        lift, size = float(rng.choice([1.0, 1.2, 1.6, 0.5])), int(rng.integers(200, 1_500))
        totals: dict[str, ArmSums] = {}
        data = []
        for number in range(1, looks + 1):
            for arm in (CONTROL, TREATMENT):
                more = ArmSums.from_rows(skewed(rng, size, lift if arm == TREATMENT else 1.0), made.metrics)
                totals[arm] = totals[arm] + more if arm in totals else more
            data.append(Look(number, {arm: [sums] for arm, sums in totals.items()}))
        agreed += all(_agrees(analyse(made, data[: k + 1]), made.primary.name, made) for k in range(looks))
    return agreed


def _agrees(done: Analysis, primary: str, made: object) -> bool:
    """Whether the verdict is what the intervals of this look and of the history say, absolute and relative alike."""
    points = [effect for effect in done.history if effect.metric == primary]
    if not all(_one_decision(effect) for effect in points):
        return False
    (one,) = verdicts(made, done)  # type: ignore[arg-type]
    if one.state in (State.TOO_FEW, State.INVALID, State.GUARDRAIL_HURT, State.GUARDRAIL_UNKNOWN):
        return True
    now, before = sign(points[-1]), {sign(effect) for effect in points[:-1]} - {0}
    if now and -now in before:
        return one.state is State.CONTRADICTORY
    if now:
        return one.state is (State.BETTER if now > 0 else State.WORSE)
    return one.state in ((State.NOT_HELD,) if before else (State.NO_DIFFERENCE, State.RUNNING))


def _one_decision(effect: Effect) -> bool:
    low, high = effect.relative_low, effect.relative_high
    if low is None or high is None or np.isnan(low) or effect.low is None or effect.high is None:
        return True
    return (low > 0, high < 0) == (effect.low > 0, effect.high < 0)


def relative_coverage(n: int, rng: np.random.Generator, shoppers: int = 10_000, lift: float = 1.2) -> float:
    """Share of n experiments of skewed revenue whose relative interval holds the true effect."""
    truth = _means(rng, lift) / _means(rng, 1.0) - 1.0
    held = 0
    for _ in range(n):
        arms = [ArmSums.from_rows(skewed(rng, shoppers, lifted), (SPENT,)) for lifted in (1.0, lift)]
        bounds = interval(difference(SPENT, *arms), fixed_critical(0.05))
        held += bounds.relative_low <= truth <= bounds.relative_high
    return held / n


def _means(rng: np.random.Generator, lift: float) -> float:
    return float(np.mean([skewed(rng, 1_000_000, lift)["spent"].mean() for _ in range(10)]))


def dead_caught(n: int, rng: np.random.Generator) -> float:
    """Share of experiments with a dead arm, guardrail or split that the first look of 1,000 expected an arm names."""
    made = replace(experiment((CONVERSION, VISITS), looks=5), privacy=MANY)
    caught = 0
    for _ in range(n):
        alive = skewed(rng, 1_050, 1.0)
        no_sale = alive | {"bought": np.zeros(1_050), "spent": np.zeros(1_050)}
        no_visit = skewed(rng, 1_050, 1.0) | {"lists": np.zeros(1_050)}
        nobody = {name: column[:0] for name, column in alive.items()}
        for dead, wanted in (
            (no_sale, State.WORSE),
            (no_visit, State.GUARDRAIL_HURT),
            (nobody, State.INVALID),
        ):
            control = skewed(rng, 2_100 if wanted is State.INVALID else 1_050, 1.0)
            arms = {
                arm: [ArmSums.from_rows(rows, made.metrics)] for arm, rows in ((CONTROL, control), (TREATMENT, dead))
            }
            caught += verdicts(made, analyse(made, [Look(1, arms)]))[0].state is wanted
    return caught / (3 * n)


def newer_metrics(n: int, rng: np.random.Generator, looks: int = 10, per_look: int = 1_000) -> dict[str, float]:
    """Rate of A/A experiments that show an effect at some of the planned looks, by metric."""

    def back(size: int) -> dict[str, Floats]:
        return {"back": (rng.random(size) < 0.12) * 1.0}

    def bought(size: int) -> dict[str, Floats]:
        carted = rng.random(size) < 0.2
        return {"carted": carted * 1.0, "paid": (carted & (rng.random(size) < 0.4)) * 1.0}

    def spent(size: int) -> dict[str, Floats]:
        values = skewed(rng, size, 1.0)["spent"]
        return {name: (values >= edge) * 1.0 for name, edge in MEDIAN.thresholds.items()}

    drawn = {"retention": (RETENTION, back), "quantile": (MEDIAN, spent), "funnel": (FUNNEL, bought)}
    return {
        name: float(np.mean([_shown(metric, draw, looks, per_look) for _ in range(n)]))
        for name, (metric, draw) in drawn.items()
    }


def _shown(metric: Metric, draw: Callable[[int], dict[str, Floats]], looks: int, per_look: int) -> bool:
    seen, arms = [], [ArmSums.zero((metric,)) for _ in range(2)]
    for number in range(1, looks + 1):
        arms = [sums + ArmSums.from_rows(draw(per_look), (metric,)) for sums in arms]
        seen.append(LookDifference(number, difference(metric, *arms)))
    z = np.abs([normal_z(look.difference) for look in seen])
    return bool((z >= criticals(Design(count=looks), seen)).any())
