"""Writes interleaving.json: drafts and tallies that an implementation of another language has to match.

`python -m tests.vectors.interleaving`. A draft: two rankings, k and who picks first in each pair (1: the challenger) →
items and teams (0 incumbent, 1 challenger, -1 nobody). A tally: cap and the sessions of each window (-1, 0, 1) → what
is added in each window to (1, x, x²).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from recsys.experiments.analysis.layout import Integers, Layout, layout_of
from recsys.experiments.device.interleaving import Tally, coins, team_draft
from tests.recsys.experiments.an_experiment import an_interleaving

PATH = Path(__file__).with_name("interleaving.json")
DRAFTS, TALLIES = 300, 100


def vectors() -> dict[str, Any]:
    rng = np.random.Generator(np.random.PCG64(5))
    return {"drafts": [_draft(rng) for _ in range(DRAFTS)], "tallies": [_tally(rng) for _ in range(TALLIES)]}


def _draft(rng: np.random.Generator) -> dict[str, Any]:
    catalogue, k = int(rng.integers(3, 13)), int(rng.integers(1, 9))
    lists = [rng.permutation(catalogue)[: int(rng.integers(0, catalogue))].astype(np.int32) for _ in range(2)]
    heads = coins(k, rng)
    made = team_draft(lists[0], lists[1], k, heads)
    return {
        "incumbent": lists[0].tolist(),
        "challenger": lists[1].tolist(),
        "k": k,
        "heads": heads.astype(int).tolist(),
        "items": made.items.tolist(),
        "teams": made.picked_by.tolist(),
    }


def _tally(rng: np.random.Generator) -> dict[str, Any]:
    cap = int(rng.integers(1, 5))
    windows = [rng.integers(-1, 2, int(rng.integers(0, 5))).tolist() for _ in range(int(rng.integers(1, 5)))]
    layout = layout_of(an_interleaving(cap=cap))
    sent = [(one // layout.steps.astype(int)).tolist() for one in contributions(layout, windows, cap)]
    return {"cap": cap, "windows": windows, "contributions": sent}


def contributions(layout: Layout, windows: list[list[int]], cap: int) -> list[Integers]:
    """What a shopper's device sends in each window, whose sessions (-1, 0, 1) are given; in steps."""
    now, told, sent = Tally(cap=cap), np.zeros((2, 3), dtype=np.int64), []
    for window in windows:
        for one in window:
            now = now.after(one)
        risen = layout.risen(now.values(), np.full((2, 3), 0.5))
        sent.append(layout.contribution("both", 0, risen - told))
        told = risen
    return sent


if __name__ == "__main__":
    PATH.write_text(json.dumps(vectors(), separators=(",", ":")) + "\n")
