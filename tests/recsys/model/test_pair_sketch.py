"""A sketch of pairs: what was put in comes out, collisions have random signs, and noise alone is believed of nobody."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.model.items import INTENT, TASTE, ItemTable
from recsys.model.pair_sketch import BLOCK_CELLS, ROWS, PairSketch, plausible_pairs, read_counts


def a_table(n_items: int, seed: int = 0) -> ItemTable:
    rows = np.random.default_rng(seed).normal(0, 1, (n_items, 7)).astype(np.float32)
    return ItemTable(rows, np.zeros(n_items, np.float32), np.zeros(7, np.float32), ((TASTE, 3), (INTENT, 4)))


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_pair_comes_back_from_its_cells_and_the_other_direction_is_another_pair(blocks: int) -> None:
    sketch = PairSketch(50, blocks, 3 * 256)
    source, target = np.array([3, 7, 49]), np.array([7, 3, 0])
    block, cell, sign = sketch.place(source, target)
    assert cell.shape == sign.shape == (ROWS, 3)
    cells = np.zeros((blocks, 3 * 256))
    cells[block, cell] = sign * [4.0, 2.0, 1.0]
    assert sketch.read(cells, source, target).tolist() == [[4.0, 2.0, 1.0]] * ROWS
    assert (np.abs(sign) == 1).all()
    assert ((block >= 0) & (block < blocks)).all()
    assert (cell // 256 == np.arange(ROWS)[:, None]).all()  # each row has cells of its own


def splitmix64(key: int) -> int:
    """SplitMix64 in Python's own integers, as Steele, Lea and Flood have it."""
    word = (1 << 64) - 1
    key = (key + 0x9E3779B97F4A7C15) & word
    key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & word
    key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & word
    return key ^ (key >> 31)


def test_cells_and_signs_are_the_public_hash_and_spread_evenly() -> None:
    """A device and a service of different programs must meet in one cell. 10_451_216_379_200_822_465 is SplitMix64's
    first output of seed 1, as its authors publish it."""
    assert splitmix64(1) == 10_451_216_379_200_822_465
    sketch = PairSketch(1_000, 2, 3 * 64)
    source, target = np.divmod(np.arange(0, 200_000, 7), 1_000)
    block, cell, sign = sketch.place(source, target)
    for n in range(0, 400, 13):
        key = int(source[n]) * 1_000 + int(target[n])
        for row in range(ROWS):
            hashed = splitmix64(key * (ROWS + 1) + row)
            assert cell[row, n] == (hashed & (2**40 - 1)) % 64 + 64 * row
            assert sign[row, n] == (1.0 if hashed >> 63 else -1.0)
        assert block[n] == splitmix64(key * (ROWS + 1) + ROWS) % 2
    counts = np.bincount(cell[0], minlength=64)
    assert counts.std() < 1.5 * np.sqrt(len(source) / 64)
    assert abs(sign.mean()) < 5 / np.sqrt(sign.size)


def test_what_one_row_alone_says_is_an_alias_and_not_believed() -> None:
    sketch = PairSketch(60)
    _, cell, sign = sketch.place(np.array([5]), np.array([9]))
    for rows, believed in ((1, False), (2, False), (3, True)):
        cells = np.random.default_rng(0).normal(0, 1e-3, (1, sketch.cells))
        cells[0, cell[:rows, 0]] = 50.0 * sign[:rows, 0]
        assert (read_counts(sketch, cells, a_table(60), 1.0)[5, 9] > 0) == believed


def test_the_nearest_of_each_part_are_plausible_in_both_directions() -> None:
    table = a_table(40)
    keys = plausible_pairs(table, 2)
    found = {tuple(divmod(key, 40)) for key in keys.tolist()}
    for part in (TASTE, INTENT):
        rows = table.rows_of(part).astype(np.float64)
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        likeness = unit @ unit.T
        np.fill_diagonal(likeness, -np.inf)
        for item in range(40):
            for near in np.argsort(-likeness[item])[:2].tolist():
                assert {(item, near), (near, item)} <= found
    assert all(a != b for a, b in found)
    assert (np.diff(keys) > 0).all()
    assert len(plausible_pairs(a_table(1))) == 0
    assert len(plausible_pairs(a_table(2), 100)) == 2


def test_an_implausible_pair_needs_more_to_be_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 1.2 σ a plausible pair is believed and another is not; at 2 σ both are, and at .8 σ neither."""
    n_items, table, sketch = 60, a_table(60), PairSketch(60)
    monkeypatch.setattr("recsys.model.pair_sketch.plausible_pairs", lambda _: np.array([5 * 60 + 9]))
    for height, believed in ((0.8, [False, False]), (1.2, [True, False]), (2.0, [True, True])):
        source, target = np.array([5, 9]), np.array([9, 5])
        _, cell, sign = sketch.place(source, target)
        cells = np.random.default_rng(0).normal(0, 1e-3, (1, sketch.cells))
        cells[0, cell] = height * sign
        counts = read_counts(sketch, cells, table, 1.0)
        assert counts.shape == (n_items, n_items)
        assert [bool(counts[5, 9] > 0), bool(counts[9, 5] > 0)] == believed


def test_of_noise_alone_few_pairs_are_believed() -> None:
    """3,540 pairs of 60 items, all of them plausible: .159³ pass by chance, 14."""
    cells = np.random.default_rng(1).normal(0, 2.5, (1, BLOCK_CELLS))
    assert 2 < read_counts(PairSketch(60), cells, a_table(60), 2.5).nnz < 35
    assert read_counts(PairSketch(60), np.zeros((1, BLOCK_CELLS)), a_table(60), 0.0).nnz == 0


def test_of_a_large_catalogue_the_plausible_pairs_alone_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.model.pair_sketch.MAX_PAIRS", 100)
    monkeypatch.setattr("recsys.model.pair_sketch.plausible_pairs", lambda _: np.array([5 * 60 + 9, 7 * 60 + 1]))
    cells = np.random.default_rng(1).normal(0, 2.5, (1, BLOCK_CELLS))
    _, cell, sign = PairSketch(60).place(np.array([5, 9]), np.array([9, 5]))
    cells[0, cell] = 100 * sign
    counts = read_counts(PairSketch(60), cells, a_table(60), 2.5)
    assert counts[5, 9] == pytest.approx(300.0)
    assert counts[9, 5] == 0
