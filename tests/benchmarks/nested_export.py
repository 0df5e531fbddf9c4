"""A nested GA4 export into events, ours beside pandas' json_normalize of the same file: rows a second and memory.

Each side runs in a process of its own. Ours does more: it checks times, numbers and ids, numbers users and items, and
gives each refused row its line and reason; json_normalize only makes the flat table, with all of the file in memory.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_WORDS = ("view_item", "view_item", "view_item", "add_to_cart", "purchase", "page_view")


def run(records: int = 1_000_000, seed: int = 0, workdir: Path | str | None = None) -> dict[str, Any]:
    """Figures of both sides on one file of `records` lines; rows_per_cpu_s counts flat rows, one an item of an event.

    Raises RuntimeError when the sides find different numbers of rows with an item.
    """
    with tempfile.TemporaryDirectory(dir=workdir) as folder:
        path = Path(folder) / "ga4.json"
        write_export(path, records, seed)
        sides = {side: _measure(side, path) for side in ("ours", "pandas")}
        size = path.stat().st_size
    if len({figures["items"] for figures in sides.values()}) > 1:
        raise RuntimeError(f"the sides disagree: {sides}")
    return {
        "records": records,
        "json_mb": round(size / 1e6),
        "cpu_ratio": round(sides["ours"]["cpu_s"] / sides["pandas"]["cpu_s"], 2),
        "memory_ratio": round(sides["ours"]["peak_gb"] / sides["pandas"]["peak_gb"], 2),
        **sides,
    }


def write_export(path: Path, records: int, seed: int) -> None:
    """A seeded export: views, carts, purchases of one to three items, and events of no product."""
    draw = random.Random(seed)
    with path.open("w") as stream:
        for number in range(records):
            word = draw.choice(_WORDS)
            count = 0 if word == "page_view" else draw.randint(1, 3) if word == "purchase" else 1
            items = [
                {"item_id": f"SKU{draw.randrange(5_000)}", "item_name": "A thing", "item_category": "things",
                 "price": draw.randrange(100, 9_999) / 100, "quantity": 1}
                for _ in range(count)
            ]  # fmt: skip
            record = {
                "event_date": "20240115", "event_timestamp": str(1_705_276_800_000_000 + number * 1_000),
                "event_name": word, "user_pseudo_id": f"{draw.randrange(records // 10 + 1)}.1", "user_id": None,
                "event_params": [{"key": "ga_session_id", "value": {"int_value": number // 20}},
                                 {"key": "page_location", "value": {"string_value": "https://shop.example/p"}}],
                "ecommerce": {"transaction_id": f"T{number}"}, "items": items,
            }  # fmt: skip
            stream.write(json.dumps(record) + "\n")


def _measure(side: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.nested_export", side, str(path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _ours(path: Path) -> int:
    from data.log_reading.log_source import LogOptions
    from data.log_reading.partitions import ingest_folder

    made = ingest_folder(path, path.parent / "shop", LogOptions())
    told = made.summary
    return int(told["events"] + told["duplicates"])


def _pandas(path: Path) -> int:
    import pandas as pd

    with path.open() as stream:
        records = [json.loads(line) for line in stream]
    meta = ["event_timestamp", "event_name", "user_pseudo_id", ["ecommerce", "transaction_id"]]
    return len(pd.json_normalize(records, record_path="items", meta=meta))


def _main(side: str, path: Path) -> None:
    began = time.perf_counter()
    items = {"ours": _ours, "pandas": _pandas}[side](path)
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    figures = {
        "items": items,
        "wall_s": round(time.perf_counter() - began, 2),
        "cpu_s": round(cpu, 2),
        "rows_per_cpu_s": round(items / cpu),
        "peak_gb": round(used.ru_maxrss * 1024 / 1e9, 3),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
