"""Interactions: every event of every user as sorted columns with per-user offsets, no Python object a user.

Users and items are dense indices here; the ids of the log stay in the Dataset's vocabularies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from data.errors import DataError

MICROS_PER_DAY = 86_400_000_000


class EventKind(IntEnum):
    """What happened. The number is the one stored in columns and files; never renumber."""

    VIEW = 0
    CART = 1
    PURCHASE = 2
    LIKE = 3
    DISLIKE = 4


@dataclass(frozen=True)
class Interactions:
    """Events sorted by user, then time, then the order of the log.

    offsets: (n_users + 1,) int64, user u's events are rows offsets[u]:offsets[u + 1].
    item_idx: (n_events,) int32 in [0, n_items).
    kind: (n_events,) uint8, an EventKind.
    time: (n_events,) int64, microseconds since 1970-01-01 UTC.
    quantity: (n_events,) float32, units bought, or 1.
    n_items: size of the item vocabulary, at least 1 + max(item_idx).
    undone_row, undone_time: rows that a later cancellation undid, and when (µs); sorted by row. An event
        counts until the moment it was undone, so that a split never learns of a cancellation early.
    """

    offsets: npt.NDArray[np.int64]
    item_idx: npt.NDArray[np.int32]
    kind: npt.NDArray[np.uint8]
    time: npt.NDArray[np.int64]
    quantity: npt.NDArray[np.float32]
    n_items: int
    undone_row: npt.NDArray[np.int64]
    undone_time: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        n = len(self.item_idx)
        if len(self.offsets) < 1 or self.offsets[0] != 0 or self.offsets[-1] != n:
            raise DataError(f"offsets: must run from 0 to n_events={n}")
        for name in ("kind", "time", "quantity"):
            if len(getattr(self, name)) != n:
                raise DataError(f"{name}: {len(getattr(self, name))} rows, item_idx has {n}")

    def __repr__(self) -> str:
        return f"Interactions(n_users={self.n_users}, n_items={self.n_items}, n_events={self.n_events})"

    @property
    def n_users(self) -> int:
        """Number of users, those without events included."""
        return len(self.offsets) - 1

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.item_idx)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """(n_users,) int64, events of each user."""
        return np.diff(self.offsets)

    @property
    def user_idx(self) -> npt.NDArray[np.int32]:
        """(n_events,) int32, the user of each event."""
        return np.repeat(np.arange(self.n_users, dtype=np.int32), self.counts)

    def of(self, user: int) -> slice:
        """Slice the rows of one user."""
        return slice(int(self.offsets[user]), int(self.offsets[user + 1]))

    def where(self, keep: npt.NDArray[np.bool_]) -> Interactions:
        """Keep only the rows where keep (n_events,) bool is true, on the same user and item axes."""
        before = np.zeros(self.n_events + 1, dtype=np.int64)
        np.cumsum(keep, out=before[1:])
        stays = keep[self.undone_row]
        return replace(
            self,
            offsets=before[self.offsets],
            item_idx=self.item_idx[keep],
            kind=self.kind[keep],
            time=self.time[keep],
            quantity=self.quantity[keep],
            undone_row=before[self.undone_row[stays]],
            undone_time=self.undone_time[stays],
        )

    def users(self, users: npt.NDArray[np.int64]) -> Interactions:
        """Select the given users, in the given order, as users 0, 1, 2, … of a new Interactions."""
        counts = self.counts[users]
        offsets = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[users] - offsets[:-1], counts)
        undone = np.full(self.n_events, -1, dtype=np.int64)
        undone[self.undone_row] = np.arange(len(self.undone_row))
        hit = undone[rows]
        return replace(
            self,
            offsets=offsets,
            item_idx=self.item_idx[rows],
            kind=self.kind[rows],
            time=self.time[rows],
            quantity=self.quantity[rows],
            undone_row=np.flatnonzero(hit >= 0),
            undone_time=self.undone_time[hit[hit >= 0]],
        )


def interactions(
    user_idx: npt.ArrayLike,
    item_idx: npt.ArrayLike,
    time: npt.ArrayLike,
    *,
    n_users: int,
    n_items: int,
    kind: npt.ArrayLike | None = None,
    quantity: npt.ArrayLike | None = None,
) -> Interactions:
    """Make Interactions from unsorted columns of equal length; rows of equal user and time keep their order."""
    users = np.asarray(user_idx, dtype=np.int64)
    items = np.asarray(item_idx, dtype=np.int32)
    times = np.asarray(time, dtype=np.int64)
    if len(users) and (users.min() < 0 or users.max() >= n_users):
        raise DataError(f"user_idx {users.min()}..{users.max()}: must be in 0..{n_users - 1}")
    if len(items) and (items.min() < 0 or items.max() >= n_items):
        raise DataError(f"item_idx {items.min()}..{items.max()}: must be in 0..{n_items - 1}")
    order = np.lexsort((times, users))
    kinds = np.full(len(users), EventKind.VIEW) if kind is None else np.asarray(kind)
    units = np.ones(len(users)) if quantity is None else np.asarray(quantity)
    return Interactions(
        offsets=np.concatenate(([0], np.cumsum(np.bincount(users, minlength=n_users)))).astype(np.int64),
        item_idx=items[order],
        kind=kinds[order].astype(np.uint8),
        time=times[order],
        quantity=units[order].astype(np.float32),
        n_items=n_items,
        undone_row=np.empty(0, dtype=np.int64),
        undone_time=np.empty(0, dtype=np.int64),
    )
