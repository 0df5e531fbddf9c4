from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from recsys.experiments.analysis.layout import Layout, layout_of
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.definition.definition import Experiment
from tests.recsys.experiments.an_experiment import START, an_experiment

EXPERIMENT = an_experiment()
LAYOUT = layout_of(EXPERIMENT)
CAPS = {column.name: column.cap for column in LAYOUT.described}


def no_rounding(layout: Layout) -> np.ndarray:
    return np.full((2, len(layout.slots)), 0.5)


rising = st.lists(
    st.fixed_dictionaries({name: st.floats(0, cap * 1.2) for name, cap in CAPS.items()}), min_size=1, max_size=4
).map(lambda steps: [{name: max(one[name] for one in steps[: k + 1]) for name in CAPS} for k in range(len(steps))])
"""A shopper's columns after each window: they never fall, and may pass their cap."""

shoppers = st.lists(
    st.tuples(st.sampled_from(LAYOUT.arms), st.integers(0, 1), rising, st.integers(0, 2**32)), min_size=1, max_size=6
)


def increments(path: list[dict[str, float]], seed: int) -> list[np.ndarray]:
    """What one device sends in each window."""
    thresholds = np.random.default_rng(seed).random((2, len(LAYOUT.slots)))
    risen = [np.zeros((2, len(LAYOUT.slots)), dtype=np.int64), *(LAYOUT.risen(one, thresholds) for one in path)]
    return [after - before for before, after in itertools.pairwise(risen)]


def test_the_slots_are_what_the_metrics_need_and_no_more() -> None:
    assert [slot.of for slot in LAYOUT.slots] == [
        (), ("clicks",), ("converted",), ("lists",), ("spent",), ("spent_before",),
        ("clicks", "clicks"), ("clicks", "lists"), ("lists", "lists"),
        ("spent", "spent"), ("spent", "spent_before"), ("spent_before", "spent_before"),
    ]  # fmt: skip
    assert LAYOUT.length == 2 * 2 * 12


@settings(max_examples=60, deadline=None)
@given(rising, st.integers(0, 2**32))
def test_increments_of_all_windows_together_never_pass_the_bound(path: list[dict[str, float]], seed: int) -> None:
    sent = increments(path, seed)
    assert all((one >= 0).all() for one in sent)
    moved = [LAYOUT.contribution("global", 1, one) for one in sent]
    assert sum(int(one @ one) for one in moved) <= LAYOUT.bound_squared
    per_slot = sum(one[LAYOUT.where("global", 1)] ** 2 for one in moved)
    assert all(moved <= slot.bound_squared for moved, slot in zip(per_slot, LAYOUT.slots, strict=True))


def test_the_bound_is_reached() -> None:
    """A first report with nothing, then everything at once: (−c)² + cap², and each product's two parts."""
    nothing, all_of_it = ({name: share * cap for name, cap in CAPS.items()} for share in (0.0, 1.0))
    zero = np.zeros((2, len(LAYOUT.slots)))
    first, last = LAYOUT.risen(nothing, zero), LAYOUT.risen(all_of_it, zero)
    moved = [first[0] - first[1], (last - first)[0] - (last - first)[1]]
    lists = next(k for k, slot in enumerate(LAYOUT.slots) if slot.of == ("lists",))
    assert sum(int(one[lists]) ** 2 for one in moved) == LAYOUT.slots[lists].bound_squared
    assert LAYOUT.slots[0].bound_squared == LAYOUT.slots[0].steps ** 2


@settings(max_examples=30, deadline=None)
@given(shoppers, st.randoms(use_true_random=False))
def test_sums_do_not_depend_on_order_batches_or_windows(shoppers: list[Any], chance: Any) -> None:
    sent = [LAYOUT.contribution(arm, cell, one) for arm, cell, path, seed in shoppers for one in increments(path, seed)]
    at_once = [LAYOUT.contribution(arm, cell, sum(increments(path, seed))) for arm, cell, path, seed in shoppers]
    chance.shuffle(sent)
    cut = chance.randrange(len(sent) + 1)
    batches = np.zeros(LAYOUT.length, np.int64) + sum(sent[:cut]) + sum(sent[cut:])
    assert np.array_equal(batches, sum(at_once))


