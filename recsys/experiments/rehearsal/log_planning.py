"""An experiment planned on a log: how its shoppers' outcomes scatter, how many come a day, privacy's noise."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import DataError
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.analysis.sums import SumsNoise
from recsys.experiments.definition.definition import DAY_S, LAYER_BUCKETS, Experiment
from recsys.experiments.rehearsal.crowd import Population
from recsys.experiments.rehearsal.logged import LoggedVisits
from recsys.experiments.rehearsal.planning import plan
from recsys.experiments.rehearsal.rehearsal import enrol_shoppers

UNSURE = 0.5
"""Relative error of a covariate's coefficient from which a warning is due: a fifth of what it gains is lost there."""


def plan_on_log(
    experiment: Experiment, logged: LoggedVisits, head: npt.NDArray[np.bool_], *, sigma: int = 0
) -> dict[str, Any]:
    """Plan with `planning.plan` on what a log's shoppers did, as logged, with what was counted in the log.

    experiment: at a time that the log covers. head (n_items,): which items are of the head. sigma: of one party's
    noise, in steps. Raises DataError where nobody comes in, SumsTooSmall for a metric that does not vary in the log.
    """
    if experiment.interleaved:
        raise DataError(
            "design=interleaved: cannot be planned on a log, which has no list that two arms drafted; "
            "`ownshelf experiment run` rehearses it, and says how many sessions prefer one"
        )
    there = np.flatnonzero(logged.log.counts > 0).tolist()
    parts = enrol_shoppers(experiment, logged, dict.fromkeys(there, experiment.control), head)
    sums = Population.as_logged(experiment, logged, parts).sums(experiment.control)
    days = (experiment.ends_at - experiment.starts_at) / DAY_S
    per_day = len(parts) / days * share_of_two_arms(experiment)
    planned = plan(experiment, sums, per_day, noise=arm_noise(experiment, sigma))
    return planned | {"dataset": logged.name, "log_shoppers": len(parts), "log_days": days}


def share_of_two_arms(experiment: Experiment) -> float:
    """Share of the shoppers who come that are in control or in the smallest other arm."""
    weights = {arm.name: arm.weight for arm in experiment.arms}
    total = sum(weights.values())
    control = weights.pop(experiment.control)
    layer = (experiment.layer.stop - experiment.layer.start) / LAYER_BUCKETS
    return layer * (1.0 - experiment.holdout_share) * (control + min(weights.values())) / total


def arm_noise(experiment: Experiment, sigma: int) -> SumsNoise:
    """Compute the noise's variances in one arm's sums when every window is in.

    All cells and both parties are counted together.

    sigma: of one party, in steps.
    """
    layout = layout_of(experiment)
    nothing = np.zeros(layout.length, dtype=np.int64)
    cells = layout.sums(nothing, sigma=sigma, windows=experiment.looks.count)[experiment.groups[0]]
    return reduce(add, cells).noise


def least_scatter(experiment: Experiment, sigma: int) -> dict[str, float]:
    """Compute how much each metric's covariate must at least scatter, for a coefficient known to a half.

    Returns metric → a share of the covariate's cap.

    With the most shoppers that may report, half of them in each of two arms, of a correlation of a half, outcome and
    covariate scattering by the same share f of their caps b, b': r² = (4·v(xz)/(b·b')² + v(zz)/b'⁴) / (n²·f⁴) with v
    the noise of both arms' products; solved for f at r = ½. Only metrics with a covariate; 0 without noise.
    """
    noise = arm_noise(experiment, sigma)
    noise = noise + noise
    scatter = {}
    for metric in experiment.metrics:
        if metric.covariate is None:
            continue
        x, z, cap, covariate_cap = metric.numerator, metric.covariate, metric.cap, metric.covariate_cap
        square = noise.product(z, z)
        if metric.covariate_indicator:
            c = metric.covariate_centre
            square = (1.0 - 2.0 * c) ** 2 * noise.totals[z] + (c * (1.0 - c)) ** 2 * noise.n
        total = 4.0 * noise.product(x, z) / (cap * covariate_cap) ** 2 + square / covariate_cap**4
        scatter[metric.name] = (total / (UNSURE * experiment.privacy.max_reports) ** 2) ** 0.25
    return scatter
