"""What a replay asks: at which moments, and what would have been right. Knows the future; no arm sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.interactions import MICROS_PER_DAY, EventKind, Interactions
from recsys.replay.settings import ReplayConfig, Ties

Index = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_SAMPLE = 12
"""Purpose of a draw."""


@dataclass(frozen=True, eq=False)
class Log:
    """A log with what every question needs to know of each row; all (n_events,).

    user: the device. stands: no cancellation ever undid it and it is no dislike, so it may be a target. moment: first
    row of the device's events at that time, or the row itself where ties are in order: what the device had done before
    is all its rows before that one. moment_end: the row after the last of them. scored: asked about. in_order: which of
    the two it is. session_end: the row after the last of its session; next_purchase: first row at or after `moment` of
    a purchase that stands, n_events where there is none; both None unless a target needs them.
    """

    events: Interactions
    user: npt.NDArray[np.int32]
    stands: Flags
    moment: Index
    moment_end: Index
    scored: Flags
    in_order: bool
    session_end: Index | None
    next_purchase: Index | None


def prepare(events: Interactions, config: ReplayConfig, session: npt.NDArray[np.int64] | None) -> Log:
    """Find moments and sessions, and draw what is scored. session: (n_events,) the log's own sessions, or None."""
    n = events.n_events
    user = events.user_idx
    stands = events.kind != EventKind.DISLIKE
    stands[events.undone_row] = False
    in_order = follow_each_other(events.time, config.ties)
    new = np.ones(n, dtype=np.bool_)
    if not in_order:
        new[1:] = (user[1:] != user[:-1]) | (events.time[1:] != events.time[:-1])
    moment, moment_end = _runs(new)
    scored = stands.copy()
    if config.start_us is not None:
        scored &= events.time >= config.start_us
    if config.until_us is not None:
        scored &= events.time < config.until_us
    if config.sample < 1:
        scored &= np.random.default_rng([config.seed, _SAMPLE]).random(n, dtype=np.float32) < config.sample
    session_end = next_purchase = None
    if "session" in config.targets:
        apart = np.ones(n, dtype=np.bool_)
        apart[1:] = user[1:] != user[:-1]
        if session is None:
            apart[1:] |= np.diff(events.time) > config.session_gap_us
        else:
            apart[1:] |= session[1:] != session[:-1]
        session_end = _runs(apart)[1]
    if "next_purchase" in config.targets:
        row = np.where(stands & (events.kind == EventKind.PURCHASE), np.arange(n), n)
        next_purchase = np.minimum.accumulate(row[::-1])[::-1][moment]
        next_purchase[next_purchase >= events.offsets[1:][user]] = n
    return Log(events, user, stands, moment, moment_end, scored, in_order, session_end, next_purchase)


def follow_each_other(time: Index, ties: Ties) -> bool:
    """Do events of one device at one time follow each other? auto: where no event has a time of day."""
    return ties == "in_order" or (ties == "auto" and bool((time % MICROS_PER_DAY == 0).all()))


def _runs(new: Flags) -> tuple[Index, Index]:
    """Find the first row of each row's run, and the row after its last; new: (n,) where a run begins."""
    begins = np.flatnonzero(new)
    counts = np.diff(np.append(begins, len(new)))
    return np.repeat(begins, counts), np.repeat(begins + counts, counts)


@dataclass(frozen=True, eq=False)
class RelevantItems:
    """The right items at some moments, for one target: for question q, items[offsets[q]:offsets[q + 1]].

    asked: (n,) index of the moment of each question. row: (n,) int64, row of the log that the question stands for.
    items: int32, distinct within a question.
    """

    asked: Index
    row: Index
    offsets: Index
    items: npt.NDArray[np.int32]


def collect_questions(log: Log, target: str, scored: Index, moments: Index, moment_of: Index) -> RelevantItems:
    """Collect the questions of one target.

    scored: rows; moments: their distinct first rows; moment_of: scored → moment.
    """
    items = log.events.item_idx
    if target == "next_item":
        return RelevantItems(moment_of, scored, np.arange(len(scored) + 1), items[scored])
    if target == "session":
        assert log.session_end is not None
        askable = np.arange(len(moments))
        return _distinct(log, askable, moments, moments, log.session_end[moments], purchases=False)
    assert log.next_purchase is not None
    askable = np.flatnonzero(log.next_purchase[moments] < log.events.n_events)
    first = log.next_purchase[moments[askable]]
    last = first + 1 if log.in_order else log.moment_end[first]
    return _distinct(log, askable, moments[askable], first, last, purchases=True)


def _distinct(log: Log, moment: Index, row: Index, first: Index, last: Index, *, purchases: bool) -> RelevantItems:
    """Collect questions whose right items are those of the rows first[q] … last[q] − 1 that stand."""
    counts = last - first
    question = np.repeat(np.arange(len(first)), counts)
    rows = np.arange(len(question)) + np.repeat(first - np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
    right = log.stands[rows]
    if purchases:
        right &= log.events.kind[rows] == EventKind.PURCHASE
    n_items = log.events.n_items
    pairs = np.unique(question[right] * n_items + log.events.item_idx[rows[right]])
    sizes = np.bincount(pairs // n_items, minlength=len(first))
    return RelevantItems(moment, row, np.concatenate(([0], np.cumsum(sizes))), (pairs % n_items).astype(np.int32))
