"""Metrics of ranked lists with binary relevance, for a batch of users at once. Not averages: see evaluation.py.

Every per-user metric takes `hits` (batch, m) bool, whether the item at each position is relevant (a list shorter
than k is padded with false, or narrower), `n_relevant` (batch,) and k, and returns (batch,) float64 in [0, 1].
A user with no relevant item gets nan, not 0. Definitions: Järvelin and Kekäläinen (2002) for ndcg, with an ideal
list of min(k, n_relevant) hits; map@k divides by n_relevant, as TREC does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from data.errors import ModelError

Floats = npt.NDArray[np.float64]
Hits = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


def ranked_hits(
    ranked: npt.NDArray[np.int32],
    relevant_offsets: npt.NDArray[np.int64],
    relevant_items: npt.NDArray[np.int32],
) -> Hits:
    """Mark which positions of the lists hold a relevant item: (batch, m) bool.

    ranked: (batch, m) int32 item_idx, −1 where a list ends early.
    relevant_items: row u's relevant item_idx are relevant_items[relevant_offsets[u]:relevant_offsets[u + 1]].
    """
    batch = len(ranked)
    if len(relevant_offsets) != batch + 1:
        raise ModelError(f"relevant_offsets: {len(relevant_offsets)} rows, must be batch + 1 = {batch + 1}")
    stride = 1 + max(int(ranked.max(initial=0)), int(relevant_items.max(initial=0)))
    row = np.repeat(np.arange(batch, dtype=np.int64), np.diff(relevant_offsets))
    wanted = np.unique(row * stride + relevant_items)
    keys = np.arange(batch, dtype=np.int64)[:, None] * stride + ranked
    if len(wanted) == 0:
        return np.zeros(ranked.shape, dtype=bool)
    place = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
    return np.asarray((wanted[place] == keys) & (ranked >= 0))


def _cut(hits: Hits, k: int) -> Hits:
    if k < 1:
        raise ModelError(f"k={k}: must be 1 or more")
    return hits[:, :k]


def _divide(total: Floats, by: Floats | Counts) -> Floats:
    """total / by, nan where by is 0."""
    quotient = np.full(len(total), np.nan)
    np.divide(total, by, out=quotient, where=by > 0)
    return quotient


def ndcg(hits: Hits, n_relevant: Counts, k: int) -> Floats:
    """Compute the normalized discounted cumulative gain at k.

    It is Σ hit / log2(position + 1), over that of an ideal list.
    """
    cut = _cut(hits, k)
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate(([0.0], np.cumsum(discount)))[np.minimum(n_relevant, k)]
    gains = np.zeros((len(cut), 1 + cut.shape[1]))
    gains[:, 1:] = cut * discount[: cut.shape[1]]
    # Added in the same order as the ideal, so that a perfect list is exactly 1 and a batch exactly its users.
    return _divide(gains.cumsum(axis=1)[:, -1], ideal)


def recall(hits: Hits, n_relevant: Counts, k: int) -> Floats:
    """Share of the relevant items that are in the first k."""
    return _divide(_cut(hits, k).sum(axis=1).astype(np.float64), n_relevant)


def hit(hits: Hits, n_relevant: Counts, k: int) -> Floats:
    """Return 1 where any relevant item is in the first k (the literature's HR@k), else 0."""
    return np.where(n_relevant > 0, _cut(hits, k).any(axis=1).astype(np.float64), np.nan)


def mrr(hits: Hits, n_relevant: Counts, k: int) -> Floats:
    """Compute 1 / position of the first relevant item in the first k, 0 where there is none."""
    cut = _cut(hits, k)
    reciprocal = (cut / np.arange(1, cut.shape[1] + 1)).max(axis=1, initial=0.0)
    return np.where(n_relevant > 0, reciprocal, np.nan)


def average_precision(hits: Hits, n_relevant: Counts, k: int) -> Floats:
    """Sum over hits in the first k the precision up to there, / n_relevant; its mean over users is map@k."""
    cut = _cut(hits, k)
    precision = cut.cumsum(axis=1) / np.arange(1, cut.shape[1] + 1)
    return _divide((precision * cut).sum(axis=1), n_relevant)


METRICS: dict[str, Callable[[Hits, Counts, int], Floats]] = {
    "ndcg": ndcg,
    "recall": recall,
    "hit": hit,
    "mrr": mrr,
    "map": average_precision,
}
"""Name in tables → per-user metric; `ndcg@20` is METRICS["ndcg"] at k = 20."""


def user_metrics(hits: Hits, n_relevant: Counts, k: int) -> dict[str, Floats]:
    """Compute all per-user metrics at k, named as in tables: `ndcg@20`, `recall@20`, …; each (batch,) float64."""
    return {f"{name}@{k}": metric(hits, n_relevant, k) for name, metric in METRICS.items()}


def coverage(exposure: Counts | Floats) -> float:
    """Share of items listed at least once; exposure: (n_items,) how often each item was listed.

    >>> coverage(np.array([3, 0, 1, 0]))
    0.5
    """
    return float((exposure > 0).mean())


def gini(exposure: Counts | Floats) -> float:
    """Compute the Gini coefficient of exposure (n_items,).

    0 all items alike, → 1 one item has it all, nan without exposure.

    >>> gini(np.array([2, 2, 2, 2])), gini(np.array([0, 0, 0, 8]))
    (0.0, 0.75)
    """
    n = len(exposure)
    total = float(exposure.sum())
    if total == 0:
        return float("nan")
    order = 2 * np.arange(1, n + 1) - n - 1
    return float(order @ np.sort(exposure).astype(np.float64) / (n * total))


def self_information(item_users: Counts, n_users: int) -> Floats:
    """Compute −log2 of the share of users who had each item, in bits, (n_items,).

    An item nobody had counts as one user's.

    >>> self_information(np.array([8, 2, 0]), 8).tolist()
    [0.0, 2.0, 3.0]
    """
    return np.asarray(np.log2(n_users) - np.log2(np.maximum(item_users, 1)))


def novelty(ranked: npt.NDArray[np.int32], information: Floats) -> Floats:
    """Average the self-information of each list in bits (Zhou et al. 2010), (batch,); nan for an empty list.

    ranked: (batch, m) int32 item_idx, −1 where a list ends early. information: (n_items,), see self_information.
    """
    listed = ranked >= 0
    bits = np.where(listed, information[np.maximum(ranked, 0)], 0.0).sum(axis=1)
    return _divide(bits, listed.sum(axis=1))
