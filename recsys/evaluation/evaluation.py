"""Offline evaluation on held-out events: full ranking over the items of train, every figure a mean over users.

What counts, so that figures of two models can be compared:

- Ranked are all items that occur in split.train. A test item that does not occur there can never be listed: it is left
  out of the relevant set and counted in the protocol (`unseen_test_items`, `unseen_test_targets`).
- Relevant are a user's distinct test items; a dislike is no target.
- Parts: `all`; `new`, where items of the user's own history are taken out of the ranking and of the relevant set;
  `repeat`, where only items of the own history are relevant and all are ranked; `again`, where only they are ranked
  too, as in a row of what to buy again; these over users with a history. `cold`: all items, users without one. On
  request `head` and `tail`: all are ranked, relevant are the most popular items that have half of all events, or the
  others. A user with nothing relevant in a part is nan there, not 0.
- `repeat` asks only those who came back for an item, so a list that bets all its places on that wins there and loses in
  `all`; `again` asks whether own items are in a good order.
- Popularity stands in every evaluation, added when it is not among the models.

Not replay (what was shown, event by event) and not the sampled protocol of old papers: that is
recsys/evaluation/sampled.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import ModelError
from data.interactions import Interactions
from data.split import Split
from recsys.evaluation.baselines import item_matrix, popularity
from recsys.evaluation.metrics import METRICS, coverage, gini, novelty, ranked_hits, self_information, user_metrics
from recsys.evaluation.recommender import Recommender, list_scores
from recsys.evaluation.statistics import RESAMPLES, PairedDifference, holm, mean_intervals, paired_difference
from recsys.evaluation.targets import Targets, collect_targets
from recsys.search.ranking import NEVER, best, sort_keys

Floats = npt.NDArray[np.float64]
Part = Mapping[str, Floats]

PARTS = ("all", "new", "repeat", "again", "cold")
ON_REQUEST = ("head", "tail")
CELLS_AT_ONCE = 8_000_000
"""Scores held at a time, users × items: 32 MB as float32, 64 MB as sort keys."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Per-user figures of several models on the same users, and their means with intervals.

    protocol: what was measured and how, JSON values only.
    users: (n,) int64, the users with a target, ascending.
    values: model → part → metric (`ndcg@20`, …) → (n,) float64, nan for users who are not in the part.
    lists: model → part → coverage, gini, novelty of what was listed (absent where nothing was measured).
    """

    protocol: Mapping[str, str | int | float | None]
    users: npt.NDArray[np.int64]
    values: Mapping[str, Mapping[str, Part]]
    lists: Mapping[str, Mapping[str, Mapping[str, float]]]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, in the order of the table."""
        return tuple(self.values)

    def column(self, model: str, metric: str, part: str = "all") -> Floats:
        """Return one metric of one model for each of `users`, (n,) float64; nan outside the part."""
        try:
            return self.values[model][part][metric]
        except KeyError:
            raise ModelError(
                f"model={model!r}, part={part!r}, metric={metric!r}: must be in {list(self.models)}, "
                f"{list(next(iter(self.values.values())))}, {self._metrics}"
            ) from None

    @property
    def _metrics(self) -> list[str]:
        return list(next(iter(next(iter(self.values.values())).values())))

    @cached_property
    def intervals(self) -> Mapping[tuple[str, str, str], tuple[float, float]]:
        """(model, part, metric) → 95 % interval of the mean; within a part all models share their resamples."""
        intervals: dict[tuple[str, str, str], tuple[float, float]] = {}
        for part in next(iter(self.values.values())):
            names = [(model, part, metric) for model in self.models for metric in self._metrics]
            columns = np.stack([self.column(model, metric, part) for model, _, metric in names], axis=1)
            bounds = mean_intervals(
                columns,
                resamples=int(self.protocol["bootstrap"] or 0),
                seed=int(self.protocol["seed"] or 0),
                within=(0, 1),
            )
            intervals |= {name: (float(low), float(high)) for name, (low, high) in zip(names, bounds, strict=True)}
        return intervals

    def to_dict(self) -> dict[str, object]:
        """Convert the table to JSON.

        `{"protocol": {...}, "models": [{"model", "users", "all": {..., "ci95": {...}}, ...}]}`.

        `users` of a model counts those of `all`; a part nobody is in, or the model has no answer for, is null.
        """
        rows: list[dict[str, object]] = []
        for model in self.models:
            row: dict[str, object] = {"model": model, "users": self._size(model, "all")}
            row |= {part: self._part(model, part) for part in self.values[model]}
            rows.append(row)
        return {"protocol": dict(self.protocol), "models": rows}

    def to_frame(self) -> pl.DataFrame:
        """Make a long table: model, part, metric, value, low, high, users; list figures have no interval."""
        rows: list[tuple[str, str, str, float, float | None, float | None, int]] = []
        for model in self.models:
            for part in self.values[model]:
                size = self._size(model, part)
                if size == 0:
                    continue
                for metric in self._metrics:
                    low, high = self.intervals[model, part, metric]
                    mean = float(np.nanmean(self.column(model, metric, part)))
                    rows.append((model, part, metric, mean, low, high, size))
                figures = self.lists[model].get(part, {})
                rows += [(model, part, name, value, None, None, size) for name, value in figures.items()]
        schema = {"model": pl.String, "part": pl.String, "metric": pl.String, "value": pl.Float64}
        schema |= {"low": pl.Float64, "high": pl.Float64, "users": pl.Int64}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def _size(self, model: str, part: str) -> int:
        return int((~np.isnan(self.column(model, self._metrics[0], part))).sum())

    def _part(self, model: str, part: str) -> dict[str, object] | None:
        if self._size(model, part) == 0:
            return None
        means: dict[str, object] = {"users": self._size(model, part)}
        means |= {metric: float(np.nanmean(self.column(model, metric, part))) for metric in self._metrics}
        means |= self.lists[model].get(part, {})
        means["ci95"] = {metric: list(self.intervals[model, part, metric]) for metric in self._metrics}
        return means


