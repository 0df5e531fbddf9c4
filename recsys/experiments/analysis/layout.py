"""Which number of a contribution means what, how large it can get, and what the sums mean: one pure function of both.

A shopper is in one arm and one cell of segments, so all coordinates but those of that arm and cell are zero, and more
arms and cells cost no sensitivity. What a device says of its shopper only grows: with x the outcome so far, in 0..cap,
and c the column's centre,

    Σ 1          1             Σ (x − c)      x − c·1             Σ (x − c)(y − d)      (x·y + c·d·1) − (d·x + c·y)

are differences of two parts that start at 0 and never fall. A device sends increments of them since its last report.
Increments Δ of a part that rises to at most B have ΣΔ ≤ B and so ΣΔ² ≤ B², and those of a difference ΣΔ² ≤ B² + B'²:
all windows together are one vector within the bound of one. Each window's noise is calibrated to that bound, and the
whole experiment is one participation (individual privacy filter: Feldman and Zrnic 2021), however often one looks.
A preference x = W − L, of sessions won and lost, is such a difference itself: x² = (W² + L²) − 2·W·L.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from data.errors import DataError
from recsys.experiments.analysis.sums import ArmSums, SumsNoise
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.definition.metric_definitions import Column, Metric, MetricKind, Pair, Role, columns, products

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

RESOLUTION = 2**18
"""Integer steps of a whole contribution, at most: rounding is far below any noise, and noise of ε ≥ 0.01 fits."""

MAX_COORDINATES = 16_384
"""Of a contribution: 64 KB a report. Each coordinate is noise that somebody has to read through."""

N_SHARE, PRIMARY_SHARE, OTHER_SHARE, SQUARES = 0.35, 1.0, 0.5, 0.5
"""Sensitivity of Σ 1, of a total of the primary metric, of another total, and of a product beside its totals. One σ
covers all, so what a coordinate does not need is noise that others need not carry: the count's noise reaches a mean
times (mean − centre) only, and a product's reaches an interval's width, not its middle. The shares that would be best
for a log (recsys/experiments/analysis/allocation.py) narrow a conversion's interval by 2 % more: for less than any
log's error,
and a definition would not say what devices do without the log that it was planned on."""


@dataclass(frozen=True)
class Slot:
    """One sum of an arm and cell. of: () is Σ 1, (x,) Σ (x − c), (x, y) Σ (x − c)(y − d).

    rise, fall: bounds of its two parts, in the sum's own unit. steps: integers a unit.
    """

    of: tuple[()] | tuple[str] | Pair
    rise: float
    fall: float
    steps: float

    @property
    def bound_squared(self) -> int:
        """Bound on ΣΔ² of the rounded increments of one device, over all windows."""
        return math.ceil(self.rise * self.steps) ** 2 + math.ceil(self.fall * self.steps) ** 2


@dataclass(frozen=True)
class Layout:
    """All coordinates of an experiment: arm by arm, cell by cell, slot by slot. Of equal experiments, equal.

    arms: Experiment.groups, which are the arms unless both make every list.
    """

    arms: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    described: tuple[Column, ...]
    slots: tuple[Slot, ...]

    @property
    def length(self) -> int:
        """Coordinates of a contribution."""
        return len(self.arms) * len(self.cells) * len(self.slots)

    @property
    def bound_squared(self) -> int:
        """Bound on the squared L2 norm, in steps, of one device's increments: of each, and of all windows together."""
        return sum(slot.bound_squared for slot in self.slots)

    @cached_property
    def steps(self) -> Floats:
        """(slots,) integers a unit."""
        return np.array([slot.steps for slot in self.slots])

    def where(self, arm: str, cell: int) -> slice:
        """Locate the coordinates of one arm and cell."""
        at = (self.arms.index(arm) * len(self.cells) + cell) * len(self.slots)
        return slice(at, at + len(self.slots))

    def risen(self, values: Mapping[str, float], thresholds: Floats) -> Integers:
        """Count how far both parts of each slot have come, in steps, for a shopper who is in: (2, slots) int64.

        values: each column so far, or the two counts that it lies between, clipped to 0..cap here. thresholds:
        (2, slots) in [0, 1), drawn once a device and experiment: v becomes ⌊v + t⌋, which never falls as v rises and
        has mean v over t. Raises DataError for a missing column or a value that is no number.
        """
        x: dict[str, tuple[float, float]] = {}
        for column in self.described:
            if column.between is None:
                x[column.name] = (_clip(values, column.name, column.cap), column.centre)
            else:
                won, lost = (_clip(values, name, column.cap) for name in column.between)
                x[column.name] = (won, lost)
        parts = np.array([_parts([x[name] for name in slot.of]) for slot in self.slots]).T
        return np.floor(parts * self.steps + thresholds).astype(np.int64)

    def contribution(self, arm: str, cell: int, increments: Integers) -> Integers:
        """Place increments (2, slots) of the risen parts at their arm and cell, zeros elsewhere: (length,) int64."""
        vector = np.zeros(self.length, dtype=np.int64)
        vector[self.where(arm, cell)] = increments[0] - increments[1]
        return vector

    def sums(self, total: npt.NDArray[np.integer], *, sigma: int = 0, windows: int = 1) -> dict[str, list[ArmSums]]:
        """Split a total into each arm's sums by cell.

        total: (length,), the windows' sums added up.

        sigma: of one party, in steps: each window carries the noise of both, 2σ² a coordinate.
        """
        if total.shape != (self.length,):
            raise DataError(f"sums of shape {total.shape}: must be ({self.length},)")
        variance = 2.0 * sigma**2 * windows / self.steps**2
        return {
            arm: [
                self._arm_sums(total[self.where(arm, cell)] / self.steps, variance) for cell in range(len(self.cells))
            ]
            for arm in self.arms
        }

    def _arm_sums(self, sums: Floats, variance: Floats) -> ArmSums:
        totals, pairs, noise_of_totals, noise_of_pairs = {}, {}, {}, {}
        for slot, value, noise in zip(self.slots, sums.tolist(), variance.tolist(), strict=True):
            if len(slot.of) == 1:
                totals[slot.of[0]], noise_of_totals[slot.of[0]] = value, noise
            elif len(slot.of) == 2:
                pairs[slot.of], noise_of_pairs[slot.of] = value, noise
        return ArmSums(
            n=float(sums[0]),
            totals=totals,
            products=pairs,
            noise=SumsNoise(float(variance[0]), noise_of_totals, noise_of_pairs),
            centres={column.name: column.centre for column in self.described if column.centre},
            indicators=frozenset(column.name for column in self.described if column.indicator),
        )


