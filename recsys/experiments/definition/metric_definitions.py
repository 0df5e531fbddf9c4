"""What an experiment measures of one shopper: the metrics, and the fewest columns and products whose sums they need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from data.errors import DataError
from data.strict import brief

Pair = tuple[str, str]

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
"""A metric or column may be the name of a part of a private sum."""

LEAST_CAP, MOST_CAP = 1e-6, 1e12
"""Of a column: products of two caps, in integer steps, stay numbers."""

WON, LOST = "won", "lost"
"""Sessions of a shopper whose interleaved list was clicked more, or less, on the challenger's picks."""

MAX_EDGES = 32
"""Of a histogram: each is a sum of its own, whose noise all share."""

SESSIONS_CAP = 3
"""Sessions won, and sessions lost, that count of one shopper: a few say whom one prefers, and bound what one adds."""


class MetricKind(StrEnum):
    """mean: per shopper; proportion: of shoppers with a column of 0 or 1; ratio: of two columns' means.

    quantile: the value that a share of the shoppers stays below, from a histogram.
    preference: sessions won less lost, per shopper, of interleaved lists.
    """

    MEAN = "mean"
    PROPORTION = "proportion"
    RATIO = "ratio"
    QUANTILE = "quantile"
    PREFERENCE = "preference"


class Direction(StrEnum):
    """Which way a metric is better."""

    UP = "up"
    DOWN = "down"


