"""The worst history there is: searched for over all extreme ones, and by hypothesis among the others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st

from recsys.experiments.analysis.layout import Layout, layout_of
from recsys.experiments.definition.metric_definitions import LOST, WON
from tests.recsys.experiments.an_experiment import an_experiment, an_interleaving, raw_experiment

WINDOWS = 3


def with_centres(share: float) -> Layout:
    """The shared definition with every centre at this share of its cap."""
    metrics = raw_experiment()["metrics"]
    for metric in metrics:
        parts = ["", *(f"{part}_" for part in ("denominator", "covariate") if part in metric)]
        metric |= {f"{part}centre": share * metric.get(f"{part}cap", 1.0) for part in parts}
    return layout_of(an_experiment(metrics=metrics))


LAYOUTS = {share: with_centres(share) for share in (0.0, 0.1, 0.5, 1.0)}
TIGHT = {0.0: 0.9999, 0.1: 0.94, 0.5: 0.86, 1.0: 0.88}
"""What the worst history says at least. Where nothing is centred a jump is all; a centred product's two parts cannot
both rise in steps of their own, so its bound (of both) is above what any history reaches."""


def said(layout: Layout, path: Sequence[dict[str, float]], thresholds: np.ndarray) -> float:
    """ΣΔ² over all windows of what one device says, as a share of the bound."""
    risen = [np.zeros((2, len(layout.slots)), dtype=np.int64), *(layout.risen(one, thresholds) for one in path)]
    moved = [(after - before)[0] - (after - before)[1] for before, after in itertools.pairwise(risen)]
    return sum(int(one @ one) for one in moved) / layout.bound_squared


@pytest.mark.parametrize("centres", LAYOUTS)
def test_no_history_of_jumps_says_more_than_the_bound_and_the_worst_says_nearly_that(centres: float) -> None:
    """Every column jumps from 0 to its cap before one of three windows, or never: all 4⁵ ways, rounded up and down."""
    layout = LAYOUTS[centres]
    caps = {column.name: column.cap for column in layout.described}
    worst = 0.0
    for place, jumps in enumerate(itertools.product(range(WINDOWS + 1), repeat=len(caps))):
        path = [{x: cap * (at <= k) for (x, cap), at in zip(caps.items(), jumps, strict=True)} for k in range(WINDOWS)]
        thresholds = np.full((2, len(layout.slots)), 0.0 if place % 2 else 1.0 - 1e-9)
        worst = max(worst, said(layout, path, thresholds))
    assert TIGHT[centres] < worst <= 1.0


def test_no_tally_says_more_than_the_bound() -> None:
    """Sessions won and lost, 0..3 each, in all 400 ways in which three windows can find them."""
    layout = layout_of(an_interleaving())
    rising = list(itertools.combinations_with_replacement(range(4), WINDOWS))
    found = [
        said(layout, [{WON: float(w), LOST: float(lost)} for w, lost in zip(*both, strict=True)], np.full((2, 3), t))
        for both in itertools.product(rising, rising)
        for t in (0.0, 1.0 - 1e-9)
    ]
    assert 0.86 < max(found) <= 1.0


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(LAYOUTS)), st.data())
def test_searching_for_a_worse_history_finds_none(centres: float, data: Any) -> None:
    """Values on the way up and thresholds are drawn, and hypothesis climbs towards what says more."""
    layout = LAYOUTS[centres]
    shares = {
        column.name: sorted(data.draw(st.lists(st.floats(0, 1), min_size=WINDOWS, max_size=WINDOWS)))
        for column in layout.described
    }
    path = [{column.name: column.cap * shares[column.name][k] for column in layout.described} for k in range(WINDOWS)]
    thresholds = np.random.default_rng(data.draw(st.integers(0, 2**32))).random((2, len(layout.slots)))
    share = said(layout, path, thresholds)
    target(share, label="share of the bound")
    assert share <= 1.0
