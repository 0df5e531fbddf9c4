"""The simulated clock: which events lie between two publications, and what was popular at each. Trains nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from data.errors import ModelError
from data.interactions import MICROS_PER_DAY, EventKind, Interactions, interactions
from recsys.model.trend import HALF_LIFE_DAYS, decayed_popularity
from recsys.replay.settings import MAX_BUNDLES

Index = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Period:
    """Between two publications. number: of the bundle that answers, 0 at the day of the log's first event, and so on;
    begin, end: µs, begin included; rows: its events as ascending rows of the log."""

    number: int
    begin: int
    end: int
    rows: Index


def periods(log: Interactions, every_us: int) -> Iterator[Period]:
    """Yield the periods that have events, in order of time.

    Bundles appear at whole multiples of every_us since 1970.

    Raises ModelError for a log without events or with more than MAX_BUNDLES periods.
    """
    if not log.n_events:
        raise ModelError("log: has no events to replay")
    slot = log.time // every_us
    first, last = int(slot.min()), int(slot.max())
    if last - first >= MAX_BUNDLES:
        raise ModelError(f"every_us={every_us}: {last - first + 1:,} bundles, must be at most {MAX_BUNDLES:,}")
    number = (slot - first).astype(np.int32)
    del slot
    order = np.argsort(number, kind="stable")
    ends = np.cumsum(np.bincount(number, minlength=last - first + 1))
    for period in np.unique(number).tolist():
        begin = (first + period) * every_us
        rows = order[ends[period - 1] if period else 0 : ends[period]]
        yield Period(period, begin, begin + every_us, rows)


@dataclass(frozen=True, eq=False)
class ItemPopularity:
    """The popularity of every item at a moment: recsys.model.trend's of the whole log, carried from day to day.

    now: µs; counts, recent: (n_items,) float64, events of each item without dislikes, and decayed; seen: (n_items,)
    bool.
    """

    now: int
    counts: npt.NDArray[np.float64]
    recent: npt.NDArray[np.float64]
    seen: npt.NDArray[np.bool_]

    @staticmethod
    def start(n_items: int) -> ItemPopularity:
        """Start before the first event."""
        return ItemPopularity(0, np.zeros(n_items), np.zeros(n_items), np.zeros(n_items, dtype=np.bool_))

    def after(self, log: Interactions, rows: Index, now: int) -> ItemPopularity:
        """Advance the levels to `now` (µs).

        The events `rows` (all since self.now) are then known, and what was undone.
        """
        stand = rows
        gone = np.empty(0, dtype=np.int64)
        if len(log.undone_row):
            news = (log.undone_time >= self.now) & (log.undone_time < now)
            gone = log.undone_row[news]
            stand = np.setdiff1d(rows, gone, assume_unique=True)
            gone = gone[log.time[gone] < self.now]
        fade = np.exp2(-(now - self.now) / MICROS_PER_DAY / HALF_LIFE_DAYS)
        came, went = _part(log, stand), _part(log, gone)
        recent = self.recent * fade + decayed_popularity(came, now) - decayed_popularity(went, now)
        counts = self.counts + _counts(came) - _counts(went)
        seen = self.seen.copy()
        seen[log.item_idx[stand]] = True
        return replace(
            self, now=now, counts=counts, recent=np.where(counts > 0, np.maximum(recent, 0.0), 0.0), seen=seen
        )


def _part(log: Interactions, rows: Index) -> Interactions:
    return interactions(
        np.zeros(len(rows), dtype=np.int64),
        log.item_idx[rows],
        log.time[rows],
        n_users=1,
        n_items=log.n_items,
        kind=log.kind[rows],
    )


def _counts(log: Interactions) -> npt.NDArray[np.float64]:
    liked = log.item_idx[log.kind != EventKind.DISLIKE]
    return np.bincount(liked, minlength=log.n_items).astype(np.float64)
