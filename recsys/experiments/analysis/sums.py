"""The sums of one arm, all that an analysis ever sees: counts, totals, products, and the variance of their noise.

No row of any shopper is in here. A shopper is one unit over all windows: windows are increments of the same sums, so
they add up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from data.errors import DataError, SumsTooSmall
from recsys.experiments.definition.metric_definitions import Metric, Pair, columns, nested_threshold, pair, products

K = TypeVar("K")

LEAST_SIGNAL = 5.0
"""Noisy counts are believed from so many standard deviations of their noise: below, 1/n is not yet nearly linear."""


@dataclass(frozen=True)
class SumsNoise:
    """Variances of the noise of privacy in each sum, in the sum's own unit squared; what is not named has none."""

    n: float = 0.0
    totals: Mapping[str, float] = field(default_factory=dict)
    products: Mapping[Pair, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for value in (self.n, *self.totals.values(), *self.products.values()):
            if not (math.isfinite(value) and value >= 0):
                raise DataError(f"noise variance={value}: must be finite and 0 or more")

    def product(self, x: str, y: str) -> float:
        """Look up a product by its two columns, in either order."""
        return self.products.get(pair(x, y), 0.0)

    def __add__(self, other: SumsNoise) -> SumsNoise:
        return SumsNoise(
            self.n + other.n, _add_parts(self.totals, other.totals), _add_parts(self.products, other.products)
        )


@dataclass(frozen=True)
class ArmSums:
    """Σ 1, Σ (x − c_x) and Σ (x − c_x)(y − c_y) over the shoppers of one arm, for columns x, y with centres c.

    n: shoppers, a float since noise makes it one. products: keys are sorted pairs; squares of indicators are not in it.
    noise: independent between sums, mean 0. centres: what is not named has centre 0. indicators: columns of 0 and 1.
    Estimates are of the columns themselves: centres change nothing but the noise that they carry.
    """

    n: float
    totals: Mapping[str, float]
    products: Mapping[Pair, float]
    noise: SumsNoise = SumsNoise()
    centres: Mapping[str, float] = field(default_factory=dict)
    indicators: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, value in (("n", self.n), *self.totals.items(), *self.products.items()):
            if not math.isfinite(value):
                raise DataError(f"sums: {name}={value}: must be finite")
        for x, y in self.products:
            if x > y or x not in self.totals or y not in self.totals:
                raise DataError(f"sums: product {(x, y)}: must be a sorted pair of columns of totals")
        if not set(self.noise.totals) <= set(self.totals) or not set(self.noise.products) <= set(self.products):
            raise DataError("sums: noise must be of sums that there are")

    def __add__(self, other: ArmSums) -> ArmSums:
        if set(self.totals) != set(other.totals) or set(self.products) != set(other.products):
            raise DataError("sums: must have the same columns and products to be added")
        if self.indicators != other.indicators or any(self.centre(x) != other.centre(x) for x in self.totals):
            raise DataError("sums: must have the same indicators and centres to be added")
        return ArmSums(
            self.n + other.n,
            _add_parts(self.totals, other.totals),
            _add_parts(self.products, other.products),
            self.noise + other.noise,
            self.centres,
            self.indicators,
        )

    @staticmethod
    def zero(metrics: Iterable[Metric]) -> ArmSums:
        """Start from nobody, with every column and product of the metrics."""
        metrics = tuple(metrics)
        described = columns(metrics)
        return ArmSums(
            n=0.0,
            totals={column.name: 0.0 for column in described},
            products=dict.fromkeys(products(metrics), 0.0),
            centres={column.name: column.centre for column in described if column.centre},
            indicators=frozenset(column.name for column in described if column.indicator),
        )

    @staticmethod
    def from_rows(rows: Mapping[str, npt.ArrayLike], metrics: Iterable[Metric]) -> ArmSums:
        """Sum rows that somebody holds, exactly: a simulation's or a test's. rows: column → (n_shoppers,) values."""
        empty = ArmSums.zero(metrics)
        values = {x: np.asarray(rows[x], dtype=np.float64) - empty.centre(x) for x in empty.totals}
        lengths = {len(column) for column in values.values()}
        if len(lengths) != 1:
            raise DataError(f"rows: columns have lengths {sorted(lengths)}, must have the same")
        return ArmSums(
            n=float(lengths.pop()),
            totals={x: math.fsum(column) for x, column in values.items()},
            products={(x, y): math.fsum(values[x] * values[y]) for x, y in empty.products},
            centres=empty.centres,
            indicators=empty.indicators,
        )

    @property
    def exact(self) -> bool:
        """Whether no noise was added."""
        return not (self.noise.n or any(self.noise.totals.values()) or any(self.noise.products.values()))

    def centre(self, x: str) -> float:
        """Look up what column x is reported about."""
        return self.centres.get(x, 0.0)

    def mean(self, x: str) -> float:
        """Compute the mean of column x; raises SumsTooSmall when n says nothing."""
        return self.centre(x) + self._total(x) / self._n()

    def var(self, x: str) -> float:
        """Sample variance of column x (n − 1), without what noise adds to it; raises SumsTooSmall unless above 0."""
        value = self.cov(x, x)
        if not value > 0:
            cause = "all shoppers have one value" if self.exact else "noise is larger than the signal"
            raise SumsTooSmall(f"variance of {x}={value:.3g}: must be above 0: {cause}")
        return value

    def cov(self, x: str, y: str) -> float:
        """Sample covariance of columns x and y (n − 1), its expectation free of noise to second order in 1/n."""
        n, tx, ty = self._n(), self._total(x), self._total(y)
        square = tx * ty - (self.noise.totals.get(x, 0.0) if x == y else 0.0)
        return (self._product(x, y) - square / (n * (1.0 + self.noise.n / n**2))) / (n - 1.0)

    def mean_cov(self, x: str, y: str) -> float:
        """Estimate the covariance of the estimated means of x and y: sampling, and noise by the delta method.

        ∂mean/∂total = 1/n and ∂mean/∂n = −(mean − centre)/n, so with noise variances v:
        cov/n + ([x = y]·v_x + (mean_x − c_x)(mean_y − c_y)·v_n)/n².
        """
        return (self.var(x) if x == y else self.cov(x, y)) / self._n() + self.noise_cov(x, y)

    def noise_cov(self, x: str, y: str) -> float:
        """Compute what noise alone makes of mean_cov."""
        n = self._n()
        noise = self._total(x) / n * self._total(y) / n * self.noise.n
        if x == y:
            noise += self.noise.totals.get(x, 0.0)
        return noise / n**2

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, as JSON has them; a product's key is "x*y"."""
        return {
            "n": self.n,
            "totals": dict(self.totals),
            "products": _join_sums(self.products),
            "noise": {
                "n": self.noise.n,
                "totals": dict(self.noise.totals),
                "products": _join_sums(self.noise.products),
            },
            "centres": dict(self.centres),
            "indicators": sorted(self.indicators),
        }

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> ArmSums:
        """Read the sums from their dict."""
        noise = raw["noise"]
        return ArmSums(
            n=raw["n"],
            totals=raw["totals"],
            products=_split(raw["products"]),
            noise=SumsNoise(noise["n"], noise["totals"], _split(noise["products"])),
            centres=raw["centres"],
            indicators=frozenset(raw["indicators"]),
        )

    def _n(self) -> float:
        least = max(2.0, LEAST_SIGNAL * math.sqrt(self.noise.n))
        if self.n < least:
            raise SumsTooSmall(f"n={self.n:.6g}: must be {least:.6g} or more to be analysed: wait for more shoppers")
        return self.n

    def _total(self, x: str) -> float:
        if x not in self.totals:
            raise DataError(f"column {x!r}: must be one of {', '.join(sorted(self.totals))}")
        return self.totals[x]

    def _product(self, x: str, y: str) -> float:
        """Compute Σ (x − c_x)(y − c_y).

        Of an indicator with itself it is (x − c)² = (1 − 2c)(x − c) + c(1 − c), of two thresholds the higher one's Σ.
        """
        if x == y and x in self.indicators:
            c = self.centre(x)
            return (1.0 - 2.0 * c) * self.totals[x] + c * (1.0 - c) * self.n
        if x in self.indicators and y in self.indicators and (higher := nested_threshold(x, y)) is not None:
            return self.totals[higher]
        key = pair(x, y)
        if key not in self.products:
            raise DataError(f"product {key}: is not among the sums; the metrics did not ask for it")
        return self.products[key]


def _add_parts(a: Mapping[K, float], b: Mapping[K, float]) -> dict[K, float]:
    return {key: a.get(key, 0.0) + b.get(key, 0.0) for key in {**a, **b}}


def _join_sums(values: Mapping[Pair, float]) -> dict[str, float]:
    return {f"{x}*{y}": value for (x, y), value in values.items()}


def _split(values: Mapping[str, float]) -> dict[Pair, float]:
    return {pair(*key.split("*", 1)): value for key, value in values.items()}
