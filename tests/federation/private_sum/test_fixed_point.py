import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from federation.private_sum.fixed_point import decode, encode, to_signed
from federation.private_sum.plan import Part, SumPlan
from federation.private_sum.randomness import secure_bytes, seeded_bytes
from federation.private_sum.refusals import PlanRefused


def plan_of(*parts: Part) -> SumPlan:
    return SumPlan(parts, min_reports=1, max_reports=4, sigma=0)


def integers(plan, vectors, seed=0):
    return to_signed(encode(plan, vectors, seeded_bytes(np.random.default_rng(seed)))).astype(np.int64)


@settings(max_examples=200, deadline=None)
@given(
    values=hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e6, 1e6)),
    clip=st.floats(0.01, 50.0),
    scale=st.floats(0.05, 1000.0),
    clamped=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_integer_norm_never_exceeds_the_bound(values, clip, scale, clamped, seed):
    part = Part("a", len(values), clip, scale, clamped)
    rounded = integers(plan_of(part), {"a": values}, seed)
    assert int(rounded @ rounded) <= part.bound_squared
    assert np.abs(rounded).max() <= part.coordinate_bound


def test_norm_is_redrawn_where_one_rounding_in_many_would_exceed_the_bound():
    # 400 coordinates of 0.05 steps, c = 1: bound² = ⌊1 + 100 + 5.2656·(1 + 10)⌋ = 158; with the stream of all ones
    # (u just below 1) every coordinate rounds up: 400 > 158. The second draw is the honest one.
    part = Part("a", 400, clip_norm=1.0, scale=1.0)
    honest = seeded_bytes(np.random.default_rng(1))
    streams = iter([b"\xff" * 1600, honest(1600)])
    rounded = to_signed(encode(plan_of(part), {"a": np.full(400, 0.05)}, lambda n: next(streams)))
    assert part.bound_squared == 158
    assert 0 < int(rounded @ rounded) <= 158
    assert next(streams, None) is None


def test_rounding_is_unbiased():
    # 200,000 coordinates of 0.3 + k steps; mean error has standard deviation √(.3·.7/200,000) = .00102.
    n = 200_000
    y = 0.3 + np.arange(n) % 7 - 3
    error = integers(plan_of(Part("a", n, clip_norm=4000.0, scale=1.0)), {"a": y}) - y
    assert abs(error.mean()) < 5 * math.sqrt(0.21 / n)
    assert set(np.unique(np.round(error, 9))) == {-0.3, 0.7}


def test_integers_are_kept_exactly_and_in_the_order_of_the_parts():
    plan = plan_of(Part("b", 3, 100.0, 2.0), Part("a", 1, 1.0, 8.0, clamped=True))
    rounded = integers(plan, {"a": 1.0, "b": np.array([[0.5, -1.5, 3.0]], dtype=np.float32)})
    assert rounded.tolist() == [1, -3, 6, 8]


def test_zeros_stay_zeros():
    assert not integers(plan_of(Part("a", 1000, 1.0, 1000.0)), {"a": np.zeros(1000)}).any()


def test_large_part_is_scaled_to_its_clip_in_its_own_direction():
    x = np.array([3.0, 4.0])  # norm 5, clip 1: 0.6, 0.8 in 1000 steps a unit, each rounded by less than one
    rounded = integers(plan_of(Part("a", 2, clip_norm=1.0, scale=1000.0)), {"a": x * 100})
    assert np.abs(rounded - [600, 800]).max() <= 1


def test_clamped_part_is_not_scaled_by_its_neighbours_nor_by_other_parts():
    plan = plan_of(Part("metrics", 4, 2.0, 100.0, clamped=True), Part("rows", 2, 1.0, 100.0))
    rounded = integers(plan, {"metrics": [0.25, 7.0, -7.0, 1.0], "rows": [1e9, 1e9]})
    assert rounded[:4].tolist() == [25, 100, -100, 100]


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20))
def test_words_stand_for_signed_integers(values):
    words = np.array([v % 2**32 for v in values], dtype=np.uint32)
    assert to_signed(words).tolist() == values


def test_decode_gives_each_part_in_its_own_unit():
    plan = plan_of(Part("a", 2, 10.0, 4.0), Part("b", 1, 10.0, 10.0))
    parts = decode(plan, np.array([4, -6, 5], dtype=np.int32))
    assert {name: part.tolist() for name, part in parts.items()} == {"a": [1.0, -1.5], "b": [0.5]}


@pytest.mark.parametrize(
    "vectors",
    [
        {},
        {"a": [1.0, 2.0], "b": [1.0]},
        {"a": [1.0]},
        {"a": [1.0, math.nan]},
        {"a": [1.0, math.inf]},
        {"a": [1e200, 1e200]},
    ],
)
def test_vector_that_does_not_fit_the_plan_is_refused(vectors):
    for clamped in (False, True):
        with pytest.raises(PlanRefused):
            encode(plan_of(Part("a", 2, 1.0, 1.0, clamped)), vectors, secure_bytes())


def test_encoding_leaves_its_input_alone():
    x = np.array([3.0, 4.0])
    x.flags.writeable = False
    assert integers(plan_of(Part("a", 2, 1.0, 10.0)), {"a": x}).tolist() == [6, 8]
    assert x.tolist() == [3.0, 4.0]


def test_secure_stream_is_not_repeated():
    one, other = secure_bytes(), secure_bytes()
    assert len({one(32), one(32), other(32)}) == 3
