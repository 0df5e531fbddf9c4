"""The public tables of surfaces, as a bundle carries them: complements, and how long until things are bought again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data.interactions import Interactions
from recsys.lists.placements.complements import complement_table, count_together
from recsys.model.neighbour_tensors import read_table, table_tensors
from recsys.model.purchase_intervals import Intervals, intervals_of, read_intervals, sum_intervals
from recsys.model.transitions import Transitions

NAME = "complement"


@dataclass(frozen=True, eq=False)
class SurfaceTables:
    """Sums over devices, none of one device. complements: (n_items, n_items). intervals: None where nothing repeats."""

    complements: Transitions
    intervals: Intervals | None

    @property
    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The table as tensors, the widest words first."""
        return table_tensors(NAME, self.complements)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the table, as JSON."""
        return {"intervals": None if self.intervals is None else self.intervals.to_dict()}


def build_surface_tables(log: Interactions, category: pl.Series | None = None) -> SurfaceTables:
    """Build the tables of everything that a log has. category: of each item, by item_idx, None for no categories."""
    of_item, names = np.full(log.n_items, -1, dtype=np.int32), []
    if category is not None:
        text = category.cast(pl.String)
        names = text.drop_nulls().unique().sort().to_list()
        of_item = text.rank("dense").cast(pl.Int32).fill_null(0).to_numpy() - np.int32(1)
    return SurfaceTables(complement_table(count_together(log)), intervals_of(sum_intervals(log, of_item), names))


def read_surface_tables(settings: Mapping[str, Any], tensors: Mapping[str, Any], n_items: int) -> SurfaceTables:
    """Read the tables from settings and tensors. Raises ModelError for missing or impossible ones."""
    intervals = settings.get("intervals")
    return SurfaceTables(read_table(NAME, tensors, n_items), None if intervals is None else read_intervals(intervals))
