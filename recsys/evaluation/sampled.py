"""The sampled-negative protocol (He et al. 2017): rank one held-out item among 99 random ones.

It exists only to repeat published tables, and its protocol says so. Sampled metrics are not comparable with full
ranking and can order models differently (Krichene and Rendle 2020): judge models with recsys/evaluation/evaluation.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from data.errors import DataError, ModelError
from data.interactions import Interactions
from data.split import Split
from recsys.evaluation.evaluation import Evaluation, iso, moment_of, with_popularity
from recsys.evaluation.metrics import user_metrics
from recsys.evaluation.recommender import Recommender, model_scores
from recsys.evaluation.statistics import RESAMPLES
from recsys.evaluation.targets import collect_targets

CELLS_AT_ONCE = 4_000_000


def evaluate_sampled(
    models: Sequence[Recommender],
    split: Split,
    *,
    accept_sampled: bool = False,
    n_negatives: int = 99,
    users: npt.NDArray[np.int64] | None = None,
    k: int = 10,
    now: int | None = None,
    bootstrap: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Rank each user's one test item among n_negatives items the user never touched, in train or test.

    accept_sampled: must be said: without it a sampled metric is refused (ModelError).

    Only for users with a history and exactly one test item (DataError otherwise), as leave-last-out gives. Negatives
    are drawn uniformly without replacement from the whole catalogue, the same for all models. A target the user had
    before is left out and counted: beside negatives never touched, remembering it would pass for a recommendation.
    Where scores tie, the target takes a random place among its equals: a model that scores all alike is at chance,
    k / (n_negatives + 1). Only the part `all` exists.
    """
    if not accept_sampled:
        raise ModelError(
            "accept_sampled=False: sampled metrics can order models differently from full ranking (see evaluate); "
            "accept them only to repeat a published table"
        )
    train = split.train
    models = with_popularity(models, train)
    everything = np.ones(train.n_items, dtype=bool)
    known = collect_targets(split, train, users, candidates=everything)
    if (most := int(np.diff(known.offsets).max())) > 1:
        raise DataError(f"split={split.name!r}: a user has {most} test items, the sampled protocol takes one")
    if k < 1 or n_negatives < 1:
        raise ModelError(f"k={k}, n_negatives={n_negatives}: both must be 1 or more")
    fair = known.warm & ~known.seen
    user_ids, targets = known.users[fair], known.items[fair]
    if not len(user_ids):
        raise DataError(f"split={split.name!r}: no user has both a history and a test item that is not in it")
    now = moment_of(split, train) if now is None else now
    draws, places = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    positions: dict[str, list[npt.NDArray[np.int64]]] = {model.name: [] for model in models}
    batch = max(1, min(512, CELLS_AT_ONCE // train.n_items))
    for start in range(0, len(user_ids), batch):
        batch_users, target = user_ids[start : start + batch], targets[start : start + batch]
        negatives = draw_negatives(train.users(batch_users), target, n_negatives, draws)
        luck = places.random(len(batch_users))
        for model in models:
            scores = model_scores(model, train, batch_users, now, train.n_items)
            positions[model.name].append(target_position(scores, target, negatives, luck))
    ones = np.ones(len(user_ids), dtype=np.int64)
    values = {
        name: {"all": user_metrics(np.concatenate(ranks)[:, None] == np.arange(k), ones, k)}
        for name, ranks in positions.items()
    }
    return Evaluation(
        protocol={
            "ranking": f"sampled, {n_negatives} negatives: only to repeat published tables",
            "split": split.name,
            "cut": None if split.at is None else iso(split.at),
            "k": k,
            "n_users": len(user_ids),
            "n_items": int(train.n_items),
            "candidates": n_negatives + 1,
            "targets_had_before": int(known.seen.sum()),
            "chance_hit": min(1.0, k / (n_negatives + 1)),
            "bootstrap": bootstrap,
            "seed": seed,
        },
        users=user_ids,
        values=values,
        lists={name: {} for name in values},
    )


def draw_negatives(
    histories: Interactions, targets: npt.NDArray[np.int32], n_negatives: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Draw distinct item_idx that the user neither had nor has as a target, uniformly. (batch, n_negatives) int64."""
    lot = rng.random((histories.n_users, histories.n_items), dtype=np.float32)
    lot[histories.user_idx, histories.item_idx] = np.inf
    lot[np.arange(len(targets)), targets] = np.inf
    free = int(np.isfinite(lot).sum(axis=1).min())
    if free < n_negatives:
        raise DataError(f"n_negatives={n_negatives}: a user has only {free} items never touched")
    return _lowest(lot, n_negatives)


def _lowest(lot: npt.NDArray[np.float32], n: int) -> npt.NDArray[np.int64]:
    """Find the columns of the n lowest values ≥ 0 of each row, (batch, n), in any order; of equal ones the first.

    A lot has 2²⁴ values, so some tie; a partition of the lots alone leaves the choice to the processor.
    """
    keys = lot.view(np.int32).astype(np.int64) << 32 | np.arange(lot.shape[1])
    return np.partition(keys, n - 1, axis=1)[:, :n] & 0xFFFFFFFF


def target_position(
    scores: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int32],
    negatives: npt.NDArray[np.int64],
    luck: npt.NDArray[np.float64],
) -> npt.NDArray[np.int64]:
    """Find the 0-based position of each target among its negatives, (batch,) int64.

    scores: (batch, n_items). luck: (batch,) in [0, 1), where among its equals a tied target stands.
    """
    target_scores = np.take_along_axis(scores, targets[:, None].astype(np.int64), axis=1)
    others = np.take_along_axis(scores, negatives, axis=1)
    above, equal = (others > target_scores).sum(axis=1), (others == target_scores).sum(axis=1)
    return np.asarray(above + np.floor(luck * (equal + 1)).astype(np.int64))
