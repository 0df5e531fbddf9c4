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

SESSIONS_CAP = 3
"""Sessions won, and sessions lost, that count of one shopper: a few say whom one prefers, and bound what one adds."""


class MetricKind(StrEnum):
    """mean: per shopper; proportion: of shoppers with a column of 0 or 1; ratio: of two columns' means.

    preference: sessions won less lost, per shopper, of interleaved lists.
    """

    MEAN = "mean"
    PROPORTION = "proportion"
    RATIO = "ratio"
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
    two percent); 0 asks that harm is not shown.
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
        indicator = self.kind is MetricKind.PROPORTION
        columns = [Column(self.numerator, self.cap, self.centre, indicator)]
        if self.denominator is not None:
            columns.append(Column(self.denominator, self.denominator_cap, self.denominator_centre, False))
        if self.covariate is not None:
            columns.append(Column(self.covariate, self.covariate_cap, self.covariate_centre, self.covariate_indicator))
        return tuple(columns)

    def to_dict(self) -> dict[str, Any]:
        """Convert every field to plain values, as JSON has them."""
        return {key: str(value) if isinstance(value, StrEnum) else value for key, value in asdict(self).items()}

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
        return Metric(**{"kind": MetricKind.MEAN, **raw, **numbers})


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

    Squares of indicators are left out (x² = x), as are pairs that no metric asks for: fewer coordinates, less noise.
    """
    metrics = tuple(metrics)
    indicators = {column.name for column in columns(metrics) if column.indicator}
    wanted = set()
    for metric in metrics:
        names = [column.name for column in metric.parts]
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
