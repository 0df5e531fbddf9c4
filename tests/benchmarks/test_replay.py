"""The replay benchmark at a tiny size, in this process: every figure has its name and the plot is drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import replay


def test_figures_have_their_names_and_the_plot_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def here(call: str) -> dict[str, Any]:
        name, _, rest = call.partition("(")
        if name == "online_retail":
            return replay.measured(replay.shop_dataset(600, 10, 30, 0, 3), dim=4, lists=True, seed=0, bootstrap=100)
        n_events, _, n_items, *_ = (int(number) for number in rest.rstrip(")").split(","))
        dataset = replay.shop_dataset(n_events, 10, n_items, 0, 2)
        return json.loads(json.dumps(replay.measured(dataset, dim=4, lists=False, seed=0, bootstrap=100)))

    monkeypatch.setattr(replay, "_apart", here)
    monkeypatch.setattr(replay, "ITEMS", 80)
    figures = replay.run(millions=0.0005, base=100, out=tmp_path / "scaling.png")
    assert {"events_per_cpu_s", "peak_gb", "online_retail_cpu_s", "scaling"} <= figures.keys()
    assert [row["events"] for row in figures["scaling"]["events"]] == [100, 200, 400, 800]
    assert [row["items"] for row in figures["scaling"]["items"]] == [20, 40, 80, 160]
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
