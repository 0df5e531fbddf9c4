"""What an audit says: groups from noised sums, with gaps and intervals; items from the lists themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.evaluation.statistics import holm
from recsys.fairness.audit_layout import FIGURES, AuditLayout, Cell
from recsys.fairness.gate import interval, two_sided_p
from recsys.fairness.suppression import hidden_cells

Floats = npt.NDArray[np.float64]

MIN_GROUP = 50
SURE = 2.0
"""A noised count must be above the least size by so many deviations of its noise."""


@dataclass(frozen=True)
class _Sums:
    """Sums over some shoppers, and the variance of the noise in each of them."""

    values: Floats
    noise: float

    @property
    def n(self) -> float:
        return float(self.values[0])

    def mean(self, figure: str) -> float:
        return float(self.values[FIGURES.index(figure)]) / self.n

    def variance(self) -> float:
        """Variance of the mean NDCG: of its shoppers, and of the noise in both sums (delta method)."""
        mean = self.mean("ndcg")
        spread = max(self.mean("ndcg_squared") - mean**2, 0.0)
        return spread / self.n + self.noise * (1 + mean**2) / self.n**2


def group_report(
    layout: AuditLayout, sums: Floats, noise_variance: float, *, least: float = MIN_GROUP
) -> list[dict[str, Any]]:
    """Report each group and intersection from sums (layout.length,), noised or exact.

    noise_variance: of each sum. A group's gap is the mean of the others of its attribute (or pair of attributes) less
    its own; p is corrected by Holm over all that are published. Hidden groups come without figures.
    """
    cells = sums.reshape(len(layout.cells), len(FIGURES))
    hidden = hidden_cells(layout, cells[:, 0], least + SURE * float(np.sqrt(noise_variance)))
    rows: list[dict[str, Any]] = []
    for place, cell in enumerate(layout.cells):
        row: dict[str, Any] = {"group": name_of(cell), "attributes": len(cell), "shoppers": None}
        others = [layout.place[other] for other in layout.siblings(cell) if other != cell]
        rest = _Sums(cells[others].sum(axis=0), noise_variance * len(others))
        if not hidden[place] and rest.n >= least:
            row |= _figures(_Sums(cells[place], noise_variance), rest)
        rows.append(row)
    published = [row for row in rows if row["shoppers"] is not None]
    for row, p in zip(published, holm([row["p_holm"] for row in published]), strict=True):
        row["p_holm"] = float(p)
    return rows


def name_of(cell: Cell) -> str:
    """Name a cell: `age=65+`, or `age=65+, sex=f`."""
    return ", ".join(f"{name}={level}" for name, level in cell)


def _figures(group: _Sums, rest: _Sums) -> dict[str, Any]:
    ndcg, error = group.mean("ndcg"), float(np.sqrt(group.variance()))
    gap, wide = rest.mean("ndcg") - ndcg, float(np.sqrt(group.variance() + rest.variance()))
    freedom = max(min(group.n, rest.n) - 1, 1.0)
    return {
        "shoppers": group.n,
        "ndcg": ndcg,
        "ndcg_ci95": list(interval(ndcg, error, freedom)),
        "noise_error": float(np.sqrt(group.noise * (1 + ndcg**2))) / group.n,
        "hit": group.mean("hit"),
        "tail": group.mean("tail"),
        "gap": gap,
        "gap_ci95": list(interval(gap, wide, freedom)),
        "p_holm": two_sided_p(gap, wide, freedom),
    }
