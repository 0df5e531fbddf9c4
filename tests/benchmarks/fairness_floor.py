"""A floor under the tail's exposure on Online Retail: held online from aggregate exposure alone, and what it costs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from federation.lab.release.evidence import gather_audience
from recsys.evaluation.arms import arm
from recsys.fairness.exposure_floor import ExposureFloor, cost_curve, hold_floor, priced_items
from recsys.reports.plots import HELD, OURS
from tests.benchmarks.fairness_gate import NEW_UNTIL, ReleaseMaker

FLOOR = 0.15
FLOORS = (0.05, 0.1, FLOOR, 0.2, 0.3, 0.4)


def run_floor(*, seed: int = 0, say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """`{"tail_exposure", "tail_floor", "ndcg_loss", "curve", "periods"}`; about a minute of CPU time."""
    tell = say or (lambda _: None)
    with tempfile.TemporaryDirectory() as folder:
        make = ReleaseMaker(Path(folder), seed)
        bundle = make.honest(NEW_UNTIL, 1)
        audience = gather_audience(make.dataset, [bundle])
        asked, model = audience.question, arm("personalized", bundle.table, bundle.config)
        priced = priced_items(audience.tail, bundle.table.trend)
        costs = {}
        for floor in FLOORS:
            costs[floor] = hold_floor(
                model, audience.targets, asked.histories, asked.now, tail=audience.tail, priced=priced,
                control=ExposureFloor(floor), seed=seed,
            )  # fmt: skip
            tell(f"floor {floor}: {costs[floor].to_dict()}")
    held = costs[FLOOR]
    return {
        "tail_exposure": held.share,
        "tail_floor": FLOOR,
        "ndcg_loss": held.loss,
        "tail_exposure_before": held.share_before,
        "curve": cost_curve(list(costs.values())),
        "periods": {"prices": list(held.prices), "shares": list(held.shares)},
    }


def plot_floor(figures: Mapping[str, Any], path: Path) -> None:
    """Plot accuracy against the tail's exposure, and how the controller got to its floor."""
    picture = Figure(figsize=(9.0, 3.4), layout="constrained")
    curve, periods = picture.subplots(1, 2)
    shares = [row["share"] for row in figures["curve"]]
    curve.plot(shares, [100 * row["loss"] for row in figures["curve"]], "o-", color=OURS)
    curve.axhline(1.0, color="#b0b7bf", lw=0.8, ls=":")
    curve.set_xlabel("tail's share of list places")
    curve.set_ylabel("NDCG lost, %")
    periods.plot(figures["periods"]["shares"], color=OURS)
    periods.axhline(figures["tail_floor"], color=HELD, lw=1, ls="--")
    periods.set_xlabel("period of 100 shoppers")
    periods.set_ylabel("tail's share of list places")
    for axes in (curve, periods):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
    picture.savefig(path, dpi=150)