@settings(max_examples=30, deadline=None)
@given(shoppers)
def test_sums_are_those_of_the_rows_to_the_rounding(shoppers: list[Any]) -> None:
    total = sum(LAYOUT.contribution(arm, cell, sum(increments(path, seed))) for arm, cell, path, seed in shoppers)
    found = LAYOUT.sums(total)
    for arm in LAYOUT.arms:
        for cell in range(2):
            rows = [
                {name: min(path[-1][name], CAPS[name]) for name in CAPS}
                for one_arm, one_cell, path, _ in shoppers
                if (one_arm, one_cell) == (arm, cell)
            ]
            wanted = ArmSums.from_rows({name: [row[name] for row in rows] for name in CAPS}, EXPERIMENT.metrics)
            close = {slot.of: 2 * len(rows) / slot.steps + 1e-9 for slot in LAYOUT.slots}
            assert found[arm][cell].n == len(rows)
            for name, value in wanted.totals.items():
                assert found[arm][cell].totals[name] == pytest.approx(value, abs=close[name,])
            for pair, value in wanted.products.items():
                assert found[arm][cell].products[pair] == pytest.approx(value, abs=close[pair])


def test_counts_and_indicators_are_summed_exactly() -> None:
    values = {"converted": 1.0, "clicks": 3.0, "lists": 7.0, "spent": 10.0, "spent_before": 0.0}
    random = np.random.default_rng(0)
    total = sum(
        LAYOUT.contribution("personal", 0, LAYOUT.risen(values, random.random((2, len(LAYOUT.slots)))))
        for _ in range(50)
    )
    sums = LAYOUT.sums(total)["personal"][0]
    assert (sums.n, sums.totals["converted"], sums.totals["clicks"]) == (50.0, 50.0, 150.0)
    assert sums.mean("lists") == pytest.approx(7.0)


def test_rounding_has_the_mean_of_the_value() -> None:
    experiment = an_experiment(privacy={"epsilon": 1.0, "min_reports": 1, "max_reports": 1_000_000})  # coarse steps
    layout = layout_of(experiment)
    random = np.random.default_rng(1)
    values = {"converted": 0.0, "clicks": 0.1, "lists": 0.0, "spent": 0.37, "spent_before": 0.0}
    drawn = np.array([layout.risen(values, random.random((2, len(layout.slots))))[0] for _ in range(4_000)])
    exact = layout.risen(values, np.zeros((2, len(layout.slots))))[0] * 0 + np.array(
        [math.prod(values[name] for name in slot.of) * slot.steps for slot in layout.slots]
    )
    centred = [k for k, slot in enumerate(layout.slots) if "lists" not in slot.of]
    error = 5 * 0.5 / math.sqrt(4_000)
    assert np.allclose(drawn.mean(axis=0)[centred], exact[centred], atol=error)


def test_noise_has_the_variance_of_both_parties_and_all_windows() -> None:
    sums = LAYOUT.sums(np.zeros(LAYOUT.length, np.int64), sigma=1_000, windows=3)["global"][0]
    steps = {slot.of: slot.steps for slot in LAYOUT.slots}
    assert sums.noise.n == pytest.approx(6e6 / steps[()] ** 2)
    assert sums.noise.totals["spent"] == pytest.approx(6e6 / steps["spent",] ** 2)
    assert sums.noise.products["spent", "spent"] == pytest.approx(6e6 / steps["spent", "spent"] ** 2)
    assert LAYOUT.sums(np.zeros(LAYOUT.length, np.int64))["global"][0].exact


