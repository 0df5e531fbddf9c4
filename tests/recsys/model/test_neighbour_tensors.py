from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from data.errors import ModelError
from recsys.model.neighbour_tensors import read_table, round_weights, table_tensors


def test_a_rounded_table_reads_as_it_was_written() -> None:
    rng = np.random.default_rng(3)
    drawn = sparse.random_array((30, 30), density=0.2, rng=rng, dtype=np.float32).tocsr()
    table = round_weights(sparse.csr_array(drawn))
    again = read_table("t", table_tensors("t", table), 30)
    assert (abs(again - table)).max() < 1e-6
    assert abs(table - drawn).max() <= drawn.max() / 255  # half a step, or the one that a small weight is raised to


def test_a_table_without_entries_reads_too() -> None:
    table = sparse.csr_array((3, 3), dtype=np.float32)
    assert read_table("t", table_tensors("t", table), 3).nnz == 0


@pytest.mark.parametrize(
    ("name", "change"),
    [("t_count", [9, 9, 9]), ("t_item", [7, 0, 1]), ("t_step", [np.nan, 1, 1]), ("t_weight", [1])],
)
def test_impossible_tensors_are_refused(name: str, change: list[float]) -> None:
    table = sparse.csr_array(np.array([[0, 1, 0], [1, 0, 0], [0, 1, 0]], dtype=np.float32))
    tensors = table_tensors("t", table)
    tensors[name] = np.array(change, dtype=tensors[name].dtype)
    with pytest.raises(ModelError, match="t: "):
        read_table("t", tensors, 3)
    del tensors[name]
    with pytest.raises(ModelError, match="t: no tensor"):
        read_table("t", tensors, 3)
