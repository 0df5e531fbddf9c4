"""The members of the zoo: real logs and what else they might have been, each by one change.

A change is a function of a log and the moment of its split, so that what comes after it is of the same shape as before.
Every third member (by its place in the list) is held out: no default may be chosen by a look at it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import polars as pl

from data.dataset import Dataset
from data.errors import DataError
from data.interactions import MICROS_PER_DAY, EventKind, Interactions, interactions
from data.log_reading.ingest import ingest
from data.split import parse_time
from data.synthetic import SyntheticShop
from recsys.mix.mix_tables import ItemAttributes, attributes_of
from tests.benchmarks import instacart, ml100k

Change = Callable[[Interactions, int, np.random.Generator], Interactions]
HELD_OUT_EVERY = 3


@dataclass(frozen=True, eq=False)
class Loaded:
    """A log. at: the moment (µs) of its split, None for the last fifth of events. catalogue: of its items, if any."""

    log: Interactions
    at: int | None = None
    catalogue: pl.DataFrame | None = None


@dataclass(frozen=True)
class Member:
    """One log of the zoo. change: what was changed about the base. held_out: from every tuning of defaults."""

    name: str
    base: str
    change: Change
    held_out: bool

    def load(self, seed: int = 0) -> tuple[Interactions, int]:
        """The log, and the moment (µs) of its split. Raises DataError where the base is not at hand."""
        loaded = _base(self.base)
        moment = int(np.quantile(loaded.log.time, 0.8)) if loaded.at is None else loaded.at
        return self.change(loaded.log, moment, np.random.default_rng([seed, 31])), moment

    @property
    def attributes(self) -> ItemAttributes | None:
        """What a catalogue says of the items, where there is one and they are still the same items."""
        catalogue = _base(self.base).catalogue
        return None if catalogue is None or self.change in OTHER_ITEMS else attributes_of(catalogue)


def logs_folder() -> Path:
    """Where logs are that are not part of the project: $ZOO_LOGS, or shared/data beside the checkout."""
    return Path(os.environ.get("ZOO_LOGS") or Path(__file__).resolve().parents[3] / "shared" / "data")


def _sample(name: str, at: str) -> Loaded:
    dataset = Dataset.open(f"sample:{name}")
    return Loaded(dataset.interactions(), parse_time(at), dataset.catalogue)


def _journey(households: int = 300) -> Loaded:
    """Complete Journey's first households and the items bought five times, the last 5 % of events to be foretold."""
    path = logs_folder() / "complete_journey" / "purchases.parquet"
    if not path.exists():
        raise DataError(f"{path}: not there; the members of the Complete Journey are left out")
    lines = pl.read_parquet(path)
    users = np.unique(lines["user_id"].to_numpy())[:households]
    lines = lines.filter(pl.col("user_id").is_in(users.tolist()) & (pl.len().over("item_id") >= 5))
    user_idx = np.searchsorted(users, lines["user_id"].to_numpy())
    items, item_idx = np.unique(lines["item_id"].to_numpy(), return_inverse=True)
    time = lines["ts"].cast(pl.Datetime("us")).to_physical().to_numpy()
    kind = np.full(len(time), EventKind.PURCHASE)
    log = interactions(user_idx, item_idx, time, n_users=len(users), n_items=len(items), kind=kind)
    return Loaded(log, int(np.quantile(log.time, 0.95)))


def _rees46() -> Loaded:
    path = logs_folder() / "rees46_5k" / "events.csv"
    if not path.exists():
        raise DataError(f"{path}: not there; the members of REES46 are left out")
    dataset = ingest(path, preset="rees46", name="rees46")
    return Loaded(dataset.interactions(), None, dataset.catalogue)


def _ratings() -> Loaded:
    """MovieLens 100K as likes, and dislikes below 3 stars."""
    dataset = ml100k.load()
    stars = dataset.log["rating"].cast(pl.String).cast(pl.Float64).to_numpy()
    log = dataset.interactions()
    return Loaded(replace(log, kind=np.where(stars < 3, EventKind.DISLIKE, EventKind.LIKE).astype(np.uint8)))


def _synthetic(users: int, items: int, events: int, drift: float = 1.0) -> Loaded:
    return Loaded(SyntheticShop(users, items, events, seed=5, drift=drift).interactions())


BASES: dict[str, Callable[[], Loaded]] = {
    "retail": partial(_sample, "online-retail", "2011-11-09"),
    "eshop": partial(_sample, "eshop-2008", "2008-07-01"),
    "movies": lambda: Loaded(ml100k.load().interactions()),
    "ratings": _ratings,
    "journey": _journey,
    "instacart": lambda: Loaded(instacart.load(), instacart.LAST_ORDER_US),
    "rees46": _rees46,
    "shop": partial(_synthetic, 3_000, 1_500, 120_000),
    "shop-50000": partial(_synthetic, 50_000, 1_500, 400_000),
    "shop-drift": partial(_synthetic, 3_000, 1_500, 120_000, 4.0),
    "shop-still": partial(_synthetic, 3_000, 1_500, 120_000, 0.0),
}


