"""What a replay costs: Online Retail in full, a synthetic log of ten million events, and how cost grows with a log.

Every event is scored by three arms (personalized, global, popularity) with daily federated rounds. CPU time of one
process with one thread, from the dataset in memory to the finished tables, intervals included; each figure in a process
of its own, so that its peak is its own. In items the cost is that of full rankings, so it is told per item too.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.checked_log import REJECTS
from data.dataset import Dataset
from data.synthetic import SyntheticShop
from data.vocabulary import Vocabulary
from federation.lab.recipes import Recipe, recipe
from federation.lab.replay import DEFAULT_ARMS, replay
from recsys.replay.settings import ReplayConfig

MILLIONS = 10
EVENTS_PER_USER = 50
ITEMS = 2_000
DAYS = 180
BASE = 50_000
"""Events of the log that the others are multiples of."""


def shop_dataset(n_events: int, n_users: int, n_items: int, seed: int, days: int = DAYS) -> Dataset:
    """A synthetic shop's log as a dataset, without going through a file."""
    shop = SyntheticShop(n_users=n_users, n_items=n_items, n_events=n_events, seed=seed, days=days)
    log = shop.interactions()
    nothing = pl.lit(None)
    frame = pl.DataFrame(
        {
            "user_idx": log.user_idx,
            "item_idx": log.item_idx,
            "kind": log.kind,
            "time": pl.Series(log.time).cast(pl.Datetime("us", "UTC")),
            "quantity": log.quantity,
        }
    ).with_columns(
        price=nothing.cast(pl.Float64),
        session_id=nothing.cast(pl.String),
        undone_time=nothing.cast(pl.Datetime("us", "UTC")),
    )
    del log
    catalogue = shop.catalogue()
    return Dataset(
        name=f"synthetic-{n_events}",
        log=frame,
        catalogue=catalogue,
        items=Vocabulary(catalogue["item_id"]),
        users=Vocabulary(shop.people()["user_id"]),
        summary={},
        rejects=pl.DataFrame(schema=REJECTS),
    )


def settings(dim: int) -> Recipe:
    """The purchases recipe at a width."""
    base = recipe("purchases")
    return replace(base, train=replace(base.train, dim=dim))


def measured(dataset: Dataset, *, dim: int, lists: bool, seed: int, bootstrap: int = 1000) -> dict[str, Any]:
    """One replay: CPU seconds, events per CPU-second, peak memory so far, and what came out."""
    start = time.process_time()
    config = ReplayConfig(lists=lists, seed=seed, bootstrap=bootstrap)
    found = replay(dataset, DEFAULT_ARMS, config, settings=settings(dim))
    cpu = time.process_time() - start
    scored = int(found.protocol["scored_events"])
    overall = found.cuts.filter(cut="all", metric="ndcg@20")
    return {
        "events": dataset.log.height,
        "scored_events": scored,
        "users": found.protocol["n_users"],
        "items": found.protocol["n_items"],
        "bundles": found.protocol["bundles"],
        "dim": dim,
        "cpu_s": cpu,
        "events_per_cpu_s": scored / cpu,
        "us_per_event": 1e6 * cpu / scored,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "ndcg@20": dict(overall.select("arm", "value").rows()),
    }


def online_retail(seed: int) -> dict[str, Any]:
    """All lines of Online Retail with lists, cuts and comparisons."""
    return measured(Dataset.open("sample:online-retail"), dim=64, lists=True, seed=seed)


def synthetic(n_events: int, n_users: int, n_items: int, seed: int, days: int = DAYS) -> dict[str, Any]:
    """A synthetic log at dim 32, cuts and comparisons but no lists."""
    return measured(shop_dataset(n_events, n_users, n_items, seed, days), dim=32, lists=False, seed=seed)


def scaling(base: int, seed: int, apart: Callable[[str], dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The same shop with more events (and days) of as many users, with more users, with more items; all else alike."""
    users, days = base // EVENTS_PER_USER, 60
    steps = (1, 2, 4, 8)
    return {
        "users": [apart(f"synthetic({base * n}, {users * n}, {ITEMS}, {seed}, {days})") for n in steps],
        "events": [apart(f"synthetic({base * n}, {users * 2}, {ITEMS}, {seed}, {days})") for n in steps],
        "items": [apart(f"synthetic({base}, {users}, {ITEMS // 4 * n}, {seed}, {days})") for n in steps],
    }


def run(
    seed: int = 0,
    millions: float = MILLIONS,
    base: int = BASE,
    say: Callable[[str], None] = lambda _: None,
    out: Path | None = None,
) -> dict[str, Any]:
    """All figures, and docs/figures/replay-scaling.png."""
    say("Online Retail")
    retail = _apart(f"online_retail({seed})")
    say(f"scaling, logs of {base:,} to {8 * base:,} events")
    grown = scaling(base, seed, _apart)
    plot_scaling(grown, out or _root() / "docs" / "figures" / "replay-scaling.png")
    n = int(millions * 1_000_000)
    say(f"{n:,} synthetic events")
    large = _apart(f"synthetic({n}, {max(n // EVENTS_PER_USER, 1)}, {ITEMS}, {seed})")
    return {
        "events_per_cpu_s": large["events_per_cpu_s"],
        "peak_gb": large["peak_gb"],
        "online_retail_cpu_s": retail["cpu_s"],
        "online_retail": retail,
        "synthetic": large,
        "scaling": grown,
    }


def plot_scaling(grown: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Cost per event against events, users and items; in items also per item."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for axis, (what, rows) in zip(axes, grown.items(), strict=True):
        sizes = np.array([row[what] for row in rows])
        cost = np.array([row["us_per_event"] for row in rows])
        axis.plot(sizes, cost, "o-", color="tab:blue")
        axis.set(xscale="log", xlabel=what, ylim=(0, 1.25 * cost.max()), title=f"more {what}")
        axis.minorticks_off()
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        if what == "items":
            ns = axis.twinx()
            ns.plot(sizes, 1000 * cost / sizes, "s--", color="tab:orange")
            ns.set_ylim(0, 1250 * (cost / sizes).max())
            ns.set_ylabel("ns per event and item (dashed)", color="tab:orange")
    axes[0].set_ylabel("CPU µs per event, three arms")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _root() -> Path:
    return Path(__file__).resolve().parents[2]


def _apart(call: str) -> dict[str, Any]:
    code = f"import json; from tests.benchmarks.replay import *; print(json.dumps({call}))"
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    environment["POLARS_MAX_THREADS"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=_root(), env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
