"""The profile: computed, kept and used on the device, never anywhere else.

The closed form of recsys/model/fold_in.py over a device's history, with event weights that decay with age and targets
p = −1 for dislikes; beside it the device's counter of its own purchases.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from data.interactions import MICROS_PER_DAY, EventKind
from recsys.model.fold_in import fold_in
from recsys.model.intent import in_shares, intent_query, intent_share
from recsys.model.items import INTENT, TASTE, ItemTable, Parts, columns_of
from recsys.model.profile_config import ProfileConfig as ProfileConfig


class Profile:
    """A device's profile vector for one bundle. Prints no values and refuses to be pickled or copied by pickle."""

    __slots__ = ("_vector", "bundle_version")

    def __init__(self, vector: npt.NDArray[np.float32], bundle_version: str) -> None:
        self._vector = np.array(vector, dtype=np.float32)
        self._vector.flags.writeable = False
        self.bundle_version = bundle_version

    @property
    def vector(self) -> npt.NDArray[np.float32]:
        """(dim,) float32, read-only."""
        return self._vector

    def __repr__(self) -> str:
        return f"Profile(dim={len(self._vector)}, bundle_version={self.bundle_version!r})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Profile stays on its device: it is never pickled")


def event_weights(
    kind: npt.NDArray[np.uint8], time: npt.NDArray[np.int64], now: int, config: ProfileConfig
) -> npt.NDArray[np.float32]:
    """Weight w_j ≥ 0 of each event of ONE history, oldest first.

    kind, time: (n,) as in Interactions. now: µs since 1970 UTC; an event later than now counts as of now.
    Returns (n,) float32: kind weight × (floor + (1 − floor)·2^(−age / half_life)).
    """
    if config.half_life_unit == "events":
        age = np.arange(len(kind) - 1, -1, -1, dtype=np.float64)
    else:
        age = np.maximum(now - time, 0) / MICROS_PER_DAY
    return decay_weights(kind, age, config)


def decay_weights(
    kind: npt.NDArray[np.uint8], age: npt.NDArray[np.float64], config: ProfileConfig
) -> npt.NDArray[np.float32]:
    """Weight of events of a given kind and age (days or later events), both (n,); returns (n,) float32."""
    decay = config.floor + (1.0 - config.floor) * np.exp2(-age / config.half_life)
    return (np.asarray(config.kind_weights)[kind] * decay).astype(np.float32)


def event_targets(kind: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the target p_j of each event, (n,) float32: −1 for a dislike, +1 for everything else."""
    return np.where(kind == EventKind.DISLIKE, -1.0, 1.0).astype(np.float32)


def make_profile(
    table: ItemTable,
    item_idx: npt.NDArray[np.int32],
    kind: npt.NDArray[np.uint8],
    time: npt.NDArray[np.int64],
    now: int,
    config: ProfileConfig,
    bundle_version: str,
) -> Profile:
    """Make the profile of one device from its history, oldest event first; all arrays (n,)."""
    rows = table.item_embeddings[item_idx]
    return Profile(
        vector_from_rows(table.parts, table.gram, table.n_items, rows, kind, time, now, config), bundle_version
    )


def vector_from_rows(
    parts: Parts,
    gram: npt.NDArray[np.float32],
    n_items: int,
    rows: npt.NDArray[np.float32],
    kind: npt.NDArray[np.uint8],
    time: npt.NDArray[np.int64],
    now: int,
    config: ProfileConfig,
) -> npt.NDArray[np.float32]:
    """Compute the profile's vector, (dim,) float32: (1 − g)·fold-in beside g·q.

    It is made from the rows (n, dim) of one history's events.

    gram (width, width), of the part TASTE, and n_items stand for all items that are not at hand. The rest as in
    make_profile.
    """
    taste, share = columns_of(parts, TASTE), intent_share(parts, config)
    vector = np.zeros(rows.shape[1], dtype=np.float32)
    folded = fold_in(
        rows[:, taste],
        gram,
        event_weights(kind, time, now, config),
        event_targets(kind),
        n_items=n_items,
        alpha=config.alpha,
        reg=config.reg,
    )
    vector[taste] = folded
    if share > 0:
        vector[columns_of(parts, INTENT)] = intent_query(rows[:, taste], kind, config)
    return in_shares(vector, parts, config)


def repeat_counts(
    item_idx: npt.NDArray[np.int32],
    kind: npt.NDArray[np.uint8],
    time: npt.NDArray[np.int64],
    now: int,
    half_life_days: float,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Time-decayed count of a device's own purchases: distinct item_idx, ascending, and their counts, float32."""
    bought = kind == EventKind.PURCHASE
    items, where = np.unique(item_idx[bought], return_inverse=True)
    age = np.maximum(now - time[bought], 0) / MICROS_PER_DAY
    counts = np.bincount(where, weights=np.exp2(-age / half_life_days), minlength=len(items))
    return items.astype(np.int32), counts.astype(np.float32)


def repeat_score(counts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Score own purchases per unit of repeat_weight: log(1 + count), (n,) float32."""
    return np.log1p(counts)
