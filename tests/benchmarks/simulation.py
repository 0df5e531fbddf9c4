"""Device updates per CPU-second of the batched simulation, and the memory of a million devices.

Workload: 40,000 devices, 10,000 items, about 30 events each, per-part clipping included, hold-out metrics not. CPU time
of one process with one thread; merging the histories (once a run) is reported apart. The million runs in a process of
its own, so that its peak is its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.interactions import Interactions, interactions
from federation.learning.item_step import StepConfig, StepState, item_step
from federation.learning.taste_update import Clips
from federation.simulation.taste_sums import sum_updates
from recsys.model.histories import merge_histories
from recsys.model.profile import ProfileConfig
from recsys.model.solver import Solver

CLIPS = Clips(rows=1.0, counts=4.0, second=1.0, first=1.0)
CONFIG = ProfileConfig(alpha=0.003, reg=0.01, half_life=30.0, half_life_unit="events")
ROUNDS = 3


def log_of(n_devices: int, n_items: int, events_per_device: int, seed: int) -> Interactions:
    """Devices with a Poisson number of events each, on items of skewed popularity."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(events_per_device, n_devices)
    item = np.minimum(n_items * rng.random(int(counts.sum()), dtype=np.float32) ** 2, n_items - 1).astype(np.int32)
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    small = interactions([], [], [], n_users=0, n_items=n_items)
    n = len(item)
    return Interactions(
        offsets=offsets,
        item_idx=item,
        kind=np.full(n, 2, dtype=np.uint8),
        time=np.arange(n, dtype=np.int64),
        quantity=np.ones(n, dtype=np.float32),
        n_items=n_items,
        undone_row=small.undone_row,
        undone_time=small.undone_time,
    )


def updates_per_cpu_s(dim: int, seed: int) -> dict[str, float]:
    """Full rounds of all devices: profiles, updates, clips, sums and the item step."""
    torch.set_num_threads(1)
    log = log_of(40_000, 10_000, 30, seed)
    start = time.process_time()
    histories = merge_histories(log, CONFIG, 0)
    merging = time.process_time() - start
    state = StepState.start(log.n_items, dim, seed)
    devices = np.arange(log.n_users)
    seconds = []
    for round_ in range(ROUNDS + 1):
        start = time.process_time()
        solver = Solver(torch.from_numpy(state.item_embeddings), alpha=CONFIG.alpha, reg=CONFIG.reg)
        sums = sum_updates(solver, histories, devices, CLIPS)
        updated = time.process_time() - start
        state = item_step(state, sums, StepConfig(), alpha=CONFIG.alpha, reg=CONFIG.reg, step=0.5)
        if round_:  # the first round warms caches and the allocator up
            seconds.append(updated)
    return {"updates_per_cpu_s": len(devices) / float(np.median(seconds)), "merge_cpu_s": merging}


def million(seed: int) -> dict[str, float]:
    """One round over 1,000,000 devices of about 30 events on 10,000 items at dim 32: peak memory and CPU seconds."""
    torch.set_num_threads(1)
    log = log_of(1_000_000, 10_000, 30, seed)
    histories = merge_histories(log, CONFIG, 0)
    state = StepState.start(log.n_items, 32, seed)
    start = time.process_time()
    solver = Solver(torch.from_numpy(state.item_embeddings), alpha=CONFIG.alpha, reg=CONFIG.reg)
    sum_updates(solver, histories, np.arange(log.n_users), CLIPS)
    return {
        "events": float(log.n_events),
        "round_cpu_s": time.process_time() - start,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def run(seed: int = 0) -> dict[str, Any]:
    """All figures; each in a process of its own with one thread."""
    rates = {dim: _apart(f"updates_per_cpu_s({dim}, {seed})") for dim in (32, 64)}
    large = _apart(f"million({seed})")
    return {
        "updates_per_cpu_s": {str(dim): rate["updates_per_cpu_s"] for dim, rate in rates.items()},
        "merge_cpu_s": {str(dim): rate["merge_cpu_s"] for dim, rate in rates.items()},
        "million_devices_peak_gb": large["peak_gb"],
        "million_devices_round_cpu_s": large["round_cpu_s"],
        "million_devices_events": large["events"],
        "workload": {"devices": 40_000, "items": 10_000, "events_per_device": 30, "clipped": True, "rounds": ROUNDS},
    }


def _apart(call: str) -> dict[str, float]:
    code = f"import json; from tests.benchmarks.simulation import *; print(json.dumps({call}))"
    root = Path(__file__).resolve().parents[2]
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found
