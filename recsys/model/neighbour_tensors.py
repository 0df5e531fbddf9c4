"""A table of each item's nearest items as small tensors: an index and one byte a weight, a step and a count a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from data.errors import ModelError
from recsys.model.transitions import Transitions

Tensors = Mapping[str, npt.NDArray[Any]]


def step_of_rows(table: Transitions) -> npt.NDArray[np.float32]:
    """Compute the step of each row (n_items,), a 255th of its largest weight; 1/255 for an empty one."""
    largest = np.ones(table.shape[0], dtype=np.float32)
    nonempty = np.diff(table.indptr) > 0
    if nonempty.any():
        largest[nonempty] = np.maximum.reduceat(table.data, table.indptr[:-1][nonempty])
    return largest / np.float32(255.0)


def round_weights(table: Transitions) -> Transitions:
    """Round weights > 0 to whole steps of their row, one step at least: what ships is what is measured."""
    step = step_of_rows(table)[np.repeat(np.arange(table.shape[0]), np.diff(table.indptr))]
    whole = np.maximum(np.rint(table.data / step), 1.0).astype(np.float32)
    return sparse.csr_array((whole * step, table.indices, table.indptr), shape=table.shape)


def table_tensors(name: str, table: Transitions) -> dict[str, npt.NDArray[Any]]:
    """Encode a rounded table of at most 255 entries a row as tensors NAME_step, _item, _weight and _count."""
    step = step_of_rows(table)
    row = np.repeat(np.arange(len(step)), np.diff(table.indptr))
    narrow = np.uint16 if len(step) <= 2**16 else np.int32
    return {
        f"{name}_step": step,
        f"{name}_item": table.indices.astype(narrow),
        f"{name}_weight": np.rint(table.data / step[row]).astype(np.uint8),
        f"{name}_count": np.diff(table.indptr).astype(np.uint8),
    }


def read_table(name: str, tensors: Tensors, n_items: int) -> Transitions:
    """Read the table of table_tensors. Raises ModelError for missing or impossible tensors."""
    try:
        step, item, weight, count = (tensors[f"{name}_{part}"] for part in ("step", "item", "weight", "count"))
    except KeyError as error:
        raise ModelError(f"{name}: no tensor {error}") from None
    if not len(count) == len(step) == n_items or int(count.sum()) != len(item) or len(item) != len(weight):
        raise ModelError(f"{name}: {len(count)} rows, {len(item)} entries; {n_items} items")
    if len(item) and not 0 <= int(item.min()) <= int(item.max()) < n_items:
        raise ModelError(f"{name}: items {item.min()}..{item.max()}, must be in 0..{n_items - 1}")
    if not np.isfinite(step).all():
        raise ModelError(f"{name}: has steps that are not finite")
    indptr = np.concatenate(([0], np.cumsum(count, dtype=np.int64)))
    values = weight.astype(np.float32) * np.repeat(step, count)
    return sparse.csr_array((values, item.astype(np.int32), indptr), shape=(n_items, n_items))
