"""Diversity: a ranked pool reordered so that what is listed together is less alike (Carbonell and Goldstein 1998).

What the dial does to the first 20 of a pool of 100 on Online Retail after 2011-11-09, 1,392 shoppers with profiles of
their own (`ownshelf bench selection`):

    dial                          0      .1     .2     .3     .4     .5     .6     .7     1
    mean cosine within a list     .288   .278   .267   .251   .231   .207   .182   .167   .141
    NDCG@20                       .365   .366   .364   .359   .352   .336   .309   .281   .181
    NDCG@20, items new to them    .119   .119   .118   .116   .113   .109   .102   .093   .072

So up to .3 costs 2 % and less. A pool of 300 reaches further down (.099 at 1) and costs the same up to .5.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.errors import ModelError

Floats = npt.NDArray[np.float32]

LIKENESS = np.float32(4.0)
"""Deviations of the scores that one unit of cosine is worth, the dial at its middle. With 1, little moves before .6."""


def diversify(scores: Floats, rows: Floats, k: int, diversity: float) -> npt.NDArray[np.int64]:
    """Reorder by maximal marginal relevance.

    Returns positions in the pool, (min(k, m),) int64, in their new order.

    scores: (m,) float32, the pool's scores, best first as a rule; rows: (m, dim) float32, its item embeddings; finite.
    diversity: the dial, 0..1; 0 is the order of the scores. The first item is always the best; then, one by one, the
    item with the largest (1 − diversity)·z_i/LIKENESS − diversity·max_j cos(v_i, v_j), j over the items chosen already,
    z the pool's scores standardised to mean 0 and deviation 1, so that the dial means the same on any scale of scores.
    Ties go to the earlier position; a zero row is like nothing. A longer list begins with the shorter one of the
    same pool, so pages of one pool do not overlap. Time O(k · m · dim): 0.25 ms for 20 of 100, 0.5 ms of 300.
    """
    if not 0 <= diversity <= 1:
        raise ModelError(f"diversity={diversity}: must be 0..1")
    if k < 1:
        raise ModelError(f"top_k={k}: must be 1 or more")
    if len(scores) != len(rows):
        raise ModelError(f"rows: {len(rows)}, must be one for each of the {len(scores)} scores")
    k = min(k, len(scores))
    dial = np.float32(diversity)
    if dial == 0 or k < 2:  # also for what is too small for a float32
        return np.argsort(-scores, kind="stable")[:k]
    relevance = np.float32(1 - diversity) / LIKENESS * _standardise(scores)
    directions = _directions(rows)
    chosen = np.empty(k, dtype=np.int64)
    chosen[0] = np.argmax(scores)
    nearest = np.full(len(scores), -np.inf, dtype=np.float32)
    for place in range(1, k):
        last = chosen[place - 1]
        np.maximum(nearest, directions @ directions[last], out=nearest)
        nearest[last] = np.inf
        chosen[place] = np.argmax(relevance - dial * nearest)
    return chosen


def intra_list_similarity(rows: Floats) -> float:
    """Average the cosine of all pairs of a list, rows (k, dim).

    A list of fewer than two is nan (Ziegler et al. 2005).
    """
    if len(rows) < 2:
        return float("nan")
    directions = _directions(rows).astype(np.float64)
    pairs = directions @ directions.T
    return float((pairs.sum() - np.trace(pairs)) / (len(rows) * (len(rows) - 1)))


def pool_size(top_k: int) -> int:
    """Decide how much of a ranking to choose top_k diverse items from.

    Five times as many, at least 100, at most 2,000.
    """
    return max(top_k, min(max(5 * top_k, 100), 2000))


def _standardise(scores: Floats) -> Floats:
    deviation = float(np.std(scores, dtype=np.float64))
    centred = scores - np.float32(np.mean(scores, dtype=np.float64))
    return np.asarray(centred / np.float32(deviation) if deviation > 0 else np.zeros_like(scores), dtype=np.float32)


def _directions(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)
