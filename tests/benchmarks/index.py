"""What a search costs in each of its ways, beside FAISS's own call, and what a second process adds to memory.

Tables: items around many centres whose lengths differ, as they do in trained tables (σ of their logarithm `spread`; in
one trained on Online Retail it is about 1). Queries: items and random mixtures of items. µs are CPU time of one thread,
the least of several interleaved passes; `raw` is `index.search` of the same FAISS index for 20, no more. `hidden`: 200
items, half of the query's first 400. The memory is PSS of /proc, its growth from opening the index to 200 searches
later, while another process holds the same files mapped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.catalogue.bundle import Bundle, save_bundle
from recsys.catalogue.index_files import open_index
from recsys.model.items import ItemTable
from recsys.model.profile_config import ProfileConfig
from recsys.model.scoring import queries
from recsys.search.index import exact_lists, probing, recalls, sample_queries
from recsys.search.retrieval import ItemIndex
from recsys.search.selection import Selection, look_at

TREND_WEIGHT = ProfileConfig().trend_weight
K = 20
CATEGORIES = 10

Float = npt.NDArray[np.float32]


def table_of(n_items: int, spread: float, seed: int, dim: int = 64) -> ItemTable:
    """n_items rows around n_items / 20 centres, of log-normal length; most items have next to no trend."""
    rng = np.random.default_rng(seed)
    width = np.arange(1, dim + 1) ** -0.25
    centres = (rng.normal(size=(max(n_items // 20, 1), dim)) * width).astype(np.float32)
    V = centres[rng.integers(0, len(centres), n_items)]
    V += 0.5 * rng.standard_normal((n_items, dim), dtype=np.float32) * width.astype(np.float32)
    V *= (rng.lognormal(-0.7, spread, n_items) / np.linalg.norm(V, axis=1)).astype(np.float32)[:, None]
    return ItemTable(V, (rng.random(n_items) ** 4).astype(np.float32), np.zeros(dim, np.float32))


def bundle_of(folder: Path, n_items: int, spread: float, seed: int) -> Bundle:
    """The table as a bundle whose items are in one of ten categories each."""
    shelf = np.random.default_rng(seed).integers(0, CATEGORIES, n_items)
    catalogue = pl.DataFrame(
        {"item_id": [str(item) for item in range(n_items)], "category": [f"shelf {one}" for one in shelf.tolist()]}
    )
    return save_bundle(
        folder,
        name="bench",
        table=table_of(n_items, spread, seed),
        catalogue=catalogue,
        config=ProfileConfig(),
        seed=seed,
        data_hash="random",
        privacy="none: random numbers",
    )


def cpu_us(ways: dict[str, Callable[[int], object]], n: int, passes: int = 7) -> dict[str, float]:
    """µs of CPU of each way, called with 0..n − 1; the passes of the ways take turns."""
    best = dict.fromkeys(ways, np.inf)
    for _ in range(passes):
        for name, ask in ways.items():
            begun = time.process_time()
            for row in range(n):
                ask(row)
            best[name] = min(best[name], (time.process_time() - begun) / n * 1e6)
    return {name: round(value, 1) for name, value in best.items()}


def recall_of(index: ItemIndex, wanted: Float, chosen: Selection | None, hidden: Sequence[Any] | None) -> float:
    """Mean recall@20 against float32 scores of all items."""
    out = np.zeros(index.n_items, dtype=np.bool_) if chosen is None else ~chosen.mask()
    shares = []
    for row, query in enumerate(wanted):
        scores = index.table.item_embeddings @ query + np.float32(TREND_WEIGHT) * index.table.trend
        scores[out] = -np.inf
        if hidden is not None:
            scores[hidden[row]] = -np.inf
        gone = None if hidden is None else hidden[row]
        items, _ = index.search(query, K, trend_weight=TREND_WEIGHT, selection=chosen, hidden=gone)
        best = np.argpartition(scores, len(scores) - K)[-K:]
        shares.append(recalls(best[None], items[None].astype(np.int64))[0])
    return round(float(np.mean(shares)), 4)


def searches(index: ItemIndex, seed: int, n: int = 100) -> dict[str, Any]:
    """µs and recall of every way of asking one index."""
    rng = np.random.default_rng(seed)
    wanted = sample_queries(index.table, n, seed + 7)
    padded = [probing(queries(row[None], TREND_WEIGHT), index.table.dim) for row in wanted]
    flat: Any = faiss.IndexScalarQuantizer(
        padded[0].shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    flat.train(padded[0])
    for start in range(0, index.n_items, 65_536):
        rows = index.table.item_embeddings[start : start + 65_536]
        flat.add(np.pad(rows, ((0, 0), (0, padded[0].shape[1] - index.table.dim))))
    first = exact_lists(index.table, wanted, TREND_WEIGHT, 400)
    hidden = [rng.choice(row, 200, replace=False) for row in first]
    half, most = (index.select(rng.random(index.n_items) < share) for share in (0.5, 0.98))
    one = index.select(None, "shelf 0")
    asked: dict[str, tuple[Selection | None, Sequence[Any] | None]] = {
        "unfiltered": (None, None),
        "category of a tenth": (one, None),
        "98 % allowed": (most, None),
        "half allowed": (half, None),
        "1 % allowed": (index.select(rng.random(index.n_items) < 0.01), None),
        "+200 hidden": (None, hidden),
        "category of a tenth +200 hidden": (one, hidden),
    }
    ways: dict[str, Callable[[int], object]] = {"raw flat fp16": lambda row: flat.search(padded[row], K)}
    if index.approximate is not None:
        look = look_at(index.probes[0][1])
        ways["raw approximate"] = lambda row: index.approximate.search(padded[row], K, params=look)

    def way(chosen: Selection | None, gone: Sequence[Any] | None) -> Callable[[int], object]:
        return lambda row: index.search(
            wanted[row], K, trend_weight=TREND_WEIGHT, selection=chosen, hidden=None if gone is None else gone[row]
        )

    ways |= {name: way(*question) for name, question in asked.items()}
    cost = cpu_us(ways, n, 7 if index.n_items <= 100_000 else 2)
    raw = cost["raw flat fp16" if index.approximate is None else "raw approximate"]
    return {
        "us": cost,
        "recall@20": {name: recall_of(index, wanted[:40], *question) for name, question in asked.items()},
        "ratio_to_raw": round(cost["unfiltered"] / raw, 3),
        "filtered_ratio": round(cost["category of a tenth"] / cost["unfiltered"], 3),
        "hidden_ratio": round(cost["+200 hidden"] / cost["unfiltered"], 3),
    }


HOLDER = """
import sys
from pathlib import Path
from tests.benchmarks.index import held
held(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
"""


def pss_mb() -> float:
    """This process's share of the memory it uses, MB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def held(folder: Path, cache: Path | None) -> None:
    """Open an index, search it, print what that added, and keep it until stdin closes."""
    bundle = Bundle.load(folder)
    before = pss_mb()
    index = open_index(bundle, cache)
    for query in sample_queries(bundle.table, 200, 3):
        for chosen in (None, index.everything):
            index.search(query, K, trend_weight=TREND_WEIGHT, selection=chosen)
        index.search(query, 900, trend_weight=TREND_WEIGHT)  # reads every row
    sys.stdout.write(f"{pss_mb() - before}\n")
    sys.stdout.flush()
    sys.stdin.read()


def second_process_mb(folder: Path, cache: Path | None) -> float:
    """What the second of two processes adds."""
    command = [sys.executable, "-c", HOLDER, str(folder), *([str(cache)] if cache else [])]
    root = Path(__file__).resolve().parents[2]
    added = []
    with (
        subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first,
        subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as second,
    ):
        for process in (first, second):
            assert process.stdout is not None
            added.append(float(process.stdout.readline()))
        for process in (first, second):
            process.communicate("")
    return round(max(added), 1)


def run(
    seed: int = 0, sizes: Sequence[int] = (10_000, 100_000), spreads: Sequence[float] = (0.6, 1.0)
) -> dict[str, Any]:
    """Figures by number of items and spread of lengths."""
    faiss.omp_set_num_threads(1)
    figures: dict[str, Any] = {}
    for n_items in sizes:
        for spread in spreads:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                bundle = bundle_of(folder / "bundle", n_items, spread, seed)
                begun = time.process_time()
                index = open_index(bundle, folder / "cache")
                found = {"build_cpu_s": round(time.process_time() - begun, 2), "probes": index.probes}
                begun = time.process_time()
                open_index(bundle, folder / "cache")
                found["open_ms"] = round((time.process_time() - begun) * 1e3, 1)
                found["check_recall"] = round(index.check_recall(trend_weight=TREND_WEIGHT), 4)
                found |= searches(index, seed)
                if n_items <= 100_000 and spread == spreads[0]:
                    files = sum(path.stat().st_size for path in (folder / "cache").rglob("*.faiss"))
                    found["memory_mb"] = {
                        "files": round(files / 2**20, 1),
                        "bundle": round(sum(path.stat().st_size for path in (folder / "bundle").iterdir()) / 2**20, 1),
                        "second process, mapped": second_process_mb(folder / "bundle", folder / "cache"),
                        "second process, its own": second_process_mb(folder / "bundle", None),
                    }
            figures[f"{n_items} items, spread {spread}"] = found
    return figures


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(sizes=(1_000_000,), spreads=(1.0,)), indent=1))
