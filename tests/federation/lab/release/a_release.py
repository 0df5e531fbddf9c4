"""Two releases of one shop, and its log that goes on after both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from data.dataset import Dataset, read_log
from data.split import known_at
from federation.lab.publish import publish
from federation.lab.recipes import Recipe, privately, recipe
from federation.simulation.training import train
from recsys.catalogue.bundle import Bundle
from tests.recsys.logs import tastes_log

DAY = 86_400_000_000
OLD_UNTIL, NEW_UNTIL = 60, 70


def a_log(n_users: int = 240, n_items: int = 60) -> Dataset:
    """A shop of five tastes over a hundred days; shoppers are called u0, u1, …"""
    log = tastes_log(5, n_users=n_users, n_items=n_items, events=20)
    frame = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in log.user_idx],
            "item_id": [f"i{item}" for item in log.item_idx],
            "time": log.time,
            "kind": ["purchase"] * log.n_events,
        }
    ).with_columns(pl.from_epoch("time", time_unit="us"))
    return replace(read_log(frame), name="a-shop")


def quick(private: float | None = None) -> Recipe:
    base = recipe("purchases")
    base = replace(base, train=replace(base.train, rounds=4, dim=8, cohort_size=120, measure_every=0), mix=None)
    return base if private is None else privately(base, epsilon=private, delta=1e-6, n_devices=240)


def released(folder: Path, dataset: Dataset, until_day: int, *, seed: int = 0, chosen: Recipe | None = None) -> Bundle:
    """Train on what was known on a day, and publish."""
    start, settings = int(dataset.interactions().time.min()), chosen or quick()
    at = start + until_day * DAY
    trained = train(known_at(dataset.interactions(), at), settings.train, seed=seed, now=at)
    return publish(folder, dataset, trained, settings, now=at)


def users_file(dataset: Dataset, seed: int = 0) -> pl.DataFrame:
    """Age bands of all shoppers but ten, one band of four shoppers."""
    rng = np.random.default_rng(seed)
    ids = dataset.users.ids.to_list()[10:]
    bands = ["65+"] * 4 + rng.choice(["19-24", "25-64"], len(ids) - 4).tolist()
    return pl.DataFrame({"user_id": ids, "age | band": bands})
