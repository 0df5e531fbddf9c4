from __future__ import annotations

import numpy as np
import pytest

from data.split import temporal
from recsys.evaluation.baselines import item_knn, popularity
from recsys.evaluation.evaluation import evaluate
from recsys.evaluation.targets import collect_targets
from recsys.fairness import served_lists
from recsys.fairness.served_lists import ServedLists, serve_lists
from tests.recsys.logs import tastes_log


def test_lists_are_as_good_as_the_evaluation_says(monkeypatch: pytest.MonkeyPatch) -> None:
    split = temporal(tastes_log(3, n_users=60, n_items=50), 80 * 86_400_000_000)
    model, targets = item_knn(split.train), collect_targets(split, split.train)
    assert split.at is not None
    lists = serve_lists(model, targets, split.train, split.at, 10, 50)
    judged = evaluate([model, popularity(split.train)], split, k=10)
    np.testing.assert_allclose(lists.ndcg, judged.column(model.name, "ndcg@10"), atol=1e-12)
    np.testing.assert_allclose(lists.hit, judged.column(model.name, "hit@10"), atol=1e-12)
    monkeypatch.setattr(served_lists, "CELLS_AT_ONCE", 150)  # three users a batch
    np.testing.assert_array_equal(serve_lists(model, targets, split.train, split.at, 10, 50).items, lists.items)


def test_shares_and_exposure_by_hand() -> None:
    items = np.array([[0, 2, 1], [2, -1, -1], [-1, -1, -1]], dtype=np.int32)
    lists = ServedLists(np.arange(3), items, np.zeros(3), np.zeros(3), 4)
    np.testing.assert_allclose(lists.share_of(np.array([False, False, True, True])), [1 / 3, 1, 0])
    np.testing.assert_array_equal(lists.exposure(), [1, 1, 2, 0])
    # positions count 1, 1/log2(3) = .6309, 1/log2(4) = .5
    np.testing.assert_allclose(lists.exposure(position_weighted=True), [1, 0.5, 1.6309297535714575, 0])