def test_arms_and_cells_cost_no_sensitivity() -> None:
    more = an_experiment(
        arms=[{"name": name} for name in ("global", "b", "c", "d")],
        segments=[{"name": "s", "fact": "events", "cuts": [1, 2, 3], "levels": ["a", "b", "c", "d"]}],
    )
    assert layout_of(more).bound_squared == LAYOUT.bound_squared
    assert layout_of(more).length == 4 * 4 * 12


def test_the_layout_stays_through_amendments_and_fits_32_bits_at_every_size() -> None:
    assert layout_of(an_experiment(version=2, ends_at=START + 20 * 86_400)) == LAYOUT
    for reports in (1, 1_000, 1_000_000):
        experiment: Experiment = an_experiment(privacy={"epsilon": 1, "min_reports": 1, "max_reports": reports})
        assert reports * math.isqrt(layout_of(experiment).bound_squared) < 2**30 * 1.01


def test_a_column_that_is_missing_or_no_number_is_refused() -> None:
    good = dict.fromkeys(CAPS, 0.0)
    for wrong in ({"spent": math.nan}, {"spent": None}):
        values = {name: value for name, value in (good | wrong).items() if value is not None}
        with pytest.raises(DataError, match="column spent=nan: must be a number"):
            LAYOUT.risen(values, no_rounding(LAYOUT))
    with pytest.raises(DataError, match=r"sums of shape \(3,\): must be \(48,\)"):
        LAYOUT.sums(np.zeros(3, np.int64))


def test_an_experiment_of_too_many_coordinates_is_refused() -> None:
    metrics = [{"name": f"m{k}", "numerator": f"x{k}", "role": "primary" if k == 0 else "secondary"} for k in range(80)]
    experiment = an_experiment(
        arms=[{"name": name} for name in ("global", "b", "c", "d", "e", "f", "g", "h")],
        metrics=metrics,
        outcomes=[{"name": f"x{k}", "event": "click"} for k in range(80)],
        segments=[{"name": "s", "fact": "events", "cuts": list(range(1, 16)), "levels": [f"l{k}" for k in range(16)]}],
    )
    with pytest.raises(DataError, match="metrics: 20608 coordinates over arms and cells: must be at most 16384"):
        layout_of(experiment)


def test_a_ratio_with_declared_centres_gives_its_denominator_what_it_is_worth() -> None:
    """Clicks 0.5 of 40 a shopper, lists 5 of 40: N/D moves by 1/5 a click and by 0.1/5 a list."""
    ratio = {
        "name": "clicks_per_list", "kind": "ratio", "numerator": "clicks", "cap": 40.0, "centre": 0.5,
        "denominator": "lists", "denominator_cap": 40.0, "denominator_centre": 5.0, "role": "primary",
    }  # fmt: skip
    outcomes = [{"name": "clicks", "event": "click"}, {"name": "lists", "event": "list"}]

    def amplitudes(**changes: Any) -> dict[Any, float]:
        layout = layout_of(an_experiment(metrics=[ratio | changes], outcomes=outcomes))
        found = {slot.of: math.sqrt(slot.bound_squared) for slot in layout.slots}
        return {key: value / found["clicks",] for key, value in found.items()}

    lean = math.sqrt(0.5 / 5.0 * math.hypot(40, 5) / math.hypot(40, 0.5))
    assert lean == pytest.approx(0.3174, abs=1e-4)
    made = amplitudes()
    assert made["lists",] == pytest.approx(lean, rel=0.01)
    assert made["clicks", "lists"] == pytest.approx(0.5 * lean, rel=0.02)
    assert made["lists", "lists"] == pytest.approx(0.5 * lean**2, rel=0.02)
    assert made["clicks", "clicks"] == pytest.approx(0.5, rel=0.02)
    unguessed = amplitudes(centre=0.0)
    assert unguessed["lists",] == pytest.approx(1.0, rel=0.01)
    reversed_ = amplitudes(centre=20.0, denominator_centre=2.0)
    assert reversed_["lists",] == pytest.approx(math.sqrt(10 * math.hypot(40, 2) / math.hypot(40, 20)), rel=0.01)
