"""Tails of Student's t and of the normal by their logarithms: they say how far, where the tail itself is no number."""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, special

LEAST_TAIL = 1e-280
"""A tail below it is followed by its logarithm: SciPy's own is a number down to 1e-308."""

_NODES, _WEIGHTS = np.polynomial.laguerre.laggauss(48)


def log_student_tail(t: float, df: float) -> float:
    """Return ln P(T ≥ t) of Student's t with df degrees of freedom, t ≥ 0.

    Where the tail is too small for a number, ∫ f over t.. is f(t)·∫ e^(−y) (df + s²)/((df + 1)s) dy over 0.., with
    s² = (df + t²)·e^(2y/(df + 1)) − df: y is how much ln f has fallen since t. Gauss and Laguerre's rule has the rest.
    """
    tail = float(special.stdtr(df, -t))
    if tail > LEAST_TAIL:
        return math.log(tail)
    grown = df * np.expm1(2.0 * _NODES / (df + 1.0)) + t**2 * np.exp(2.0 * _NODES / (df + 1.0))  # s²
    integral = float(_WEIGHTS @ ((df + grown) / ((df + 1.0) * np.sqrt(grown))))
    constant = float(special.gammaln((df + 1.0) / 2.0) - special.gammaln(df / 2.0)) - 0.5 * math.log(df * math.pi)
    return constant - (df + 1.0) / 2.0 * math.log1p(t**2 / df) + math.log(integral)


def normal_of_student(t: float, df: float) -> float:
    """Return the normal value ≥ 0 that is exceeded as often as t ≥ 0 is by Student's t."""
    tail = float(special.stdtr(df, -t))
    return -float(special.ndtri(tail) if tail > LEAST_TAIL else special.ndtri_exp(log_student_tail(t, df)))


def student_of_normal(z: float, df: float) -> float:
    """Return the value of Student's t that is exceeded as often as z ≥ 0 by a standard normal; infinite for it."""
    if math.isinf(z):
        return z
    tail = float(special.ndtr(-z))
    if tail > LEAST_TAIL:
        return -float(special.stdtrit(df, tail))
    wanted = float(special.log_ndtr(-z))
    highest = math.log(z)  # Student's tail is the heavier one
    while log_student_tail(math.exp(highest), df) > wanted:
        highest += 1.0
        if highest > 300.0:
            return math.inf
    return math.exp(
        optimize.brentq(
            lambda log_t: log_student_tail(math.exp(log_t), df) - wanted, highest - 1.0, highest, xtol=1e-14
        )
    )
