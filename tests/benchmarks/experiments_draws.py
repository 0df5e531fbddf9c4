"""Drawn shoppers of experiments as cumulative sums, a look at a time; true effects are known here, and only here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.experiments.analysis.sums import ArmSums, SumsNoise
from recsys.experiments.definition.arm import Arm
from recsys.experiments.definition.definition import (
    Experiment,
    Layer,
    Looks,
    Method,
    OutcomeColumn,
    OutcomeEvent,
    Privacy,
    Segment,
)
from recsys.experiments.definition.metric_definitions import Metric, MetricKind, Role, products

Floats = npt.NDArray[np.float64]

RATE = 0.04
CONTROL, TREATMENT = "control", "treatment"
CONVERSION = Metric("conversion", MetricKind.PROPORTION, "bought", centre=RATE, role=Role.PRIMARY)
REVENUE = Metric("revenue", MetricKind.MEAN, "spent", cap=1_000.0, centre=2.0)
CLICKS = Metric(
    "clicks_per_list", MetricKind.RATIO, "clicks", denominator="lists", cap=40.0, denominator_cap=40.0
)  # fmt: skip
ORDERS = Metric("orders", MetricKind.MEAN, "orders", cap=100.0)
METRICS = (CONVERSION, REVENUE, CLICKS)
OUTCOMES = {
    "bought": OutcomeColumn("bought", OutcomeEvent.PURCHASE, "any"),
    "spent": OutcomeColumn("spent", OutcomeEvent.PURCHASE, "value"),
    "clicks": OutcomeColumn("clicks", OutcomeEvent.CLICK, "count"),
    "lists": OutcomeColumn("lists", OutcomeEvent.LIST, "count"),
    "spent_before": OutcomeColumn("spent_before", OutcomeEvent.PURCHASE, "value", 30),
}


def experiment(
    metrics: tuple[Metric, ...] = (CONVERSION,),
    *,
    looks: int = 1,
    method: Method = Method.GROUP_SEQUENTIAL,
    epsilon: float | None = None,
    levels: int = 0,
    max_reports: int = 100_000,
) -> Experiment:
    """Two equal arms on these metrics. levels: of one declared segment, 0 for none."""
    cuts = tuple(float(k + 1) for k in range(levels - 1))
    segment = Segment("activity", "events", cuts, tuple(f"level_{k}" for k in range(levels))) if levels else None
    used = {column.name for metric in metrics for column in metric.parts}
    return Experiment(
        id="bench",
        arms=(Arm(CONTROL), Arm(TREATMENT)),
        control=CONTROL,
        metrics=metrics,
        outcomes=tuple(OUTCOMES[name] for name in sorted(used)),
        starts_at=0,
        ends_at=28 * 86_400,
        privacy=Privacy(epsilon, min_reports=1, max_reports=max_reports),
        layer=Layer("bench"),
        looks=Looks(method, looks),
        segments=(segment,) if segment else (),
    )


def shoppers(shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, Floats]:
    """Outcomes of shoppers: 4 % buy, for a lognormal amount (σ = 1.2, capped); some click more than others."""
    bought = rng.random(shape) < RATE
    spent = np.zeros(shape)
    spent[bought] = np.minimum(rng.lognormal(3.5, 1.2, int(bought.sum())), REVENUE.cap)
    lists = np.minimum(1 + rng.geometric(0.25, shape), 40)
    clicks = rng.binomial(lists, rng.beta(1.0, 9.0, shape))
    return {"bought": bought.astype(np.float64), "spent": spent, "lists": lists * 1.0, "clicks": clicks * 1.0}


def cumulative(rows: dict[str, Floats], metrics: tuple[Metric, ...]) -> list[ArmSums]:
    """Sums at each look of (looks, per_look) rows, all that came before in them."""
    empty = ArmSums.zero(metrics)
    centred = {x: rows[x] - empty.centre(x) for x in empty.totals}
    totals = {x: np.cumsum(column.sum(axis=1)).tolist() for x, column in centred.items()}
    pairs = {
        (x, y): np.cumsum(np.einsum("lm,lm->l", centred[x], centred[y])).tolist() for x, y in products(metrics)
    }  # fmt: skip
    looks, per_look = next(iter(rows.values())).shape
    return [
        ArmSums(
            n=float(per_look * (k + 1)),
            totals={x: values[k] for x, values in totals.items()},
            products={key: values[k] for key, values in pairs.items()},
            centres=empty.centres,
            indicators=empty.indicators,
        )
        for k in range(looks)
    ]


def equal_arms(
    n: int, looks: int, per_look: int, rng: np.random.Generator
) -> Iterator[tuple[list[ArmSums], list[ArmSums]]]:
    """n experiments without any effect: cumulative sums of both arms; per_look new shoppers an arm and look."""
    for _ in range(n):
        first, second = (cumulative(shoppers((looks, per_look), rng), METRICS) for _ in range(2))
        yield first, second


def growing(looks: int, n: int, rng: np.random.Generator, *, habit: bool) -> list[ArmSums]:
    """Sums of n shoppers who are all in at the first look and order more until each: by habits, or all alike."""
    rate = rng.gamma(0.5, 0.2, n) if habit else np.full(n, 0.1)
    orders = np.zeros(n)
    made = []
    for _ in range(looks):
        orders = orders + rng.poisson(rate)
        made.append(ArmSums.from_rows({"orders": orders}, (ORDERS,)))
    return made


def conversions(counts: npt.NDArray[Any], per_look: int) -> list[ArmSums]:
    """Cumulative sums of buyers (looks,) of per_look shoppers each, centred as CONVERSION is."""
    return [
        ArmSums(
            n=float(per_look * (k + 1)),
            totals={"bought": float(total) - RATE * per_look * (k + 1)},
            products={},
            centres={"bought": RATE},
            indicators=frozenset({"bought"}),
        )
        for k, total in enumerate(np.cumsum(counts))
    ]


def drawn_noise(sums: ArmSums, noise: SumsNoise, rng: np.random.Generator) -> ArmSums:
    """The sums with Gaussian noise of these variances in them, and known of them."""

    def moved(values: Mapping[Any, float], by: Mapping[Any, float]) -> dict[Any, float]:
        return {key: value + rng.normal(0.0, math.sqrt(by.get(key, 0.0))) for key, value in values.items()}

    return replace(
        sums,
        n=sums.n + rng.normal(0.0, math.sqrt(noise.n)),
        totals=moved(sums.totals, noise.totals),
        products=moved(sums.products, noise.products),
        noise=noise,
    )
