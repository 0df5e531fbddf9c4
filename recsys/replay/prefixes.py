"""What devices had done before some moments: prefixes of a log, many at once, without what was undone by then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions

Index = npt.NDArray[np.int64]


def histories_before(log: Interactions, users: Index, ends: Index, moments: Index) -> Interactions:
    """Cut histories out of the log, one a question.

    History q is that of users[q] up to its row ends[q] of the log, that row excluded, as known at moments[q] (µs).

    All (n,) int64. Events undone before the moment are left out, and no mark says what will be undone later.
    """
    starts = log.offsets[users]
    counts = ends - starts
    offsets = np.concatenate(([0], np.cumsum(counts)))
    rows = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
    if len(log.undone_row):
        place = np.minimum(np.searchsorted(log.undone_row, rows), len(log.undone_row) - 1)
        undone = (log.undone_row[place] == rows) & (log.undone_time[place] < np.repeat(moments, counts))
        if undone.any():
            offsets = np.concatenate(([0], np.cumsum(~undone)))[offsets]
            rows = rows[~undone]
    nothing = np.empty(0, dtype=np.int64)
    cut = replace(
        log,
        offsets=offsets,
        item_idx=log.item_idx[rows],
        kind=log.kind[rows],
        time=log.time[rows],
        quantity=log.quantity[rows],
        undone_row=nothing,
        undone_time=nothing,
    )
    for array in (cut.offsets, cut.item_idx, cut.kind, cut.time, cut.quantity, nothing):
        array.flags.writeable = False  # all arms are handed the same one
    return cut


def until(log: Interactions, users: Index, ends: Index) -> Interactions:
    """Keep the same users' rows up to ends: the part of a log that a task needs.

    Marks of what was undone stay, whenever it was.
    """
    starts = log.offsets[users]
    counts = ends - starts
    offsets = np.concatenate(([0], np.cumsum(counts)))
    rows = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
    marks = log.undone_row[:0]
    times = log.undone_time[:0]
    if len(log.undone_row):
        place = np.minimum(np.searchsorted(log.undone_row, rows), len(log.undone_row) - 1)
        marks = np.flatnonzero(log.undone_row[place] == rows)
        times = log.undone_time[place[marks]]
    return replace(
        log,
        offsets=offsets,
        item_idx=log.item_idx[rows],
        kind=log.kind[rows],
        time=log.time[rows],
        quantity=log.quantity[rows],
        undone_row=marks,
        undone_time=times,
    )
