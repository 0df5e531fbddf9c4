"""A count sketch of pairs of items: what comes after what, in a sum that does not grow with the catalogue squared.

Every ordered pair has a cell and a sign in each of ROWS rows, by a public hash (Charikar, Chen, Farach-Colton 2002). A
device adds its pairs to all rows at once. The estimate of a pair is its lowest row: one frequent pair shares its cell
with dozens of others, which would all look frequent in that row; one row as long as three finds less than popularity
does (200,000 devices, ε = 8). The embeddings say which pairs are plausible; of all others more is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recsys.model.items import ItemTable

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Counts = sparse.csr_array[np.float64, tuple[int, int]]

ROWS = 3
BLOCK_CELLS = 2**18
"""Words of a report, all rows of a block together: 1 MB."""

PLAUSIBLE = 100
"""Nearest items of each, in each part of the embeddings, that are plausible before and after it."""

CLEAR, CLEAR_OF_ALL = 1.0, 1.5
"""Standard deviations above which the lowest row of a plausible pair is believed, and that of any other.

Low, for what a pair adds wrongly at the foot of a row of neighbours costs less than what is left out.
"""

MAX_PAIRS = 30_000_000
"""Ordered pairs of a catalogue up to which all are read; of a larger one the plausible alone."""

_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class PairSketch:
    """The shape of a sketch for a catalogue.

    blocks: of which each device reports one, drawn at random; every pair is in one of them. cells: of a block, all rows
    together. Two blocks have half of the collisions, and each pair √2 times the noise: devices at their clip say it
    half as often, √2 times as loud.
    """

    n_items: int
    blocks: int = 1
    cells: int = BLOCK_CELLS

    def place(
        self, source: npt.NDArray[np.integer], target: npt.NDArray[np.integer]
    ) -> tuple[Indices, Indices, Floats]:
        """Find the block (n,) of ordered pairs, and in each row the cell of the block and the sign, (ROWS, n)."""
        key = source.astype(np.uint64) * np.uint64(self.n_items) + target.astype(np.uint64)
        row_cells = self.cells // ROWS
        hashed = np.stack([_mix64(key * np.uint64(ROWS + 1) + np.uint64(row)) for row in range(ROWS)])
        block = _mix64(key * np.uint64(ROWS + 1) + np.uint64(ROWS)) % np.uint64(self.blocks)
        cell = (hashed & np.uint64(2**40 - 1)) % np.uint64(row_cells)
        cell += np.arange(ROWS, dtype=np.uint64)[:, None] * np.uint64(row_cells)
        return block.astype(np.int64), cell.astype(np.int64), np.where(hashed >> np.uint64(63), 1.0, -1.0)

    def read(self, cells: Floats, source: Indices, target: Indices) -> Floats:
        """Estimate the weight of ordered pairs in each row, (ROWS, n), from the sums of all blocks, (blocks, cells)."""
        block, cell, sign = self.place(source, target)
        estimate: Floats = cells[block, cell] * sign
        return estimate


def _mix64(key: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Hash 64-bit keys by SplitMix64 (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        key = key + np.uint64(0x9E3779B97F4A7C15)
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


def plausible_pairs(table: ItemTable, near: int = PLAUSIBLE) -> Indices:
    """List the ordered pairs that the embeddings make plausible, ascending keys source · n_items + target.

    Of each item the nearest `near` by cosine in each part, before it and after it.
    """
    n_items = table.n_items
    k = min(near, n_items - 1)
    keys = [np.empty(0, dtype=np.int64)]
    for part, _ in table.parts:
        rows = table.rows_of(part)
        unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        for start in range(0, n_items if k else 0, _ROWS_AT_ONCE):
            likeness = unit[start : start + _ROWS_AT_ONCE] @ unit.T
            source = np.arange(start, start + len(likeness), dtype=np.int64)
            likeness[np.arange(len(likeness)), source] = -np.inf
            nearest = np.argpartition(-likeness, k - 1, axis=1)[:, :k].astype(np.int64)
            keys += [(source[:, None] * n_items + nearest).ravel(), (nearest * n_items + source[:, None]).ravel()]
    return np.unique(np.concatenate(keys))


def read_counts(sketch: PairSketch, cells: Floats, table: ItemTable, noise: float) -> Counts:
    """Read the pairs that stand clearly above noise and collisions: counts (n_items, n_items), as of count_transitions.

    noise: standard deviation of both parties' noise in a cell. The spread of the cells themselves bounds noise and
    collisions together, by their median absolute value, which the few large ones do not move.
    """
    spread = max(noise, float(np.median(np.abs(cells))) / 0.6745)
    plausible = plausible_pairs(table)
    sources, targets, weights = [], [], []
    for source, target in _pairs_to_read(sketch.n_items, plausible):
        estimate = sketch.read(cells, source, target).min(axis=0)
        high = estimate > CLEAR * spread
        key = (source * sketch.n_items + target)[high]
        place = np.searchsorted(plausible, key)
        near = np.append(plausible, -1)[place] == key
        believed = np.flatnonzero(high)[near | (estimate[high] > CLEAR_OF_ALL * spread)]
        sources.append(source[believed])
        targets.append(target[believed])
        weights.append(estimate[believed] * (sketch.blocks * ROWS))
    entries = (np.concatenate(weights), (np.concatenate(sources), np.concatenate(targets)))
    counts: Counts = sparse.coo_array(entries, shape=(sketch.n_items, sketch.n_items)).tocsr()
    return counts


def _pairs_to_read(n_items: int, plausible: Indices) -> Iterator[tuple[Indices, Indices]]:
    if n_items**2 > MAX_PAIRS:
        yield plausible // n_items, plausible % n_items
        return
    for start in range(0, n_items, _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, n_items), dtype=np.int64)
        source = np.repeat(rows, n_items)
        target = np.tile(np.arange(n_items, dtype=np.int64), len(rows))
        yield source[source != target], target[source != target]
