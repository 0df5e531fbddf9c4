"""Ingest of a large csv in one piece beside the same in partitions: what the smaller memory costs.

Each side runs in a process of its own and writes a dataset folder; the two contents must be equal. A third process
opens the folder as later commands do, which holds all events in memory.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.ingest import write_log


def run(rows: int = 20_000_000, partitions: int = 8, workdir: Path | str | None = None) -> dict[str, Any]:
    """Figures of both sides on one log of `rows` lines in REES46's shape.

    memory_ratio, cpu_ratio: of the partitioned ingest to the one in one piece; peaks are of whole processes, imports
    included (imports_gb). temporary_gb: the most that the partitioned one had on disk beside the finished folder.
    """
    with tempfile.TemporaryDirectory(dir=workdir) as folder:
        path = Path(folder) / "events.csv"
        write_log(path, rows)
        size = path.stat().st_size
        whole = _measure("ingest", path, Path(folder) / "whole", 1)
        parts = _measure("ingest", path, Path(folder) / "parts", partitions)
        opened = _measure("open", path, Path(folder) / "parts", partitions)
    if len({one["hash"] for one in (whole, parts, opened)}) > 1:
        raise RuntimeError(f"the sides disagree: {whole} {parts} {opened}")
    return {
        "rows": rows,
        "partitions": partitions,
        "csv_gb": round(size / 1e9, 2),
        "peak_gb": parts["peak_gb"],
        "peak_gb_one_piece": whole["peak_gb"],
        "memory_ratio": round(parts["peak_gb"] / whole["peak_gb"], 2),
        "cpu_s": parts["cpu_s"],
        "cpu_s_one_piece": whole["cpu_s"],
        "cpu_ratio": round(parts["cpu_s"] / whole["cpu_s"], 2),
        "temporary_gb": parts["temporary_gb"],
        "imports_gb": parts["imports_gb"],
        "peak_gb_opened": opened["peak_gb"],
        "events_gb": parts["events_gb"],
        "one_piece": whole,
        "in_partitions": parts,
        "opened": opened,
    }


def _measure(job: str, path: Path, out: Path, partitions: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.ingest_partitions", job, str(path), str(out), str(partitions)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _main(job: str, path: Path, out: Path, partitions: int) -> None:
    from data.dataset import Dataset
    from data.log_reading.partitions import ingest_folder

    imports, temporary = _peak_gb(), 0

    def look(*_: object) -> None:
        nonlocal temporary
        files = [file for file in out.parent.glob(f".{out.name}-*/spill/**/*") if file.is_file()]
        temporary = max(temporary, sum(file.stat().st_size for file in files))

    began = time.perf_counter()
    if job == "ingest":
        content = ingest_folder(path, out, partitions=partitions, progress=look).hash
    else:
        dataset = Dataset.open(out)
        dataset.interactions()
        content = dataset.hash
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "hash": content,
        "wall_s": round(time.perf_counter() - began, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_gb": _peak_gb(),
        "imports_gb": imports,
        "temporary_gb": round(temporary / 1e9, 3),
        "events_gb": round((out / "events.parquet").stat().st_size / 1e9, 3),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


def _peak_gb() -> float:
    """Of this program: ru_maxrss would count the parent it was forked from."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return round(int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9, 3)


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
