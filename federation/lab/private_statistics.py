"""What a log is, known through noise alone: the statistics and the half-life that defaults follow under a plan."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from data.interactions import MICROS_PER_DAY, EventKind, Interactions
from data.log_statistics import LogStatistics, distinct_items, measure_log
from federation.simulation.table_sums import earlier_moment, publish, sum_popularity
from recsys.evaluation.half_life import ERRORS, HALF_LIVES, first_visit_figures
from recsys.model.trend import HALF_LIFE_DAYS

Floats = npt.NDArray[np.float64]

HISTORY_BOUND = 100
"""Distinct items that one device adds to the mean history at most: a bound that noise is measured against."""

ENOUGH = 100
"""New devices by which a half-life is chosen, three standard deviations of the noise off."""


def private_statistics(log: Interactions, noise_multiplier: float, *, seed: int) -> LogStatistics:
    """Measure what the choice of a recipe needs of a log by one private sum of eleven numbers a device.

    What is not needed for it is not measured: nan, or 0. noise_multiplier: of a training round. items and timed are
    public. Raises DataError for a log without events.
    """
    exact = measure_log(log)
    total, noise = publish("statistics", device_statistics(log).sum(axis=0), noise_multiplier, log, seed)
    *kinds, devices, returning, returned, late, known, items = total.tolist()
    n = max(devices, 1.0)
    shares = np.maximum(kinds, 0.0) / max(float(np.maximum(kinds, 0.0).sum()), 1e-12)
    return replace(
        exact,
        devices=max(round(devices), 1),
        returning_devices=max(round(returning), 0),
        events=0,
        kind_shares=tuple(shares.tolist()),
        history_length=max(items / n, 1.0 / HISTORY_BOUND) * HISTORY_BOUND,
        visits=math.nan,
        events_per_visit=math.nan,
        return_share=_share(returned, returning, noise),
        gap_days=math.nan,
        repeat_share=math.nan,
        known_share=_share(known, late, noise),
    )


def _share(part: float, whole: float, noise: float) -> float:
    """Divide two noisy counts, 0..1; 0 where the whole may be nobody."""
    return min(max(part / whole, 0.0), 1.0) if whole > 2.0 * noise + 0.5 else 0.0


def device_statistics(log: Interactions) -> Floats:
    """Compute what each device adds, (n_users, 11) in [0, 1]; zeros of one without events.

    Shares of the five kinds; a device; with two events; of these with a day between first and last; with an event in
    the last fifth; of these with an earlier one; distinct items over HISTORY_BOUND, at most 1.
    """
    counts, user = log.counts, log.user_idx
    n = np.maximum(counts, 1)
    kinds = [np.bincount(user, log.kind == kind, log.n_users) / n for kind in EventKind]
    first = log.time[np.minimum(log.offsets[:-1], log.n_events - 1)]
    last = log.time[np.maximum(log.offsets[1:] - 1, 0)]
    late, early = (
        np.bincount(user[side], minlength=log.n_users) > 0
        for side in (log.time >= earlier_moment(log), log.time < earlier_moment(log))
    )
    several = counts > 1
    columns = [
        *kinds, counts > 0, several, several & (last - first >= MICROS_PER_DAY), late, late & early,
        np.minimum(distinct_items(log) / HISTORY_BOUND, 1.0),
    ]  # fmt: skip
    return np.stack([np.where(counts > 0, column, 0.0) for column in columns], axis=1).astype(np.float64)


def private_half_life(log: Interactions, now: int, noise_multiplier: float, *, seed: int) -> float:
    """Choose the half-life (days) whose list foretells new devices' first visits best, by private sums alone.

    The lists are those of the published popularity as of the moment before the last fifth, the devices those that came
    after it: each adds one row of figures, once. noise_multiplier: of a training round.
    """
    popularity = sum_popularity(log, now, noise_multiplier, seed=seed)
    lists = np.stack([popularity.decayed(days, earlier=True) for days in HALF_LIVES])
    figures = first_visit_figures(log, lists, popularity.moment, math.inf, 20)
    measured = figures.ndcg[figures.first]
    usual = HALF_LIVES.index(HALF_LIFE_DAYS)
    rows = np.concatenate([np.ones((len(measured), 1)), measured, (measured - measured[:, [usual]]) ** 2], axis=1)
    total, noise = publish("half_life", rows.sum(axis=0), noise_multiplier, log, seed)
    n, sums, squares = total[0], total[1 : 1 + len(HALF_LIVES)], total[1 + len(HALF_LIVES) :]
    if n - 3.0 * noise < ENOUGH:
        return HALF_LIFE_DAYS
    best = int(sums.argmax())
    gain = (sums[best] - sums[usual]) / n
    variance = max(squares[best] + 2.0 * noise, 0.0) / n**2 + 2.0 * (noise / n) ** 2
    return HALF_LIVES[best] if gain > ERRORS * math.sqrt(variance) else HALF_LIFE_DAYS
