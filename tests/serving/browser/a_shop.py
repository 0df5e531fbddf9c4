"""A small gift shop for pages: two kinds of things that go together, and a trend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from recsys.catalogue.bundle import Bundle, save_bundle
from recsys.model.items import ItemTable
from recsys.model.profile_config import ProfileConfig

N_ITEMS, DIM = 120, 8
THINGS = ("TEA MUG", "CANDLE HOLDER", "PINK BAG", "HEART NECKLACE", "GIFT WRAP", "GARDEN BIRD")
COLOURS = ("RED", "BLUE", "GREEN", "IVORY", "POLKADOT")


def gift_shop(folder: Path, seed: int = 0) -> Bundle:
    """Items sku-0 … sku-119: item i is of thing i % 6, and items of one thing have rows that are near each other."""
    rng = np.random.default_rng(seed)
    things = np.arange(N_ITEMS) % len(THINGS)
    centres = np.eye(DIM)[: len(THINGS)] * 0.8
    rows = (centres[things] + rng.normal(0, 0.08, (N_ITEMS, DIM))).astype(np.float32)
    catalogue = pl.DataFrame(
        {
            "item_id": [f"sku-{item}" for item in range(N_ITEMS)],
            "title": [f"{COLOURS[item % 5]} {THINGS[item % 6]} {item}" for item in range(N_ITEMS)],
            "category": [THINGS[item % 6].lower() for item in range(N_ITEMS)],
            "price": [round(0.85 + (item % 9) * 1.05, 2) for item in range(N_ITEMS)],
            "available": [item != 7 for item in range(N_ITEMS)],
        }
    )
    trend = np.linspace(1, 0, N_ITEMS, dtype=np.float32)
    table = ItemTable(rows, trend, np.zeros(DIM, dtype=np.float32))
    return save_bundle(
        folder, name="gifts", table=table, catalogue=catalogue, config=ProfileConfig(trend_weight=0.05), seed=seed,
        data_hash="test", privacy="none: random numbers",
    )  # fmt: skip
