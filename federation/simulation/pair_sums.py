"""Simulated private sums of pairs of items: every device adds what falls into a block of a sketch, within its clip."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions
from federation.learning.mix_step import noise_of
from federation.learning.table_sum import PAIR_CLIP, pair_plan
from federation.private_sum.fixed_point import decode
from federation.simulation.simulated_noise import both_parties_noise
from recsys.model.items import ItemTable
from recsys.model.pair_sketch import PairSketch, read_counts
from recsys.model.transitions import DECAY, Transitions, pairs_by_gap, transition_table

Floats = npt.NDArray[np.float64]

USERS_AT_ONCE = 20_000
_PURPOSE, _BLOCK = 23, 24
"""Of draws, beside those of federation.simulation.table_sums."""


def private_transitions(
    log: Interactions, table: ItemTable, popularity: Floats, noise_multiplier: float, *, seed: int
) -> Transitions:
    """Estimate the table of what follows what from a private sum.

    table, popularity (n_items,): as published. noise_multiplier: of a training round; 0 for the same without noise.
    """
    sketch = PairSketch(log.n_items)
    cells, noise = sum_pairs(log, sketch, noise_multiplier, seed=seed)
    return transition_table(read_counts(sketch, cells, table, noise), popularity)


def sum_pairs(log: Interactions, sketch: PairSketch, noise_multiplier: float, *, seed: int) -> tuple[Floats, float]:
    """Sum the pairs of a log's devices, (blocks, cells); and the standard deviation of the noise in each cell."""
    drawn = np.random.default_rng([seed, _BLOCK]).integers(sketch.blocks, size=log.n_users)
    total = np.zeros((sketch.blocks, sketch.cells))
    for users, cell, value in device_cells(log, sketch, drawn):
        np.add.at(total, (drawn[users], cell), value)
    rng, noise = np.random.default_rng([seed, _PURPOSE]), 0.0
    for block in range(sketch.blocks):
        devices = max(int(((drawn == block) & (log.counts > 0)).sum()), 1)
        plan = pair_plan(sketch.cells, noise_multiplier, min_reports=1, max_reports=devices)
        if plan.private:
            total[block] += decode(plan, both_parties_noise(plan, rng))["pairs"]
            noise = noise_of(plan, "pairs")
    return total, noise


def device_cells(
    log: Interactions, sketch: PairSketch, drawn: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]]:
    """Yield (user, cell, value) of what devices add to the block that each drew, within the clip, some users at a time.

    drawn: (n_users,) block of each device. Values carry the pairs' signs; what meets in a cell is added up first.
    """
    for start in range(0, log.n_users, USERS_AT_ONCE):
        some = np.arange(start, min(start + USERS_AT_ONCE, log.n_users))
        keys, values = [np.empty(0, dtype=np.int64)], [np.empty(0)]
        for gap, (who, source, target) in enumerate(pairs_by_gap(log.users(some))):
            block, cell, sign = sketch.place(source, target)
            inside = block == drawn[some][who]
            keys.append((who[inside].astype(np.int64) * sketch.cells + cell[:, inside]).ravel())
            values.append((sign[:, inside] * DECAY**gap).ravel())
        key, place = np.unique(np.concatenate(keys), return_inverse=True)
        value = np.bincount(place, np.concatenate(values), len(key)).astype(np.float64)
        user, spot = np.divmod(key, sketch.cells)
        norm = np.sqrt(np.bincount(user, value**2, len(some)))
        yield user + start, spot, value * np.minimum(1.0, PAIR_CLIP / np.maximum(norm, 1e-12))[user]
