"""Changes of taste: when a device turned to a category new to it, and the moments after that. Knows the future."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.replay.questions import Index, Log

BEFORE = 5
"""Events before it: a first category is no change."""
FOLLOWED, AMONG = 3, 10
"""A change is followed by at least so many events in the category among the device's next so many."""
SPAN = 20
"""How many events after a change the shelf is looked at."""


@dataclass(frozen=True, eq=False)
class Changes:
    """Looks at a shelf after a change: of the device at the moment that begins at `moment` (row of the log), `since`
    events after the change, for items of `category`. All (n,), ascending by moment; n_changes: how many changes."""

    moment: Index
    since: npt.NDArray[np.int32]
    category: npt.NDArray[np.int32]
    n_changes: int


def find_changes(log: Log, item_category: npt.NDArray[np.int32]) -> Changes:
    """Find changes of taste: a device's first event in a category new to it, after BEFORE others.

    FOLLOWED of its next AMONG events must be in it too. item_category: (n_items,) int32, −1 for none. Looks are at
    since = 0 (just before it) … SPAN events later.
    """
    events = log.events
    code = item_category[events.item_idx].astype(np.int64)
    width = int(item_category.max(initial=-1)) + 1
    labelled = np.flatnonzero((code >= 0) & log.stands)
    first = (
        labelled[np.unique(log.user[labelled] * width + code[labelled], return_index=True)[1]]
        if len(labelled)
        else labelled
    )
    first = np.sort(first)
    first = first[first - events.offsets[log.user[first]] >= BEFORE]
    ends = events.offsets[1:][log.user[first]]
    after = first[:, None] + np.arange(1, AMONG + 1)
    inside = after < ends[:, None]
    after = np.where(inside, after, 0)
    same = inside & (code[after] == code[first][:, None]) & log.stands[after]
    follow = same.sum(axis=1) >= FOLLOWED
    first, ends = first[follow], ends[follow]
    rows = first[:, None] + np.arange(SPAN + 1)
    moment = log.moment[np.minimum(rows, len(code) - 1)]
    since = np.maximum(moment - first[:, None], 0)
    keep = (rows < ends[:, None]) & (np.diff(moment, axis=1, prepend=-1) != 0)
    category = np.broadcast_to(code[first][:, None], rows.shape)[keep]
    order = np.argsort(moment[keep], kind="stable")
    return Changes(
        moment[keep][order], since[keep][order].astype(np.int32), category[order].astype(np.int32), len(first)
    )
