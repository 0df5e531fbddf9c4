"""Private sums of pairs: a device's part is bounded, without noise they are the counts, the noise is the plan's."""

from __future__ import annotations

import numpy as np
import pytest

from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.table_sum import PAIR_CLIP, pair_plan
from federation.learning.taste_update import Clips
from federation.private_sum.accounting import rho_of
from federation.simulation.pair_sums import device_cells, private_transitions, sum_pairs
from recsys.model.pair_sketch import ROWS, PairSketch
from recsys.model.transitions import count_transitions
from tests.recsys.logs import tastes_log
from tests.recsys.mix.worlds import item_table

LOG = tastes_log(1, n_users=250)
SKETCH = PairSketch(LOG.n_items)


@pytest.mark.parametrize("blocks", [1, 4])
def test_no_device_adds_more_than_the_clip_nor_outside_the_block_that_it_drew(blocks: int) -> None:
    sketch = PairSketch(LOG.n_items, blocks, 512)
    drawn = np.random.default_rng(0).integers(blocks, size=LOG.n_users)
    counts = count_transitions(LOG)
    for users, cell, value in device_cells(LOG, sketch, drawn):
        norm = np.sqrt(np.bincount(users, value**2, LOG.n_users))
        assert norm.max() <= PAIR_CLIP + 1e-9
        assert (norm > 0.999).mean() > 0.5  # nearly all are at it
        assert ((cell >= 0) & (cell < 512)).all()
    assert counts.nnz > 0


def test_one_device_alone_is_its_own_counts_scaled_to_the_clip() -> None:
    alone = LOG.users(np.array([3]))
    cells, noise = sum_pairs(alone, SKETCH, 0.0, seed=0)
    counts = count_transitions(alone).tocoo()
    rows = SKETCH.read(cells, counts.coords[0].astype(np.int64), counts.coords[1].astype(np.int64))
    estimate = np.median(rows, axis=0)
    expected = counts.data / np.linalg.norm(counts.data) / np.sqrt(ROWS)
    assert noise == 0.0
    np.testing.assert_allclose(estimate, expected, rtol=0.01)  # pairs that share a cell of a row move its norm
    assert np.linalg.norm(cells) == pytest.approx(1.0)


def test_noise_is_both_parties_at_a_training_rounds_multiplier() -> None:
    z = 1.7
    exact, _ = sum_pairs(LOG, SKETCH, 0.0, seed=0)
    noisy, noise = sum_pairs(LOG, SKETCH, z, seed=0)
    assert noise == pytest.approx(np.sqrt(2) * z * PAIR_CLIP, rel=0.3)
    assert (noisy - exact).std() == pytest.approx(noise, rel=0.02)
    plan = pair_plan(SKETCH.cells, z, min_reports=1, max_reports=250)
    one_round = PrivacyPlan(Clips(1.0, 3.0, 0.4, 0.6), z, 5, 1, 1_000, 1e-6)
    assert rho_of(plan) <= 1 / (2 * one_round.noise_multiplier**2)


def test_a_plain_following_is_found_through_noise_by_many_devices_and_not_by_few() -> None:
    rng = np.random.default_rng(0)
    table, popularity = item_table(0, 50), np.ones(50)
    found = []
    for n in (50, 3_000):
        first = rng.integers(0, 25, n)
        log = _visits(np.stack([first, first + 25, rng.integers(0, 50, n)], axis=1))
        follows = private_transitions(log, table, popularity, 1.7, seed=0)
        best = [int(row.indices[row.data.argmax()]) if (row := follows[[item]]).nnz else -1 for item in range(25)]
        found.append(np.mean(np.array(best) == np.arange(25) + 25))
    assert found[0] < 0.3
    assert found[1] > 0.9


def _visits(items: np.ndarray):
    from data.interactions import interactions

    n, length = items.shape
    users, time = np.repeat(np.arange(n), length), np.tile(np.arange(length), n)
    return interactions(users, items.ravel(), time, n_users=n, n_items=50)
