"""Leaks by identity: one event, session or shopper on both sides of a cut. Repeat purchases are none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats

from data.interactions import MICROS_PER_DAY, Interactions
from data.leakage import CHANCE, HOUR, KEY, MINUTE, Leak, frame

WINDOWS = (MINUTE, 10 * MINUTE, HOUR, 4 * HOUR)
PLACEBO_DAYS = 28
SESSION_GAP = 30 * MINUTE
SAME_SESSION = 12 * HOUR
"""An id that comes again after 12 hours is a number used twice, not a session."""
RARE = 5
"""An event (item, kind, moment) that at most so many users share can tell a shopper."""
SHARED_EVENTS = 5


def twice(one: Interactions, other: Interactions, log: Interactions | None) -> pl.DataFrame:
    """Find events (user, item, kind, time) that are in both, more often together than in the log.

    Without a log, all that are in both: in a log with dates only, a shopper may do the same twice in a day.
    """
    both = _counts(one, "one").join(_counts(other, "other"), on=KEY)
    if log is None or not len(both):
        return both
    known = both.join(_counts(log, "log"), on=KEY, how="left").with_columns(pl.col("log").fill_null(0))
    return known.filter(pl.col("one") + pl.col("other") > pl.col("log"))


def duplicates(train: Interactions, test: Interactions, log: Interactions | None) -> Leak | None:
    """Detect an event that is in train and in test."""
    both = twice(train, test, log)
    if not len(both):
        return None
    what = f"{len(both)} events of {test.n_events} in test are in train too, with the same user, item, kind and time"
    return Leak("duplicate_across_cut", True, len(both), what, "train and test")


def near_duplicates(train: Interactions, test: Interactions, at: int) -> Leak | None:
    """Detect events just after the cut that have a twin just before it.

    More often than around the same hour of other days.
    """
    before, after = frame(train), frame(test)
    for window in WINDOWS:
        days = range(1, PLACEBO_DAYS + 1)
        at_other_days = [_twins(before, before, at - day * MICROS_PER_DAY, window) for day in days]
        events, twins = sum(n for n, _ in at_other_days), sum(k for _, k in at_other_days)
        n, k = _twins(before, after, at, window)
        usual = (twins + 0.5) / (events + 1)
        if k >= 3 and stats.binom.sf(k - 1, n, usual) < CHANCE:
            what = (
                f"{k} of {n} test events within {window / MINUTE:g} minutes of the cut have a twin in train that is as "
                f"close before it; on other days {twins} of {events} do"
            )
            return Leak("near_duplicate", True, k, what, "train and test")
    return None


def straddling_sessions(
    train: Interactions,
    test: Interactions,
    train_session: npt.NDArray[np.int64] | None,
    test_session: npt.NDArray[np.int64] | None,
) -> Leak | None:
    """Detect a session that has events in train and in test.

    *_session: (n_events,) a number of each event's session; without them, a session is a shopper who pauses no longer
    than 30 minutes. A warning: going on with a session is easier than beginning one, but may be what is asked.
    """
    before, after = frame(train), frame(test)
    if train_session is None or test_session is None:
        keys, pause = ["user"], SESSION_GAP
    else:
        keys, pause = ["user", "session"], SAME_SESSION
        before = before.with_columns(session=pl.Series(train_session))
        after = after.with_columns(session=pl.Series(test_session))
    last = before.group_by(keys).agg(last=pl.col("time").max())
    first = after.group_by(keys).agg(first=pl.col("time").min())
    both = last.join(first, on=keys).filter((pl.col("first") - pl.col("last")).abs() <= pause)
    if not len(both):
        return None
    what = f"{len(both)} sessions of {first.height} in test began in train"
    return Leak("session_straddles", False, len(both), what, "train and test")


def aliases(train: Interactions, histories: Interactions, test: Interactions) -> Leak | None:
    """Detect a user of the test with the events of another user of train: one shopper under two ids.

    Compared are events (item, kind, time) that few users share; half of the smaller history must be the same, five
    events at least.
    """
    event = ["item", "kind", "time"]
    again = _again([train, test] if histories is train else [train, test, histories])
    known = frame(train).filter(again[0]).unique()
    of_tested = again[0 if histories is train else 2] & pl.Series((test.counts > 0)[histories.user_idx])
    tested = pl.concat([frame(histories).filter(of_tested), frame(test).filter(again[1])]).unique()
    users = pl.concat([known, tested]).unique().group_by(event).agg(n=pl.len())
    rare = users.filter(pl.col("n").is_between(2, RARE)).select(event)
    left = known.join(rare, on=event, how="semi")
    pairs = left.join(tested.join(rare, on=event, how="semi").rename({"user": "alias"}), on=event)
    pairs = pairs.filter(pl.col("user") != pl.col("alias")).group_by("user", "alias").agg(shared=pl.len())
    pairs = pairs.filter(pl.col("shared") >= 2)
    if not len(pairs):
        return None
    both = pairs.join(known, on="user").join(tested.rename({"user": "alias"}), on=["alias", *event], how="semi")
    same = both.group_by("user", "alias").agg(shared=pl.len())
    whole = frame(train).filter(pl.col("user").is_in(same["user"].implode())).unique()
    sizes = same.join(whole.group_by("user").agg(a=pl.len()), on="user")
    whole = pl.concat([frame(histories), frame(test)]).filter(pl.col("user").is_in(same["alias"].implode())).unique()
    sizes = sizes.join(whole.group_by("user").agg(b=pl.len()).rename({"user": "alias"}), on="alias")
    enough = (pl.col("shared") >= SHARED_EVENTS) & (2 * pl.col("shared") >= pl.min_horizontal("a", "b"))
    likely = sizes.filter(enough)
    if not len(likely):
        return None
    n = likely["alias"].n_unique()
    most = int(likely["shared"].to_numpy().max())
    what = f"{n} users of the test have the events of another user of train, up to {most} the same"
    return Leak("user_alias", True, n, what, "user ids")


def _again(parts: Sequence[Interactions]) -> list[pl.Series]:
    """Mark for each part, (n_events,) bool, an event whose item, kind and time is there twice in all of them.

    By hash: a few that are there once may be true, too. Nine of ten events are gone before anything is compared.
    """
    keys = [
        pl.DataFrame({"item": part.item_idx, "kind": part.kind, "time": part.time}).hash_rows(seed=1).to_numpy()
        for part in parts
    ]
    ordered = np.sort(np.concatenate(keys))
    twice = pl.Series(np.unique(ordered[1:][ordered[1:] == ordered[:-1]]))
    return [pl.Series(key).is_in(twice.implode()) for key in keys]


def _counts(events: Interactions, name: str) -> pl.DataFrame:
    return frame(events).group_by(KEY).agg(pl.len().cast(pl.Int64).alias(name))


def _twins(before: pl.DataFrame, after: pl.DataFrame, at: int, window: int) -> tuple[int, int]:
    """Count the events of `after` that lie within `window` µs from `at` on.

    Beside them, how many of these have a twin before it.
    """
    window_events = after.filter(pl.col("time").is_between(at, at + window, closed="left"))
    if not len(window_events):
        return 0, 0
    twins = before.filter(pl.col("time").is_between(at - window, at, closed="left"))
    return len(window_events), len(window_events.join(twins, on=["user", "item", "kind"], how="semi"))
