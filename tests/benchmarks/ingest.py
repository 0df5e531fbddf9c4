"""Ingest of a large csv into a split with histories, ours beside pandas doing the same job.

The job: read, check, number, drop duplicates, sort, cut at a moment, each user's events on both sides. Each side runs
in a process of its own and prints what it found, what it cost (its imports included), and a hash of its result; the
hashes must be equal. Two ways to write it with pandas: `pandas`, every step by the method that pandas has for it, and
`pandas_tuned`, by hand after looking where the time goes: times by the ISO reader, words as categories, duplicates
looked for only among the events that share user and time, and no column read or carried along but the answer's.

Ours does more than both: it keeps sessions, categories, brands and prices, makes the catalogue, gives every refused row
its line and reason, and keeps book of cancellations (in this log a removal from the cart is of something carted before
the log began). It also checks that the text is UTF-8 to the last byte, that ids stay as they are written, that prices
are finite and not negative, and that no line has more fields than the header.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

KINDS = {"view": 0, "cart": 1, "purchase": 2, "remove_from_cart": -1}
MAPPING = {
    "user": "user_id", "item": "product_id", "time": "event_time", "event": "event_type", "price": "price",
    "category": "category_code", "session": "user_session",
}  # fmt: skip
_CHUNK = 500_000
_SEED = 20191001
_MONTH_S = 2_678_400
_BEGIN_S = 1_569_888_000  # 2019-10-01
CUT_US = (_BEGIN_S + _MONTH_S * 4 // 5) * 1_000_000


def run(
    rows: int = 5_000_000,
    workdir: Path | str | None = None,
    rounds: int = 5,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Figures of all sides on one log of `rows` lines in REES46's shape, the best of some rounds of each in turn.

    speedup_over_pandas and speedup_over_tuned_pandas are ratios of CPU seconds; wall_… of seconds that pass, which only
    mean something on a machine that does nothing else (load: processes running in the last minute, at the start and
    the end, ours included). peak_gb: of the whole process of ours, imports included, the largest of the rounds.
    """
    with tempfile.TemporaryDirectory(dir=workdir) as folder:
        path = Path(folder) / "events.csv"
        write_log(path, rows)
        size = path.stat().st_size
        load = [round(os.getloadavg()[0], 1)]
        found: dict[str, list[dict[str, Any]]] = {side: [] for side in _SIDES}
        for number in range(rounds):
            for side in _SIDES:
                found[side].append(_measure(side, path))
                cost = found[side][-1]
                say(f"round {number + 1} of {rounds}: {side} {cost['cpu_s']} s of CPU, {cost['wall_s']} s")
        load.append(round(os.getloadavg()[0], 1))
    results = {cost["result"] for costs in found.values() for cost in costs}
    if len(results) > 1:
        raise RuntimeError(f"the sides disagree: {found}")
    sides = {side: _over_rounds(costs) for side, costs in found.items()}
    ours, pandas, tuned = (sides[side] for side in ("ours", "pandas", "pandas_tuned"))
    return {
        "rows": rows,
        "csv_mb": round(size / 1e6),
        "result": results.pop(),
        "speedup_over_pandas": round(pandas["cpu_s"] / ours["cpu_s"], 2),
        "wall_speedup_over_pandas": round(pandas["wall_s"] / ours["wall_s"], 2),
        "speedup_over_tuned_pandas": round(tuned["cpu_s"] / ours["cpu_s"], 2),
        "wall_speedup_over_tuned_pandas": round(tuned["wall_s"] / ours["wall_s"], 2),
        "peak_gb": ours["peak_gb"],
        "rows_per_cpu_s": round(rows / ours["cpu_s"]),
        "load": load,
        **sides,
    }


def _over_rounds(costs: list[dict[str, Any]]) -> dict[str, Any]:
    """Least and median seconds, largest memory."""
    cpu, wall = ([cost[name] for cost in costs] for name in ("cpu_s", "wall_s"))
    return {
        "cpu_s": min(cpu),
        "cpu_s_median": round(statistics.median(cpu), 2),
        "wall_s": min(wall),
        "wall_s_median": round(statistics.median(wall), 2),
        "peak_gb": max(cost["peak_gb"] for cost in costs),
    }


