"""An experiment planned on a log: how its shoppers' outcomes scatter, how many come a day, privacy's noise."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.experiments.definition import DAY_S, LAYER_BUCKETS, Experiment
from recsys.experiments.estimates import covariate_coefficient, value_and_gradient
from recsys.experiments.layout import layout_of
from recsys.experiments.logged import Logged
from recsys.experiments.metrics import Metric
from recsys.experiments.planning import plan
from recsys.experiments.rehearsal import Crowd, exposed
from recsys.experiments.sums import ArmSums


def plan_on_log(
    experiment: Experiment, logged: Logged, head: npt.NDArray[np.bool_], *, sigma: int = 0
) -> dict[str, Any]:
    """`recsys.experiments.planning.plan` on what a log's shoppers did, as logged, with what was counted in the log.

    experiment: at a time that the log covers. head (n_items,): which items are of the head. sigma: of one party's
    noise, in steps. Raises DataError where nobody comes in, SumsTooSmall for a metric that does not vary in the log.
    """
    there = np.flatnonzero(logged.log.counts > 0).tolist()
    parts = exposed(experiment, logged, dict.fromkeys(there, experiment.control), head)
    sums = Crowd.as_logged(experiment, logged, parts).sums(experiment.control)
    days = (experiment.ends_at - experiment.starts_at) / DAY_S
    per_day = len(parts) / days * share_of_two_arms(experiment)
    noise = {metric.name: noise_of(metric, experiment, sums, sigma) for metric in experiment.metrics}
    without = (replace(metric, covariate=None, covariate_indicator=False) for metric in experiment.metrics)
    plain = {metric.name: noise_of(metric, experiment, sums, sigma) for metric in without}
    found = plan(experiment, sums, per_day, noise=noise, plain_noise=plain)
    return found | {"dataset": logged.name, "log_shoppers": len(parts), "log_days": days, "noise": noise}


def share_of_two_arms(experiment: Experiment) -> float:
    """Share of the shoppers who come that are in control or in the smallest other arm."""
    weights = {arm.name: arm.weight for arm in experiment.arms}
    total = sum(weights.values())
    control = weights.pop(experiment.control)
    layer = (experiment.layer.stop - experiment.layer.start) / LAYER_BUCKETS
    return layer * (1.0 - experiment.holdout_share) * (control + min(weights.values())) / total


def noise_of(metric: Metric, experiment: Experiment, sums: ArmSums, sigma: int) -> float:
    """Variance of the noise in an arm's summed deviations when every window is in, all cells and both parties together.

    The sum is Σ g_x·(Σ (x − c) − (mean − c)·Σ 1) with the metric's gradient g, so g_x² of each total's noise and the
    square of Σ g_x·(mean − c) of the count's.
    """
    layout = layout_of(experiment)
    nothing = np.zeros(layout.length, dtype=np.int64)
    cells = layout.sums(nothing, sigma=sigma, windows=experiment.looks.count)[experiment.control]
    noise = reduce(add, cells).noise
    _, gradient = value_and_gradient(metric, sums)
    if metric.covariate is not None:
        gradient[metric.covariate] = -covariate_coefficient(metric, sums)
    off = sum(g * (sums.mean(x) - sums.centre(x)) for x, g in gradient.items())
    return sum(g**2 * noise.totals.get(x, 0.0) for x, g in gradient.items()) + off**2 * noise.n
