"""The own counter and EASE: by hand, and against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import ModelError
from data.interactions import MICROS_PER_DAY as DAY
from data.interactions import EventKind, interactions
from recsys.evaluation import strong_baselines
from recsys.evaluation.strong_baselines import ease, own_counter
from tests.recsys.logs import tastes_log
from tests.reference_ease import fit_ease


def test_the_own_counter_by_hand_is_own_items_first_then_the_trend() -> None:
    # user 0: item 0 on day 0 and 60, a dislike of 2; user 1: item 1 on day 60, and 1, 3 on day 30; user 2: nothing
    log = interactions(
        [0, 0, 0, 1, 1, 1],
        [0, 0, 2, 1, 1, 3],
        np.array([0, 60, 60, 60, 30, 30]) * DAY,
        n_users=3,
        n_items=4,
        kind=[EventKind.VIEW, EventKind.PURCHASE, EventKind.DISLIKE, EventKind.VIEW, EventKind.VIEW, EventKind.VIEW],
    )
    scores = own_counter(log, 60 * DAY, 60.0).scores(log, np.array([0, 1, 2]), 60 * DAY)
    half = 2**-0.5
    np.testing.assert_allclose(scores[0, 0], 1 + 1 + 0.5, rtol=1e-6)  # a day-0 event is one half-life old
    np.testing.assert_allclose(scores[1, [1, 3]], [1 + 1 + half, 1 + half], rtol=1e-6)
    trend = np.array([1.5, 1 + half, 0, half]) / (1 + 1 + half)
    np.testing.assert_allclose(scores[2], trend, rtol=1e-6)
    np.testing.assert_allclose(scores[0, 1:], trend[1:], rtol=1e-6)


def test_ease_is_the_reference() -> None:
    log = tastes_log(2, n_users=60, n_items=25)
    np.testing.assert_allclose(ease(log, 20.0).item_weights, fit_ease(log, reg=20.0).item_weights, atol=1e-6)
    users = np.arange(60)
    np.testing.assert_allclose(ease(log).scores(log, users, 0), fit_ease(log).scores(log, users, 0), atol=1e-5)


def test_ease_of_too_many_items_is_refused_before_it_takes_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strong_baselines, "EASE_AT_MOST", 11)
    with pytest.raises(ModelError, match="ease: n_items=12: must be at most 11"):
        ease(tastes_log(0, n_users=5, n_items=12))
