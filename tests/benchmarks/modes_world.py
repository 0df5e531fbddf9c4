"""A synthetic shop as service and devices see it, for the benchmark of the modes of asking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from data.interactions import Interactions, interactions
from data.synthetic import SyntheticShop
from recsys.catalogue.candidates import QuantizedRows
from recsys.catalogue.catalogue import SHOWN
from recsys.catalogue.clusters import Clusters, centroids_of
from recsys.evaluation.ials import fit_ials
from recsys.model.histories import log_weights, merge_histories
from recsys.model.items import ItemTable, gram_of
from recsys.model.log_profiles import profiles_of
from recsys.model.profile_config import ProfileConfig
from recsys.model.quantization import quantize
from recsys.model.scoring import score, top_k
from recsys.model.trend import trend
from recsys.search.retrieval import ItemIndex
from tests.benchmarks.attacks_leak import Pairs
from tests.benchmarks.attacks_modes import pairs_of

TOP_K, DIM, EVENTS_APART = 20, 64, 19
CONFIG = ProfileConfig(reg=0.01, trend_weight=0.05)
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class World:
    """A shop as service and devices see it. now, then: profiles (users, dim), `then` without some last events."""

    table: ItemTable
    clusters: Clusters
    index: ItemIndex
    source: QuantizedRows
    sequence: Sequence[Floats]
    pairs: Pairs
    lists: npt.NDArray[np.int32]

    @property
    def now(self) -> Floats:
        return self.sequence[0]

    @property
    def then(self) -> Floats:
        return self.sequence[-1]


def world(n_items: int, n_users: int, n_events: int, tastes: int, *, seed: int, users: int, asked: int) -> World:
    shop = SyntheticShop(n_users, n_items, n_events, seed=seed, n_clusters=tastes)
    log = shop.interactions()
    config = replace(CONFIG, alpha=20.0 / n_items)
    now = int(log.time.max()) + 1
    V = fit_ials(log, log_weights(log, config, now), dim=DIM, alpha=config.alpha, reg=config.reg, n_iter=6, seed=seed)
    chosen = np.random.default_rng([seed, 30]).permutation(np.flatnonzero(log.counts >= 2 * EVENTS_APART))[:users]
    few = some(log, np.sort(chosen))
    table = ItemTable(V, trend(log, now), np.zeros(DIM, np.float32))
    return seen(table, config, few, now, shop.catalogue(), range(EVENTS_APART + 1), seed=seed, asked=asked)


def seen(
    table: ItemTable,
    config: ProfileConfig,
    few: Interactions,
    now: int,
    catalogue: pl.DataFrame,
    gone: Sequence[int],
    *,
    seed: int,
    asked: int,
) -> World:
    """The world of a table: its devices' profiles without their last `gone` events, and what the service holds.

    The mean profile is that of these devices, before shares, as training sums it.
    """
    whole = replace(config, intent_share=0.5)
    means = 2 * profiles_of(table, whole, few, now) if len(table.parts) > 1 else profiles_of(table, config, few, now)
    table = replace(table, mean_profile=means.mean(0))
    sequence = [profiles_of(table, config, without_last(few, n), now) for n in gone]
    rows, scale = quantize(table.item_embeddings)
    shown = catalogue.select(name for name in SHOWN if name != "available")
    gram, n_items = gram_of(table.item_embeddings), table.n_items
    return World(
        table=table,
        clusters=Clusters(
            "bench", "bench", centroids_of(table), gram, table.mean_profile, table.parts, config, n_items
        ),
        index=ItemIndex.build(table),
        source=QuantizedRows(rows, scale, table.trend, shown),
        sequence=sequence,
        pairs=pairs_of(merge_histories(few, config, now), min(few.n_users, 500), 3, seed),
        lists=np.stack([top_k(one, TOP_K)[0] for one in score(table, sequence[0][:asked], config.trend_weight)]),
    )


def some(log: Interactions, users: npt.NDArray[np.int64]) -> Interactions:
    """The log of some users alone, numbered anew."""
    user = np.repeat(np.arange(log.n_users), log.counts)
    keep = np.isin(user, users)
    return _log(np.searchsorted(users, user[keep]), log, keep, len(users))


def without_last(log: Interactions, gone: int) -> Interactions:
    """The log without the last `gone` events of every user."""
    user = np.repeat(np.arange(log.n_users), log.counts)
    keep = np.repeat(log.offsets[1:], log.counts) - np.arange(log.n_events) > gone
    return _log(user[keep], log, keep, log.n_users)


def _log(user: npt.NDArray[np.int64], log: Interactions, keep: npt.NDArray[np.bool_], n_users: int) -> Interactions:
    return interactions(
        user, log.item_idx[keep], log.time[keep], n_users=n_users, n_items=log.n_items, kind=log.kind[keep]
    )
