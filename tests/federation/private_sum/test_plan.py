import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import FederationError
from federation.private_sum.plan import Part, SumPlan
from federation.private_sum.refusals import PlanRefused


def test_bound_of_a_single_coordinate_by_hand():
    # c = 10·3 = 30; worst (30 + 1)² = 961; likely 900 + 1/4 + 5.2656·(30 + 0.5) = 1060.9: the worst case is smaller.
    assert Part("a", 1, clip_norm=10.0, scale=3.0).bound_squared == 961


def test_bound_of_a_long_part_by_hand():
    # c = 1000, d = 10,000: worst (1000 + 100)² = 1,210,000; likely 1e6 + 2500 + 5.2656·1050 = 1,008,028.88.
    assert Part("a", 10_000, clip_norm=1.0, scale=1000.0).bound_squared == 1_008_028


def test_bound_of_a_clamped_part_is_exact():
    # Four metrics in ±2/√4 = ±1, 100 steps each: 4·100².
    part = Part("metrics", 4, clip_norm=2.0, scale=100.0, clamped=True)
    assert (part.limit, part.coordinate_bound, part.bound_squared) == (1.0, 100, 40_000)


@given(
    length=st.integers(1, 100_000),
    clip=st.floats(0.01, 100.0),
    scale=st.floats(0.1, 10_000.0),
    clamped=st.booleans(),
)
def test_bound_holds_the_clipped_vector_and_its_worst_rounding_is_no_more_than_one_a_coordinate(
    length, clip, scale, clamped
):
    part = Part("a", length, clip, scale, clamped)
    norm = Fraction(clip) * Fraction(scale)
    assert part.bound_squared >= norm**2 * Fraction(1 - 1e-9) - 1
    assert math.sqrt(part.bound_squared) <= (clip * scale + math.sqrt(length)) * (1 + 1e-9)
    assert part.coordinate_bound**2 <= part.bound_squared


def test_sum_that_could_wrap_around_is_refused_and_the_largest_that_cannot_is_not():
    part = Part("a", 1, clip_norm=1000.0, scale=1.0, clamped=True)
    # 2,147,000 · 1000 + 10 · 48,364 = 2,147,483,640 < 2³¹ = 2,147,483,648; one σ more reaches 2,147,483,650.
    assert SumPlan((part,), min_reports=2, max_reports=2_147_000, sigma=48_364).length == 1
    with pytest.raises(PlanRefused, match="must be below 2147483648"):
        SumPlan((part,), min_reports=2, max_reports=2_147_000, sigma=48_365)


def test_sensitivity_is_that_of_all_parts_together():
    plan = SumPlan((Part("a", 1, 3.0, 100.0, clamped=True), Part("b", 1, 4.0, 100.0, clamped=True)), 1, 10, sigma=1000)
    assert plan.sensitivity_squared == 500**2
    assert plan.noise_multiplier == 2.0
    assert plan.private


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Über"},
        {"name": ""},
        {"length": 0},
        {"length": 2**22 + 1},
        {"clip_norm": 0.0},
        {"clip_norm": math.nan},
        {"scale": math.inf},
        {"scale": -1.0},
        {"clip_norm": 2.0**31},
        {"clip_norm": 1e300},
    ],
)
def test_part_without_a_usable_bound_is_refused(change):
    with pytest.raises(PlanRefused):
        Part(**({"name": "a", "length": 1, "clip_norm": 1.0, "scale": 1.0} | change))


@pytest.mark.parametrize(
    "change",
    [
        {"parts": ()},
        {"parts": (Part("a", 1, 1.0, 1.0), Part("a", 2, 1.0, 1.0))},
        {"parts": (Part("a", 2**22, 1.0, 1.0), Part("b", 1, 1.0, 1.0))},
        {"min_reports": 0},
        {"min_reports": 11},
        {"sigma": -1},
    ],
)
def test_plan_that_contradicts_itself_is_refused(change):
    plan = {"parts": (Part("a", 1, 1.0, 1.0),), "min_reports": 1, "max_reports": 10, "sigma": 0}
    with pytest.raises(PlanRefused):
        SumPlan(**(plan | change))
    assert issubclass(PlanRefused, FederationError)


def test_a_plan_without_noise_is_not_private():
    part = Part("a", 1, clip_norm=1.0, scale=1.0)
    assert not SumPlan((part,), min_reports=1, max_reports=2, sigma=0).private
    assert SumPlan((part,), min_reports=1, max_reports=2, sigma=1).private
