"""Leaks in what was learned or computed: statistics, joins, popularity, negatives and settings that saw the test.

Each guard computes again what a clean set-up would have, and compares. A guard never needs to know how it was done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats

from data.interactions import MICROS_PER_DAY, Interactions
from data.leakage import CHANCE, Leak
from data.leakage_twins import twice
from data.split import iso

Floats = npt.NDArray[np.float64]
Shape = tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]
"""From a score to something proportional to counts, and back."""

AGES_DAYS = (0, 0.25, 0.5, 1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 90, 180)
"""Events before the cut are counted by age: any decay is close to a weighted sum of these counts."""
AHEAD_DAYS = (0, 1, 3, 7, 14, 30, 60)
SAME = 1e-6
"""Relative difference up to which two figures are the same one, computed in another order or in float32."""


@dataclass(frozen=True, eq=False)
class PropertyJoin:
    """A property as it was joined to events, and the record of its values.

    joined: item_id, time, value (null where none was joined). record: item_id, valid_from, value; times of one type.
    """

    name: str
    joined: pl.DataFrame
    record: pl.DataFrame


@dataclass(frozen=True, eq=False)
class FittedStatistics:
    """Statistics that are applied to a column, with its values on both sides. What is None was not fitted."""

    name: str
    train: npt.NDArray[np.generic]
    test: npt.NDArray[np.generic]
    mean: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    vocabulary: frozenset[object] | None = None


@dataclass(frozen=True, eq=False)
class Features:
    """Columns (rows,) that a model is given beside what it should predict.

    target: (rows,) the label of each row, 0 or 1; or, with item_target, the item_idx that is to be found.
    """

    columns: dict[str, Floats]
    target: npt.NDArray[np.generic]
    item_target: bool = False


def history_after_asked(
    histories: Interactions,
    test: Interactions,
    at: int | None,
    asked: npt.NDArray[np.int64] | None,
    log: Interactions | None,
) -> Leak | None:
    """Detect events in a history from after the moment its model is asked at, or the target itself."""
    if asked is not None:  # logs of whole days: what came before on that day has the same time
        late = int((histories.time > asked[histories.user_idx]).sum())
    else:
        late = 0 if at is None else int((histories.time >= at).sum())
    if late:
        what = f"{late} of {histories.n_events} events are from after the moment their user is asked at"
        return Leak("history_after_asked", True, late, what, "histories")
    if log is None and asked is not None:
        return None
    if n := len(twice(histories, test, log)):
        return Leak("history_after_asked", True, n, f"{n} events of histories are test events", "histories")
    return None


def stale_property(join: PropertyJoin) -> Leak | None:
    """Detect a value that was joined to events that came before it was recorded."""
    rows = join.joined.select("item_id", "time", joined="value").with_row_index("row").sort("time")
    record = join.record.select("item_id", "valid_from", "value").sort("valid_from", maintain_order=True)
    known = rows.join_asof(
        record, left_on="time", right_on="valid_from", by="item_id", strategy="backward", check_sortedness=False
    )
    wrong = known.filter(pl.col("joined").is_not_null() & ~pl.col("joined").eq_missing(pl.col("value")))
    later = wrong.join(record.rename({"value": "joined", "valid_from": "recorded"}), on=["item_id", "joined"])
    rows_late = later.filter(pl.col("recorded") > pl.col("time"))["row"].n_unique()
    if not rows_late:
        return None
    what = f"{rows_late} of {len(rows)} events have a value that was recorded after them"
    return Leak("stale_property", True, rows_late, what, f"property {join.name}")


def future_popularity(
    scores: npt.NDArray[np.floating], train: Interactions, future: Interactions, at: int
) -> Leak | None:
    """Detect a popularity or trend that only counts after the cut explain, not counts before it.

    Any weighing of events by age and kind, also under a logarithm or a root, is a regression on counts by age and kind;
    the F-test asks whether counts of the future add to it. future: the events from `at` on.
    """
    y = np.asarray(scores, dtype=np.float64)
    past = _counts_by_age(at - train.time, train, AGES_DAYS)
    ahead = _counts_by_age(future.time - at, future, AHEAD_DAYS)
    rows = np.isfinite(y)
    both = np.concatenate([past, ahead], axis=1)[rows]
    n, p = int(rows.sum()), both.shape[1]
    if n < 2 * p or np.ptp(y[rows]) == 0:
        return None
    values = y[rows]
    shapes: list[Shape] = [(np.asarray, np.asarray), (np.square, lambda x: np.sqrt(np.maximum(x, 0)))]
    if values.max() < 50:  # a logarithm of counts
        shapes.append((np.expm1, lambda x: np.log1p(np.maximum(x, 0))))
    residuals = [tuple(_residual(columns, values, shape) for columns in (both, past[rows])) for shape in shapes]
    with_future, without = min(residuals)
    q = ahead.shape[1]
    if without / n < 1e-8 or with_future > 0.5 * without:
        return None
    f = (without - with_future) / q / max(with_future / (n - p), 1e-30)
    if stats.f.sf(f, q, n - p) > CHANCE:
        return None
    gain = 1 - with_future / without
    what = f"{gain:.0%} of what events before {iso(at)} leave open is explained by events after it"
    items = int((np.bincount(future.item_idx, minlength=future.n_items) > 0).sum())
    return Leak("future_popularity", True, items, what, "popularity")


def negatives_know_test(negatives: npt.NDArray[np.int64], train: Interactions, test: Interactions) -> Leak | None:
    """Detect training negatives that avoid the user's test items, so that these alone are never pushed down.

    negatives: (n, 2) user and item. Expected are as many hits of test items as each item's share of all negatives says;
    a set-up where that is below 14 cannot tell.
    """
    n_items = train.n_items
    had = _ascending(train.user_idx.astype(np.int64) * n_items + train.item_idx)
    wanted = _ascending(test.user_idx.astype(np.int64) * n_items + test.item_idx)
    wanted = wanted[~_among(wanted, had)]
    drawn = np.bincount(negatives[:, 0], minlength=train.n_users)
    share = (np.bincount(negatives[:, 1], minlength=n_items) + 1.0) / (len(negatives) + n_items)
    expected = float((drawn[wanted // n_items] * share[wanted % n_items]).sum())
    hits = int(_among(negatives[:, 0] * n_items + negatives[:, 1], wanted).sum())
    if hits >= 0.5 * expected or stats.poisson.cdf(hits, expected) > CHANCE:
        return None
    what = f"{hits} negatives are test items of their user, {expected:.0f} would be by chance"
    return Leak("negatives_know_test", True, len(wanted), what, "training negatives")


def _ascending(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sort distinct keys. By sorting: np.unique's hashing takes ten times as long for millions of them."""
    ordered = np.sort(keys)
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))] if len(ordered) else ordered