class Role(StrEnum):
    """primary: decides; secondary: corrected for their number; guardrail: must not be hurt."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    GUARDRAIL = "guardrail"


@dataclass(frozen=True)
class Metric:
    """One figure of an arm, made of columns of outcomes that a device adds up over the experiment for its shopper.

    numerator: a column; the metric itself unless it is a ratio. denominator: a column, of ratios only. covariate: a
    column fixed before the exposure, for CUPED. cap, denominator_cap, covariate_cap: each column lies in 0..cap, over
    the whole experiment; a proportion's cap is 1. centre, denominator_centre, covariate_centre: about what a device
    reports (x − centre, once, with its first report): a guess of the mean makes the noise of privacy smaller and
    changes nothing else. Of a preference, cap bounds sessions won and sessions lost, each.
    covariate_indicator: the covariate is 0 or 1. margin: how much worse, relative to control, a guardrail may be (0.02:
    two percent); 0 asks that harm is not shown. quantile: of a quantile, above 0 and below 1 (0.5: the median). edges:
    of a quantile, 2..32 rising values; a device says of its shopper which of them the numerator has reached.
    """

    name: str
    kind: MetricKind
    numerator: str
    denominator: str | None = None
    covariate: str | None = None
    cap: float = 1.0
    denominator_cap: float = 1.0
    covariate_cap: float = 1.0
    centre: float = 0.0
    denominator_centre: float = 0.0
    covariate_centre: float = 0.0
    covariate_indicator: bool = False
    direction: Direction = Direction.UP
    role: Role = Role.SECONDARY
    margin: float = 0.0
    quantile: float | None = None
    edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for field, kind in (("kind", MetricKind), ("direction", Direction), ("role", Role)):
            value = getattr(self, field)
            try:
                object.__setattr__(self, field, kind(value))
            except ValueError:
                raise DataError(f"metric {self.name}: {field}={value!r}: must be one of {', '.join(kind)}") from None
        if mistakes := list(self._mistakes()):
            raise DataError("; ".join(mistakes))

    def _mistakes(self) -> Iterator[str]:
        """Say everything that is wrong with names, columns, caps and margin."""
        named = {"name": self.name, "numerator": self.numerator}
        named |= {key: value for key in ("denominator", "covariate") if (value := getattr(self, key)) is not None}
        for field, value in named.items():
            if not isinstance(value, str) or not NAME.fullmatch(value):
                yield f"metric {self.name!r}: {field}={value!r}: must match {NAME.pattern}"
        if (self.kind is MetricKind.RATIO) != (self.denominator is not None):
            yield f"metric {self.name}: denominator={self.denominator!r}: must be a column of a ratio, only"
        used = [x for x in (self.numerator, self.denominator, self.covariate) if x is not None]
        if len(set(used)) != len(used):
            yield f"metric {self.name}: numerator, denominator and covariate must be different columns"
        if self.kind is MetricKind.PROPORTION and self.cap != 1.0:
            yield f"metric {self.name}: cap={self.cap}: must be 1 for a proportion"
        if self.kind is MetricKind.PREFERENCE:
            yield from self._mistakes_of_preference()
        yield from self._mistakes_of_quantile()
        if self.covariate_indicator and (self.covariate is None or self.covariate_cap != 1.0):
            yield f"metric {self.name}: covariate_indicator needs a covariate with cap 1"
        for which in ("", "denominator_", "covariate_"):
            cap, centre = getattr(self, which + "cap"), getattr(self, which + "centre")
            if not LEAST_CAP <= cap <= MOST_CAP:
                yield f"metric {self.name}: {which}cap={cap}: must be {LEAST_CAP:g}..{MOST_CAP:g}"
            if not 0.0 <= centre <= cap:
                yield f"metric {self.name}: {which}centre={centre}: must be 0..{which}cap={cap}"
        if not 0.0 <= self.margin < 1.0 or (self.margin and self.role is not Role.GUARDRAIL):
            yield f"metric {self.name}: margin={self.margin}: must be 0..1, of a guardrail only"

    def _mistakes_of_quantile(self) -> Iterator[str]:
        if self.kind is not MetricKind.QUANTILE:
            if self.quantile is not None or self.edges:
                yield f"metric {self.name}: quantile, edges: must be given for a quantile only"
            return
        if self.quantile is None or not 0.0 < self.quantile < 1.0:
            yield f"metric {self.name}: quantile={self.quantile}: must be above 0 and below 1"
        if not 2 <= len(self.edges) <= MAX_EDGES or list(self.edges) != sorted(set(self.edges)) or self.edges[0] <= 0:
            yield f"metric {self.name}: edges={list(self.edges)}: must be 2..{MAX_EDGES} values above 0 that rise"
        if self.covariate is not None or self.cap != 1.0 or self.centre:
            yield f"metric {self.name}: covariate, cap, centre: must not be given for a quantile"
        if isinstance(self.numerator, str) and not NAME.fullmatch(threshold_name(self.numerator, MAX_EDGES)):
            yield f"metric {self.name}: numerator={self.numerator!r}: must be shorter, for the names of its thresholds"

    def _mistakes_of_preference(self) -> Iterator[str]:
        if self.covariate is not None or self.centre:
            yield f"metric {self.name}: covariate, centre: must not be given for a preference"
        if not (1 <= self.cap <= 100 and self.cap == int(self.cap)):
            yield f"metric {self.name}: cap={self.cap}: must be 1..100 sessions, whole"
        if self.role is not Role.PRIMARY or self.direction is not Direction.UP:
            yield f"metric {self.name}: role, direction: must be primary and up for a preference"

    @property
    def parts(self) -> tuple[Column, ...]:
        """The columns of this metric: numerator, then denominator and covariate if it has them."""
        if self.kind is MetricKind.PREFERENCE:
            return (Column(self.numerator, self.cap, 0.0, False, between=(WON, LOST)),)
        if self.kind is MetricKind.QUANTILE:
            return tuple(Column(name, 1.0, 0.0, True) for name in self.thresholds)
        indicator = self.kind is MetricKind.PROPORTION
        columns = [Column(self.numerator, self.cap, self.centre, indicator)]
        if self.denominator is not None:
            columns.append(Column(self.denominator, self.denominator_cap, self.denominator_centre, False))
        if self.covariate is not None:
            columns.append(Column(self.covariate, self.covariate_cap, self.covariate_centre, self.covariate_indicator))
        return tuple(columns)

    @property
    def thresholds(self) -> dict[str, float]:
        """Column → the edge that its shoppers have reached, of a quantile; none of another metric."""
        return {threshold_name(self.numerator, at): edge for at, edge in enumerate(self.edges)}

    def to_dict(self) -> dict[str, Any]:
        """Convert every field to plain values, as JSON has them; those of a quantile only where it is one."""
        plain = {key: str(value) if isinstance(value, StrEnum) else value for key, value in asdict(self).items()}
        if self.kind is not MetricKind.QUANTILE:
            del plain["quantile"], plain["edges"]
            return plain
        return plain | {"edges": list(self.edges)}

    @staticmethod
    def from_dict(raw: object) -> Metric:
        """Read a metric from its dict, kind "mean" if none is given.

        Raises DataError for unknown or mistyped fields.
        """
        known = {field.name: field.type for field in fields(Metric)}
        if not isinstance(raw, dict) or not {"name", "numerator"} <= set(raw) <= set(known):
            raise DataError(f"metric {brief(raw)}: must have name, numerator and of {', '.join(known)} what it needs")
        for key, value in raw.items():
            number = isinstance(value, float) or (type(value) is int and abs(value) <= MOST_CAP)
            if (known[key] == "float" and not number) or (known[key] == "bool" and not isinstance(value, bool)):
                raise DataError(f"metric {brief(raw['name'])}: {key}={brief(value)}: must be a {known[key]}")
        numbers = {key: float(value) + 0.0 for key, value in raw.items() if known[key] == "float"}
        edges = raw.get("edges", ())
        if not isinstance(edges, list | tuple) or not all(isinstance(edge, int | float) for edge in edges):
            raise DataError(f"metric {brief(raw['name'])}: edges={brief(edges)}: must be a list of numbers")
        return Metric(**{"kind": MetricKind.MEAN, **raw, **numbers, "edges": tuple(map(float, edges))})


@dataclass(frozen=True)
class Column:
    """One outcome of a shopper, in 0..cap; reported as x − centre. indicator: it is 0 or 1, so x² = x.

    between: two counts in 0..cap that a device knows instead: the column is the first less the second, centre 0.
    """

    name: str
    cap: float
    centre: float
    indicator: bool
    between: Pair | None = None

    @property
    def bound(self) -> float:
        """Bound on |x − centre|, which is what a device reports."""
        return max(self.cap - self.centre, self.centre)


def threshold_name(numerator: str, at: int) -> str:
    """Name the column of shoppers who reached edge `at` of a numerator's histogram."""
    return f"{numerator}_ge_{at:02}"


