"""Groups of shoppers: by activity and niche taste from the log, and by attributes that a file declares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import DataError
from data.interactions import Interactions
from data.vocabulary import Vocabulary

THIRDS = ("low", "middle", "high")
NOBODY = -1
"""Level of a shopper whose level is not known: in no group, and in the mean of all."""
MOST_LEVELS = 20


@dataclass(frozen=True, eq=False)
class Grouping:
    """A partition of shoppers. level_of: (n_users,) int64, a place in levels or NOBODY."""

    name: str
    levels: tuple[str, ...]
    level_of: npt.NDArray[np.int64]

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Mark the shoppers whose level is known, (n_users,) bool: a group is compared with the others of them."""
        return np.asarray(self.level_of != NOBODY)

    def members(self) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
        """Yield each level and a mask of its shoppers among the known ones, (known,) bool."""
        of_known = self.level_of[self.known]
        for place, level in enumerate(self.levels):
            yield level, of_known == place

    def of(self, rows: npt.NDArray[np.int64]) -> Grouping:
        """Keep some of the shoppers, by their rows."""
        return Grouping(self.name, self.levels, self.level_of[rows])


def tail_items(counts: npt.NDArray[np.int64], head_share: float = 0.8) -> npt.NDArray[np.bool_]:
    """Mark the long tail, (n_items,) bool: all but the most popular items that together have head_share of all events.

    counts: (n_items,) events of each item. Of equally popular items the lower item_idx is the more popular.

    >>> tail_items(np.array([6, 1, 2, 1])).tolist()
    [False, True, False, True]
    """
    if not 0 < head_share < 1:
        raise DataError(f"head_share={head_share}: must be above 0 and below 1")
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    tail = np.ones(len(counts), dtype=np.bool_)
    tail[order[before < head_share * counts.sum()]] = False
    return tail


def by_activity(histories: Interactions, users: npt.NDArray[np.int64]) -> Grouping:
    """Group shoppers by the length of their history: none, and thirds of those who have one."""
    counts = histories.counts[users].astype(np.float64)
    thirds = in_thirds("activity", np.where(counts > 0, counts, np.nan))
    return Grouping("activity", ("none", *THIRDS), thirds.level_of + 1)


def by_niche_taste(histories: Interactions, users: npt.NDArray[np.int64], tail: npt.NDArray[np.bool_]) -> Grouping:
    """Group shoppers by the share of tail items in their history, in thirds (Abdollahpouri et al. 2019).

    Those without a history are in no group.
    """
    in_tail = np.concatenate(([0], np.cumsum(tail[histories.item_idx], dtype=np.int64)))
    tails = in_tail[histories.offsets[users + 1]] - in_tail[histories.offsets[users]]
    counts = histories.counts[users]
    share = np.full(len(users), np.nan)
    np.divide(tails, counts, out=share, where=counts > 0)
    return in_thirds("niche_taste", share)


def in_thirds(name: str, values: npt.NDArray[np.float64]) -> Grouping:
    """Cut values (n_users,) at their terciles; equal values are never cut apart, nan is in no group."""
    present = ~np.isnan(values)
    level_of = np.full(len(values), NOBODY, dtype=np.int64)
    if present.any():
        cuts = np.quantile(values[present], [1 / 3, 2 / 3])
        level_of[present] = np.searchsorted(cuts, values[present], side="left")
    return Grouping(name, THIRDS, level_of)


def declared(frame: pl.DataFrame, users: Vocabulary) -> list[Grouping]:
    """Make a grouping of each column of a users file, but user_id.

    Raises DataError without a column user_id, for a shopper named twice, and for a column of more than MOST_LEVELS
    values, such as a name or a birthday. A shopper of the log that the file leaves out is in no group.
    """
    if "user_id" not in frame.columns or frame.width < 2:
        raise DataError(f"users file: columns {frame.columns}: must be user_id and at least one attribute")
    frame = frame.with_columns(pl.col("user_id").cast(pl.String))
    if frame["user_id"].is_duplicated().any():
        twice = frame.filter(frame["user_id"].is_duplicated())["user_id"][0]
        raise DataError(f"users file: user_id {twice!r} occurs twice, must be one row a shopper")
    rows = users.ids.to_frame("user_id").join(frame, on="user_id", how="left", maintain_order="left")
    groupings = []
    for name in frame.columns:
        if name == "user_id":
            continue
        values = rows[name].cast(pl.String)
        levels = values.drop_nulls().unique().sort().to_list()
        if len(levels) > MOST_LEVELS:
            raise DataError(f"users file: column {name} has {len(levels)} values, must be at most {MOST_LEVELS}")
        places = {level: place for place, level in enumerate(levels)}
        level_of = np.array([NOBODY if value is None else places[value] for value in values], dtype=np.int64)
        groupings.append(Grouping(name, tuple(levels), level_of))
    return groupings
