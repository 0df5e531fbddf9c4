"""A seeded shop with known tastes: logs of which it is known what could have been learned. Not a model of a real shop.

People and items live in taste clusters. A session is a run of views; a view leads to a cart and a cart to a
purchase, more often the better the item fits and the cheaper it is; staples are bought again and again.
The popularity of items rises and falls; groups differ in tastes and activity; some people change their taste.

The log is cut into blocks of EVENTS_PER_BLOCK events, each drawn from (seed, number of the block) alone and
handed on in order of time, so memory does not grow with the log. Same arguments and same numpy: same events,
same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from data.errors import DataError
from data.interactions import MICROS_PER_DAY, EventKind, Interactions, interactions
from data.tastes import (
    MAIN,
    SECOND,
    SHARPNESS,
    STAPLES,
    TREND_STEPS,
    ClusterPopularity,
    Doubles,
    Floats,
    GroundTruth,
    Index,
    Ints,
    draw_truth,
)

EVENTS_PER_BLOCK = 1 << 18
"""Part of what a seed means: another value gives another log."""
_CANDIDATES = 4  # drawn by popularity, one is chosen by taste: a softmax without a pass over the catalogue
_VIEWS_PER_SESSION = 4
_RESTOCK = 0.15  # share of the taste-led views that go to a staple
_PAUSE_US = 45_000_000
_START_US = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
_HOURS = np.array([1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 5, 5, 6, 5, 5, 5, 5, 6, 7, 8, 9, 8, 5, 2])
_WORLD, _EVENTS = 0, 1  # streams of a seed


@dataclass(frozen=True)
class Columns:
    """Events as arrays: user_idx, item_idx int32; kind uint8; time int64 µs; quantity float32; session int64."""

    user_idx: Index
    item_idx: Index
    kind: npt.NDArray[np.uint8]
    time: Ints
    quantity: Floats
    session: Ints

    def rows(self, rows: slice | npt.NDArray[np.intp]) -> Columns:
        """Select the given rows."""
        return Columns(*(getattr(self, f.name)[rows] for f in fields(self)))

    @staticmethod
    def stack(parts: list[Columns]) -> Columns:
        """Stack parts one after the other."""
        return Columns(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Columns)))


@dataclass(frozen=True)
class SyntheticShop:
    """A shop of n_users, n_items and exactly n_events, all of it a function of these arguments.

    signal: 0 (views follow popularity alone: nothing personal to learn) to 1 (every view follows a taste).
    drift: how far trends lift an item above its usual popularity; 0 keeps popularity still.
    group_shares, group_activity: each group's share of the people and its relative number of sessions.
    change_share, change_at: share of the people whose taste changes, and when, as a fraction of the log.
    Raises DataError for arguments out of bounds.
    """

    n_users: int
    n_items: int
    n_events: int
    seed: int = 0
    signal: float = 1.0
    drift: float = 1.0
    days: int = 180
    n_clusters: int = 20
    group_shares: tuple[float, ...] = (0.7, 0.3)
    group_activity: tuple[float, ...] = (1.0, 0.5)
    change_share: float = 0.0
    change_at: float = 0.5

    def __post_init__(self) -> None:
        lowest = (("n_users", 1), ("n_events", 1), ("seed", 0), ("drift", 0), ("days", 1), ("n_clusters", 3))
        for name, low in (*lowest, ("n_items", self.n_clusters)):
            if not getattr(self, name) >= low:
                raise DataError(f"{name}={getattr(self, name)}: must be at least {low}")
        for name in ("signal", "change_share", "change_at"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"{name}={getattr(self, name)}: must be 0..1")
        if min(self.group_shares, default=-1) < 0 or abs(sum(self.group_shares) - 1) > 1e-9:
            raise DataError(f"group_shares={self.group_shares}: must be 0..1 each and sum to 1")
        if len(self.group_activity) != len(self.group_shares) or min(self.group_activity) <= 0:
            raise DataError(f"group_activity={self.group_activity}: must be one number > 0 per group_shares")

    def events(self) -> Iterator[pl.DataFrame]:
        """Yield canonical events in order of time, about EVENTS_PER_BLOCK to a frame."""
        users, items = _ids("u", self.n_users), _ids("i", self.n_items)
        kinds = pl.Series([kind.name.lower() for kind in EventKind])
        price = self.truth().price
        for block in self.blocks():
            yield pl.DataFrame(
                {
                    "user_id": users.gather(block.user_idx),
                    "item_id": items.gather(block.item_idx),
                    "kind": kinds.gather(block.kind),
                    "time": pl.Series(block.time).cast(pl.Datetime("us", "UTC")),
                    "price": price[block.item_idx],
                    "quantity": block.quantity,
                    "session_id": pl.Series(block.session).cast(pl.String),
                }
            )

    def catalogue(self) -> pl.DataFrame:
        """Make the canonical catalogue and a column `consumable`; row i is the item_idx i of `interactions`."""
        truth = self.truth()
        shelf = pl.Series(truth.item_cluster)
        return pl.DataFrame(
            {
                "item_id": _ids("i", self.n_items),
                "title": _ids("Article ", self.n_items),
                "category": _ids("shelf-", self.n_clusters).gather(shelf),
                "price": truth.price,
                "available": np.ones(self.n_items, dtype=np.bool_),
                "consumable": truth.consumable,
            }
        )

    def people(self) -> pl.DataFrame:
        """Make user_id, group (a, b, …), taste (main cluster) and changed_taste of each user.

        changed_taste is null without a change.
        """
        truth = self.truth()
        before, after = truth.taste
        names = pl.Series([chr(ord("a") + g) for g in range(len(self.group_shares))])
        changed = pl.DataFrame({"changes": before != after, "to": truth.main[after]})
        return pl.DataFrame(
            {
                "user_id": _ids("u", self.n_users),
                "group": names.gather(truth.group),
                "taste": truth.main[before],
                "changed_taste": changed.select(pl.when("changes").then("to")).to_series(),
            }
        )

    def interactions(self) -> Interactions:
        """Make all events on the axes of the shop. user_idx and item_idx are the rows of `people` and `catalogue`."""
        log = Columns.stack(list(self.blocks()))
        return interactions(
            log.user_idx,
            log.item_idx,
            log.time,
            n_users=self.n_users,
            n_items=self.n_items,
            kind=log.kind,
            quantity=log.quantity,
        )

    def write(self, folder: Path) -> None:
        """Write events.parquet (a row group per block), catalogue.parquet and people.parquet, in flat memory."""
        folder.mkdir(parents=True, exist_ok=True)
        self.catalogue().write_parquet(folder / "catalogue.parquet")
        self.people().write_parquet(folder / "people.parquet")
        part = folder / "events.parquet.part"
        frames = self.events()
        first = next(frames).to_arrow()
        with pq.ParquetWriter(part, first.schema, compression="zstd") as out:
            out.write_table(first)
            for frame in frames:
                out.write_table(frame.to_arrow())
        part.replace(folder / "events.parquet")

    def truth(self) -> GroundTruth:
        """Return the tastes, groups and trends behind the events."""
        return self._truth

    def blocks(self) -> Iterator[Columns]:
        """Yield events in order of time as arrays, about EVENTS_PER_BLOCK at a time."""
        waiting: list[Columns] = []
        for number in range(0, self.n_events, EVENTS_PER_BLOCK):
            end = min(number + EVENTS_PER_BLOCK, self.n_events)
            both = Columns.stack([*waiting, self._block(number, end - number)])
            both = both.rows(np.argsort(both.time, kind="stable"))
            # Sessions run on past the end of their block; the next block begins no earlier than its end.
            done = int(np.searchsorted(both.time, _begun(end / self.n_events, self.days)))
            done = len(both.time) if end == self.n_events else done
            waiting = [both.rows(slice(done, None))]
            if done:
                yield both.rows(slice(done))

    @cached_property
    def _truth(self) -> GroundTruth:
        return draw_truth(
            (self.seed, _WORLD),
            n_users=self.n_users,
            n_items=self.n_items,
            n_clusters=self.n_clusters,
            start=_START_US,
            days=self.days,
            drift=self.drift,
            group_shares=self.group_shares,
            group_activity=self.group_activity,
            change_share=self.change_share,
            change_at=self.change_at,
        )

    @cached_property
    def _user_shares(self) -> Doubles:
        shares = np.cumsum(self._truth.activity)
        return np.asarray(shares / shares[-1])

    def _block(self, number: int, wanted: int) -> Columns:
        """Draw `wanted` events of the sessions that begin in one block, session after session."""
        truth = self._truth
        rng = np.random.Generator(np.random.SFC64((self.seed, _EVENTS, number)))
        # Every view is an event, so `wanted` views are enough; the rest is cut off below.
        opens = rng.random(wanted) < 1 / _VIEWS_PER_SESSION
        opens[0] = True
        session = np.cumsum(opens) - 1
        begun = (number + wanted * rng.random(session[-1] + 1)) / self.n_events
        start = _begun(begun, self.days)
        user = np.searchsorted(self._user_shares, rng.random(len(begun)), side="right").astype(np.int32)
        taste = truth.taste[(start >= truth.changed_at).astype(np.int8), user][session]
        led = rng.random(wanted) < self.signal
        restock = led & (rng.random(wanted) < _RESTOCK)

        chance = rng.random(wanted)
        cluster = np.where(chance < MAIN, truth.main[taste], truth.second[taste])
        cluster[~led | (chance >= MAIN + SECOND)] = -1
        steps, step = np.unique((begun * TREND_STEPS).astype(np.int64), return_inverse=True)
        shelves = ClusterPopularity.of(truth.popularity(steps), truth.item_cluster, self.n_clusters)
        candidates = shelves.draw(rng.random((wanted, _CANDIDATES)), step[session][:, None], cluster[:, None])
        fit = np.einsum("vcd,vd->vc", truth.item_vectors[candidates], truth.user_vectors[taste])
        rivals = rng.standard_exponential((wanted, _CANDIDATES), dtype=np.float32)
        rivals *= np.exp(-SHARPNESS * led[:, None] * fit)  # the smallest wins with softmax chances
        item = candidates[np.arange(wanted), rivals.argmin(axis=1)]
        item = np.where(restock, truth.staples[taste, rng.integers(0, STAPLES, wanted)], item)

        likes = self.signal * np.einsum("vd,vd->v", truth.item_vectors[item], truth.user_vectors[taste])
        dear = (np.log(truth.price[item]) - 3.0) / 0.8
        carted = rng.random(wanted) < _sigmoid(-4.0 + 2.0 * likes - 0.5 * dear + 2.5 * restock)
        bought = carted & (rng.random(wanted) < _sigmoid(-0.5 + 1.0 * likes - 0.3 * dear + 1.5 * restock))
        rows = 1 + carted.astype(np.int64) + bought
        view = np.repeat(np.arange(wanted), rows)[:wanted]
        kind = (np.arange(wanted) - (np.cumsum(rows) - rows)[view]).astype(np.uint8)  # view, cart, purchase

        of = session[view]
        elapsed = np.cumsum((1_000_000 + _PAUSE_US * rng.standard_exponential(wanted)).astype(np.int64))
        first = np.searchsorted(of, np.arange(of[-1] + 1))
        several = (kind == EventKind.PURCHASE) & truth.consumable[item[view]]
        return Columns(
            user_idx=user[of],
            item_idx=item[view].astype(np.int32),
            kind=kind,
            time=start[of] + elapsed - elapsed[first][of],
            quantity=np.where(several, rng.integers(1, 4, wanted), 1).astype(np.float32),
            session=number + of,
        )


def _begun(share: float | Doubles, days: int) -> Ints:
    """Time (µs) by which a share (0..1) of the sessions has begun: quiet nights, busy evenings."""
    day, part = np.divmod(np.asarray(share) * days, 1.0)
    shares = np.concatenate(([0.0], np.cumsum(_HOURS) / _HOURS.sum()))
    moment = np.interp(part, shares, np.linspace(0.0, 1.0, len(shares)))
    return np.asarray(_START_US + (day + moment) * MICROS_PER_DAY, dtype=np.int64)


def _ids(prefix: str, n: int) -> pl.Series:
    """Write prefix and index with leading zeros: in the order of the index also when sorted as text."""
    digits = pl.Series(np.arange(n)).cast(pl.String).str.zfill(len(str(n - 1)))
    return prefix + digits


def _sigmoid(x: npt.NDArray[np.floating]) -> Doubles:
    return np.asarray(1.0 / (1.0 + np.exp(-x)), dtype=np.float64)
