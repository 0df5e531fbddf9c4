"""Figures of experiments beside those of other tools: GrowthBook's gbstats and spotify-confidence, on the same sums.

Each pins old packages, so it gets an environment of its own in the user's cache, made once (0.3 and 0.6 GB).
`python -m tests.benchmarks.experiments_oracles` writes their figures where the tests read them.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from recsys.experiments.analysis.always_valid import anytime_critical, e_value, mixture_scale
from recsys.experiments.analysis.boundaries import critical_values
from recsys.experiments.analysis.estimates import Difference, difference
from recsys.experiments.analysis.intervals import fixed_critical, fixed_p, interval
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.definition.metric_definitions import Metric, MetricKind

GOLDEN = Path(__file__).resolve().parents[1] / "recsys" / "experiments" / "golden_tools.json"
SCRIPT = Path(__file__).with_name("experiments_other_tools.py")
TOOLS = {"gbstats": "gbstats==0.8.0", "spotify": "spotify-confidence==4.1.0"}

ALPHA, PLANNED = 0.05, 12_000
TIMES = {"equal": [0.25, 0.5, 0.75, 1.0], "unequal": [0.1, 0.15, 0.6, 1.0], "one": [1.0], "early": [0.3, 0.5]}
MEAN = Metric("revenue", MetricKind.MEAN, "spent", cap=1e4)
CUPED = Metric("revenue", MetricKind.MEAN, "spent", cap=1e4, covariate="before", covariate_cap=1e4)
BUYS = Metric("conversion", MetricKind.PROPORTION, "bought")
RATIO = Metric("per_visit", MetricKind.RATIO, "spent", denominator="visits", cap=1e4, denominator_cap=1e3)
Figures = dict[str, list[float]]


def run(*, say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """`{"versions": …, "max_difference": {tool: {figure: see differences}}, …}`."""
    case = drawn_case()
    asked = {tool: ask(tool, case, say or (lambda _: None)) for tool in TOOLS}
    return {
        "versions": list(TOOLS.values()),
        "ours": ours(case),
        "theirs": asked,
        "max_difference": {tool: differences(tool, case, found) for tool, found in asked.items()},
    }


def show(figures: dict[str, Any], console: Console) -> None:
    """A table: how far apart."""
    table = Table("tool", "figure", "ours", "theirs", "apart")
    for tool, rows in figures["max_difference"].items():
        for name, apart in rows.items():
            both = [" ".join(f"{x:.5g}" for x in of[name]) for of in (figures["ours"][tool], figures["theirs"][tool])]
            table.add_row(tool, name, *both, f"{apart:.1e}")
    console.print(table)


def drawn_case(seed: int = 0) -> dict[str, Any]:
    """Sums of two arms, and of four looks at them, as plain values; times are fractions of PLANNED shoppers."""
    rng = np.random.default_rng(seed)
    drawn = [[_rows(1500, lift, rng) for _ in range(4)] for lift in (1.0, 1.1)]
    arms = [[ArmSums.from_rows(rows, [MEAN, CUPED, BUYS, RATIO]) for rows in parts] for parts in drawn]
    looks = [[sum(parts[1 : k + 1], parts[0]) for parts in arms] for k in range(4)]
    named = [{"control": a.to_dict(), "treatment": b.to_dict()} for a, b in looks]
    return {**named[-1], "alpha": ALPHA, "planned": PLANNED, "looks": named, "times": TIMES}


def _rows(n: int, lift: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    before, visits = rng.gamma(0.5, 20.0, n), 1.0 + rng.poisson(2.0, n)
    bought = (rng.random(n) < 0.2 * lift).astype(float)
    return {"before": before, "visits": visits, "bought": bought, "spent": bought * before + rng.gamma(1, 2 * lift, n)}


def _arms(look: dict[str, Any]) -> tuple[ArmSums, ArmSums]:
    return ArmSums.from_dict(look["control"]), ArmSums.from_dict(look["treatment"])


def ours(case: dict[str, Any]) -> dict[str, Figures]:
    """tool → figure → our numbers, as that tool says them: effect, low, high and p, or bounds look by look."""
    alpha, arms = case["alpha"], _arms(case)
    metrics = {"mean": MEAN, "proportion": BUYS, "ratio": RATIO, "cuped": CUPED}
    found = {name: difference(metric, *arms) for name, metric in metrics.items()}
    once = {name: _said(one, alpha) for name, one in found.items()}
    relative = interval(found["mean"], fixed_critical(alpha))
    gbstats = once | {
        "always_valid": _always(found["mean"], case),
        "always_valid_cuped": _always(found["cuped"], case),
        "relative": [found["mean"].relative, relative.relative_low, relative.relative_high, once["mean"][3]],
    }
    spotify = {name: once[name] for name in ("mean", "proportion", "cuped")}
    seen = [difference(MEAN, *_arms(look)) for look in case["looks"]]
    limits = _power_bounds([one.shoppers / case["planned"] for one in seen], alpha)
    spotify["planned_low"] = [one.effect - z * math.sqrt(one.variance) for one, z in zip(seen, limits, strict=True)]
    spotify["planned_high"] = [one.effect + z * math.sqrt(one.variance) for one, z in zip(seen, limits, strict=True)]
    spotify |= {f"bounds_{name}": _power_bounds(times, alpha) for name, times in case["times"].items()}
    return {"gbstats": gbstats, "spotify": spotify}


def _said(one: Difference, alpha: float) -> list[float]:
    bounds = interval(one, fixed_critical(alpha))
    return [one.effect, bounds.low, bounds.high, fixed_p(one)]


def _always(one: Difference, case: dict[str, Any]) -> list[float]:
    """gbstats takes normal standard errors and shoppers as the clock; ours of the same, before Student's tail."""
    scale = mixture_scale(case["alpha"], case["planned"])
    half = anytime_critical(case["alpha"], one.shoppers, scale) * math.sqrt(one.variance)
    return [one.effect, one.effect - half, one.effect + half, min(1.0, 1.0 / e_value(one.z, one.shoppers, scale))]


