"""The trend's half-life, chosen from a log: the one whose list foretells what devices do in their next visit.

Each candidate's figure is a sum of NDCG@20 over devices, and a device's share of it is in [0, 1]: a live shop learns
the sums as one private sum of len(HALF_LIVES) + 1 numbers a device.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from data.interactions import EventKind, Interactions
from data.log_statistics import visit_starts
from recsys.evaluation.metrics import ndcg, ranked_hits
from recsys.model.trend import HALF_LIFE_DAYS, decayed_popularity
from recsys.search.ranking import rank

HALF_LIVES = (0.25, 1.0, HALF_LIFE_DAYS, 30.0, 90.0, 365.0)
"""Candidates, in days: from within a day to a year."""
MOMENTS = 8
"""Moments in the later half of a log at which lists are made, each judged until the next one."""
ENOUGH = 100
"""New devices with which they alone decide; with fewer, the next visits of all devices do."""
ERRORS = 1.0
"""Standard errors by which another half-life must be better than HALF_LIFE_DAYS to replace it."""


@dataclass(frozen=True)
class HalfLife:
    """The chosen half-life.

    days: of the trend; figures: mean NDCG@20 of each of HALF_LIVES; devices: that were summed.
    """

    days: float
    figures: tuple[float, ...]
    devices: int


def choose_half_life(log: Interactions, k: int = 20) -> HalfLife:
    """Choose the half-life whose list foretells new devices' first visits best.

    Lists are made at MOMENTS moments of the log from the events before each of them, and stand until the next, as those
    of a bundle stand until the next one is published. HALF_LIFE_DAYS stays where no
    other is better by ERRORS standard errors of the paired difference, and where nothing can be measured.
    """
    new, every = [np.empty((0, len(HALF_LIVES)))], [np.empty((0, len(HALF_LIVES)))]
    shares = np.linspace(0.5, 1.0, MOMENTS + 1)
    edges = np.unique(np.quantile(log.time, shares, method="higher")).tolist() if log.n_events else []
    for begin, end in pairwise([*edges[:-1], np.inf] if len(edges) > 1 else []):
        past = log.where(log.time < begin)
        lists = np.stack([decayed_popularity(past, begin, days) for days in HALF_LIVES])
        figures = first_visit_figures(log, lists, begin, end, k)
        new.append(figures.ndcg[figures.first])
        every.append(figures.ndcg)
    measured = np.concatenate(new)
    if len(measured) < ENOUGH:
        measured = np.concatenate(every)
    if not len(measured):
        return HalfLife(HALF_LIFE_DAYS, (0.0,) * len(HALF_LIVES), 0)
    means = measured.mean(axis=0)
    usual, best = HALF_LIVES.index(HALF_LIFE_DAYS), int(means.argmax())
    gain = measured[:, best] - measured[:, usual]
    clear = gain.mean() > ERRORS * gain.std() / np.sqrt(len(gain))
    return HalfLife(HALF_LIVES[best if clear else usual], tuple(means.tolist()), len(measured))


@dataclass(frozen=True, eq=False)
class FirstVisits:
    """Figures of the devices with a visit in a window: ndcg (devices, lists); first (devices,), no event before it."""

    ndcg: npt.NDArray[np.float64]
    first: npt.NDArray[np.bool_]


def first_visit_figures(
    log: Interactions, lists: npt.NDArray[np.float64], begin: int, end: float, k: int
) -> FirstVisits:
    """Compute NDCG@k of each list, of every device's first visit in begin ≤ time < end (µs).

    lists: (lists, n_items), a score of every item.
    """
    past = log.where(log.time < begin)
    inside = log.where((log.time >= begin) & (log.time < end) & (log.kind != EventKind.DISLIKE))
    number = np.cumsum(visit_starts(inside))
    earliest = np.append(number, 0)[inside.offsets[:-1]]
    visit = inside.where(number == np.repeat(earliest, inside.counts))
    pairs = np.unique(visit.user_idx.astype(np.int64) * visit.n_items + visit.item_idx)
    users, counts = np.unique(pairs // visit.n_items, return_counts=True)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    columns = []
    for scores in lists:
        listed = rank(scores.astype(np.float32)[None], k)
        hits = ranked_hits(np.repeat(listed, len(users), axis=0), offsets, (pairs % visit.n_items).astype(np.int32))
        columns.append(ndcg(hits, counts, k))
    return FirstVisits(np.stack(columns, axis=1), past.counts[users] == 0)
