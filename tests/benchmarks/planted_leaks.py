"""Mistakes with time and identity, as an analyst makes them on a frame: each function does the job, but wrongly.

Nothing here knows how a guard looks for it. A mistake without consequences (no row moved) is made again elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from data.leakage import CoreFilter
from recsys.leakage import Setup
from tests.benchmarks.planted_worlds import DAY, HOUR, World, a_cut, k_core, setup, sides

Plant = Callable[[World, np.random.Generator], Setup | None]
MINUTE = HOUR // 60


def late_events_left_in_train(world: World, rng: np.random.Generator) -> Setup | None:
    """Train was exported later than the cut, for everybody, some users, or a trickle of rows."""
    at = a_cut(world, rng)
    train, test = sides(world, at)
    later = world.rows[world.rows["time"] >= at]
    form = rng.integers(3)
    if form == 0:
        extra = later[later["time"] < at + int(rng.uniform(0.5, 20) * DAY)]
    elif form == 1:
        some = rng.choice(later["user"].unique(), max(1, int(later["user"].nunique() * rng.uniform(0.01, 0.5))))
        extra = later[later["user"].isin(some)]
    else:
        extra = later.sample(max(1, int(len(later) * 10 ** rng.uniform(-4, 0))), random_state=_state(rng))
    if not len(extra):
        return None
    return setup(world, at, _sorted(pd.concat([train, extra])), test.drop(extra.index, errors="ignore"))


def times_in_another_zone(world: World, rng: np.random.Generator) -> Setup | None:
    """One side is read as local time: train is stamped early, or cut late."""
    if world.dated:
        return None
    at = a_cut(world, rng, hour=float(rng.uniform(8, 16)))
    offset = int(rng.choice([1, 2, 3, 5.5, 8, 10]) * HOUR)
    rows = world.rows
    if rng.random() < 0.5:
        stamped = rows.assign(time=rows["time"] - offset)
        train, test = stamped[stamped["time"] < at], rows[rows["time"] >= at]
    else:
        train, test = rows[rows["time"] - offset < at], rows[rows["time"] - offset >= at]
    moved = int(rows["time"].between(at, at + offset, inclusive="left").sum())
    return setup(world, at, train, test) if moved >= 25 else None


def missing_times_filled_in(world: World, rng: np.random.Generator) -> Setup | None:
    """Rows of newly launched items lack a time; it is filled in by the median, the start, or the row before."""
    at = a_cut(world, rng)
    rows = world.rows
    first = rows.groupby("item")["time"].transform("min")
    new = rows.index[first >= at]
    if not len(new):
        return None
    lost = rng.choice(new, max(1, int(len(new) * 10 ** rng.uniform(-2, 0))), replace=False)
    holed = rows["time"].astype("Float64")
    holed[lost] = pd.NA
    form = rng.integers(3)
    if form == 0:
        filled = holed.fillna(holed.median())
    elif form == 1:
        filled = holed.fillna(holed.min())
    else:  # as the log came in, sorted by something else
        shuffled = holed.sample(frac=1, random_state=_state(rng))
        filled = shuffled.ffill().bfill().reindex(rows.index)
    stamped = rows.assign(time=filled.astype("int64"))
    train, test = stamped[stamped["time"] < at], stamped[stamped["time"] >= at]
    if not train.index.isin(lost).any():
        return None
    return setup(world, at, _sorted(train), _sorted(test))


def leave_one_out_for_a_model_of_all(world: World, rng: np.random.Generator) -> Setup | None:
    """Each user's last event, last few, or last share is the test of a model that trains on everybody's rest."""
    rows = world.rows
    back = rows.groupby("user").cumcount(ascending=False)
    size = rows.groupby("user")["item"].transform("size")
    form = rng.integers(3)
    if form == 0:
        is_test = back == 0
    elif form == 1:
        is_test = back < rng.integers(2, 5)
    else:
        is_test = back < size * rng.uniform(0.1, 0.3)
    is_test &= size > 5
    return setup(world, None, rows[~is_test], rows[is_test])


def core_of_the_whole_log(world: World, rng: np.random.Generator) -> Setup | None:
    """The k-core is taken before the split."""
    if world.by_session:
        core = CoreFilter(0, int(rng.integers(10, 60)))
    else:
        k = int(rng.integers(4, 12))
        core = (CoreFilter(k, 0), CoreFilter(0, k), CoreFilter(k, k))[rng.integers(3)]
    at = a_cut(world, rng)
    kept = k_core(world.rows, core)
    train, test = kept[kept["time"] < at], kept[kept["time"] >= at]
    short = (train["user"].value_counts() < core.min_user_events).sum()
    short += (train["item"].value_counts() < core.min_item_events).sum()
    return setup(world, at, train, test, core=core) if short and len(test) else None


def overlapping_exports(world: World, rng: np.random.Generator) -> Setup | None:
    """Two exports that overlap are put together, then split: by time, each from its own export, or by random rows."""
    rows = world.rows
    at = a_cut(world, rng)
    if rng.random() < 0.5:
        train, test = sides(world, at)
        again = test.sample(max(3, int(len(test) * 10 ** rng.uniform(-3, 0))), random_state=_state(rng))
        return setup(world, at, _sorted(pd.concat([train, again])), test)
    overlap = rows[rows["time"].between(at - int(rng.uniform(1, 10) * DAY), at)]
    if len(overlap) < 50:
        return None
    both = pd.concat([rows, overlap], ignore_index=True)
    is_test = rng.random(len(both)) < rng.uniform(0.1, 0.4)
    return setup(world, None, _sorted(both[~is_test]), _sorted(both[is_test]))


def two_clocks(world: World, rng: np.random.Generator) -> Setup | None:
    """Events are logged twice, by the server and by devices whose clocks run ahead; each side of the cut takes one."""
    if world.dated:
        return None
    rows = world.rows
    start, end = rows["time"].quantile(0.55), rows["time"].quantile(0.85)
    busy = rows[rows["time"].between(start, end)]
    at = int(busy["time"].sample(1, random_state=_state(rng)).iloc[0]) + 1
    ahead = 10 ** rng.uniform(np.log10(5 * 1e6), np.log10(40 * MINUTE))
    twice = rng.random(len(rows)) < rng.uniform(0.5, 1.0)
    device = rows["time"] + np.where(twice, (ahead * rng.uniform(0.2, 1.0, len(rows))).astype("int64"), 0)
    train, test = rows[rows["time"] < at], rows.assign(time=device)[device >= at]
    both = train.index.intersection(test.index)
    return setup(world, at, train, _sorted(test)) if len(both) >= 6 else None


def cut_in_the_middle_of_sessions(world: World, rng: np.random.Generator) -> Setup | None:
    """The cut is a round moment, or the 80th percentile of rows, whoever is in the shop at that time."""
    if world.dated:
        return None
    rows = world.rows
    if rng.random() < 0.5:
        at = int(rows["time"].quantile(rng.uniform(0.6, 0.9)))
    else:
        at = a_cut(world, rng, hour=float(rng.integers(9, 21)))
    train, test = rows[rows["time"] < at], rows[rows["time"] >= at]
    shared = set(zip(train["user"], train["session"], strict=True)) & set(
        zip(test["user"], test["session"], strict=True)
    )
    if not shared:
        return None
    return setup(world, at, train, test)


def one_shopper_two_ids(world: World, rng: np.random.Generator) -> Setup | None:
    """At the cut the shop moves to a new system: some shoppers get a new id, and their history is copied to it."""
    at = a_cut(world, rng)
    train, test = sides(world, at)
    if world.by_session:  # the same session recorded under a cookie and under an account, then split by user
        rows = world.rows
        long = rows["user"].value_counts()
        long = long.index[long >= 8]
        some = rng.choice(long, max(2, int(len(long) * rng.uniform(0.02, 0.3))), replace=False)
        copies = rows[rows["user"].isin(some)].assign(user=lambda part: _renamed(part["user"], world.n_users))
        half = copies.groupby("user").cumcount() < copies.groupby("user")["item"].transform("size") / 2
        tested = copies[~half]
        return _two_ids(world, None, rows, tested, pd.concat([rows, copies[half]]))
    both = train["user"].value_counts()
    both = both.index[(both >= 8) & both.index.isin(test["user"])]
    if len(both) < 2:
        return None
    some = rng.choice(both, max(2, int(len(both) * rng.uniform(0.02, 0.5))), replace=False)
    moved = test.assign(user=test["user"].where(~test["user"].isin(some), _renamed(test["user"], world.n_users)))
    copies = train[train["user"].isin(some)].assign(user=lambda part: _renamed(part["user"], world.n_users))
    copies = copies[rng.random(len(copies)) < rng.uniform(0.8, 1.0)]
    known = pd.concat([train, copies])
    return _two_ids(world, at, known if rng.random() < 0.5 else train, moved, known)


def _two_ids(world: World, at: int | None, train: pd.DataFrame, test: pd.DataFrame, known: pd.DataFrame) -> Setup:
    n_users = 2 * world.n_users
    made = [world.events(_sorted(part), n_users) for part in (train, test, known)]
    return Setup(made[0], made[1], at, histories=made[2])


def _renamed(users: pd.Series, n_users: int) -> pd.Series:
    return users + n_users


def histories_of_the_whole_log(world: World, rng: np.random.Generator) -> Setup | None:
    """Models are handed each user's last events of the whole log, or of one day too many, or with the target in it."""
    at = a_cut(world, rng)
    train, test = sides(world, at)
    rows = world.rows
    form = rng.integers(3)
    if form == 2 or world.by_session:  # off by one: what is known includes the first event that is asked
        asked = rows[rows["time"] >= at] if world.by_session else test
        asked = asked[asked.groupby("user")["item"].transform("size") >= 3]
        place, size = asked.groupby("user").cumcount(), asked.groupby("user")["item"].transform("size")
        known_n = (size * rng.uniform(0.3, 0.7)).astype(int).clip(1)
        known, test = asked[place <= known_n], asked[place >= known_n]
        made = setup(world, at, train, test)
        first = test.groupby("user")["time"].min().reindex(range(world.n_users)).fillna(2**62).to_numpy("int64")
        return replace(made, histories=world.events(_sorted(pd.concat([train, known]))), asked=first)
    until = rows["time"].max() + 1 if form == 0 else at + int(rng.uniform(0.3, 3) * DAY)
    known = rows[rows["time"] < until].groupby("user").tail(int(rng.integers(5, 60)))
    if not (known["time"] >= at).any():
        return None
    return replace(setup(world, at, train, test), histories=world.events(_sorted(known)))


def _sorted(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(["user", "time"], kind="stable")


def _state(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


PLANTS_OF_TIME: dict[str, Plant] = {
    "future_event": late_events_left_in_train,
    "time_zone_shift": times_in_another_zone,
    "future_item": missing_times_filled_in,
    "per_user_cut": leave_one_out_for_a_model_of_all,
    "cold_filter": core_of_the_whole_log,
    "duplicate_across_cut": overlapping_exports,
    "near_duplicate": two_clocks,
    "session_straddles": cut_in_the_middle_of_sessions,
    "user_alias": one_shopper_two_ids,
    "history_after_asked": histories_of_the_whole_log,
}
