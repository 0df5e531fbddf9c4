"""What counts as right in an evaluation: each user's distinct test items, and which of them the user had before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.errors import DataError
from data.interactions import EventKind, Interactions
from data.split import Split


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets of the users who have any.

    users: (n,) int64, ascending. warm: (n,) bool, whether the user has a history.
    offsets, items: user row r's targets are items[offsets[r]:offsets[r + 1]], ascending int32.
    seen: (len(items),) bool, whether the target is in the user's own history.
    candidates: (n_items,) bool, items that can be listed.
    unseen_items, unseen_targets: distinct test items, and pairs of user and item, left out for not being candidates.
    users_dropped: users whose every target was left out.
    """

    users: npt.NDArray[np.int64]
    warm: npt.NDArray[np.bool_]
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    seen: npt.NDArray[np.bool_]
    candidates: npt.NDArray[np.bool_]
    unseen_items: int
    unseen_targets: int
    users_dropped: int

    def relevant(self, rows: slice, seen: bool | None = None) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Select offsets (rows + 1,) and items of some users' targets; seen: only those (not) in their history."""
        offsets = self.offsets[rows.start : rows.stop + 1]
        events = slice(int(offsets[0]), int(offsets[-1]))
        keep = np.full(events.stop - events.start, True) if seen is None else self.seen[events] == seen
        before = np.concatenate(([0], np.cumsum(keep, dtype=np.int64)))
        return before[offsets - offsets[0]], self.items[events][keep]


def collect_targets(
    split: Split,
    histories: Interactions,
    users: npt.NDArray[np.int64] | None = None,
    *,
    candidates: npt.NDArray[np.bool_] | None = None,
) -> Targets:
    """Collect distinct items of split.test for each of the users (all by default), dislikes left out.

    candidates: (n_items,) bool, by default the items of split.train. No target left: DataError.
    """
    axes = (split.train.n_users, split.train.n_items)
    for name, part in (("test", split.test), ("histories", histories)):
        if (part.n_users, part.n_items) != axes:
            raise DataError(f"{name}: {part.n_users} users × {part.n_items} items, train has {axes[0]} × {axes[1]}")
    user_ids = np.arange(axes[0]) if users is None else np.unique(users).astype(np.int64)
    if len(user_ids) and (user_ids[0] < 0 or user_ids[-1] >= axes[0]):
        raise DataError(f"users {user_ids[0]}..{user_ids[-1]}: must be in 0..{axes[0] - 1}")
    if candidates is None:
        candidates = np.bincount(split.train.item_idx, minlength=axes[1]) > 0
    test = split.test.users(user_ids)
    pairs = _pairs(test.where(test.kind != EventKind.DISLIKE))
    reachable = candidates[pairs % axes[1]]
    left_out, pairs = pairs[~reachable], pairs[reachable]
    if not len(pairs):
        raise DataError(f"split={split.name!r}: {_why_none(split, len(left_out))}")
    row = pairs // axes[1]
    with_target = np.unique(row)
    targeted = user_ids[with_target]
    return Targets(
        users=targeted,
        warm=histories.counts[targeted] > 0,
        offsets=np.searchsorted(row, np.append(with_target, axes[0])).astype(np.int64),
        items=(pairs % axes[1]).astype(np.int32),
        seen=np.isin(pairs, _pairs(histories.users(user_ids)), assume_unique=True),
        candidates=candidates,
        unseen_items=len(np.unique(left_out % axes[1])),
        unseen_targets=len(left_out),
        users_dropped=len(np.setdiff1d(left_out // axes[1], with_target)),
    )


def _why_none(split: Split, n_new: int) -> str:
    """Explain why no test event can be foretold. n_new: (user, item) pairs of test whose item is not in train."""
    if not n_new:
        return "these users have no test event but dislikes, or none at all"
    counts = np.bincount(split.train.item_idx)
    once = "; each item occurs once in train, as orders or listings do" if counts.max(initial=0) == 1 else ""
    return f"no item of these users' test events is in train ({n_new:,} are new), so no list can hold one{once}"


def _pairs(events: Interactions) -> npt.NDArray[np.int64]:
    """List distinct (user, item) as user · n_items + item, ascending."""
    return np.unique(events.user_idx.astype(np.int64) * events.n_items + events.item_idx)
