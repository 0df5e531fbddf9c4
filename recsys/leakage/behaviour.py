"""Leaks that only show in behaviour: a model that reads the future, a protocol that a model without knowledge beats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions
from data.leakage import Leak
from data.split import iso, known_at
from recsys.evaluation.baselines import FixedList
from recsys.evaluation.recommender import Recommender

ASKED = 64
"""Users whose scores are compared: a model that reads the future reads it for all."""
RANDOM_MODELS = 8
STANDARD_ERRORS = 4.0


@dataclass(frozen=True, eq=False)
class ScoringProtocol:
    """The procedure that makes a model's figure.

    score: from a model to its mean figure over n users, each in 0..1. chance: what it must be for a model that knows
    nothing, such as k / (n_negatives + 1) of hit@k.
    """

    score: Callable[[Recommender], float]
    chance: float
    n: int


@dataclass(frozen=True, eq=False)
class RandomScorer:
    """A fresh random score for every user and item, the same however users are batched."""

    n_items: int
    seed: int
    name: str = "knows_nothing"

    def scores(self, histories: Interactions, users: npt.NDArray[np.int64], now: int) -> npt.NDArray[np.float32]:
        """Score at random in 0..1, (len(users), n_items) float32."""
        rows = [np.random.default_rng((self.seed, int(user))).random(self.n_items, dtype=np.float32) for user in users]
        return np.stack(rows) if rows else np.empty((0, self.n_items), dtype=np.float32)


def reads_future(
    fit: Callable[[Interactions, int], Recommender], log: Interactions, at: int, *, seed: int = 0
) -> Leak | None:
    """Detect a model whose scores at `at` (µs) change when only what happens from then on changes.

    fit: from a log and the moment to a model, as a replay or an evaluation does it. It is called with the log and with
    logs whose later events have other items, other times and other users; scores may differ no more than between two
    fits of one log. Asked are users with a history, who are handed what was known at `at`.
    """
    histories = known_at(log, at)
    rng = np.random.default_rng(seed)
    warm = np.flatnonzero(histories.counts)
    if not len(warm) or int((log.time >= at).sum()) < 2:
        return None
    users = np.sort(rng.choice(warm, min(ASKED, len(warm)), replace=False))

    def scored(version: Interactions) -> npt.NDArray[np.float64]:
        scores = np.asarray(fit(version, at).scores(histories, users, at), dtype=np.float64)
        return np.where(np.isfinite(scores), scores, 0.0)

    base = scored(log)
    scale = max(float(np.abs(base).max()), 1e-12)
    by_itself = np.abs(scored(log) - base).max() / scale
    moved = max(np.abs(scored(version) - base).max() / scale for version in _other_futures(log, at, rng))
    if moved <= 1e-6 + 3 * by_itself:
        return None
    what = f"scores at {iso(at)} change by up to {moved:.1%} when only later events are changed"
    if by_itself > 0:
        what += f" (two fits of one log differ by {by_itself:.1%})"
    return Leak("model_reads_future", True, len(users), what, "the model")


def trained_on_test(until: int, test: Interactions) -> Leak | None:
    """Detect a ready-made model that saw the test's time.

    It learned from events before `until` (µs), and test events are earlier than that.
    """
    if not (n := int((test.time < until).sum())):
        return None
    what = f"it learned from events until {iso(until)}, {n} of {test.n_events} test events are earlier"
    return Leak("model_reads_future", True, n, what, "the model")


def above_chance(protocol: ScoringProtocol, n_items: int) -> Leak | None:
    """Detect a protocol that favours its targets.

    A model without any knowledge is above chance, or one that scores all items alike near the top.
    """
    figures = [protocol.score(RandomScorer(n_items, seed)) for seed in range(RANDOM_MODELS)]
    spread = max(protocol.chance * (1 - protocol.chance), 1e-9)
    error = float(np.sqrt(spread / (protocol.n * RANDOM_MODELS)))
    alike = protocol.score(FixedList("alike", np.zeros(n_items, dtype=np.float32)))
    mean = float(np.mean(figures))
    words = []
    if mean - protocol.chance > STANDARD_ERRORS * error:
        words.append(f"random scores reach {mean:.3f}")
    if alike > (1 + protocol.chance) / 2:
        words.append(f"equal scores reach {alike:.3f}")
    if not words:
        return None
    what = f"{' and '.join(words)} where chance is {protocol.chance:.3f}"
    return Leak("above_chance", True, protocol.n, what, "the protocol")


def candidates_from_test(candidates: npt.NDArray[np.bool_], train: Interactions, test: Interactions) -> Leak | None:
    """Detect candidates that are the test's own items.

    They are (n_items,) bool that leaves out what train has and test has not.
    """
    in_train = np.bincount(train.item_idx, minlength=train.n_items) > 0
    in_test = np.bincount(test.item_idx, minlength=test.n_items) > 0
    others = in_train & ~in_test
    known = in_train & in_test
    if others.sum() < 10 or not known.any():
        return None
    left, listable = float(candidates[others].mean()), float(candidates[known].mean())
    if listable - left < 0.5:
        return None
    what = f"{listable:.0%} of the test's items can be listed, of the {others.sum()} that only train has {left:.0%}"
    return Leak("candidates_from_test", True, int(others.sum()), what, "candidates")


def positives_left_out(
    candidates: npt.NDArray[np.int64], users: npt.NDArray[np.int64], test: Interactions
) -> Leak | None:
    """Detect sampled candidates without any of their user's test items.

    What is measured then is no recommendation.

    candidates: (rows, m) item_idx of users (rows,).
    """
    n_items = test.n_items
    wanted = np.unique(test.user_idx.astype(np.int64) * n_items + test.item_idx)
    has_test = np.isin(users, np.flatnonzero(test.counts > 0))
    total = int(has_test.sum())
    hits = int(np.isin(users[has_test, None] * n_items + candidates[has_test], wanted).any(axis=1).sum())
    if 2 * hits >= total:
        return None
    what = f"{total - hits} of {total} users' candidates hold none of their test items"
    return Leak("positives_left_out", True, total - hits, what, "candidates")


def _other_futures(log: Interactions, at: int, rng: np.random.Generator) -> list[Interactions]:
    """Make logs that differ in the future only.

    The log with later events on other items; without most of them; and with one of them many times over.
    """
    later = np.flatnonzero(log.time >= at)
    items = log.item_idx.copy()
    items[later] = rng.permutation(log.n_items).astype(np.int32)[items[later]]
    keep = np.ones(log.n_events, dtype=np.bool_)
    keep[later[rng.random(len(later)) < 0.7]] = False
    alike = log.item_idx.copy()
    alike[later] = np.int32(rng.integers(log.n_items))
    return [replace(log, item_idx=items), log.where(keep), replace(log, item_idx=alike)]
