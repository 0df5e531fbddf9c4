"""What is bought next on two logs of groceries: the default beside personal top frequency and the own counter.

The Complete Journey (801 households): items with at least 20 lines, the last 5 % of what is left to be foretold,
NDCG@10. Instacart's sample (593 shoppers): each shopper's last order, NDCG@20; with all items, and with those of 3 and
of 4 lines or more, for what such a threshold leaves out decides as much as any model does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import DataError
from data.interactions import EventKind, Interactions, interactions
from federation.lab.comparison import compare_models
from federation.lab.defaults import settle
from federation.lab.questions import question
from recsys.evaluation.evaluation import evaluate
from recsys.evaluation.statistics import paired_difference
from tests.benchmarks import instacart
from tests.benchmarks.zoo_members import logs_folder

JOURNEY_LINES = 20
INSTACART_LINES = (1, 3, 4)


@dataclass(frozen=True, eq=False)
class TopFrequency:
    """Own items by the number of baskets they were in, then everybody's: GP-TopFreq (Li et al. 2023).

    popularity: (n_items,) float32, events of everybody.
    """

    popularity: npt.NDArray[np.float32]
    name: str = "top_frequency"

    def scores(
        self, histories: Interactions, users: npt.NDArray[np.int64], now: int | npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Score items, (len(users), n_items) float32: baskets of an own item, and less than 1 for its popularity."""
        known = histories.users(users)
        scores = np.tile(self.popularity / (self.popularity.max(initial=0.0) + 1), (len(users), 1)).astype(np.float32)
        once = np.unique(np.stack([known.user_idx.astype(np.int64), known.time, known.item_idx]), axis=1)
        np.add.at(scores, (once[0], once[2]), np.float32(1))
        return scores


def journey() -> Interactions:
    """All purchases of the Complete Journey. Raises DataError where the log is not at hand."""
    path = logs_folder() / "complete_journey" / "purchases.parquet"
    if not path.exists():
        raise DataError(f"{path}: not there; set ZOO_LOGS to the folder that has complete_journey")
    lines = pl.read_parquet(path)
    users, user_idx = np.unique(lines["user_id"].to_numpy(), return_inverse=True)
    items, item_idx = np.unique(lines["item_id"].to_numpy(), return_inverse=True)
    time = lines["ts"].cast(pl.Datetime("us")).to_physical().to_numpy()
    kind = np.full(len(time), EventKind.PURCHASE)
    return interactions(user_idx, item_idx, time, n_users=len(users), n_items=len(items), kind=kind)


def sold_at_least(log: Interactions, lines: int) -> Interactions:
    """Keep items with so many events in the whole log, and renumber them in their order."""
    keep = np.bincount(log.item_idx, minlength=log.n_items) >= lines
    number = np.cumsum(keep) - 1
    some = log.where(keep[log.item_idx])
    return replace(some, item_idx=number[some.item_idx].astype(np.int32), n_items=int(keep.sum()))


def run(*, seed: int = 0, say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """`{"logs": [{"log", "shoppers", "items", "k", "ndcg": {arm: {"all", "new"}}, "over_own_counter": [...]}]}`."""
    log = sold_at_least(journey(), JOURNEY_LINES)
    measured = [measure(f"complete journey, {JOURNEY_LINES} lines", log, int(np.quantile(log.time, 0.95)), 10, seed)]
    orders = instacart.load()
    for lines in INSTACART_LINES:
        log = sold_at_least(orders, lines)
        measured.append(measure(f"instacart, {lines} lines", log, instacart.LAST_ORDER_US, 20, seed))
        if say is not None:
            say(str(measured[-1]))
    return {"logs": measured, "seed": seed}


def measure(name: str, log: Interactions, at: int, k: int, seed: int) -> dict[str, Any]:
    """Figures of one log, events from `at` (µs) on foretold; the difference of all items to the own counter."""
    asked = question(log, "temporal", at)
    settled = settle(asked.split.train, seed=seed)
    models = ["personalized", "own_counter", "item_knn", "popularity", "central"]
    ours = compare_models(asked, settled.recipe, seed=seed, k=k, models=models, bootstrap=2).evaluation
    popularity = np.bincount(asked.split.train.item_idx, minlength=log.n_items).astype(np.float32)
    frequency = evaluate([TopFrequency(popularity)], asked.split, k=k, now=asked.now, bootstrap=2)
    metric = f"ndcg@{k}"
    ndcg = {
        arm: {part: float(np.nanmean(source.column(arm, metric, part))) for part in ("all", "new")}
        for source, arms in ((ours, models), (frequency, ["top_frequency"]))
        for arm in arms
    }
    pair = paired_difference(ours.column("personalized", metric), ours.column("own_counter", metric), seed=seed)
    return {
        "log": name,
        "shoppers": ours.protocol["n_users"],
        "items": log.n_items,
        "k": k,
        "ndcg": ndcg,
        "over_own_counter": [pair.difference, pair.low, pair.high],
    }