def evaluate(
    models: Sequence[Recommender],
    split: Split,
    *,
    histories: Interactions | None = None,
    users: npt.NDArray[np.int64] | None = None,
    k: int = 20,
    now: int | None = None,
    batch: int | None = None,
    bootstrap: int = RESAMPLES,
    seed: int = 0,
    parts: Sequence[str] = PARTS,
) -> Evaluation:
    """Rank all items of split.train for every user with a target, and measure the first k.

    histories: what each user did before the targets, on the split's axes; split.train unless a session's first events
        are known too. Its users with events are warm, the others cold; its items are those that are not `new`.
    users: the users to look at, all by default. now: split.at by default, or just after the last event of histories.
    batch: users scored at a time, by default as many as fit in CELLS_AT_ONCE, 512 at most. parts: of PARTS and
    ON_REQUEST.
    """
    histories = split.train if histories is None else histories
    models = with_popularity(models, split.train)
    known = collect_targets(split, histories, users)
    now = moment_of(split, histories) if now is None else now
    batch = max(1, min(512, CELLS_AT_ONCE // split.train.n_items)) if batch is None else batch
    if k < 1 or batch < 1:
        raise ModelError(f"k={k}, batch={batch}: both must be 1 or more")
    if unknown := [part for part in parts if part not in (*PARTS, *ON_REQUEST)]:
        raise ModelError(f"parts={unknown}: must be among {', '.join((*PARTS, *ON_REQUEST))}")
    tallies = {model.name: _Tally(known, k, split.train, parts) for model in models}
    for start in range(0, len(known.users), batch):
        rows = slice(start, min(start + batch, len(known.users)))
        for model in models:
            scores, of_new = list_scores(model, histories, known.users[rows], now, split.train.n_items)
            tallies[model.name].add(scores, of_new, rows, histories)
    warm = int(known.warm.sum())
    protocol: dict[str, str | int | float | None] = {
        "ranking": "full",
        "split": split.name,
        "cut": None if split.at is None else iso(split.at),
        "k": k,
        "n_users": warm,
        "cold_users": len(known.users) - warm,
        "n_items": int(split.train.n_items),
        "candidates": int(known.candidates.sum()),
        "targets": len(known.items),
        "unseen_test_items": known.unseen_items,
        "unseen_test_targets": known.unseen_targets,
        "users_with_unseen_targets_only": known.users_dropped,
        "bootstrap": bootstrap,
        "seed": seed,
    }
    return Evaluation(
        protocol=protocol,
        users=known.users,
        values={name: tally.values for name, tally in tallies.items()},
        lists={name: tally.lists() for name, tally in tallies.items()},
    )


class _Tally:
    """Figures of one model, filled batch by batch."""

    def __init__(self, known: Targets, k: int, train: Interactions, parts: Sequence[str]) -> None:
        self._known, self._k, self._parts = known, k, parts
        self._head = head_items(train)
        had = np.bincount(item_matrix(train).indices, minlength=train.n_items)
        self._information = self_information(had, train.n_users)
        n = len(known.users)
        self.values = {part: {f"{m}@{k}": np.full(n, np.nan) for m in METRICS} for part in parts}
        self._bits = {part: np.full(n, np.nan) for part in parts}
        self._exposure = {part: np.zeros(train.n_items, dtype=np.int64) for part in parts}

    def add(
        self,
        scores: npt.NDArray[np.float32],
        of_new: npt.NDArray[np.float32],
        rows: slice,
        histories: Interactions,
    ) -> None:
        """Measure one batch: scores (rows, n_items), nan rows for no answer; of_new: for the part new."""
        known = self._known
        answered = ~np.isnan(scores[:, 0])
        keys = self._keys(scores)
        listed = best(keys, self._k)
        warm = known.warm[rows]
        everything = np.ones(len(self._head), dtype=np.bool_)
        for part, users, wanted, among in (
            ("all", warm, None, everything),
            ("repeat", warm, True, everything),
            ("cold", ~warm & answered, None, everything),
            ("head", warm, None, self._head),
            ("tail", warm, None, ~self._head),
        ):
            self._measure(part, listed, rows, users, wanted, among)
        batch_histories = histories.users(known.users[rows])
        if "again" in self._parts:
            among_own = np.full_like(keys, NEVER)
            among_own[batch_histories.user_idx, batch_histories.item_idx] = keys[
                batch_histories.user_idx, batch_histories.item_idx
            ]
            self._measure("again", best(among_own, self._k), rows, warm, True, everything)
        if "new" in self._parts:
            keys = keys if of_new is scores else self._keys(of_new)
            keys[batch_histories.user_idx, batch_histories.item_idx] = NEVER
            self._measure("new", best(keys, self._k), rows, warm, False, everything)

    def _keys(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Sort keys of the candidates, (rows, n_items)."""
        keys = sort_keys(np.where(np.isnan(scores[:, :1]), np.float32(0.0), scores))
        keys[:, ~self._known.candidates] = NEVER
        return keys

    def _measure(
        self,
        part: str,
        listed: npt.NDArray[np.int32],
        rows: slice,
        users: npt.NDArray[np.bool_],
        seen: bool | None,
        among: npt.NDArray[np.bool_],
    ) -> None:
        """Measure figures of `users` (rows,) bool.

        seen: only targets (not) in the user's history count, None: all do.

        among: (n_items,) bool, items that can be a target at all. Does nothing for a part that is not asked for.
        """
        if part not in self._parts:
            return
        offsets, items = self._known.relevant(rows, seen)
        keep = among[items]
        offsets, items = np.concatenate(([0], np.cumsum(keep)))[offsets], items[keep]
        n_relevant = np.diff(offsets)
        inside = users & (n_relevant > 0)
        measured = user_metrics(ranked_hits(listed, offsets, items), n_relevant, self._k)
        for metric, values in measured.items():
            self.values[part][metric][rows] = np.where(inside, values, np.nan)
        shown = listed[inside]
        self._bits[part][rows] = np.where(inside, novelty(listed, self._information), np.nan)
        self._exposure[part] += np.bincount(shown[shown >= 0], minlength=len(self._exposure[part]))

    def lists(self) -> dict[str, dict[str, float]]:
        """Measure coverage and Gini over the candidates, mean novelty in bits; for parts that listed anything."""
        return {
            part: {
                f"coverage@{self._k}": coverage(exposure[self._known.candidates]),
                f"gini@{self._k}": gini(exposure[self._known.candidates]),
                f"novelty@{self._k}": float(np.nanmean(self._bits[part])),
            }
            for part, exposure in self._exposure.items()
            if exposure.any()
        }


def head_items(train: Interactions) -> npt.NDArray[np.bool_]:
    """Mark the most popular items that together have half of all events, (n_items,) bool; ties by lower item_idx."""
    counts = np.bincount(train.item_idx, minlength=train.n_items)
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    head = np.zeros(train.n_items, dtype=np.bool_)
    head[order[before * 2 < counts.sum()]] = True
    return head


def with_popularity(models: Sequence[Recommender], train: Interactions) -> list[Recommender]:
    """Add popularity at the end of the models if it is missing; names must be distinct."""
    names = [model.name for model in models]
    if len(set(names)) != len(names):
        raise ModelError(f"models={names}: names must be distinct")
    return [*models] if "popularity" in names else [*models, popularity(train)]


def moment_of(split: Split, histories: Interactions) -> int:
    """Decide when recommendations are asked for: the split's time, or 1 µs after the last event of histories."""
    return split.at if split.at is not None else int(histories.time.max(initial=0)) + 1


def iso(micros: int) -> str:
    """Format µs since 1970 as ISO time in UTC."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).isoformat()


@dataclass(frozen=True)
class Comparison:
    """Is a better than b, over the same users? p_holm is corrected for all comparisons made together."""

    a: str
    b: str
    metric: str
    part: str
    found: PairedDifference
    p_holm: float


def compare(evaluation: Evaluation, a: str, b: str, metric: str, part: str = "all") -> PairedDifference:
    """Bootstrap a − b over the users who have both figures, paired."""
    return paired_difference(
        evaluation.column(a, metric, part),
        evaluation.column(b, metric, part),
        resamples=int(evaluation.protocol["bootstrap"] or 0),
        seed=int(evaluation.protocol["seed"] or 0),
    )


def compare_several(
    evaluation: Evaluation, pairs: Sequence[tuple[str, str]], metric: str, part: str = "all"
) -> list[Comparison]:
    """Compare several pairs at once, their p-values adjusted by Holm."""
    differences = [compare(evaluation, a, b, metric, part) for a, b in pairs]
    adjusted = holm([difference.p_value for difference in differences])
    return [
        Comparison(a, b, metric, part, difference, float(p))
        for (a, b), difference, p in zip(pairs, differences, adjusted, strict=True)
    ]