def nested_threshold(x: str, y: str) -> str | None:
    """Find which of two thresholds of one histogram only shoppers reach who reached the other; None of other columns.

    The product of two such columns is the column of the higher edge.
    """
    (a, _, i), (b, _, j) = x.rpartition("_ge_"), y.rpartition("_ge_")
    return max(x, y) if a and a == b and i.isdigit() and j.isdigit() else None


def preference_metric(cap: int = SESSIONS_CAP) -> Metric:
    """Make the one metric of an interleaved design."""
    return Metric("preference", MetricKind.PREFERENCE, "preference", cap=float(cap), role=Role.PRIMARY)


def columns(metrics: Iterable[Metric]) -> tuple[Column, ...]:
    """Collect the distinct columns, sorted by name.

    Raises DataError if two metrics describe one column differently.

    A column is an indicator where it is the numerator of a proportion, also for metrics that do not say so.
    """
    by_name: dict[str, Column] = {}
    for column in (column for metric in metrics for column in metric.parts):
        other = by_name.setdefault(column.name, column)
        if (other.cap, other.centre) != (column.cap, column.centre):
            raise DataError(f"column {column.name}: must have one cap and one centre in every metric")
        if column.indicator:
            by_name[column.name] = column
    return tuple(by_name[name] for name in sorted(by_name))


def products(metrics: Iterable[Metric]) -> tuple[Pair, ...]:
    """Collect the distinct unordered pairs of columns whose Σ x·y is needed, each pair and all of them sorted.

    Squares of indicators are left out (x² = x), and so are products of thresholds, each of which is one of them, and
    pairs that no metric asks for: fewer coordinates, less noise.
    """
    metrics = tuple(metrics)
    indicators = {column.name for column in columns(metrics) if column.indicator}
    wanted = set()
    for metric in metrics:
        names = [] if metric.kind is MetricKind.QUANTILE else [column.name for column in metric.parts]
        wanted |= {pair(x, y) for x in names for y in names if x != y or x not in indicators}
    return tuple(sorted(wanted))


def pair(x: str, y: str) -> Pair:
    """Order two columns into a pair that serves as a key."""
    return (x, y) if x <= y else (y, x)


def check_metrics(metrics: Sequence[Metric], *, interleaved: bool = False) -> None:
    """Raise DataError unless names differ, exactly one metric is primary, and the columns agree with each other.

    interleaved: whether lists are; then, and only then, the one metric is a preference.
    """
    kinds = [metric.kind for metric in metrics]
    if interleaved and kinds != [MetricKind.PREFERENCE]:
        raise DataError("metrics: must be left out of an interleaved design, which measures the preference alone")
    if not interleaved and MetricKind.PREFERENCE in kinds:
        raise DataError("metrics: a preference needs design=interleaved")
    names = [metric.name for metric in metrics]
    if len(set(names)) != len(names):
        raise DataError(f"metrics: names {names} must differ")
    primary = [metric.name for metric in metrics if metric.role is Role.PRIMARY]
    if len(primary) != 1:
        raise DataError(f"metrics: primary={primary}: must be exactly one")
    columns(metrics)
