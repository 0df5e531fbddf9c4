"""Whether the statistics of experiments keep their promises: false alarms, power, mismatches, segments, noise.

Everything goes through the same functions as a live experiment's sums; only the shoppers are drawn. A rate of 5 % is
known to ± 0.34 points of 4,000 experiments (one standard deviation), and to ± 0.7 of 1,000.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from data.errors import SumsTooSmall
from recsys.experiments.analysis.analysis import Look, analyse
from recsys.experiments.analysis.designs import Design, LookDifference, criticals, timing
from recsys.experiments.analysis.estimates import difference
from recsys.experiments.analysis.experiment_plots import plot_any_look, plot_widths
from recsys.experiments.analysis.intervals import fixed_critical, fixed_p, interval, normal_z
from recsys.experiments.analysis.sample_ratio import ALPHA, dirichlet_log_e
from recsys.experiments.analysis.spending import stagewise_estimate
from recsys.experiments.analysis.sums import ArmSums, SumsNoise
from recsys.experiments.definition.definition import Method
from recsys.experiments.definition.metric_definitions import Metric, MetricKind, products
from recsys.experiments.rehearsal.planning import Spread, minimum_effect, power_of, spread
from tests.benchmarks.experiments_draws import (
    CONTROL,
    CONVERSION,
    METRICS,
    ORDERS,
    RATE,
    TREATMENT,
    conversions,
    drawn_noise,
    equal_arms,
    experiment,
    growing,
)
from tests.benchmarks.experiments_verdicts import agreement, dead_caught, newer_metrics, relative_coverage
from tests.benchmarks.experiments_widths import EPSILON, SETS, curves, shipped, shipped_noise

LOOKS, PER_LOOK = 20, 1_000
"""Of the A/A experiments: 20,000 shoppers an arm at the end."""
LEVELS, SEGMENT_LOOKS = 10, 3
CUPED = Metric("revenue", MetricKind.MEAN, "spent", covariate="before", cap=50.0, covariate_cap=50.0)
Say = Callable[[str], None]


def run(
    seed: int = 0,
    n: int = 1_000,
    *,
    per_look: int = PER_LOOK,
    looks: int = LOOKS,
    charts: Path | None = None,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """All figures. n: experiments of segments; there are four times as many A/A ones. charts: a folder to draw into."""
    rng = np.random.default_rng([seed, 60])
    say(f"{4 * n:,} A/A experiments, {looks} looks, three metrics")
    figures: dict[str, Any] = {"experiments": 4 * n, "aa_any_look": any_look(4 * n, looks, per_look, rng)}
    say("A/A under noise of privacy")
    figures["aa_with_noise"] = with_noise(4 * n, looks, per_look, rng)
    figures["aa_with_noise_and_covariate"] = with_covariate(4 * n, looks, np.random.default_rng([seed, 62]))
    say("A/A with outcomes that grow from look to look")
    figures["aa_growing_outcomes"] = with_growth(n, looks // 2, rng)
    say("power")
    figures |= power(4 * n, looks, per_look, rng)
    say("sample-ratio mismatch")
    figures |= mismatch(10 * n, rng)
    say(f"{n:,} null experiments of {LEVELS} segments")
    figures |= null_segments(n, per_look, rng)
    say("coverage")
    figures["coverage"] = coverage(n, per_look * looks, np.random.default_rng([seed, 61]))
    say(f"{10 * n:,} experiments: words against intervals")
    figures["verdict_interval_agree"] = agreement(10 * n, np.random.default_rng([seed, 63]))
    say("relative intervals of skewed revenue, dead arms, retention, quantiles and funnels")
    figures["relative_coverage_skewed"] = relative_coverage(2 * n, np.random.default_rng([seed, 64]))
    figures["dead_arm_caught"] = dead_caught(max(n // 10, 1), np.random.default_rng([seed, 65]))
    figures["aa_any_look_more"] = newer_metrics(2 * n, np.random.default_rng([seed, 66]))
    say("widths")
    figures["width_ratio_eps_0.5"] = shipped(SETS["conversion"])
    figures["width_ratio_eps_0.5_all_metrics"] = shipped(SETS["and a ratio"])
    figures["width_curves"] = curves()
    if charts is not None:
        plot_any_look(figures, charts / "experiments-any-look.png")
        plot_widths(figures, charts / "experiments-widths.png")
    return figures


def shown(metric: Metric, arms: Sequence[Sequence[ArmSums]], design: Design) -> dict[str, bool]:
    """Whether a metric's difference is shown at any look: by planned looks, at any time, by a t-test at each.

    Looks at which the sums say nothing yet are left out, as an analysis leaves them out."""
    control, treatment = arms
    seen = []
    for k, pair in enumerate(zip(control, treatment, strict=True)):
        with suppress(SumsTooSmall):
            seen.append(LookDifference(k + 1, difference(metric, *pair)))
    if not seen:
        return dict.fromkeys(("group_sequential", "always_valid", "fixed_peeked", "fixed_once"), False)
    z = np.abs([normal_z(look.difference) for look in seen])
    anytime = replace(design, method=Method.ALWAYS_VALID)
    return {
        "group_sequential": bool((z >= criticals(design, seen)).any()),
        "always_valid": bool((z >= criticals(anytime, seen)).any()),
        "fixed_peeked": any(fixed_p(look.difference) <= design.alpha for look in seen),
        "fixed_once": fixed_p(seen[-1].difference) <= design.alpha,
    }


def any_look(n: int, looks: int, per_look: int, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """Rates of experiments without effect that show one at some look: method → metric → rate."""
    design = Design(count=looks)
    counts: dict[str, dict[str, int]] = {}
    for arms in equal_arms(n, looks, per_look, rng):
        for metric in METRICS:
            for method, hit in shown(metric, arms, design).items():
                row = counts.setdefault(method, dict.fromkeys((m.name for m in METRICS), 0))
                row[metric.name] += hit
    del counts["fixed_once"]
    return {method: {name: count / n for name, count in row.items()} for method, row in counts.items()}


def with_noise(n: int, looks: int, per_look: int, rng: np.random.Generator) -> dict[str, float]:
    """Same of conversion with ε = 0.5 for all looks together, as shipped; and once at the end, nominally 5 %."""
    noise = shipped_noise(experiment(looks=looks, epsilon=EPSILON), 1)
    design = Design(count=looks)
    hits: dict[str, int] = {}
    for _ in range(n):
        arms = [_noisy(conversions(rng.binomial(per_look, RATE, looks), per_look), noise, rng) for _ in range(2)]
        for method, hit in shown(CONVERSION, arms, design).items():
            hits[method] = hits.get(method, 0) + hit
    return {method: count / n for method, count in hits.items()}


def with_covariate(n: int, looks: int, rng: np.random.Generator, per_look: int = 200) -> dict[str, float]:
    """Same of a mean with a covariate (correlation 0.75) under noise that hides its coefficient at first.

    Also, at the last look: mean share of the regression coefficient in use, and width with the covariate over without.
    """
    design, plain = Design(count=looks), replace(CUPED, covariate=None)
    noise = SumsNoise(4.0, dict.fromkeys(("spent", "before"), 900.0), dict.fromkeys(products([CUPED]), 300.0**2))
    hits: dict[str, float] = {}
    shares, widths = [], []
    for _ in range(n):
        before = rng.gamma(2.0, 2.0, (2, looks, per_look))
        spent = 0.8 * before + rng.gamma(2.0, 0.7, before.shape)
        arms = []
        for arm in range(2):
            sums: list[ArmSums] = []
            for k in range(looks):
                more = ArmSums.from_rows({"spent": spent[arm, k], "before": before[arm, k]}, [CUPED])
                more = drawn_noise(more, noise, rng)
                sums.append(more if not sums else sums[-1] + more)
            arms.append(sums)
        for method, hit in shown(CUPED, arms, design).items():
            hits[method] = hits.get(method, 0.0) + hit / n
        with_it, without = (difference(metric, arms[0][-1], arms[1][-1]) for metric in (CUPED, plain))
        shares.append(with_it.coefficient / 0.8)
        widths.append(math.sqrt(with_it.variance / without.variance))
    return hits | {"coefficient_share": float(np.mean(shares)), "width_over_plain": float(np.mean(widths))}


def with_growth(n: int, looks: int, rng: np.random.Generator, shoppers: int = 2_000) -> dict[str, dict[str, float]]:
    """Same where nobody is new after the first look and outcomes grow: by each shopper's habit, and all alike."""
    design = Design(count=looks)
    rates: dict[str, dict[str, float]] = {}
    for name, habit in (("by_habit", True), ("all_alike", False)):
        hits: dict[str, int] = {}
        for _ in range(n):
            arms = [growing(looks, shoppers, rng, habit=habit) for _ in range(2)]
            for method, hit in shown(ORDERS, arms, design).items():
                hits[method] = hits.get(method, 0) + hit
        rates[name] = {method: count / n for method, count in hits.items()}
    return rates