def _among(keys: npt.NDArray[np.int64], known: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Mark which keys are among the known, ascending ones.

    Keys are mostly ordered by user: binary search stays in cache.
    """
    if not len(known):
        return np.zeros(len(keys), dtype=np.bool_)
    return np.equal(known[np.minimum(np.searchsorted(known, keys), len(known) - 1)], keys)


def tuned_on_test(tuned_on: Interactions, test: Interactions, at: int | None, log: Interactions | None) -> Leak | None:
    """Detect settings that were chosen by test events."""
    late = 0 if at is None else int((tuned_on.time >= at).sum())
    n = max(late, len(twice(tuned_on, test, log)))
    if not n:
        return None
    what = f"{n} of {tuned_on.n_events} events that settings were chosen by are of the test or from after the cut"
    return Leak("tuned_on_test", True, n, what, "tuned_on")


def fitted_on_test(fitted: FittedStatistics) -> Leak | None:
    """Detect a statistic or vocabulary that is not what train gives.

    Certain where it is what train and test together give.
    """
    if fitted.vocabulary is not None:
        unknown = fitted.vocabulary & (set(fitted.test.tolist()) - set(fitted.train.tolist()))
        if unknown:
            what = f"{len(unknown)} of {len(fitted.vocabulary)} words occur in test only"
            return Leak("fitted_on_test", True, len(unknown), what, f"vocabulary of {fitted.name}")
    wrong: list[str] = []
    certain = False
    for name, value in (("mean", fitted.mean), ("std", fitted.std), ("low", fitted.low), ("high", fitted.high)):
        if value is None:
            continue
        columns = fitted.train, np.concatenate([fitted.train, fitted.test]), fitted.test
        of_train, both, alone = (_statistics(column, name) for column in columns)
        if _same(value, of_train, fitted.train):
            continue
        certain = certain or _same(value, both, fitted.train) or _same(value, alone, fitted.train)
        wrong.append(f"{name} {value:.6g} where train has {of_train[0]:.6g}")
    if not wrong:
        return None
    return Leak("fitted_on_test", certain, len(wrong), ", ".join(wrong), f"statistics of {fitted.name}")


def target_in_feature(features: Features) -> Leak | None:
    """Detect a column that gives the target away. It is the label, or a function of the item that is to be found."""
    for name, column in features.columns.items():
        known = np.isfinite(column)
        x, y = np.asarray(column, dtype=np.float64)[known], np.asarray(features.target)[known]
        if len(x) < 20 or np.ptp(x) == 0:
            continue
        share = _share_explained(x, y) if features.item_target else _separation(x, y)
        if share >= (0.98 if features.item_target else 0.999):
            claim, of = "separates the labels", "of pairs of rows are in order"
            if features.item_target:
                claim, of = "is a function of the item to be found", "of its variance"
            what = f"{name} {claim} ({share:.1%} {of})"
            return Leak("target_in_feature", True, len(x), what, f"feature {name}")
    return None


def _counts_by_age(age: npt.NDArray[np.int64], events: Interactions, edges: tuple[float, ...]) -> Floats:
    """Count events by age, (n_items, ages × kinds present)."""
    bucket = np.searchsorted(np.array(edges) * MICROS_PER_DAY, age, side="right") - 1
    kinds = np.unique(events.kind)
    code = np.searchsorted(kinds, events.kind) * len(edges) + np.maximum(bucket, 0)
    width = max(1, len(kinds) * len(edges))
    counts = np.bincount(events.item_idx.astype(np.int64) * width + code, minlength=events.n_items * width)
    table = counts.reshape(events.n_items, width).astype(np.float64)
    return table[:, table.any(axis=0)]


def _residual(columns: Floats, y: Floats, shape: Shape) -> float:
    """Compute what a least-squares fit of shape(y), turned back, leaves of y.

    It is the sum of squares over the variance of y.
    """
    counts_like, back = shape
    scaled = columns / np.maximum(columns.std(axis=0), 1e-12)
    design = np.concatenate([np.ones((len(y), 1)), scaled], axis=1)
    fit = np.linalg.lstsq(design, counts_like(y), rcond=None)[0]
    return float(np.square(y - back(design @ fit)).sum() / y.var())


def _statistics(column: npt.NDArray[np.generic], name: str) -> tuple[float, ...]:
    """Compute whatever may go by this name: both definitions of a standard deviation."""
    x = np.asarray(column, dtype=np.float64)
    if name == "std":
        return (float(x.std()), float(x.std() * np.sqrt(len(x) / max(len(x) - 1, 1))))
    return ({"mean": float(x.mean()), "low": float(x.min()), "high": float(x.max())}[name],)


def _same(value: float, candidates: tuple[float, ...], train: npt.NDArray[np.generic]) -> bool:
    scale = max(abs(value), float(np.asarray(train, dtype=np.float64).std()), 1e-12)
    return any(abs(value - candidate) <= SAME * scale for candidate in candidates)


def _separation(x: Floats, y: npt.NDArray[np.generic]) -> float:
    """Share of pairs of a 1-row and a 0-row that the column puts in one order (AUC or 1 − AUC, the larger)."""
    ones = y.astype(bool)
    n_ones, n_zeros = int(ones.sum()), int((~ones).sum())
    if not n_ones or not n_zeros:
        return 0.0
    ranks = stats.rankdata(x)
    auc = (ranks[ones].sum() - n_ones * (n_ones + 1) / 2) / (n_ones * n_zeros)
    return float(max(auc, 1 - auc))


def _share_explained(x: Floats, items: npt.NDArray[np.generic]) -> float:
    """Share of a column's variance that the target item explains, over items that are the target twice or more."""
    _, code, counts = np.unique(items, return_inverse=True, return_counts=True)
    again = counts[code] >= 2
    x, code = x[again], code[again]
    if len(x) < 20 or x.var() == 0:
        return 0.0
    sizes = np.bincount(code)
    means = np.bincount(code, weights=x) / np.maximum(sizes, 1)
    groups = int((sizes > 0).sum())
    within = np.square(x - means[code]).sum() / max(len(x) - groups, 1)  # unbiased: many groups explain nothing
    return float(1 - within / x.var(ddof=1))