def _power_bounds(times: list[float], alpha: float) -> list[float]:
    """Of spotify-confidence's spending, alpha·t² (Kim and DeMets 1987), by our boundaries."""
    spend = np.diff([alpha / 2 * time**2 for time in times], prepend=0.0)
    return [float(bound) for bound in critical_values(times, spend)]


def differences(tool: str, case: dict[str, Any], theirs: Figures) -> dict[str, float]:
    """Largest difference a figure: of effect and interval over the interval's width; of p and of bounds absolute."""
    apart = {}
    for name, our in ours(case)[tool].items():
        gaps = np.abs(np.subtract(our, theirs[name]))
        if not name.startswith(("bounds", "planned")):
            gaps[:3] /= our[2] - our[1]
        apart[name] = float(gaps.max())
    return apart


def ask(tool: str, case: dict[str, Any], say: Callable[[str], None]) -> Figures:
    """What the tool says of the case."""
    python = environment(tool, say)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.json"
        path.write_text(json.dumps(case))
        command = [str(python), "-I", "-W", "ignore", str(SCRIPT), tool, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: Figures = json.loads(done.stdout)
    return found


def environment(tool: str, say: Callable[[str], None]) -> Path:
    """The tool's interpreter, installed if it is not there yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "ownshelf-benchmarks" / TOOLS[tool].replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        say(f"installing {TOOLS[tool]} into {folder}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", TOOLS[tool]], check=True)
        (folder / "complete").touch()
    return python


if __name__ == "__main__":
    drawn = drawn_case()
    golden = {"source": TOOLS, "case": drawn, "figures": {tool: ask(tool, drawn, print) for tool in TOOLS}}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