def _noisy(sums: Sequence[ArmSums], noise: SumsNoise, rng: np.random.Generator) -> list[ArmSums]:
    """A window's noise more at each look."""
    added = np.cumsum(rng.normal(0.0, np.sqrt([noise.n, noise.totals["bought"]]), (len(sums), 2)), axis=0).tolist()
    return [
        replace(
            look,
            n=look.n + added[k][0],
            totals={"bought": look.totals["bought"] + added[k][1]},
            noise=SumsNoise((k + 1) * noise.n, {"bought": (k + 1) * noise.totals["bought"]}),
        )
        for k, look in enumerate(sums)
    ]


def power(n: int, looks: int, per_look: int, rng: np.random.Generator) -> dict[str, float]:
    """How often planned looks find what a fixed test finds 4 times of 5, over how often that does: drawn, and exact."""
    total = per_look * looks
    scatter = _conversion(total)
    effect = minimum_effect(scatter, Design(), 2.0 * total)
    design = Design(count=looks)
    hits: dict[str, int] = {}
    for _ in range(n):
        arms = [
            conversions(rng.binomial(per_look, rate, looks), per_look)
            for rate in (RATE - effect / 2, RATE + effect / 2)
        ]
        for method, hit in shown(CONVERSION, arms, design).items():
            hits[method] = hits.get(method, 0) + hit
    planned, fixed = (power_of(scatter, made, 2.0 * total, effect) for made in (design, Design()))
    return {
        "power_ratio": hits["group_sequential"] / hits["fixed_once"],
        "power_ratio_exact": planned / fixed,
        "power_fixed": hits["fixed_once"] / n,
        "power_always_valid": hits["always_valid"] / n,
    }


