"""What a second and a third worker add to the memory of the service: PSS of all its processes, as /proc counts it.

PSS divides a page among the processes that map it, so shared pages count once in the sum. What a worker adds for a
bundle of 500 items (the interpreter, the libraries) is taken off: the rest is what it adds because of the bundle.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.benchmarks.index import bundle_of

N_ITEMS, FEW = 100_000, 500
WORKERS = (1, 2, 3)
REQUESTS = 60
SPREAD = 0.6
SERVE = [sys.executable, "-m", "serving.cli.main", "serve", "--port=0", "--json"]


def run(seed: int = 0, n_items: int = N_ITEMS, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """mb: PSS in MB by number of workers, of the bundle of n_items and of that of FEW; added: what each further worker
    adds because of the bundle, in MB and as a share of the bundle's files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mb: dict[str, list[float]] = {}
        for which, size in (("few", FEW), ("many", n_items)):
            bundle_of(folder / which, size, SPREAD, seed)
            mb[which] = []
            for workers in WORKERS:
                say(f"{size} items, {workers} workers")
                mb[which].append(memory(folder / which, workers, folder / f"index-{which}", seed))
        bundle_mb = sum(one.stat().st_size for one in (folder / "many").iterdir()) / 2**20
        added = np.diff(mb["many"]) - np.diff(mb["few"])
        return {
            "n_items": n_items,
            "bundle_mb": round(bundle_mb, 1),
            "mb": {which: [round(one, 1) for one in all_] for which, all_ in mb.items()},
            "added": [
                {"worker": worker, "mb": round(float(more), 2), "share_of_bundle": round(float(more) / bundle_mb, 3)}
                for worker, more in zip(WORKERS[1:], added, strict=True)
            ],
        }


def memory(bundle: Path, workers: int, index: Path, seed: int) -> float:
    """MB of the service and its workers after REQUESTS searches, half of them filtered."""
    service = subprocess.Popen(
        [*SERVE, str(bundle), f"--workers={workers}", f"--index-folder={index}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        assert service.stdout is not None
        url = json.loads(service.stdout.readline())["url"]
        version = version_once_ready(url)
        rng = np.random.default_rng(seed)
        for one in range(REQUESTS):
            body: dict[str, Any] = {"mode": "profile", "bundle_version": version, "top_k": 20}
            body["profile"] = rng.normal(size=64).astype(np.float32).tolist()
            if one % 2:
                body["filter"] = {"category": "shelf 3"}
            httpx.post(url + "/v1/recommendations", json=body, timeout=30).raise_for_status()
        return pss_mb(service.pid)
    finally:
        service.terminate()
        service.wait()


def version_once_ready(url: str, within_s: float = 60) -> str:
    """The current bundle's version, once the service answers /readyz with 200."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            if httpx.get(url + "/readyz", timeout=60).status_code == 200:
                bundles = httpx.get(url + "/v1/bundles", timeout=60).raise_for_status().json()
                return str(bundles["bundles"][0]["version"])
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise TimeoutError(f"{url}/readyz: not ready within {within_s} s")


def pss_mb(pid: int) -> float:
    """PSS of a process and all its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return own + sum(pss_mb(int(child)) for child in children)
