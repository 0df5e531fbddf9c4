"""How fast the synthetic shop writes its log, and that its memory does not grow with it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import json, resource, sys, time
from pathlib import Path
from data.synthetic import SyntheticShop
n_events, users, items, seed = (int(word) for word in sys.argv[1:5])
begun = time.process_time()
SyntheticShop(users, items, n_events, seed=seed).write(Path(sys.argv[5]))
seconds = time.process_time() - begun
print(json.dumps([n_events / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6]))
"""


def run(*, seed: int = 0, sizes: tuple[int, ...] = (1_000_000, 10_000_000)) -> dict[str, object]:
    """For each number of events, written by a process of its own (100,000 users, 10,000 items): events per CPU-second
    and peak resident memory in GB."""
    figures: dict[str, object] = {}
    for n_events in sizes:
        with tempfile.TemporaryDirectory() as folder:
            words = [str(number) for number in (n_events, 100_000, 10_000, seed)]
            command = [sys.executable, "-c", PROGRAM, *words, folder]
            root = Path(__file__).resolve().parents[2]
            done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
        rate, peak_gb = (float(word) for word in done.stdout.strip("[]\n ").split(","))
        figures[str(n_events)] = {"events_per_cpu_s": round(rate), "peak_gb": round(peak_gb, 3)}
    return figures
