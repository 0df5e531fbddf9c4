"""Leaks in time: what a train or a history says of the future of its own test. Not of models: see recsys/leakage/.

Every guard looks at the events themselves and returns a Leak or None. None of them trusts a name or a flag: a split
called temporal whose train runs past the cut is found, and a repeat purchase is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats

from data.interactions import MICROS_PER_DAY, Interactions
from data.split import iso

MINUTE = 60_000_000
HOUR = 60 * MINUTE
QUARTER = 15 * MINUTE
MOST_ZONES = 14 * HOUR
"""No zone is further from UTC than 14 hours, all are whole quarters of an hour."""
CHANCE = 1e-6
"""Statistical guards speak when what they saw would happen once in a million clean set-ups."""
KEY = ("user", "item", "kind", "time")

REMEDIES = {
    "future_event": "train on events before the cut only: data.split.temporal",
    "time_zone_shift": "read all sources in one zone (ingest --timezone) before cutting",
    "future_item": "do not fill in missing times; leave out rows that are stamped before their item existed",
    "per_user_cut": "cut all users at one moment (data.split.temporal), or let each model see one user only",
    "cold_filter": "filter on train alone, then restrict test to what is left",
    "duplicate_across_cut": "drop duplicates before splitting (ingest does), split rows once",
    "near_duplicate": "merge the two records of an event (clocks differ) before cutting, and cut by one clock",
    "session_straddles": "cut between sessions, or leave sessions that straddle out of the test",
    "user_alias": "merge the ids of a shopper before splitting by user",
    "history_after_asked": "hand a model what came before the moment it is asked at, and nothing of the target",
    "stale_property": "join properties as of each event: data.properties.as_of",
    "future_popularity": "count events before the cut only: recent_popularity(train, now=cut)",
    "negatives_know_test": "draw training negatives from the items not in the user's train, whatever is in the test",
    "tuned_on_test": "choose settings on the last part of train (ownshelf tune, train --select), test once",
    "fitted_on_test": "compute statistics and vocabularies on train, apply them to test",
    "target_in_feature": "leave the column out, or compute it from what is known when the list is asked for",
    "model_reads_future": "fit on data.split.known_at(log, cut) (ownshelf train --until the cut)",
    "candidates_from_test": "rank all items of train, or a sample drawn without looking at the test",
    "positives_left_out": "add each user's test items to their candidates",
    "above_chance": "rank ties at random and treat targets and negatives alike (recsys.evaluation.sampled does)",
}
"""Every kind of leak, and what to do about it."""


@dataclass(frozen=True)
class Leak:
    """One leak that was found.

    kind: a key of REMEDIES. certain: no clean set-up looks like this; otherwise it is a warning. n: how many events,
    users, items or values show it. what: one sentence with figures; where: the part of the set-up it is in.
    """

    kind: str
    certain: bool
    n: int
    what: str
    where: str

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return REMEDIES[self.kind]

    def __str__(self) -> str:
        return f"{self.kind} in {self.where}: {self.what}; {self.remedy}"


@dataclass(frozen=True)
class CoreFilter:
    """The claim of a cold filter (k-core): users and items with fewer events were dropped; 0 claims nothing."""

    min_user_events: int = 0
    min_item_events: int = 0


def frame(events: Interactions) -> pl.DataFrame:
    """Make a frame (user, item, kind, time) of all events, in their order."""
    return pl.DataFrame(
        {"user": events.user_idx, "item": events.item_idx, "kind": events.kind, "time": events.time}
    ).with_columns(pl.col("item").cast(pl.Int32))


def future_events(train: Interactions, at: int) -> Leak | None:
    """Train holds events at or after the cut `at` (µs)."""
    late = train.time >= at
    if not (n := int(late.sum())):
        return None
    span = f"{iso(int(train.time[late].min()))} to {iso(int(train.time[late].max()))}"
    what = f"{n} of {train.n_events} events are not before the cut {iso(at)}: {span}"
    return Leak("future_event", True, n, what, "train")


def time_zone_shift(train: Interactions, test: Interactions, at: int) -> Leak | None:
    """Train and test are stamped in different zones: the same events lie a whole quarter of an hour apart.

    Or train runs on past the cut for less than 14 hours, as busily as on other days, and then stops.
    """
    near = frame(train).filter(pl.col("time") >= at - 2 * MOST_ZONES)
    both = near.join(
        frame(test).filter(pl.col("time") < at + 2 * MOST_ZONES).rename({"time": "later"}), on=["user", "item", "kind"]
    )
    apart = (both["later"] - both["time"]).to_numpy()
    apart = apart[(np.abs(apart) <= MOST_ZONES) & (apart != 0)]
    steps, counts = np.unique(apart[apart % QUARTER == 0], return_counts=True)
    if len(steps):
        best = int(counts.argmax())
        # What a quarter of an hour more or less, but not exactly, would give: shoppers who come back.
        around = int((np.abs(apart - steps[best]) <= QUARTER).sum() - counts[best])
        expected = 0.5 + around / 30  # thirty minutes around it, of one of which it is a part
        if counts[best] >= 5 and stats.poisson.sf(counts[best] - 1, expected) < CHANCE:
            hours = steps[best] / HOUR
            what = f"{counts[best]} events are in train and test, exactly {hours:g} hours apart"
            return Leak("time_zone_shift", True, int(counts[best]), what, "train and test")
    late = train.time[train.time >= at]
    if len(late) < 5 or int(late.max()) >= at + MOST_ZONES:
        return None
    length = -(-(int(late.max()) + 1 - at) // QUARTER) * QUARTER
    days = [at - day * MICROS_PER_DAY for day in range(1, 8)]
    usual = float(np.mean([((train.time >= day) & (train.time < day + length)).sum() for day in days]))
    if len(late) < 0.5 * usual:
        return None
    what = f"train goes on for {length / HOUR:g} hours after the cut as on other days ({len(late)} events), then stops"
    return Leak("time_zone_shift", True, len(late), what, "train")


def future_items(train: Interactions, known_from: npt.NDArray[np.int64]) -> Leak | None:
    """Train holds events on items that did not exist yet.

    known_from: (n_items,) int64 µs, when each item came into being: from the catalogue, or its first event in the whole
    log. Items without a date have the smallest int64.
    """
    early = train.time < known_from[train.item_idx]
    if not (n := int(early.sum())):
        return None
    items = len(np.unique(train.item_idx[early]))
    return Leak("future_item", True, n, f"{n} events on {items} items are stamped before the item existed", "train")


def item_counts(events: Interactions) -> npt.NDArray[np.int64]:
    """Count events of each item, (n_items,) int64."""
    return np.bincount(events.item_idx, minlength=events.n_items).astype(np.int64)


def first_seen(log: Interactions) -> npt.NDArray[np.int64]:
    """Find each item's first event, (n_items,) int64 µs; the smallest int64 for items without events."""
    first = np.full(log.n_items, np.iinfo(np.int64).max)
    np.minimum.at(first, log.item_idx, log.time)
    first[first == np.iinfo(np.int64).max] = np.iinfo(np.int64).min
    return first


