"""Training as a private sum: which parts a device's update has, and what their sums mean to the item step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from data.errors import FederationError
from federation.learning.item_step import RoundSums
from federation.learning.taste_update import METRICS, Clips, Update
from federation.private_sum.fixed_point import decode
from federation.private_sum.plan import Part, SumPlan

ROWS = {"taste": "rows", "intent": "intent_rows"}
"""Name of the part that holds the rows, by the part of the table that a round trains: a signed plan says which one."""

_HEADROOM = 0.5
"""Share of the 31 bits that the largest sum of a part may fill; the rest is room for rounding and noise."""

_SHARES = {
    "rows": 1.0,
    "intent_rows": 1.0,
    "counts": 1 / 4,
    "second": 1 / 4,
    "first": 1 / 8,
    "one": 1 / 8,
    "metrics": 1 / 8,
}
"""Sensitivity of each part (of each metric) in units of that of rows. One σ covers all parts, so what a part does not
need is noise that the rows need not carry: equal shares would make it 2.7 times as large (docs/dp.md)."""

_MAX_STEPS = 2**20
"""No part needs finer steps than a millionth of its clip: rounding is then far below any noise."""


def training_plan(
    n_block: int,
    dim: int,
    clips: Clips,
    *,
    min_reports: int,
    max_reports: int,
    sigma: int = 0,
    trained: str = "taste",
) -> SumPlan:
    """Plan a training round's sum over blocks of n_block items.

    trained: the part of the table that is trained, one of ROWS, dim wide.
    clips: finite bounds of rows, counts, second and first; `one` and `metrics` are clamped to [0, 1] by their meaning.
    Scales are powers of two: of rows the finest that leaves room for max_reports, of the others by their share of the
    sensitivity. Raises FederationError for an infinite clip.
    """
    lengths = {ROWS[trained]: n_block * dim, "counts": n_block, "second": dim * (dim + 1) // 2, "first": dim}
    parts = []
    for name, length in lengths.items():
        bounded = "rows" if name == ROWS[trained] else name
        clip = float(getattr(clips, bounded))
        if not np.isfinite(clip):
            raise FederationError(f"clips.{bounded}={clip}: must be finite for a private sum")
        parts.append(Part(name, length, clip, _scale(name, clip, max_reports)))
    parts.append(Part("one", 1, 1.0, _scale("one", 1.0, max_reports), clamped=True))
    width = float(np.sqrt(len(METRICS)))
    parts.append(Part("metrics", len(METRICS), width, _scale("metrics", 1.0, max_reports), clamped=True))
    return SumPlan(tuple(parts), min_reports=min_reports, max_reports=max_reports, sigma=sigma)


def vectors_of(update: Update, n_block: int, trained: str = "taste") -> dict[str, npt.NDArray[np.float64]]:
    """Lay an update out as the named vectors of its plan; a shorter last block is padded with zeros."""
    missing = n_block - len(update.counts)
    if missing < 0:
        raise FederationError(f"update has {len(update.counts)} items, the plan's blocks have {n_block}")
    return {
        ROWS[trained]: np.pad(update.rows, ((0, missing), (0, 0))),
        "counts": np.pad(update.counts, (0, missing)),
        "second": update.second,
        "first": update.first,
        "one": np.array([update.one]),
        "metrics": update.metrics,
    }


def round_sums(
    plan: SumPlan, sums: Mapping[int, npt.NDArray[np.int32]], *, n_items: int, n_block: int, dim: int
) -> RoundSums:
    """Read the integer sums of the blocks that closed, as the item step reads them.

    sums: block → (plan.length,) int32. A block that is missing had no batch: its items have no reports.
    """
    total = RoundSums.zeros(n_items, dim)
    name = next(part.name for part in plan.parts if part.name in ROWS.values())
    for block, words in sums.items():
        part = decode(plan, words)
        items = slice(block * n_block, min((block + 1) * n_block, n_items))
        if items.start >= n_items:
            raise FederationError(f"block={block}: must be below {-(-n_items // n_block)}")
        length = items.stop - items.start
        rows, counts, reports = total.rows.copy(), total.counts.copy(), total.reports.copy()
        rows[items] = part[name].reshape(n_block, dim)[:length]
        counts[items] = part["counts"][:length]
        reports[items] = part["one"][0]
        total = RoundSums(
            rows=rows,
            counts=counts,
            second=total.second + part["second"],
            first=total.first + part["first"],
            reports=reports,
            one=total.one + float(part["one"][0]),
            metrics=total.metrics + part["metrics"],
        )
    return total


def _scale(part: str, clip: float, max_reports: int) -> float:
    finest = _SHARES[part] * min(_HEADROOM * 2**31 / max_reports, _MAX_STEPS) / clip
    return float(2.0 ** np.floor(np.log2(finest)))