@cache
def _base(name: str) -> Loaded:
    return BASES[name]()


def plain(log: Interactions, at: int, rng: np.random.Generator) -> Interactions:
    """The log as it is."""
    return log


def last(n: int) -> Change:
    """Histories cut to their last n events before the split."""

    def change(log: Interactions, at: int, rng: np.random.Generator) -> Interactions:
        before = log.time < at
        known = np.bincount(log.user_idx[before], minlength=log.n_users)
        place = np.arange(log.n_events) - np.repeat(log.offsets[:-1], log.counts)
        return log.where(~before | (place >= known[log.user_idx] - n))

    return change


def first_of_session(n: int) -> Change:
    """Users' first n + 3 events only: of a session there is little to go by."""

    def change(log: Interactions, at: int, rng: np.random.Generator) -> Interactions:
        place = np.arange(log.n_events) - np.repeat(log.offsets[:-1], log.counts)
        return log.where(place < n + 3)

    return change


def devices(n: int) -> Change:
    """A sample of n users."""

    def change(log: Interactions, at: int, rng: np.random.Generator) -> Interactions:
        some = np.flatnonzero(log.counts > 1)
        return log.users(np.sort(rng.permutation(some)[:n]))

    return change


def larger_catalogue(log: Interactions, at: int, rng: np.random.Generator) -> Interactions:
    """Each item in ten variants, the first of which has half of the users; a user stays with a variant."""
    mixed = (log.user_idx.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ log.item_idx.astype(np.uint64)
    mixed = (mixed * np.uint64(0xD6E8FEB86659FD93)) >> np.uint64(32)
    variant = np.where(mixed % 2 == 0, 0, 1 + (mixed // 2) % 9)
    return replace(log, item_idx=(log.item_idx * 10 + variant).astype(np.int32), n_items=log.n_items * 10)


def smaller_catalogue(log: Interactions, at: int, rng: np.random.Generator) -> Interactions:
    """Ten items each become one, at random."""
    group = rng.permutation(log.n_items) // 10
    return replace(log, item_idx=group[log.item_idx].astype(np.int32), n_items=int(group.max()) + 1)


def bought(share: float) -> Change:
    """Each event a purchase with this probability, at least one of them before the split; else a view."""

    def change(log: Interactions, at: int, rng: np.random.Generator) -> Interactions:
        kind = np.where(rng.random(log.n_events) < share, EventKind.PURCHASE, EventKind.VIEW).astype(np.uint8)
        kind[np.flatnonzero(log.time < at)[0]] = EventKind.PURCHASE
        return replace(log, kind=kind)

    return change


def viewed_first(log: Interactions, at: int, rng: np.random.Generator) -> Interactions:
    """Three views a minute before each purchase: of its item, and of two others of the same user."""
    span = np.repeat(log.counts, log.counts)
    others = np.repeat(log.offsets[:-1], log.counts) + (rng.random((2, log.n_events)) * span).astype(np.int64)
    items = np.concatenate([log.item_idx, *(log.item_idx[other] for other in others), log.item_idx])
    users = np.tile(log.user_idx, 4)
    time = np.concatenate([np.tile(log.time - 60_000_000, 3), log.time])
    kind = np.concatenate([np.full(3 * log.n_events, EventKind.VIEW), log.kind])
    return interactions(users, items, time, n_users=log.n_users, n_items=log.n_items, kind=kind)


def untimed(log: Interactions, at: int, rng: np.random.Generator) -> Interactions:
    """No times, only an order."""
    return replace(log, time=np.full(log.n_events, at))


def stretched(days: float) -> Change:
    """The whole log within so many days; the moment of the split stays where it is."""

    def change(log: Interactions, at: int, rng: np.random.Generator) -> Interactions:
        factor = days * MICROS_PER_DAY / float(log.time.max() - log.time.min())
        return replace(log, time=(at + (log.time - at) * factor).astype(np.int64))

    return change


def repeating(share: float) -> Change:
    """Each event but a user's first is, with this probability, one of an earlier item of the same user."""

    def change(log: Interactions, at: int, rng: np.random.Generator) -> Interactions:
        place = np.arange(log.n_events) - np.repeat(log.offsets[:-1], log.counts)
        source = np.arange(log.n_events) - place + (rng.random(log.n_events) * place).astype(np.int64)
        again = (rng.random(log.n_events) < share) & (place > 0)
        return replace(log, item_idx=np.where(again, log.item_idx[source], log.item_idx))

    return change


def once(log: Interactions, at: int, rng: np.random.Generator) -> Interactions:
    """Nobody has an item twice: first events only."""
    key = log.user_idx.astype(np.int64) * log.n_items + log.item_idx
    keep = np.zeros(log.n_events, dtype=np.bool_)
    keep[np.unique(key, return_index=True)[1]] = True
    return log.where(keep)


def trendless(log: Interactions, at: int, rng: np.random.Generator) -> Interactions:
    """Each user's timeline moved by a random number of days around the log: what is popular does not depend on when."""
    begin, span = int(log.time.min()), int(log.time.max() - log.time.min()) + 1
    shift = rng.integers(0, span, log.n_users)[log.user_idx]
    time = (log.time - begin + shift) % span + begin
    return interactions(
        log.user_idx, log.item_idx, time, n_users=log.n_users, n_items=log.n_items, kind=log.kind, quantity=log.quantity
    )


def fashionable(log: Interactions, at: int, rng: np.random.Generator) -> Interactions:
    """Every fortnight the catalogue turns by a twentieth: yesterday's bestseller is another item's place tomorrow."""
    order = rng.permutation(log.n_items)
    fortnight = (log.time - log.time.min()) // (14 * MICROS_PER_DAY)
    turned = (order[log.item_idx] + fortnight * (log.n_items // 20)) % log.n_items
    return replace(log, item_idx=turned.astype(np.int32))


def with_bots(log: Interactions, at: int, rng: np.random.Generator) -> Interactions:
    """Five more users, each with a hundredth of all events on random items, evenly in time."""
    n = log.n_events // 100
    users = np.concatenate([log.user_idx, np.repeat(log.n_users + np.arange(5), n)])
    items = np.concatenate([log.item_idx, rng.integers(0, log.n_items, 5 * n)])
    time = np.concatenate([log.time, rng.integers(log.time.min(), at, 5 * n)])
    kind = np.concatenate([log.kind, np.full(5 * n, log.kind[0])])
    return interactions(users, items, time, n_users=log.n_users + 5, n_items=log.n_items, kind=kind)


OTHER_ITEMS: tuple[Change, ...] = (larger_catalogue, smaller_catalogue, fashionable)
"""Changes after which an item is no longer what the catalogue says of it."""

_CHANGES: dict[str, tuple[tuple[str, Change], ...]] = {
    "retail": (
        ("plain", plain), ("history-1", last(1)), ("history-3", last(3)), ("history-7", last(7)),
        ("devices-500", devices(500)), ("catalogue-x10", larger_catalogue), ("catalogue-/10", smaller_catalogue),
        ("half-bought", bought(0.5)), ("viewed-first", viewed_first), ("untimed", untimed), ("one-day", stretched(1)),
        ("ten-years", stretched(3650)), ("repeating", repeating(0.5)), ("once", once), ("trendless", trendless),
        ("fashionable", fashionable), ("bots", with_bots),
    ),
    "eshop": (
        ("plain", plain), ("history-1", first_of_session(1)), ("history-3", first_of_session(3)),
        ("devices-500", devices(500)), ("catalogue-x10", larger_catalogue), ("catalogue-/10", smaller_catalogue),
        ("one-purchase", bought(0.0)), ("bought-1-in-100", bought(0.01)), ("half-bought", bought(0.5)),
        ("one-day", stretched(1)), ("ten-years", stretched(3650)), ("repeating", repeating(0.5)), ("once", once),
        ("fashionable", fashionable), ("bots", with_bots),
    ),
    "movies": (("plain", plain), ("untimed", untimed), ("history-7", last(7)), ("catalogue-/10", smaller_catalogue)),
    "ratings": (("plain", plain), ("untimed", untimed)),
    "journey": (("plain", plain), ("history-7", last(7)), ("once", once)),
    "instacart": (("plain", plain), ("history-7", last(7)), ("catalogue-/10", smaller_catalogue)),
    "rees46": (("plain", plain), ("half-bought", bought(0.5))),
    "shop": (("plain", plain), ("catalogue-x10", larger_catalogue), ("bots", with_bots), ("untimed", untimed)),
    "shop-50000": (("plain", plain),),
    "shop-drift": (("plain", plain),),
    "shop-still": (("plain", plain),),
}  # fmt: skip


def members() -> tuple[Member, ...]:
    """All members, in the order in which they are measured."""
    listed = [(base, name, change) for base, changes in _CHANGES.items() for name, change in changes]
    return tuple(
        Member(f"{base}:{name}", base, change, place % HELD_OUT_EVERY == 2)
        for place, (base, name, change) in enumerate(listed)
    )
