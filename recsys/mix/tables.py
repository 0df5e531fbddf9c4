"""The public tables of the mix: transitions, trends at several half-lives, popularity by category; no device's row.

Each is a sum over devices. Made before a moment T they score what devices do after T, which is how weights are learned
and how a live service stands: it never knows what comes next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import ModelError
from data.interactions import Interactions
from recsys.mix.features import TREND_HALF_LIVES
from recsys.model.transitions import Transitions, count_transitions, transition_table
from recsys.model.trend import decayed_popularity

CATEGORY_TREND = 3
"""Which of TREND_HALF_LIVES says what is popular within a category: a season."""


@dataclass(frozen=True, eq=False)
class ItemAttributes:
    """What the mix reads of a catalogue. category, log_price: as in MixTables."""

    category: npt.NDArray[np.int32]
    log_price: npt.NDArray[np.float32]


def no_attributes(n_items: int) -> ItemAttributes:
    """Neither category nor price for any item."""
    return ItemAttributes(np.full(n_items, -1, dtype=np.int32), np.full(n_items, np.nan, dtype=np.float32))


def attributes_of(catalogue: pl.DataFrame) -> ItemAttributes:
    """From the columns category and price of a catalogue, row i is item_idx i; either may be missing."""
    found = no_attributes(catalogue.height)
    category, log_price = found.category, found.log_price
    if "category" in catalogue.columns:
        names = catalogue["category"].cast(pl.String)
        category = names.rank("dense").cast(pl.Int32).fill_null(0).to_numpy() - np.int32(1)
    if "price" in catalogue.columns:
        price = catalogue["price"].cast(pl.Float64).fill_null(0.0).fill_nan(0.0).to_numpy()
        log_price = np.where(price > 0, np.log(np.where(price > 0, price, 1.0)), np.nan).astype(np.float32)
    return ItemAttributes(category, log_price)


@dataclass(frozen=True, eq=False)
class MixTables:
    """What devices hold beside the item table.

    transitions: (n_items, n_items) sparse float32, row a holding what comes after a.
    trends: (len(TREND_HALF_LIVES), n_items) float32, log(1 + count / mean count), ≥ 0.
    category: (n_items,) int32, the number of each item's category, −1 for an item without one.
    log_price: (n_items,) float32, natural logarithm, nan for an item without a price above 0.
    """

    transitions: Transitions
    trends: npt.NDArray[np.float32]
    category: npt.NDArray[np.int32]
    log_price: npt.NDArray[np.float32]

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

    @property
    def n_items(self) -> int:
        """Number of items."""
        return int(self.trends.shape[1])

    @property
    def n_categories(self) -> int:
        """Number of categories."""
        return int(self.category.max(initial=-1)) + 1


def build_tables(log: Interactions, now: int, attributes: ItemAttributes | None = None) -> MixTables:
    """The tables of everything in a log, as of `now` (µs); attributes: of the items, where the shop gives any."""
    attributes = attributes or no_attributes(log.n_items)
    popularity = decayed_popularity(log, now, float("inf"))
    return MixTables(
        transitions=transition_table(count_transitions(log), popularity),
        trends=np.stack([level(decayed_popularity(log, now, half_life)) for half_life in TREND_HALF_LIVES]),
        category=attributes.category,
        log_price=attributes.log_price,
    )


def level(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """log(1 + count / mean count) of each item, (n_items,) float32; zeros where nothing was counted."""
    mean = float(counts.mean()) if len(counts) else 0.0
    relative = np.maximum(counts, 0.0) / mean if mean > 0 else np.zeros_like(counts)
    return np.log1p(relative).astype(np.float32)
