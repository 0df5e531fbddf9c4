"""A cancellation undoes a purchase: which events of a log stood, and until when.

Per (user, item, kind), last in first out: q cancelled units take the units of the latest event before them that
still has some, then of the one before it. An event whose units are all gone is undone from that moment on. A partly
undone one stands, with the quantity it had when it happened. Units that find no event are counted as unmatched
(the purchase was before the log began); nothing ever becomes negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from data.validation import UNDOES

STANDS = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Undone:
    """is_event: (n,) bool, false for the cancellations themselves. time: (n,) int64 µs, when an event was undone, else
    STANDS. counts: cancellations; events undone and partly undone; cancellations with unmatched units.
    """

    is_event: npt.NDArray[np.bool_]
    time: npt.NDArray[np.int64]
    counts: dict[str, int]


def undo(
    user_idx: npt.NDArray[np.int32],
    item_idx: npt.NDArray[np.int32],
    kind: npt.NDArray[np.uint8],
    time: npt.NDArray[np.int64],
    quantity: npt.NDArray[np.float32],
) -> Undone:
    """Match cancellations with the events they undo.

    All (n,), sorted by user and time. kind: an EventKind, or UNDOES + the kind that a cancellation undoes. quantity:
    units, whose sign does not matter; nan is 1.
    """
    is_event = kind < UNDOES
    moments = np.full(len(kind), STANDS, dtype=np.int64)
    cancels = np.flatnonzero(~is_event)
    if not len(cancels):
        return Undone(is_event, moments, {"cancellations": 0, "undone": 0, "partly": 0, "unmatched": 0})
    pair = ((user_idx.astype(np.int64) << 32) | item_idx) * 8 + kind % UNDOES
    rows = np.flatnonzero(pl.Series(pair).is_in(pl.Series(pair[cancels]).implode()).to_numpy())
    rows = rows[np.argsort(pair[rows], kind="stable")]
    units = np.abs(np.nan_to_num(quantity[rows].astype(np.float64), nan=1.0))
    partly: set[int] = set()
    unmatched = 0
    standing: list[tuple[int, float]] = []
    previous = -1
    columns = (rows.tolist(), pair[rows].tolist(), is_event[rows].tolist(), units.tolist())
    for row, key, event, wanted in zip(*columns, strict=True):
        if key != previous:
            previous, standing = key, []
        if event:
            standing.append((row, wanted))
            continue
        while wanted > 0 and standing:
            latest, left = standing.pop()
            if left > wanted:
                standing.append((latest, left - wanted))
                partly.add(latest)
                wanted = 0
            else:
                wanted -= left
                moments[latest] = time[row]
        unmatched += wanted > 0
    undone = int((moments != STANDS).sum())
    still = sum(moments[row] == STANDS for row in partly)
    counts = {"cancellations": len(cancels), "undone": undone, "partly": int(still), "unmatched": unmatched}
    return Undone(is_event, moments, counts)
