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

from data.log_reading.validation import UNDOES


@dataclass(frozen=True)
class MatchedCancellations:
    """cancels: rows of the cancellations. rows, times: events that were undone, by row, and when (µs). counts:
    cancellations; events undone and partly undone; cancellations with unmatched units.
    """

    cancels: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    counts: dict[str, int]


def undo(
    user_idx: npt.NDArray[np.int32],
    item_idx: npt.NDArray[np.int32],
    kind: npt.NDArray[np.uint8],
    time: npt.NDArray[np.int64],
    quantity: npt.NDArray[np.float32] | None,
) -> MatchedCancellations:
    """Match cancellations with the events they undo.

    All (n,), sorted by user and time. kind: an EventKind, or UNDOES + the kind that a cancellation undoes. quantity:
    units, whose sign does not matter; nan is 1, and so is each where it is None.
    """
    cancels = np.flatnonzero(kind >= UNDOES)
    undone: dict[int, int] = {}
    partly: set[int] = set()
    unmatched = 0
    rows, pair = _same_pair(user_idx, item_idx, kind, cancels)
    units = (
        np.ones(len(rows)) if quantity is None else np.abs(np.nan_to_num(quantity[rows].astype(np.float64), nan=1.0))
    )
    standing: list[tuple[int, float]] = []
    previous = -1
    columns = (rows.tolist(), pair.tolist(), (kind[rows] < UNDOES).tolist(), units.tolist())
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
                undone[latest] = row
        unmatched += wanted > 0
    counts = {
        "cancellations": len(cancels),
        "undone": len(undone),
        "partly": len(partly.difference(undone)),
        "unmatched": unmatched,
    }
    gone = np.array(sorted(undone), dtype=np.int64)
    return MatchedCancellations(cancels, gone, time[[undone[row] for row in gone.tolist()]], counts)


def _same_pair(
    user_idx: npt.NDArray[np.int32],
    item_idx: npt.NDArray[np.int32],
    kind: npt.NDArray[np.uint8],
    cancels: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find rows of the same user, item and kind as a cancellation, those of a kind together; number each such."""
    wanted = np.zeros(256, dtype=np.bool_)
    wanted[[code for code_of_kind in np.unique(kind[cancels]) for code in (code_of_kind % UNDOES, code_of_kind)]] = True
    rows = np.flatnonzero(wanted[kind])
    pair = (user_idx[rows].astype(np.int64) << 32 | item_idx[rows]) * 8 + kind[rows] % UNDOES
    same = pl.Series(pair).is_in(pl.Series(pair[kind[rows] >= UNDOES]).implode()).to_numpy()
    rows, pair = rows[same], pair[same]
    order = np.argsort(pair, kind="stable")
    return rows[order], pair[order]
