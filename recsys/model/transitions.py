"""What comes after what: a row-normalised count of the next events, the nearest items of each item kept.

    C[a, b] = Σ 0.7^(gap − 1) over events b that came at most 10 events after an event a of the same device;
    C + Cᵀ/2, rows divided by (their sum + 5), columns by (count of b)^¼

A first-order Markov chain (Rendle et al. 2010) smoothed over a window, as item-to-item tables of sessions are
(Ludewig and Jannach 2018). The window forgives order within a visit; half backward serves items that were seen last.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import sparse

from data.interactions import EventKind, Interactions

Transitions = sparse.csr_array[np.float32, tuple[int, int]]

WINDOW = 10
DECAY = 0.7
BACKWARD = 0.5
SHRINK = 5.0
POPULARITY_POWER = 0.25
NEIGHBOURS = 50

PAIRS_AT_ONCE = 4_000_000


def count_transitions(log: Interactions) -> sparse.csr_array[np.float64, tuple[int, int]]:
    """Count how often and how soon an item followed another: C, (n_items, n_items); no dislikes, no repeats."""
    shape = (log.n_items, log.n_items)
    total: sparse.csr_array[np.float64, tuple[int, int]] = sparse.csr_array(shape, dtype=np.float64)
    sources: list[npt.NDArray[np.int32]] = []
    targets: list[npt.NDArray[np.int32]] = []
    weights: list[npt.NDArray[np.float64]] = []
    n_pairs = 0
    for gap, (_, source, target) in enumerate(pairs_by_gap(log), start=1):
        sources.append(source)
        targets.append(target)
        weights.append(np.full(len(source), DECAY ** (gap - 1)))
        n_pairs += len(source)
        if n_pairs >= PAIRS_AT_ONCE or gap == WINDOW:
            entries = (np.concatenate(weights), (np.concatenate(sources), np.concatenate(targets)))
            total = total + sparse.coo_array(entries, shape=shape).tocsr()
            sources, targets, weights, n_pairs = [], [], [], 0
    return total


def pairs_by_gap(
    log: Interactions,
) -> Iterator[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]]:
    """Yield for each gap 1..WINDOW the (user, source, target) of all pairs so far apart; no dislikes, no repeats."""
    events = log.where(log.kind != EventKind.DISLIKE)
    user = events.user_idx
    for gap in range(1, WINDOW + 1):
        a, b = events.item_idx[:-gap], events.item_idx[gap:]
        counted = (user[gap:] == user[:-gap]) & (a != b)
        yield user[gap:][counted], a[counted], b[counted]


def no_transitions(n_items: int) -> Transitions:
    """Make the table in which nothing follows anything."""
    nothing = (np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int32), np.zeros(n_items + 1, dtype=np.int64))
    return sparse.csr_array(nothing, shape=(n_items, n_items))


def transition_table(
    counts: sparse.csr_array[np.float64, tuple[int, int]], popularity: npt.NDArray[np.float64]
) -> Transitions:
    """Make the table that devices hold, (n_items, n_items) float32, at most NEIGHBOURS entries a row.

    counts: of count_transitions, or a private sum of it. popularity: (n_items,) events of each item.
    """
    both = (counts + BACKWARD * counts.T).tocsr()
    rows: npt.NDArray[np.float64] = np.asarray(both.sum(axis=1)).ravel()
    damped = sparse.diags_array(1.0 / (rows + SHRINK)) @ both
    table = damped @ sparse.diags_array(np.maximum(popularity, 1.0) ** -POPULARITY_POWER)
    return keep_nearest(sparse.csr_array(table), NEIGHBOURS)


def keep_nearest(table: sparse.csr_array[np.float64, tuple[int, int]], k: int) -> Transitions:
    """Keep the k largest positive entries of each row; of equal ones those of the lower column."""
    table.sum_duplicates()
    keep = table.data > 0
    for row in np.flatnonzero(np.diff(table.indptr) > k):
        inside = slice(table.indptr[row], table.indptr[row + 1])
        values = table.data[inside]
        kth = np.partition(values, len(values) - k)[len(values) - k]
        better, equal = values > kth, np.flatnonzero(values == kth)
        better[equal[: k - int(better.sum())]] = True
        keep[inside] &= better
    counts = np.add.reduceat(np.append(keep, False), table.indptr[:-1], dtype=np.int64)
    counts[np.diff(table.indptr) == 0] = 0
    indptr = np.concatenate(([0], np.cumsum(counts)))
    nearest = (table.data[keep].astype(np.float32), table.indices[keep].astype(np.int32), indptr)
    return sparse.csr_array(nearest, shape=table.shape)
