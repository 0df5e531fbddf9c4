"""Publishing: an item that nobody has met stands where its content says, the others where they were trained."""

import numpy as np
import polars as pl

from data.dataset import read_log
from federation.lab.publish import place_unmet
from recsys.model.items import ItemTable


def test_an_unmet_item_is_placed_among_those_of_its_kind_and_no_other_moves():
    n, dim = 60, 6
    kind = np.arange(n) % 2
    log = pl.DataFrame(
        {
            "user_id": ["u"] * n,
            "item_id": [f"i{k:02}" for k in range(n)],
            "time": list(range(1_700_000_000, 1_700_000_000 + n)),
        }
    )
    items = pl.DataFrame(
        {
            "item_id": [*(f"i{k:02}" for k in range(n)), "new"],
            "title": [*(f"{('pan', 'tea')[k]}" for k in kind), "tea"],
            "category": [*(("kitchen", "drinks")[k] for k in kind), "drinks"],
        }
    )
    dataset = read_log(log, items=items)
    rng = np.random.default_rng(0)
    learned = np.where(kind[:, None] == 0, 1.0, -1.0) * np.ones((n, dim)) + rng.normal(0, 0.1, (n, dim))
    embeddings = np.concatenate([learned, rng.normal(0, 0.01, (1, dim))]).astype(np.float32)
    table = ItemTable(embeddings, np.zeros(n + 1, np.float32), np.zeros(dim, np.float32))
    placed = place_unmet(table, dataset).item_embeddings
    np.testing.assert_array_equal(placed[:n], embeddings[:n])
    assert (placed[n] < -0.5).all()  # among the drinks at −1
    assert place_unmet(table, dataset) is not table
    np.testing.assert_array_equal(table.item_embeddings, embeddings)
