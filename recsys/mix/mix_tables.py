"""The public tables of the mix: transitions, trends at several half-lives, popularity by category; no device's row.

Each is a sum over devices. Made before a moment T they score what devices do after T, which is how weights are learned
and how a live service stands: it never knows what comes next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from data.errors import ModelError
from data.interactions import Interactions
from recsys.mix.features import TREND_HALF_LIVES
from recsys.model.transitions import Transitions, count_transitions, transition_table
from recsys.model.trend import decayed_popularity, last_events

Floats = npt.NDArray[np.float32]
CATEGORY_TREND = 3
"""Index in TREND_HALF_LIVES of the trend that says what is popular within a category: a season."""


@dataclass(frozen=True, eq=False)
class ItemAttributes:
    """The columns of a catalogue that the mix reads. category, log_price: as in MixTables."""

    category: npt.NDArray[np.int32]
    log_price: npt.NDArray[np.float32]


def no_attributes(n_items: int) -> ItemAttributes:
    """Describe items without category and price."""
    return ItemAttributes(np.full(n_items, -1, dtype=np.int32), np.full(n_items, np.nan, dtype=np.float32))


def attributes_of(catalogue: pl.DataFrame) -> ItemAttributes:
    """Read the columns category and price of a catalogue, row i is item_idx i; either may be missing."""
    attributes = no_attributes(catalogue.height)
    category, log_price = attributes.category, attributes.log_price
    if "category" in catalogue.columns:
        names = catalogue["category"].cast(pl.String)
        category = names.rank("dense").cast(pl.Int32).fill_null(0).to_numpy() - np.int32(1)
    if "price" in catalogue.columns:
        price = catalogue["price"].cast(pl.Float64).fill_null(0.0).fill_nan(0.0).to_numpy()
        log_price = np.where(price > 0, np.log(np.where(price > 0, price, 1.0)), np.nan).astype(np.float32)
    return ItemAttributes(category, log_price)


@dataclass(frozen=True, eq=False)
class MixTables:
    """The tables that devices hold beside the item table.

    transitions: (n_items, n_items) sparse float32, row a holding what comes after a.
    trends: (len(TREND_HALF_LIVES), n_items) float32, log(1 + count / mean count) of decayed last events, ≥ 0.
    category: (n_items,) int32, the number of each item's category, −1 for an item without one.
    log_price: (n_items,) float32, natural logarithm, nan for an item without a price above 0.
    as_of: the moment (µs since 1970) after which no event is in the tables: what a device does from then on may teach
    weights. None in a bundle of before it was written down.
    """

    transitions: Transitions
    trends: npt.NDArray[np.float32]
    category: npt.NDArray[np.int32]
    log_price: npt.NDArray[np.float32]
    as_of: int | None = None

    def __post_init__(self) -> None:
        n_items = self.trends.shape[1]
        if self.trends.shape[0] != len(TREND_HALF_LIVES) or self.transitions.shape != (n_items, n_items):
            raise ModelError(
                f"mix: trends {self.trends.shape}, transitions {self.transitions.shape}: must be "
                f"({len(TREND_HALF_LIVES)}, n_items) and (n_items, n_items)"
            )
        if self.category.shape != (n_items,) or self.category.min(initial=-1) < -1:
            raise ModelError(f"mix: category {self.category.shape}: must be ({n_items},), -1 or more")
        if not (np.isfinite(self.trends).all() and np.isfinite(self.transitions.data).all()):
            raise ModelError("mix: tables have values that are not finite")

    @cached_property
    def trend_best(self) -> npt.NDArray[np.int64]:
        """Items of the largest trend first, (len(TREND_HALF_LIVES), n_items); of equal ones the lower item_idx."""
        return np.argsort(-self.trends, axis=1, kind="stable")

    @property
    def n_items(self) -> int:
        """Number of items."""
        return int(self.trends.shape[1])

    def grown(self, attributes: ItemAttributes) -> MixTables:
        """Grow the tables for more items after the known ones: nothing is known of what comes near them."""
        n_items, transitions = len(attributes.category), self.transitions
        indptr = np.concatenate((transitions.indptr, np.full(n_items - self.n_items, transitions.indptr[-1])))
        wide = sparse.csr_array((transitions.data, transitions.indices, indptr), shape=(n_items, n_items))
        trends = np.zeros((len(self.trends), n_items), dtype=np.float32)
        trends[:, : self.n_items] = self.trends
        return MixTables(wide, trends, attributes.category, attributes.log_price, self.as_of)

    @property
    def n_categories(self) -> int:
        """Number of categories."""
        return int(self.category.max(initial=-1)) + 1


def build_tables(log: Interactions, now: int, attributes: ItemAttributes | None = None) -> MixTables:
    """Build the tables of everything in a log, as of `now` (µs). attributes: of the items, where the shop gives any."""
    transitions = transition_table(count_transitions(log), decayed_popularity(log, now, float("inf")))
    latest = last_events(log)

    def decayed(half_life: float) -> npt.NDArray[np.float64]:
        return decayed_popularity(latest, now, half_life)

    return tables_from(decayed, transitions, now, attributes or no_attributes(log.n_items))


def tables_from(
    decayed: Callable[[float], npt.NDArray[np.float64]], transitions: Transitions, now: int, attributes: ItemAttributes
) -> MixTables:
    """Build the tables of what was published.

    decayed: the decayed popularity (n_items,) of a half-life in days. transitions: as of transition_table.
    """
    trends = np.stack([level(decayed(half_life)) for half_life in TREND_HALF_LIVES])
    return MixTables(
        transitions=round_transitions(transitions),
        trends=in_bytes(trends, byte_scale(trends)),
        category=attributes.category,
        log_price=attributes.log_price,
        as_of=int(now),
    )


def byte_scale(values: Floats) -> Floats:
    """Step of each row of values (rows, n) ≥ 0 with which one byte holds its largest; 1 for a row of zeros."""
    largest = values.max(axis=1, initial=0.0)
    return (np.where(largest > 0, largest, 255.0) / np.float32(255.0)).astype(np.float32)


def in_bytes(values: Floats, scale: Floats) -> Floats:
    """Round values (rows, n) to whole steps (rows,) of their row: what is learned with, ships and is served alike."""
    rounded: Floats = np.rint(values / scale[:, None]).astype(np.float32) * scale[:, None]
    return rounded


def round_transitions(transitions: Transitions) -> Transitions:
    """Round weights to whole steps of a 255th of the largest of their row, one step at least."""
    scale = transition_scale(transitions)[np.repeat(np.arange(transitions.shape[0]), np.diff(transitions.indptr))]
    steps = np.maximum(np.rint(transitions.data / scale), 1.0).astype(np.float32)
    return sparse.csr_array((steps * scale, transitions.indices, transitions.indptr), shape=transitions.shape)


def transition_scale(transitions: Transitions) -> Floats:
    """Step of each row (n_items,); 1/255 for an empty one."""
    largest = np.ones(transitions.shape[0], dtype=np.float32)
    nonempty = np.diff(transitions.indptr) > 0
    largest[nonempty] = np.maximum.reduceat(transitions.data, transitions.indptr[:-1][nonempty])
    return largest / np.float32(255.0)


def level(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """log(1 + count / mean count) of each item, (n_items,) float32; zeros where nothing was counted."""
    mean = float(counts.mean()) if len(counts) else 0.0
    relative = np.maximum(counts, 0.0) / mean if mean > 0 else np.zeros_like(counts)
    return np.log1p(relative).astype(np.float32)
