"""The hot path over real HTTP: the service beside a bare ASGI app with the same parse and the same index, and peers.

100,000 items of 64 columns in ten categories, mode profile, top 20, wrk with 16 connections, one worker; key check,
metrics, item filters, traffic counts and request ids are on, as they are for a shop. Rounds alternate between the two,
so that a busy machine slows both; ratios are medians over rounds. Peers answer the same questions over the same rows:
tests/benchmarks/serving_peers.py says how they are asked.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from federation.storage.database import sqlite_url
from recsys.catalogue.bundle import Bundle
from recsys.model.scoring import score
from serving.state.key_book import open_book
from serving.state.state_url import STATE_FILE
from tests.benchmarks.http_load import Load, Measured, free_port, wrk
from tests.benchmarks.index import bundle_of

ROOT = Path(__file__).parents[2]
N_ITEMS, K = 100_000, 20
CATEGORY = "shelf 3"
QUESTIONS = 1_000
CHECKED = 100
SPREAD = 0.6
"""Of the lengths of rows: the harder of the tables of tests/benchmarks/index.py, where a search costs 100 µs."""


def run(
    seed: int = 0,
    rounds: int = 5,
    seconds: int = 4,
    n_items: int = N_ITEMS,
    peers: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """All figures. ratio_to_bare, p99_ratio: of the service to the bare app; filtered_ratio, excluding_ratio: to its
    own unfiltered throughput; cpu_: the same of CPU time, which a busy machine leaves nearly alone. filtered_recall: of
    the first CHECKED questions against brute force."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"a bundle of {n_items} items and its index")
        bundle = bundle_of(folder / "bundle", n_items, SPREAD, seed)
        questions = profiles(bundle, seed)
        cases = bodies(bundle, questions, seed)
        with served(folder, bundle, say) as (ours, bare, key, pids):
            measured: dict[str, list[Measured]] = {name: [] for name in ("bare", *cases)}
            asking = {"authorization": f"Bearer {key}"}
            for round_ in range(rounds):
                say(f"round {round_ + 1} of {rounds}")
                measured["bare"].append(wrk(Load(bare, cases["plain"]), seconds=seconds, pid=pids[1]))
                for name, sent in cases.items():
                    measured[name].append(wrk(Load(ours, sent, asking), seconds=seconds, pid=pids[0]))
            recall = {
                name: recall_of(bundle, ours, key, cases[name], questions, name) for name in ("plain", "filtered")
            }
        figures = summary(measured) | {"recall": recall["plain"], "filtered_recall": recall["filtered"]}
        if peers:
            figures["peers"] = {"ownshelf": ours_beside(figures)} | beside(bundle, questions, seconds, say)
        return figures | {"items": n_items, "dim": bundle.table.dim, "rounds": rounds, "connections": 16}


def profiles(bundle: Bundle, seed: int) -> npt.NDArray[np.float32]:
    """(QUESTIONS, dim) float32: random mixtures of a few items."""
    rng = np.random.default_rng([seed, 3])
    V = bundle.table.item_embeddings
    chosen = rng.integers(0, len(V), (QUESTIONS, 5))
    found: npt.NDArray[np.float32] = np.einsum("qkd,qk->qd", V[chosen], rng.random((QUESTIONS, 5), dtype=np.float32))
    return found


def bodies(bundle: Bundle, questions: npt.NDArray[np.float32], seed: int) -> dict[str, list[str]]:
    """JSON bodies of each case."""
    rng = np.random.default_rng([seed, 4])
    ids = bundle.catalogue["item_id"].to_list()
    excluded = [[ids[item] for item in rng.integers(0, len(ids), 200)] for _ in range(50)]

    def one(row: npt.NDArray[np.float32], **more: Any) -> str:
        profile = base64.b64encode(row.astype("<f4").tobytes()).decode()
        return json.dumps({"mode": "profile", "bundle_version": bundle.version, "profile": profile, "top_k": K} | more)

    return {
        "plain": [one(row) for row in questions],
        "filtered": [one(row, filter={"category": CATEGORY}) for row in questions],
        "excluding": [one(row, exclude=excluded[at % 50]) for at, row in enumerate(questions)],
    }


