from __future__ import annotations

import numpy as np
import pytest

from data.interactions import EventKind, interactions
from recsys.lists.placements.complements import NEIGHBOURS, complement_table, count_together

BUY, VIEW = EventKind.PURCHASE, EventKind.VIEW


def test_pairs_of_a_basket_count_by_its_size() -> None:
    # device 0: basket {0, 1} at t=1 (twice item 1), basket {0, 1, 2, 3} at t=2; device 1 buys 0 and 2 apart
    events = [(0, 0, 1), (0, 1, 1), (0, 1, 1), (0, 0, 2), (0, 1, 2), (0, 2, 2), (0, 3, 2), (1, 0, 1), (1, 2, 2)]
    user, item, time = zip(*events, strict=True)
    log = interactions(user, item, time, n_users=2, n_items=4, kind=np.full(len(events), BUY))
    counts = count_together(log).toarray()
    assert counts[0, 1] == pytest.approx(1 / np.sqrt(2) + 1 / np.sqrt(4))
    assert counts[0, 2] == counts[2, 3] == pytest.approx(1 / np.sqrt(4))
    assert counts[0, 0] == pytest.approx(1 / np.sqrt(2) + 1 / np.sqrt(4) + 1)
    assert (counts == counts.T).all()
    table = complement_table(count_together(log)).toarray()
    size = np.sqrt(np.diag(counts))
    assert table[0, 1] == pytest.approx(counts[0, 1] / (size[0] * size[1] + 1), rel=0.01)  # in one byte
    assert (np.diag(table) == 0).all()


def test_what_is_only_looked_at_is_no_basket() -> None:
    log = interactions([0, 0], [0, 1], [1, 1], n_users=1, n_items=2, kind=np.full(2, VIEW))
    assert count_together(log).nnz == 0
    assert complement_table(count_together(log)).nnz == 0


def test_only_the_nearest_of_each_item_are_kept() -> None:
    n = NEIGHBOURS + 15
    log = interactions(np.zeros(n), np.arange(n), np.zeros(n), n_users=1, n_items=n, kind=np.full(n, BUY))
    assert np.diff(complement_table(count_together(log)).indptr).tolist() == [NEIGHBOURS] * n
