import math

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from recsys.experiments.analysis.student_tails import log_student_tail, normal_of_student, student_of_normal


@settings(max_examples=300, deadline=None)
@given(st.floats(0.0, 1e4), st.floats(1e8, 1e12))
def test_of_many_degrees_of_freedom_it_is_the_normal_from_0_to_10_000(z, df):
    tail = special.log_ndtr(-z)
    assert log_student_tail(z, df) == pytest.approx(tail, rel=1e-6 + z**2 / df)
    assert normal_of_student(z, df) == pytest.approx(z, rel=1e-6 + z**2 / df, abs=1e-9)


@settings(max_examples=300, deadline=None)
@given(st.floats(0.0, 1e4), st.floats(50.0, 1e9))
def test_there_and_back(z, df):
    t = student_of_normal(z, df)
    if not math.isinf(t):
        assert t >= z * (1 - 1e-9) - 1e-9
        assert normal_of_student(t, df) == pytest.approx(z, rel=1e-7, abs=1e-7)


@settings(max_examples=200, deadline=None)
@given(st.floats(0.0, 1e4), st.floats(0.0, 1e4), st.floats(100.0, 1e9))
def test_a_greater_value_is_rarer(a, b, df):
    low, high = sorted((a, b))
    assert normal_of_student(low, df) <= normal_of_student(high, df) * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize(("t", "df"), [(40.0, 5e3), (50.0, 999_998.0), (100.0, 3_999_998.0), (1e4, 1e6), (3e3, 200.0)])
def test_the_tail_is_that_of_arbitrary_precision(t, df):
    """½·I_x(df/2, ½) with x = df/(df + t²), the incomplete beta function by mpmath's own integration."""
    with mpmath.workdps(60):
        density = lambda s: (1 + s**2 / df) ** (-(mpmath.mpf(df) + 1) / 2)  # noqa: E731
        step = mpmath.mpf(df + t**2) / ((df + 1) * t)
        area = mpmath.quad(lambda u: density(t + step * u) / density(mpmath.mpf(t)), [0, 1, 5, 20, 60, 200]) * step
        constant = mpmath.loggamma((mpmath.mpf(df) + 1) / 2) - mpmath.loggamma(mpmath.mpf(df) / 2)
        wanted = constant - mpmath.log(df * mpmath.pi) / 2 + mpmath.log(density(mpmath.mpf(t))) + mpmath.log(area)
    assert log_student_tail(t, df) == pytest.approx(float(wanted), rel=1e-9)


def test_where_scipy_has_a_number_it_is_that():
    for t, df in ((0.0, 3.0), (2.5, 7.0), (8.0, 1e4), (30.0, 1e6)):
        assert log_student_tail(t, df) == pytest.approx(stats.t.logsf(t, df), rel=1e-9)
    assert student_of_normal(math.inf, 10.0) == math.inf
    assert student_of_normal(special.ndtri(0.975), 10.0) == pytest.approx(stats.t.isf(0.025, 10.0))