@lru_cache(maxsize=64)
def layout_of(experiment: Experiment) -> Layout:
    """Lay out an experiment's sums; the same for every version that an amendment can make.

    Raises DataError for one of more than MAX_COORDINATES.
    """
    described = columns(experiment.metrics)
    known = {column.name: column for column in described}
    keys: list[tuple[()] | tuple[str] | Pair] = [(), *((column.name,) for column in described)]
    keys.extend(products(experiment.metrics))
    shares = np.array([_share(key, experiment.metrics) for key in keys])
    wanted = shares / np.linalg.norm(shares) * _resolution(experiment.privacy.max_reports)
    slots = []
    for key, amplitude in zip(keys, wanted.tolist(), strict=True):
        rise, fall = _parts([_furthest(known[name]) for name in key])
        slots.append(Slot(key, rise, fall, _whole(amplitude / math.hypot(rise, fall))))
    layout = Layout(experiment.groups, experiment.cells, described, tuple(slots))
    if layout.length > MAX_COORDINATES:
        raise DataError(f"metrics: {layout.length} coordinates over arms and cells: must be at most {MAX_COORDINATES}")
    return layout


def _clip(values: Mapping[str, float], name: str, cap: float) -> float:
    value = values.get(name, math.nan)
    if math.isnan(value):
        raise DataError(f"column {name}={value}: must be a number")
    return min(max(value, 0.0), cap)


def _furthest(column: Column) -> tuple[float, float]:
    """Bound how large the value and the centre of a column can get."""
    return column.cap, column.centre if column.between is None else column.cap


def _parts(x: list[tuple[float, float]]) -> tuple[float, float]:
    """Split Π (x − c), for at most two (x, c), into its rising and its falling part."""
    if not x:
        return 1.0, 0.0
    if len(x) == 1:
        return x[0][0], x[0][1]
    (a, c), (b, d) = x
    return a * b + c * d, d * a + c * b


def _share(key: tuple[str, ...], metrics: Iterable[Metric]) -> float:
    """Choose the share of Σ 1, a total or a product, before all are scaled to the resolution.

    It is the most that any metric asks for.
    """
    if not key:
        return N_SHARE
    wanted = []
    for metric in metrics:
        worth = _worth(metric)
        if worth.keys() >= set(key):
            share = PRIMARY_SHARE if metric.role is Role.PRIMARY else OTHER_SHARE
            wanted.append(share * math.prod(worth[name] for name in key))
    return max(wanted) * (SQUARES if len(key) == 2 else 1.0)


def _worth(metric: Metric) -> dict[str, float]:
    """Value each column's total for a metric, the best 1: √(|∂metric/∂mean|·reach), as least noise has it.

    A ratio N/D moves by 1/D and −N/D², which its declared centres guess; without them, and for all else, 1.
    """
    worth = {column.name: 1.0 for column in metric.parts}
    if metric.kind is MetricKind.QUANTILE:  # one histogram together as much as one total
        return dict.fromkeys(worth, 1.0 / math.sqrt(len(worth)))
    if metric.denominator is not None and metric.centre > 0 and metric.denominator_centre > 0:
        top, bottom = (math.hypot(*_furthest(column)) for column in metric.parts[:2])
        lean = math.sqrt(metric.centre / metric.denominator_centre * bottom / top)
        worth |= {metric.numerator: min(1.0, 1.0 / lean), metric.denominator: min(1.0, lean)}
    return worth


def _resolution(max_reports: int) -> int:
    """Choose the resolution: half of the 31 bits for what devices say, half for noise."""
    return min(RESOLUTION, 2**30 // max_reports)


def _whole(steps: float) -> float:
    """Round to whole steps where they are fine enough: counts and indicators are then summed exactly."""
    return float(math.floor(steps)) if steps >= 16 else steps