def coverage(n: int, shoppers: int, rng: np.random.Generator, looks: int = 5) -> dict[str, float]:
    """How often 95 % intervals hold a true effect (found by 4 of 5 fixed tests): at all looks together, once stopped.

    stopped: the interval by the order of stages at the look that decided; naive: Welch's there, which is too hopeful.
    """
    per_look = shoppers // looks
    effect = minimum_effect(_conversion(shoppers), Design(), 2.0 * shoppers)
    held = dict.fromkeys(("group_sequential", "always_valid", "stopped", "naive"), 0)
    for _ in range(n):
        rates = (RATE, RATE + effect)
        arms = [conversions(rng.binomial(per_look, rate, looks), per_look) for rate in rates]
        seen = [LookDifference(k + 1, difference(CONVERSION, *pair)) for k, pair in enumerate(zip(*arms, strict=True))]
        limits = {}
        for method in Method:
            limits[method] = criticals(Design(method, looks), seen)
            bounds = [interval(s.difference, c) for s, c in zip(seen, limits[method], strict=True)]
            held[method] += all(b.low <= effect <= b.high for b in bounds)
        design, planned = Design(count=looks), limits[Method.GROUP_SEQUENTIAL]
        crossed = [abs(normal_z(s.difference)) >= c for s, c in zip(seen, planned, strict=True)]
        at = crossed.index(True) if True in crossed else looks - 1
        last = seen[at].difference
        found = stagewise_estimate(timing(design, seen[: at + 1]), design.spending, design.alpha, normal_z(last))
        unit = math.sqrt(last.variance)
        held["stopped"] += found.low * unit <= effect <= found.high * unit
        naive = interval(last, fixed_critical(design.alpha))
        held["naive"] += naive.low <= effect <= naive.high
    return {name: count / n for name, count in held.items()}


