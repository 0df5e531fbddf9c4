"""Figures of a replay: means over users of each user's mean, with intervals and paired comparisons, bucket by bucket.

A user is one vote however many events they have, and is what is resampled (recsys/evaluation/statistics.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.evaluation.metrics import METRICS
from recsys.evaluation.statistics import bootstrap_means, difference_of_means, holm, mean_intervals
from recsys.replay.cuts import Cut
from recsys.replay.ranks import UNLISTED

Floats = npt.NDArray[np.float64]

CUT_ROWS = pl.Schema(
    {
        "arm": pl.String(),
        "target": pl.String(),
        "cut": pl.String(),
        "bucket": pl.String(),
        "order": pl.Int32(),
        "metric": pl.String(),
        "value": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "users": pl.Int64(),
        "events": pl.Int64(),
    }
)
COMPARISON_ROWS = pl.Schema(
    {
        "target": pl.String(),
        "cut": pl.String(),
        "bucket": pl.String(),
        "order": pl.Int32(),
        "metric": pl.String(),
        "a": pl.String(),
        "b": pl.String(),
        "difference": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "p_value": pl.Float64(),
        "p_holm": pl.Float64(),
        "users": pl.Int64(),
    }
)
NOT_COMPARED = ("day",)
"""Cuts of too many buckets for one family of comparisons."""


@dataclass(frozen=True, eq=False)
class ScoredQuestions:
    """The questions of one target that were asked, in order of time: (q,) each, (q, arms) where an arm answered.

    row: of the log; bundle: that answered; past: events the device had behind it; relevant: right items that could be
    listed: 0 where none could, which counts in no figure; head: popular item, for next_item, else None; rank: items
    before the first right one, UNLISTED; gain, recall: ndcg@k and recall@k, None where rank says it all.
    """

    target: str
    row: npt.NDArray[np.int64]
    bundle: npt.NDArray[np.int32]
    past: npt.NDArray[np.int32]
    relevant: npt.NDArray[np.int32]
    head: npt.NDArray[np.bool_] | None
    rank: npt.NDArray[np.int32]
    gain: Floats | None
    recall: Floats | None


def metric_names(k: int) -> tuple[str, ...]:
    """Name the metrics that every question has."""
    return tuple(f"{name}@{k}" for name in ("ndcg", "hit", "mrr", "recall"))


def values(scored: ScoredQuestions, metric: str, arm: int, k: int) -> Floats:
    """Compute one metric of one arm, (q,) float64; nan where no right item could be listed. No answer is a miss."""
    name = metric.partition("@")[0]
    if name == "ndcg" and scored.gain is not None:
        return np.asarray(scored.gain[:, arm])
    if name == "recall" and scored.recall is not None:
        return np.asarray(scored.recall[:, arm])
    by_place = METRICS[name](np.eye(k + 1, k, dtype=np.bool_), np.ones(k + 1, dtype=np.int64), k)
    rank = scored.rank[:, arm]
    place = np.where((rank == UNLISTED) | (rank > k), k, rank)
    return np.where(scored.relevant > 0, by_place[place], np.nan)


def cut_table(
    scored: ScoredQuestions,
    cuts: Sequence[Cut],
    user: npt.NDArray[np.int32],
    arms: Sequence[str],
    k: int,
    *,
    resamples: int,
    seed: int,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Make the rows of CUT_ROWS and of COMPARISON_ROWS for all cuts of one target.

    user: (q,) of each question.

    regret@k: how much ndcg@k the arm missed of what the best arm had at each question.
    """
    names = (*metric_names(k), f"regret@{k}")
    gains = [values(scored, names[0], arm, k) for arm in range(len(arms))]
    oracle = np.max(gains, axis=0) if gains else np.empty(0)
    answerable = scored.relevant > 0
    pairs = list(combinations(range(len(arms)), 2))
    rows: list[tuple[object, ...]] = []
    compared: list[tuple[object, ...]] = []
    for cut in cuts:
        groups = _Groups(user, cut, answerable)
        table = np.empty((groups.n, len(arms) * len(names)))
        for arm in range(len(arms)):
            for place, name in enumerate(names):
                arm_values = oracle - gains[arm] if name.startswith("regret") else values(scored, name, arm, k)
                table[:, arm * len(names) + place] = groups.means(arm_values)
        family: list[tuple[object, ...]] = []
        p_values: list[float] = []
        for bucket, part, events in groups.buckets():
            label = cut.labels[bucket]
            bounds = mean_intervals(table[part], resamples=resamples, seed=seed, within=(0, 1))
            users = part.stop - part.start
            for column, (mean, (low, high)) in enumerate(zip(table[part].mean(axis=0), bounds, strict=True)):
                arm, place = divmod(column, len(names))
                place_of = (arms[arm], scored.target, cut.name, label, bucket, names[place])
                rows.append((*place_of, float(mean), float(low), float(high), users, events))
            if cut.name in NOT_COMPARED or not pairs:
                continue
            gained = np.stack([table[part, a * len(names)] - table[part, b * len(names)] for a, b in pairs], axis=1)
            means = bootstrap_means(gained, resamples=resamples, seed=seed)
            for place, (a, b) in enumerate(pairs):
                difference = difference_of_means(float(gained[:, place].mean()), means[:, place], users=users)
                figures = (difference.difference, difference.low, difference.high, difference.p_value)
                p_values.append(difference.p_value)
                family.append((scored.target, cut.name, label, bucket, names[0], arms[a], arms[b], *figures, users))
        adjusted = holm(p_values) if family else np.empty(0)
        compared += [(*row[:11], float(p), row[11]) for row, p in zip(family, adjusted, strict=True)]
    return (
        pl.DataFrame(rows, schema=CUT_ROWS, orient="row"),
        pl.DataFrame(compared, schema=COMPARISON_ROWS, orient="row"),
    )


