"""A Bayesian reading of a difference, for those who read it beside the verdict. It decides nothing.

The prior is flat, so that the posterior is the estimate with its standard error: normal, noise of privacy in it.
Looking often changes neither, and so is no safeguard against a wrong decision: the verdict's intervals are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from recsys.experiments.analysis.estimates import Difference
from recsys.experiments.definition.metric_definitions import Direction, Metric


@dataclass(frozen=True)
class Posterior:
    """Of one arm's effect on one metric.

    mean, sd: treatment − control, in the metric's unit. chance_better: that the arm is better than control, in the
    metric's direction. loss_if_chosen, loss_if_left: expected loss of taking the arm where control is better, and of
    staying with control where the arm is, in the metric's unit.
    """

    mean: float
    sd: float
    chance_better: float
    loss_if_chosen: float
    loss_if_left: float


def posterior(metric: Metric, difference: Difference) -> Posterior:
    """Compute the posterior of the effect under a flat prior: E max(−δ, 0) = sd·φ(z) − gain·Φ(−z), z = gain/sd."""
    sd = math.sqrt(difference.variance)
    gain = difference.effect if metric.direction is Direction.UP else -difference.effect
    z = gain / sd
    density = math.exp(-z * z / 2.0) / math.sqrt(2.0 * math.pi)
    loss = sd * density - gain * float(special.ndtr(-z))
    return Posterior(difference.effect, sd, float(special.ndtr(z)), max(loss, 0.0), max(loss + gain, 0.0))
