"""Small seeded shops with categories, prices, views and purchases, for tests of the mix."""

from __future__ import annotations

import numpy as np

from data.interactions import MICROS_PER_DAY, EventKind, Interactions, interactions
from recsys.mix.mix_tables import ItemAttributes, MixTables, build_tables
from recsys.mix.pools import Signals
from recsys.model.items import INTENT, TASTE, ItemTable
from recsys.model.profile_config import ProfileConfig

_START = 18_262 * MICROS_PER_DAY  # 2020-01-01
NOW = _START + 100 * MICROS_PER_DAY
POOLS = (0.9, 0.0)
CONFIG = ProfileConfig(intent_pools=POOLS, half_life=20.0)


def shop_log(
    seed: int, *, n_users: int = 12, n_items: int = 130, n_events: int = 400, dislikes: bool = True
) -> Interactions:
    """Events in time order with repeats; the last user has none, and moments of purchase hold several items."""
    rng = np.random.default_rng(seed)
    kinds = [EventKind.VIEW, EventKind.PURCHASE, EventKind.PURCHASE, EventKind.CART]
    kinds += [EventKind.DISLIKE] if dislikes else []
    return interactions(
        rng.integers(0, n_users - 1, n_events),
        rng.zipf(1.3, n_events) % n_items,
        _START + rng.integers(0, 60, n_events) * (100 * MICROS_PER_DAY // 60),
        n_users=n_users,
        n_items=n_items,
        kind=rng.choice(kinds, n_events),
    )


def attributes(seed: int, n_items: int = 130) -> ItemAttributes:
    """Six categories and prices; some items have neither."""
    rng = np.random.default_rng(seed)
    price = rng.normal(2.0, 1.0, n_items).astype(np.float32)
    price[::7] = np.nan
    return ItemAttributes(rng.integers(-1, 6, n_items).astype(np.int32), price)


def item_table(seed: int, n_items: int = 130, dim: int = 5) -> ItemTable:
    """Random rows of a taste and of an intent of two pools."""
    rng = np.random.default_rng(seed)
    width = dim * (1 + len(POOLS))
    return ItemTable(
        rng.normal(0, 0.4, (n_items, width)).astype(np.float32),
        rng.random(n_items).astype(np.float32),
        np.zeros(width, dtype=np.float32),
        ((TASTE, dim), (INTENT, dim * len(POOLS))),
    )


def tables_of(seed: int, log: Interactions) -> MixTables:
    """The tables of a log, with attributes."""
    return build_tables(log, NOW, attributes(seed, log.n_items))


def signals_of(seed: int, log: Interactions) -> Signals:
    """Signals over random rows and the tables of a log."""
    return Signals(item_table(seed, log.n_items), CONFIG, tables_of(seed, log))
