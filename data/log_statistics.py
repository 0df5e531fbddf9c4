"""Statistics of a log: a handful of numbers from which a recipe and a protocol are chosen.

Every statistic is a ratio of sums over devices of terms with a public bound, one term a device: a live shop can know
each of them as a private sum, and no device moves one by more than about 1 / devices. (The catalogue's size is public.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.errors import DataError
from data.interactions import MICROS_PER_DAY, EventKind, Interactions

VISIT_GAP_US = 8 * MICROS_PER_DAY // 24
"""A longer pause (µs) between two events of a device begins a new visit."""
HISTORY_BOUND = 1_000
"""Distinct items, and visits, that one device adds to a mean at most."""


@dataclass(frozen=True)
class LogStatistics:
    """Statistics of a log, for the choice of defaults.

    devices: with at least one event. returning_devices: of these, with at least two events. items: size of the
    catalogue. events: number of events.
    kind_shares: mean over devices of the share of view, cart, purchase, like, dislike in its history; they sum to 1.
    history_length: mean distinct items a device (m).
    visits, events_per_visit: mean visits a device; mean events in one.
    return_share: of the devices with at least two events, those whose first and last event are a day or more apart.
    gap_days: geometric mean of the pauses between visits, in days; nan where nobody came twice.
    repeat_share: of the events after a device's first visit, the share of items from its earlier visits, mean over
    devices; nan where nobody came twice.
    known_share: of the devices with an event in the last fifth of the log, those with an earlier one.
    days: from the first to the last event of the log.
    timed: whether times differ at all; a log without times is in order of its rows only.
    """

    devices: int
    returning_devices: int
    items: int
    events: int
    kind_shares: tuple[float, float, float, float, float]
    history_length: float
    visits: float
    events_per_visit: float
    return_share: float
    gap_days: float
    repeat_share: float
    known_share: float
    days: float
    timed: bool

    @property
    def purchase_share(self) -> float:
        """Share of carts and purchases in the mean history, 0..1."""
        return self.kind_shares[EventKind.CART] + self.kind_shares[EventKind.PURCHASE]

    @property
    def rating_share(self) -> float:
        """Share of likes and dislikes in the mean history, 0..1."""
        return self.kind_shares[EventKind.LIKE] + self.kind_shares[EventKind.DISLIKE]


def measure_log(log: Interactions) -> LogStatistics:
    """Measure a log. Raises DataError for one without events."""
    if log.n_events == 0:
        raise DataError("log: has no events to measure")
    counts = log.counts
    active = np.flatnonzero(counts > 0)
    user = log.user_idx
    shares = [
        float((np.bincount(user, weights=log.kind == kind, minlength=log.n_users)[active] / counts[active]).mean())
        for kind in EventKind
    ]
    first, last = log.offsets[:-1][active], log.offsets[1:][active] - 1
    several = counts[active] > 1
    spans = (log.time[last] - log.time[first])[several]
    starts = visit_starts(log)
    visits = np.bincount(user, weights=starts, minlength=log.n_users)[active]
    pauses = np.diff(log.time, prepend=log.time[0])[starts & ~_first_events(log)] / MICROS_PER_DAY
    repeats = _repeat_shares(log, starts)
    distinct = distinct_items(log)[active]
    return LogStatistics(
        devices=len(active),
        returning_devices=int(several.sum()),
        items=log.n_items,
        events=log.n_events,
        kind_shares=(shares[0], shares[1], shares[2], shares[3], shares[4]),
        history_length=float(np.minimum(distinct, HISTORY_BOUND).mean()),
        visits=float(np.minimum(visits, HISTORY_BOUND).mean()),
        events_per_visit=log.n_events / float(visits.sum()),
        return_share=float((spans >= MICROS_PER_DAY).mean()) if several.any() else 0.0,
        gap_days=float(np.exp(np.log(pauses).mean())) if len(pauses) else np.nan,
        repeat_share=float(repeats.mean()) if len(repeats) else np.nan,
        known_share=_known_share(log),
        days=float(log.time.max() - log.time.min()) / MICROS_PER_DAY,
        timed=bool((log.time != log.time[0]).any()),
    )


def visit_starts(log: Interactions) -> npt.NDArray[np.bool_]:
    """Whether each event begins a visit of its device, (n_events,) bool."""
    return _first_events(log) | (np.diff(log.time, prepend=log.time[:1]) > VISIT_GAP_US)


def _first_events(log: Interactions) -> npt.NDArray[np.bool_]:
    """Whether each event is its device's first one, (n_events,) bool."""
    first = np.zeros(log.n_events, dtype=np.bool_)
    first[log.offsets[:-1][log.counts > 0]] = True
    return first


def _known_share(log: Interactions) -> float:
    """LogStatistics.known_share; 0 where the log has a single moment."""
    late = log.time >= np.quantile(log.time, 0.8)
    before, after = (np.bincount(log.user_idx[side], minlength=log.n_users) > 0 for side in (~late, late))
    return float(before[after].mean())


def distinct_items(log: Interactions) -> npt.NDArray[np.int64]:
    """Count the distinct items of each device, (n_users,)."""
    pairs = np.unique(log.user_idx.astype(np.int64) * log.n_items + log.item_idx)
    return np.bincount(pairs // log.n_items, minlength=log.n_users)


def _repeat_shares(log: Interactions, starts: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """For each device with a second visit: of its later visits' events, the share of items from earlier visits."""
    visit = np.cumsum(starts)
    key = log.user_idx.astype(np.int64) * log.n_items + log.item_idx
    order = np.lexsort((np.arange(log.n_events), key))
    is_first = np.diff(key[order], prepend=-1) != 0
    first_visit = np.empty(log.n_events, dtype=np.int64)
    first_visit[order] = visit[order][is_first][np.cumsum(is_first) - 1]
    later = visit != np.repeat(visit[np.minimum(log.offsets[:-1], log.n_events - 1)], log.counts)
    n = np.bincount(log.user_idx[later], minlength=log.n_users)
    again = np.bincount(log.user_idx[later], weights=(first_visit < visit)[later], minlength=log.n_users)
    shares: npt.NDArray[np.float64] = again[n > 0] / n[n > 0]
    return shares
