import numpy as np
import pytest

from data.errors import ModelError
from data.interactions import MICROS_PER_DAY, EventKind, interactions
from recsys.evaluation import baselines
from recsys.evaluation.baselines import item_knn, popularity, recent_popularity
from tests.recsys.logs import tastes_log
from tests.reference_ease import fit_ease


def small():
    # user 0: 0 1 0, user 1: 1 2, user 2: 1 (a dislike of 2), user 3: nothing; one event a day from day 0 on
    return interactions(
        [0, 0, 0, 1, 1, 2, 2],
        [0, 1, 0, 1, 2, 1, 2],
        np.arange(7) * MICROS_PER_DAY,
        n_users=4,
        n_items=4,
        kind=[EventKind.PURCHASE] * 6 + [EventKind.DISLIKE],
    )


def all_users(log):
    return np.arange(log.n_users)


def test_popularity_counts_events_but_no_dislikes_and_is_the_same_for_all():
    log = small()
    scores = popularity(log).scores(log, all_users(log), 0)
    assert scores.shape == (4, 4)
    assert (scores == [2, 3, 1, 0]).all()


def test_recent_popularity_by_hand():
    # at day 8 with half-life 2 days: item 0 on days 0, 2 → 2⁻⁴ + 2⁻³; item 1 on 1, 3, 5; item 2 on 4
    found = recent_popularity(small(), 8 * MICROS_PER_DAY, half_life_days=2.0).item_scores
    expected = [2**-4 + 2**-3, 2**-3.5 + 2**-2.5 + 2**-1.5, 2**-2, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_recent_popularity_with_endless_memory_is_popularity():
    log = tastes_log(0)
    recent = recent_popularity(log, int(log.time.max()), half_life_days=np.inf)
    np.testing.assert_array_equal(recent.item_scores, popularity(log).item_scores)


def test_recent_popularity_prefers_the_item_of_today():
    log = interactions([0, 1, 2], [0, 0, 1], [0, 0, 30 * MICROS_PER_DAY], n_users=3, n_items=2)
    assert popularity(log).item_scores.argmax() == 0
    assert recent_popularity(log, 30 * MICROS_PER_DAY).item_scores.argmax() == 1


def test_item_knn_answers_a_user_who_only_ever_disliked():
    # user 0: 0 1, user 1: a dislike of 0, user 2: nothing
    log = interactions(
        [0, 0, 1], [0, 1, 0], [0, 1, 2], n_users=3, n_items=2, kind=[EventKind.LIKE] * 2 + [EventKind.DISLIKE]
    )
    scores = item_knn(log).scores(log, all_users(log), 3)
    assert (scores[1] == 0).all()
    assert np.isnan(scores[2]).all()


def test_item_knn_by_hand():
    log = small()
    # distinct users: item 0 {0}, item 1 {0, 1, 2}, item 2 {1}; together: (0,1) 1, (1,2) 1
    # s_01 = s_12 = 1 / (√3 + 2), nothing else; user 0 had 0 and 1, user 1 had 1 and 2, user 2 had 1
    s = 1 / (np.sqrt(3) + 2)
    scores = item_knn(log, neighbours=5, shrink=2.0).scores(log, all_users(log), 0)
    np.testing.assert_allclose(scores[:3], [[s, s, s, 0], [s, s, s, 0], [s, 0, s, 0]], rtol=1e-6)


def test_item_knn_has_no_answer_for_an_empty_history():
    log = small()
    assert np.isnan(item_knn(log).scores(log, np.array([3]), 0)).all()


@pytest.mark.parametrize("at_once", [1, 3_000, 8_000_000])
def test_item_knn_is_the_plain_formula_whatever_the_block(monkeypatch, at_once):
    monkeypatch.setattr(baselines, "CELLS_AT_ONCE", at_once)
    log = tastes_log(1, n_users=80, n_items=60)
    had = np.zeros((80, 60))
    had[log.user_idx, log.item_idx] = 1
    together = had.T @ had
    n = np.sqrt(np.diag(together))
    cosine = together / (np.outer(n, n) + 4.0)
    np.fill_diagonal(cosine, 0)
    for i in range(60):  # item i listens to its 7 most similar items
        order = np.lexsort((np.arange(60), -cosine[i].astype(np.float32)))
        cosine[i, order[7:]] = 0
    found = item_knn(log, neighbours=7, shrink=4.0).scores(log, all_users(log), 0)
    np.testing.assert_allclose(found, had @ cosine.T, rtol=1e-5, atol=1e-6)


def test_ease_solves_the_ridge_regression_of_each_item_on_the_others():
    log = tastes_log(2, n_users=60, n_items=25)
    had = np.zeros((60, 25))
    had[log.user_idx, log.item_idx] = 1
    B = fit_ease(log, reg=20.0).item_weights
    for j in range(25):
        X = np.delete(had, j, axis=1)
        ridge = np.linalg.solve(X.T @ X + 20.0 * np.eye(24), X.T @ had[:, j])
        np.testing.assert_allclose(np.delete(B[:, j], j), ridge, atol=1e-5)
    assert (np.diag(B) == 0).all()


def test_ease_with_recency_counts_the_last_event_of_an_item_by_its_age_in_events():
    log = interactions([0, 0, 0], [2, 0, 2], [0, 1, 2], n_users=1, n_items=3)
    model = fit_ease(log, reg=5.0, half_life=1.0)
    expected = np.array([0.5, 0.0, 1.0]) @ model.item_weights
    np.testing.assert_allclose(model.scores(log, np.array([0]), 3)[0], expected, rtol=1e-6)


def test_wrong_settings_are_errors():
    with pytest.raises(ModelError, match="half_life_days=0"):
        recent_popularity(small(), 0, half_life_days=0)
    with pytest.raises(ModelError, match="neighbours=0"):
        item_knn(small(), neighbours=0)
