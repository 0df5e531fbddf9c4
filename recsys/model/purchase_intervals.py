"""How long until an item is bought again: by category, the mean and spread of log intervals; public sums of devices.

The hazard of an item on a device is the chance that it is bought within the next days, given that it was not since:
intervals are log-normal, an item's own mean drawn towards its category's (Bhagat et al. 2018, in a simpler form).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from data.errors import ModelError
from data.interactions import MICROS_PER_DAY, EventKind, Interactions

Floats = npt.NDArray[np.float64]

SHORTEST_DAYS = 0.5
"""Two purchases of an item within half a day are one."""

MOST_INTERVALS = 8.0
"""Of one device in one category: those of one with more weigh less, so that no household sets a category's clock."""

CATEGORY_INTERVALS = 20.0
"""Intervals of all categories together that each category is drawn towards."""

ITEM_INTERVALS = 2.0
"""Intervals of its category that an item's own mean is drawn towards."""

AHEAD_DAYS = 14.0
"""How far the hazard looks ahead."""


@dataclass(frozen=True, eq=False)
class IntervalSums:
    """Sums over devices by category, the last entry for items without one: (n_categories + 1, 3) float64.

    Columns: how many intervals, their logarithms, the squares of those. Exact counts; a device adds at most
    MOST_INTERVALS to a category.
    """

    values: Floats


@dataclass(frozen=True, eq=False)
class Intervals:
    """The clock of each category by name, and in the last entry that of every other item.

    mean, spread: (len(categories) + 1,) float64, of the logarithm of days.
    """

    categories: tuple[str, ...]
    mean: Floats
    spread: Floats

    def __post_init__(self) -> None:
        n = len(self.categories) + 1
        if self.mean.shape != (n,) or self.spread.shape != (n,) or len(set(self.categories)) < n - 1:
            raise ModelError(
                f"intervals: mean {self.mean.shape}, spread {self.spread.shape}: must be ({n},), names once"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.spread).all() and (self.spread > 0).all()):
            raise ModelError("intervals: must be finite, every spread above 0")

    def clock_of(self, names: Sequence[str | None]) -> npt.NDArray[np.int32]:
        """Find which entry counts for items of these categories, (len(names),) int32."""
        place = {name: at for at, name in enumerate(self.categories)}
        return np.array([place.get(name or "", len(self.categories)) for name in names], dtype=np.int32)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, with 4 digits; `read_intervals` makes the same of them."""
        rounded = (np.round(values, 4).tolist() for values in (self.mean, self.spread))
        mean, spread = rounded
        return {"categories": list(self.categories), "mean": mean, "spread": spread}


def read_intervals(raw: object) -> Intervals:
    """Read the clocks of to_dict. Raises ModelError for anything else."""
    try:
        if not isinstance(raw, Mapping):
            raise ModelError("intervals: must be an object")
        mean, spread = (np.asarray(raw[name], dtype=np.float64) for name in ("mean", "spread"))
        return Intervals(tuple(str(name) for name in raw["categories"]), mean, spread)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"intervals: not those of this version ({type(error).__name__})") from None


def sum_intervals(log: Interactions, category: npt.NDArray[np.int32]) -> IntervalSums:
    """Sum the intervals between two purchases of the same item by the same device.

    category: (n_items,) int32, −1 for none.
    """
    n_categories = int(category.max(initial=-1)) + 1
    bought = log.where(log.kind == EventKind.PURCHASE)
    key = bought.user_idx.astype(np.int64) * log.n_items + bought.item_idx
    order = np.lexsort((bought.time, key))
    key, time = key[order], bought.time[order]
    days = np.diff(time) / MICROS_PER_DAY
    again = (key[1:] == key[:-1]) & (days >= SHORTEST_DAYS)
    x = np.log(days[again])
    of = category[key[1:][again] % log.n_items].astype(np.int64)
    of[of < 0] = n_categories
    device = key[1:][again] // log.n_items * (n_categories + 1) + of
    _, entry, counts = np.unique(device, return_inverse=True, return_counts=True)
    weight = np.minimum(1.0, MOST_INTERVALS / counts)[entry]
    sums = [np.bincount(of, weight * part, n_categories + 1) for part in (np.ones(len(x)), x, x**2)]
    return IntervalSums(np.stack(sums, axis=1))


def intervals_of(sums: IntervalSums, categories: Sequence[str]) -> Intervals | None:
    """Make the clock of each category, drawn towards that of all together; None where nothing was bought again.

    categories: the name of each; the sums have one entry more, of items without one.
    """
    total = sums.values.sum(axis=0)
    if total[0] < 1:
        return None
    mean_of_all = total[1] / total[0]
    square_of_all = max(total[2] / total[0], mean_of_all**2 + 0.01)
    n, first, second = sums.values.T
    mean = (first + CATEGORY_INTERVALS * mean_of_all) / (n + CATEGORY_INTERVALS)
    square = (second + CATEGORY_INTERVALS * square_of_all) / (n + CATEGORY_INTERVALS)
    made = Intervals(tuple(categories), mean, np.sqrt(np.maximum(square - mean**2, 0.01)))
    return read_intervals(made.to_dict())  # as it ships


def hazards(
    intervals: Intervals,
    clock: npt.NDArray[np.int32],
    counts: Floats,
    first_days: Floats,
    last_days: Floats,
    ahead_days: float = AHEAD_DAYS,
) -> Floats:
    """Compute the chance that each own item is bought within the next days, given it was not since; (n,) in [0, 1].

    clock: (n,), of Intervals.clock_of; counts: purchases on different moments; first_days, last_days: how long ago the
    first and the last one were.
    """
    mean, spread = intervals.mean[clock], intervals.spread[clock]
    gaps = np.maximum(counts - 1, 0)
    own = np.log(np.maximum(first_days - last_days, SHORTEST_DAYS) / np.maximum(gaps, 1))
    mean = (ITEM_INTERVALS * mean + gaps * own) / (ITEM_INTERVALS + gaps)
    since = np.maximum(last_days, SHORTEST_DAYS)
    waited = log_ndtr(-(np.log(since) - mean) / spread)
    longer = log_ndtr(-(np.log(since + ahead_days) - mean) / spread)
    chance: Floats = -np.expm1(np.minimum(longer - waited, 0.0))
    return chance
