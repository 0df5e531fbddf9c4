"""The transition baseline: the plain double loop, and no answer without a history."""

from __future__ import annotations

import numpy as np

from data.interactions import interactions
from recsys.mix.transition_arm import transition
from tests.recsys.logs import tastes_log


def test_its_scores_are_those_of_the_plain_double_loop() -> None:
    log = tastes_log(4, n_users=25, n_items=12)
    counts = np.zeros((12, 12))
    for user in range(25):
        items = log.item_idx[log.of(user)]
        for place, item in enumerate(items):
            for gap in range(1, 11):
                if place + gap < len(items) and items[place + gap] != item:
                    counts[item, items[place + gap]] += 0.7 ** (gap - 1)
    both = counts + counts.T / 2
    table = both / (both.sum(axis=1, keepdims=True) + 5.0)
    table *= np.maximum(np.bincount(log.item_idx, minlength=12), 1) ** -0.25
    found = transition(log, int(log.time.max()) + 1).scores(log, np.arange(25), 0)
    for user in range(25):
        items = log.item_idx[log.of(user)]
        weights = 2.0 ** (-np.arange(len(items))[::-1] / 1.5)
        np.testing.assert_allclose(found[user], weights @ table[items], rtol=1e-4)


def test_no_history_is_no_answer_and_nothing_crosses_from_one_user_to_the_next() -> None:
    log = interactions([0, 1], [0, 1], [0, 1], n_users=3, n_items=2)
    scores = transition(log, 2).scores(log, np.arange(3), 2)
    assert (scores[:2] == 0).all()
    assert np.isnan(scores[2]).all()