def _conversion(shoppers: int) -> Spread:
    return spread(CONVERSION, conversions(np.array([round(shoppers * RATE)]), shoppers)[0])


def mismatch(n: int, rng: np.random.Generator, looks: int = 200, per_look: int = 100) -> dict[str, float]:
    """Alarms among fair splits looked at 200 times, and 52/48 ones looked at 20 times, each of 20,000 shoppers."""
    half = np.array([0.5, 0.5])
    rates = {}
    for name, share, times in (("srm_false_alarm", 0.5, looks), ("srm_power_52_48", 0.52, 20)):
        step = looks * per_look // times
        first = np.cumsum(rng.binomial(step, share, (n, times)), axis=1)
        evidence = dirichlet_log_e(np.stack([first, step * np.arange(1, times + 1) - first], axis=-1), half)
        rates[name] = float((evidence >= -math.log(ALPHA)).any(axis=1).mean())
        if share == 0.5:
            total = step * np.arange(1, times + 1)
            peeked = (first - total / 2) ** 2 / (total / 4) >= special.chdtri(1, ALPHA)
            rates["srm_false_alarm_chi_squared_peeked"] = float(peeked.any(axis=1).mean())
    return rates


def null_segments(n: int, per_look: int, rng: np.random.Generator) -> dict[str, Any]:
    """False discoveries among experiments of 10 levels and no effect: where everything is null, any finding is one.

    fdr_segments: what a verdict names: levels that stand after correction, of a segment whose effects differ.
    fdr_corrected_alone: Benjamini and Hochberg's correction alone, without the test of interaction before it.
    """
    designs = {
        "fixed": experiment(levels=LEVELS),
        "group_sequential": experiment(levels=LEVELS, looks=SEGMENT_LOOKS),
        "always_valid": experiment(levels=LEVELS, looks=SEGMENT_LOOKS, method=Method.ALWAYS_VALID),
    }
    named, alone, uncorrected = (dict.fromkeys(designs, 0) for _ in range(3))
    for _ in range(n):
        for design, made in designs.items():
            levels = {
                arm: [conversions(rng.binomial(per_look, RATE, made.looks.count), per_look) for _ in range(LEVELS)]
                for arm in (CONTROL, TREATMENT)
            }
            found = analyse(
                made,
                [
                    Look(k + 1, {arm: [c[k] for c in cells] for arm, cells in levels.items()})
                    for k in range(made.looks.count)
                ],
            )
            adjusted = any((effect.adjusted_p or 0.0) <= 0.05 for effect in found.segments)
            alone[design] += adjusted
            named[design] += adjusted and (found.interactions[0].adjusted_p or 0.0) <= 0.05
            uncorrected[design] += any((effect.p_value or 0.0) <= 0.05 for effect in found.segments)
    rates = [{name: count / n for name, count in counts.items()} for counts in (named, alone, uncorrected)]
    return {
        "fdr_segments": max(rates[0].values()),
        "fdr_segments_by_design": rates[0],
        "fdr_corrected_alone": rates[1],
        "any_segment_uncorrected": rates[2],
    }