def write_log(path: Path, rows: int) -> None:
    """A seeded log: one month by the second, popular and rare items, sessions, gaps, 0.5 % exact duplicates."""
    import polars as pl

    random = np.random.default_rng(_SEED)
    with path.open("wb") as stream:
        for start in range(0, rows, _CHUNK):
            count = min(_CHUNK, rows - start)
            fresh = count - count // 200
            second = _BEGIN_S + (start + np.sort(random.integers(0, count, fresh))) * _MONTH_S // rows
            item = 1_000_000 + random.zipf(1.3, fresh) % 60_000
            user = 512_000_000 + random.integers(0, rows // 12 + 1, fresh)
            kind = random.choice(["view", "cart", "purchase", "remove_from_cart"], fresh, p=[0.94, 0.03, 0.02, 0.01])
            item[kind == "remove_from_cart"] += 100_000
            frame = pl.DataFrame({"second": second, "event_type": kind, "product_id": item, "user_id": user})
            frame = pl.concat([frame, frame.sample(count - fresh, seed=start)]).sort("second", maintain_order=True)
            _in_shape(frame).write_csv(stream, include_header=start == 0)


def _in_shape(frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    group, item, user = pl.col("product_id") % 600, pl.col("product_id"), pl.col("user_id")
    return frame.select(
        event_time=pl.from_epoch("second").dt.strftime("%Y-%m-%d %H:%M:%S UTC"),
        event_type="event_type",
        product_id=item,
        category_id=2_053_013_552_326_770_000 + group,
        category_code=pl.when(group % 3 > 0).then(pl.format("electronics.group{}.kind{}", group % 13, group)),
        brand=pl.when(item % 7 > 0).then(pl.format("brand{}", item % 900)),
        price=((item % 5_000) / 7 + 1).round(2),
        user_id=user,
        user_session=pl.format(
            "{}-7d2c-4f7a-9b1e-{}",
            (user * 2_654_435_761 % 2**32).cast(pl.String).str.zfill(10),
            (user * 40_503 + pl.col("second") // 40_000).cast(pl.String).str.zfill(14),
        ),
    )


def _measure(side: str, path: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.ingest", side, str(path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _ours(path: Path) -> str:
    from data.log_reading.ingest import ingest
    from data.split import temporal

    split = temporal(ingest(path, mapping=MAPPING, kinds={"remove_from_cart": "-cart"}).interactions(), CUT_US)
    return _digest(*((part.offsets, part.item_idx, part.kind, part.time) for part in (split.train, split.test)))


def _pandas(path: Path) -> str:
    import pandas as pd

    log = pd.read_csv(path)
    log["time"] = pd.to_datetime(log["event_time"], format="%Y-%m-%d %H:%M:%S UTC", utc=True, errors="coerce")
    log["kind"] = log["event_type"].map(KINDS)
    log = log.dropna(subset=["user_id", "product_id", "time", "kind"]).sort_values("time", kind="stable")
    log = log.drop_duplicates(subset=["user_id", "product_id", "kind", "time", "price", "user_session"])
    log["user_idx"], users = pd.factorize(log["user_id"])
    log["item_idx"], _ = pd.factorize(log["product_id"])
    log = log[log["kind"] >= 0].sort_values("user_idx", kind="stable")
    before = log["time"] < pd.Timestamp(CUT_US, unit="us", tz="UTC")
    return _digest(*(_histories(part, len(users)) for part in (log[before], log[~before])))


def _pandas_tuned(path: Path) -> str:
    import pandas as pd

    columns = ["event_time", "event_type", "product_id", "price", "user_id", "user_session"]
    log = pd.read_csv(path, usecols=columns, dtype={"event_type": "category"})
    log["time"] = pd.to_datetime(
        log.pop("event_time").str.removesuffix(" UTC"), format="%Y-%m-%d %H:%M:%S", errors="coerce"
    )
    log["kind"] = log.pop("event_type").map(KINDS).astype("float")
    log = log.dropna(subset=["user_id", "product_id", "time", "kind"])
    if not log["time"].is_monotonic_increasing:
        log = log.sort_values("time", kind="stable")
    tied = log[log.duplicated(["user_id", "time"], keep=False)]
    log = log.drop(index=tied.index[tied.duplicated()])
    log["user_idx"], users = pd.factorize(log.pop("user_id"))
    log["item_idx"], _ = pd.factorize(log.pop("product_id"))
    log = log[log["kind"] >= 0].sort_values("user_idx", kind="stable")
    before = log["time"] < pd.Timestamp(CUT_US, unit="us")
    return _digest(*(_histories(part, len(users)) for part in (log[before], log[~before])))


def _histories(part: Any, n_users: int) -> tuple[np.ndarray, ...]:
    counts = part.groupby("user_idx").size().reindex(range(n_users), fill_value=0)
    moment = part["time"].dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
    return np.concatenate(([0], counts.cumsum())), part["item_idx"].to_numpy(), part["kind"].to_numpy(), moment


def _digest(*parts: tuple[np.ndarray, ...]) -> str:
    digest = hashlib.sha256()
    for offsets, item_idx, kind, moment in parts:
        for column, dtype in ((offsets, np.int64), (item_idx, np.int32), (kind, np.uint8), (moment, np.int64)):
            digest.update(column.astype(dtype).tobytes())
    return digest.hexdigest()


_SIDES = {"ours": _ours, "pandas": _pandas, "pandas_tuned": _pandas_tuned}


def _main(side: str, path: Path) -> None:
    began = time.perf_counter()
    result = _SIDES[side](path)
    wall = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "result": result,
        "wall_s": round(wall, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_gb": round(used.ru_maxrss * 1024 / 1e9, 3),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