@contextmanager
def served(folder: Path, bundle: Bundle, say: Callable[[str], None]) -> Iterator[tuple[str, str, str, tuple[int, int]]]:
    """Addresses of the service's hot route and of the bare app, an API key, and their processes."""
    state = folder / "state"
    state.mkdir()
    book = open_book(sqlite_url(state / STATE_FILE))
    key = book.keys.create("shop", ["app"], int(time.time()))
    book.close()
    ports = free_port(), free_port()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    commands = (
        ["serving.cli.main", "serve", str(folder / "bundle"), f"--state={state}", f"--index-folder={folder / 'index'}",
         f"--port={ports[0]}", "--rate-limit=1000000/second", "--access-log=errors"],
        ["tests.benchmarks.serving_bare", str(folder / "bundle"), str(folder / "index"), str(ports[1])],
    )  # fmt: skip
    processes = []
    try:
        for command, port in zip(commands, ports, strict=True):
            started = [sys.executable, "-m", *command]
            processes.append(subprocess.Popen(started, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL))
            _until_up(port)
        say("both are up")
        addresses = f"http://127.0.0.1:{ports[0]}/v1/recommendations", f"http://127.0.0.1:{ports[1]}/"
        yield *addresses, key, (processes[0].pid, processes[1].pid)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def recall_of(
    bundle: Bundle, url: str, key: str, sent: list[str], questions: npt.NDArray[np.float32], case: str
) -> float:
    """Recall@20 of the first answers against float32 scores of every item that may be in them."""
    scores = score(bundle.table, questions[:CHECKED], bundle.config.trend_weight)
    if case == "filtered":
        scores[:, (bundle.catalogue["category"] != CATEGORY).to_numpy()] = -np.inf
    best = np.argsort(-scores, axis=1)[:, :K]
    ids = bundle.catalogue["item_id"].to_numpy()
    share = []
    with httpx.Client(
        headers={"authorization": f"Bearer {key}", "content-type": "application/json"}, timeout=60
    ) as client:
        for body, row in zip(sent, best, strict=False):
            listed = client.post(url, content=body).raise_for_status().json()["recommendations"]
            share.append(len({one["item_id"] for one in listed} & set(ids[row].tolist())) / K)
    return float(np.mean(share))


def summary(measured: dict[str, list[Measured]]) -> dict[str, Any]:
    """Medians over rounds, and of the ratios within a round."""

    def ratio(a: str, b: str, what: str) -> float:
        return median(
            getattr(one, what) / getattr(other, what) for one, other in zip(measured[a], measured[b], strict=True)
        )

    return {
        "ratio_to_bare": ratio("plain", "bare", "rps"),
        "p99_ratio": ratio("plain", "bare", "p99_ms"),
        "cpu_ratio_to_bare": 1 / ratio("plain", "bare", "cpu_us"),
        "cpu_us": {name: median(one.cpu_us for one in found) for name, found in measured.items()},
        "rps": {name: median(one.rps for one in found) for name, found in measured.items()},
        "p99_ms": {name: median(one.p99_ms for one in found) for name, found in measured.items()},
        "filtered_ratio": ratio("filtered", "plain", "rps"),
        "excluding_ratio": ratio("excluding", "plain", "rps"),
        "cpu_filtered_ratio": 1 / ratio("filtered", "plain", "cpu_us"),
        "cpu_excluding_ratio": 1 / ratio("excluding", "plain", "cpu_us"),
        "failed": sum(one.failed for found in measured.values() for one in found),
    }


def ours_beside(figures: dict[str, Any]) -> dict[str, Any]:
    """Our own row of the peers' table."""
    return {
        "unfiltered": {
            "rps": figures["rps"]["plain"],
            "p99_ms": figures["p99_ms"]["plain"],
            "recall": figures["recall"],
        },
        "filtered": {
            "rps": figures["rps"]["filtered"],
            "p99_ms": figures["p99_ms"]["filtered"],
            "recall": figures["filtered_recall"],
        },
    }


def beside(
    bundle: Bundle, questions: npt.NDArray[np.float32], seconds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """The peers on the same rows, the trend left out of both sides' questions."""
    from tests.benchmarks.serving_peers import chroma, pgvector

    rows = np.array(bundle.table.item_embeddings)
    category = bundle.catalogue["category"].str.strip_prefix("shelf ").cast(int).to_numpy()
    say("pgvector")
    found = {"pgvector": pgvector(rows, category, questions, seconds)}
    say("Chroma")
    return found | {"chroma": chroma(rows, category, questions, seconds)}


def _until_up(port: int) -> None:
    give_up = time.monotonic() + 120
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5)
        except httpx.HTTPError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)
        else:
            return