def per_user_cut(train: Interactions, test: Interactions) -> Leak | None:
    """Detect a model of all users' events that trains on what others did after a test event.

    Every user has a cut of their own.

    A warning: published tables use it (leave-one-out), and their trends leak.
    """
    if not train.n_events or not test.n_events:
        return None
    latest = int(train.time.max())
    last_train = np.full(test.n_users, np.iinfo(np.int64).min)
    np.maximum.at(last_train, train.user_idx, train.time)
    users = test.user_idx
    second = np.partition(last_train, -2)[-2] if len(last_train) > 1 else np.iinfo(np.int64).min
    others = np.where(last_train[users] == latest, second, latest)  # the last event of anybody else, ties aside
    late = others > test.time
    if not (n := int(late.sum())):
        return None
    what = f"{n} of {test.n_events} test events are earlier than other users' events in train"
    return Leak("per_user_cut", False, n, what, "train and test")


def cold_filter(train: Interactions, test: Interactions, core: CoreFilter) -> Leak | None:
    """Detect a k-core that was computed with the test.

    Train keeps users or items that reach k only with their test events.
    """
    total, words = 0, []
    for name, k, in_train, in_test in (
        ("users", core.min_user_events, train.counts, test.counts),
        ("items", core.min_item_events, item_counts(train), item_counts(test)),
    ):
        together = in_train + in_test
        short = (in_train > 0) & (in_train < k)
        # A filter of one pass over train leaves some short ones too, but few of these reach k by their test events.
        if short.sum() and (together[short] >= k).mean() >= 0.9:
            total += int(short.sum())
            words.append(f"{short.sum()} {name} have fewer than {k} events in train and reach {k} with the test")
    return Leak("cold_filter", True, total, ", ".join(words), "the cold filter") if total else None
