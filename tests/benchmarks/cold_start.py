"""Items nobody has seen yet: how well a list ranks them by their title and price alone.

Online Retail, table trained on what was before 2011-11-09 as `ownshelf evaluate sample:online-retail --split-at
2011-11-09` trains it. A tenth of the items is hidden: the content map is learned from the others, histories do not know
them, and the map's embedding stands in for theirs. Each shopper who later buys one of them is asked for 20: among the
hidden items only, and among all of them. This log has no categories: the last word of the title ("holder", "bag")
stands in, as the mean embedding of the items that share it. `learned` has the embeddings that training gave the hidden
items, from the very purchases that a new item lacks.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from data.dataset import Dataset
from data.split import parse_time
from federation.lab.questions import Question, question
from federation.lab.recipes import recipe
from federation.simulation.training import train
from recsys.catalogue.content import ContentMap
from recsys.evaluation.metrics import ndcg, ranked_hits, recall
from recsys.evaluation.targets import collect_targets
from recsys.model.histories import merge_histories
from recsys.model.items import ItemTable
from recsys.model.log_profiles import closed_form
from recsys.model.profile_config import ProfileConfig
from recsys.model.scoring import score
from recsys.search.ranking import rank

K = 20
HIDDEN = 0.1

Float = npt.NDArray[np.float32]


def category_means(catalogue: pl.DataFrame, item_embeddings: Float, known: npt.NDArray[np.bool_]) -> Float:
    """(n_items, dim): the mean known item that shares the last word of the title; the mean of all where none does."""
    words = catalogue["title"].str.to_lowercase().str.extract(r"([a-z]+)[^a-z]*$").fill_null("").to_list()
    members: dict[str, list[int]] = {}
    for item in np.flatnonzero(known).tolist():
        members.setdefault(words[item], []).append(item)
    mean = item_embeddings[known].mean(axis=0)
    rows = [item_embeddings[members[word]].mean(axis=0) if word in members else mean for word in words]
    return np.array(rows, dtype=np.float32)


def figures_of(
    asked: Question, table: ItemTable, config: ProfileConfig, hidden: npt.NDArray[np.bool_], replaced: Float
) -> dict[str, float]:
    """Mean ndcg and recall of the shoppers who later buy a hidden item; `replaced`: embeddings of the hidden items."""
    V = np.array(table.item_embeddings)
    V[hidden] = replaced[hidden]
    trend = np.where(hidden, np.float32(0), table.trend)
    served = ItemTable(V, trend, table.mean_profile)
    known = asked.histories.where(~hidden[asked.histories.item_idx])
    warm = np.flatnonzero(known.counts > 0)
    targets = collect_targets(asked.split, asked.histories, warm, candidates=hidden)
    log = known.users(targets.users)
    profiles = closed_form(served, config).profiles(merge_histories(log, config, asked.now), np.arange(log.n_users))
    relevant = np.diff(targets.offsets)
    found: dict[str, float] = {"n_users": float(log.n_users)}
    for name, hide, weight in (("hidden", ~hidden, 0.0), ("all", np.zeros_like(hidden), config.trend_weight)):
        scores = score(served, profiles, weight)
        scores[:, hide] = -np.inf
        hits = ranked_hits(rank(scores, K), targets.offsets, targets.items)
        found[f"ndcg@{K} among {name}"] = float(ndcg(hits, relevant, K).mean())
        found[f"recall@{K} among {name}"] = float(recall(hits, relevant, K).mean())
    return found


def run(seed: int = 0) -> dict[str, Any]:
    """Figures of each way to embed the hidden items; `chance` is the mean of ten random orders."""
    torch.set_num_threads(1)
    dataset = Dataset.open("sample:online-retail")
    chosen = recipe("purchases")
    asked = question(dataset.interactions(), "temporal", parse_time("2011-11-09"))
    table = train(asked.split.train, chosen.train, seed=seed, now=asked.now).table
    rng = np.random.default_rng(seed)
    hidden = np.zeros(table.n_items, dtype=np.bool_)
    seen = np.flatnonzero(np.bincount(asked.split.train.item_idx, minlength=table.n_items) > 0)
    hidden[rng.permutation(seen)[: math.ceil(HIDDEN * len(seen))]] = True
    V = table.item_embeddings
    fitted = ContentMap.fit(dataset.catalogue.filter(pl.Series(~hidden)), V[~hidden], seed=seed)
    content = fitted.embed(dataset.catalogue)
    ways = {"content": content, "category": category_means(dataset.catalogue, V, ~hidden), "learned": np.array(V)}
    figures: dict[str, Any] = {
        name: figures_of(asked, table, chosen.serve, hidden, rows) for name, rows in ways.items()
    }
    random = [
        figures_of(asked, table, chosen.serve, hidden, rng.normal(size=V.shape).astype(np.float32) * V.std())
        for _ in range(10)
    ]
    figures["chance"] = {name: float(np.mean([one[name] for one in random])) for name in random[0]}
    length = np.linalg.norm(V, axis=1)
    figures["length"] = {
        "hidden, learned": float(length[hidden].mean()),
        "hidden, content": float(np.linalg.norm(content[hidden], axis=1).mean()),
        "all": float(length.mean()),
    }
    figures["reg"], figures["n_hidden"] = fitted.reg, int(hidden.sum())
    return figures
