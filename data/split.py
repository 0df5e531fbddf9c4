"""Splits: what a model may learn from, and what it is asked about afterwards.

Both sides keep the same users and items, so an index means the same in train and in test.

Traps these functions avoid, and traps they cannot:

- A *global* point in time (`temporal`) is the only split in which no model has seen the future. Leave-last-out
  trains on events that happened after other users' test events; trends leak. It is here because published
  tables use it, and for logs without usable times.
- A cancellation is news from the day it arrives. A purchase cancelled after the split stays in train, since a
  shop could not have known; one cancelled at any time is never a test target.
- Users and items that appear in test only are kept on the axes (cold). Rank over the items of train, report
  cold users apart.
- Ties in time keep the log's order: with one date per day, "last" means last in the log, not at random.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from data.errors import DataError
from data.interactions import MICROS_PER_DAY, Interactions

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Split:
    """Two parts of one log on the same user and item axes.

    at: the moment of the split in µs since 1970 UTC (test events are not earlier), None where every user has its own.
    """

    train: Interactions
    test: Interactions
    name: str
    at: int | None


def parse_time(text: str) -> int:
    """Parse an ISO date or time to µs since 1970-01-01 UTC; without offset it is UTC.

    >>> parse_time("1970-01-02")
    86400000000
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DataError(f"time={text!r}: must be an ISO date or time such as 2011-11-09") from None
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def temporal(inter: Interactions, at_us: int) -> Split:
    """Split in time, the default: train on what was known at `at_us` (µs), test on what happened from then on.

    train: events before `at_us`, without those undone before it. An event undone later stays, unmarked, because
    at that moment nobody knew. test: events from `at_us` on that no cancellation ever undid.
    Raises DataError when one side is empty.
    """
    split = _window(inter, np.iinfo(np.int64).min, at_us, np.iinfo(np.int64).max, "temporal")
    for side, part in (("train", split.train), ("test", split.test)):
        if not part.n_events:
            raise DataError(f"at={iso(at_us)}: {side} is empty, {_span(inter)}")
    return split


def known_at(inter: Interactions, at_us: int) -> Interactions:
    """Keep what a shop knew at `at_us` (µs): the events before it, without those undone before it."""
    return _unmarked(inter.where((inter.time < at_us) & (_undone_at(inter) >= at_us)))


def leave_last_out(inter: Interactions) -> Split:
    """Leave each user's last standing event as the test; what that user did before it is the train.

    A user with fewer than two standing events keeps them in train. Events a cancellation undid are never the
    test, and are in train unless they were undone by the time of the test event (for users without a test
    event: ever). Other users' later events are in train: see the traps above.
    """
    undone = _undone_at(inter)
    stands = undone == _NEVER
    rows = np.arange(inter.n_events)
    users = inter.user_idx
    counts = np.bincount(users[stands], minlength=inter.n_users)
    last = np.full(inter.n_users, -1, dtype=np.int64)
    last[users[stands]] = rows[stands]  # rows are sorted by user and time: the last write is the last event
    last[counts < 2] = -1
    cut = np.where(last >= 0, last, inter.n_events)[users]
    known_from = np.append(inter.time, _NEVER)[cut]
    is_test = np.zeros(inter.n_events, dtype=np.bool_)
    is_test[last[last >= 0]] = True
    if not is_test.any():
        raise DataError(f"users={inter.n_users}: none has two standing events, leave-last-out needs them")
    train = inter.where((rows < cut) & ((undone > known_from) | stands))
    return Split(_unmarked(train), _unmarked(inter.where(is_test)), "leave_last_out", None)


def sliding(
    inter: Interactions, *, window_us: int, step_us: int, first_us: int | None = None, train_us: int | None = None
) -> list[Split]:
    """Split in time again and again, each tested on the `window_us` after its own moment.

    window_us, step_us: length of a test window, and the distance of two (µs, > 0; equal: no event is tested twice).
    first_us: the first moment (µs), by default the middle of the log. train_us: train on the last so many µs
    only, by default on everything before. Windows that the log does not cover fully, or that have no train or
    test events, are left out. Raises DataError when none is left.
    """
    for name, value in (("window_us", window_us), ("step_us", step_us)):
        if value <= 0:
            raise DataError(f"{name}={value}: must be > 0")
    if train_us is not None and train_us <= 0:
        raise DataError(f"train_us={train_us}: must be > 0")
    if not inter.n_events:
        raise DataError("events=0: nothing to split")
    start, end = int(inter.time.min()), int(inter.time.max()) + 1
    first = (start + end) // 2 if first_us is None else first_us
    moments = range(first, end - window_us + 1, step_us)
    splits = [
        _window(inter, at - train_us if train_us else start, at, at + window_us, f"sliding {iso(at)}") for at in moments
    ]
    filled = [split for split in splits if split.train.n_events and split.test.n_events]
    if not filled:
        days = window_us / MICROS_PER_DAY
        raise DataError(f"window={days:g} days: no full window from {iso(first)} on, {_span(inter)}")
    return filled


def _window(inter: Interactions, start: int, at: int, end: int, name: str) -> Split:
    past, future = inter.time < at, inter.time < end
    future &= ~past
    past &= inter.time >= start
    # Events are undone one by one where they are: of most logs, few are.
    past[inter.undone_row[inter.undone_time < at]] = False
    future[inter.undone_row] = False
    train, test = inter.where(past), inter.where(future)
    return Split(_unmarked(train), _unmarked(test), name, at)


def _undone_at(inter: Interactions) -> npt.NDArray[np.int64]:
    """Find when each event was undone, (n_events,) int64; _NEVER where it stands."""
    moments = np.full(inter.n_events, _NEVER, dtype=np.int64)
    moments[inter.undone_row] = inter.undone_time
    return moments


def _unmarked(part: Interactions) -> Interactions:
    """Drop marks of cancellations: those left in train are of the future."""
    nothing = np.empty(0, dtype=np.int64)
    return replace(part, undone_row=nothing, undone_time=nothing)


def iso(moment_us: int) -> str:
    """Format µs since 1970 as ISO time in UTC, for messages."""
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment_us)).isoformat()
    except OverflowError:
        return f"{moment_us} µs"


def _span(inter: Interactions) -> str:
    if not inter.n_events:
        return "the log has no events"
    return f"the log runs from {iso(int(inter.time.min()))} to {iso(int(inter.time.max()))}"
