"""A small experiment and exact sums of drawn shoppers, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recsys.experiments.analysis.analysis import Look
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.definition.arm import Arm
from recsys.experiments.definition.definition import (
    Experiment,
    Layer,
    Looks,
    OutcomeColumn,
    OutcomeEvent,
    Privacy,
    Segment,
)
from recsys.experiments.definition.metric_definitions import Direction, Metric, MetricKind, Role

METRICS = (
    Metric("conversion", MetricKind.PROPORTION, "bought", role=Role.PRIMARY),
    Metric("revenue", MetricKind.MEAN, "spent", cap=500.0),
    Metric("load", MetricKind.MEAN, "seconds", cap=60.0, direction=Direction.DOWN, role=Role.GUARDRAIL, margin=0.02),
)
OUTCOMES = (
    OutcomeColumn("bought", OutcomeEvent.PURCHASE, "any"),
    OutcomeColumn("spent", OutcomeEvent.PURCHASE, "value"),
    OutcomeColumn("seconds", OutcomeEvent.SESSION, "value"),
)
SEGMENT = Segment("loyalty", "purchases", (1.0,), ("new", "returning"))


def experiment(**changes: Any) -> Experiment:
    """Two arms, five O'Brien-Fleming looks, no segments unless changed."""
    made: dict[str, Any] = {
        "id": "lists", "arms": (Arm("global_list"), Arm("personal")), "control": "global_list", "metrics": METRICS,
        "outcomes": OUTCOMES, "starts_at": 0, "ends_at": 35 * 86_400, "layer": Layer("lists"), "looks": Looks(count=5),
        "privacy": Privacy(epsilon=None, min_reports=100),
    }  # fmt: skip
    return Experiment(**(made | changes))


def rows(n: int, rate: float, rng: np.random.Generator, slower: float = 1.0) -> dict[str, np.ndarray]:
    """n shoppers who buy at a rate; slower: of the seconds' mean."""
    bought = (rng.random(n) < rate).astype(float)
    seconds = np.minimum(rng.gamma(16.0, slower * 1.25, n), 60.0)
    return {"bought": bought, "spent": bought * np.minimum(rng.gamma(2.0, 20.0, n), 500.0), "seconds": seconds}


def looks(
    made: Experiment,
    rates: dict[str, Sequence[float]],
    *,
    per_look: int = 2000,
    count: int | None = None,
    seed: int = 0,
    slower: dict[str, float] | None = None,
    sizes: dict[str, int] | None = None,
) -> list[Look]:
    """Cumulative looks. rates: arm → the rate in each cell."""
    rng = np.random.default_rng(seed)
    totals = {arm: [ArmSums.zero(made.metrics) for _ in cells] for arm, cells in rates.items()}
    result = []
    for number in range(1, (count or made.looks.count) + 1):
        for arm, cells in rates.items():
            n = (sizes or {}).get(arm, per_look)
            for cell, rate in enumerate(cells):
                drawn = rows(n, rate, rng, (slower or {}).get(arm, 1.0))
                totals[arm][cell] = totals[arm][cell] + ArmSums.from_rows(drawn, made.metrics)
        result.append(Look(number, {arm: tuple(cells) for arm, cells in totals.items()}))
    return result