class _Groups:
    """Questions by (bucket, user), buckets first."""

    def __init__(self, user: npt.NDArray[np.int32], cut: Cut, mask: npt.NDArray[np.bool_]) -> None:
        self._kept = np.flatnonzero(mask & (cut.codes >= 0))
        self._n_users = int(user.max(initial=0)) + 1
        key = cut.codes[self._kept].astype(np.int64) * self._n_users + user[self._kept]
        self._key, self._place = np.unique(key, return_inverse=True)
        self._events = np.bincount(self._place, minlength=len(self._key))

    @property
    def n(self) -> int:
        return len(self._key)

    def means(self, figures: Floats) -> Floats:
        """Average each group's figures, (n,); added in the order of the questions."""
        return np.asarray(np.bincount(self._place, weights=figures[self._kept], minlength=self.n) / self._events)

    def buckets(self) -> Iterator[tuple[int, slice, int]]:
        """Yield each bucket with its groups and its number of events."""
        bucket = self._key // self._n_users
        for number in np.unique(bucket).tolist():
            part = slice(*np.searchsorted(bucket, (number, number + 1)).tolist())
            yield number, part, int(self._events[part].sum())


def user_means(
    user: npt.NDArray[np.int64], figures: Floats, *, resamples: int, seed: int
) -> list[tuple[float, float, float, int]]:
    """Average each column over users.

    Returns each column's mean over users of their means, its interval, and the users. figures: (n, m), nan apart.
    """
    rows = []
    for column in figures.T:
        there = ~np.isnan(column)
        users, place = np.unique(user[there], return_inverse=True)
        if len(users) == 0:
            rows.append((np.nan, np.nan, np.nan, 0))
            continue
        means = np.bincount(place, weights=column[there]) / np.bincount(place)
        ((low, high),) = mean_intervals(means[:, None], resamples=resamples, seed=seed, within=(0, np.inf))
        rows.append((float(means.mean()), float(low), float(high), len(users)))
    return rows
