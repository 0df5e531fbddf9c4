from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from data.errors import ModelError
from recsys.catalogue.content import COLUMNS, ContentMap, _ridge

KINDS = ("lamp", "mug", "bag", "clock")


def a_shop(n_items: int = 400, dim: int = 6, seed: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    """Items whose embedding is their kind's direction, half as long where they are cheap, and a little noise."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, len(KINDS), n_items)
    cheap = rng.random(n_items) < 0.5
    directions = 2 * np.eye(len(KINDS), dim, dtype=np.float32)
    V = directions[kind] * np.where(cheap, 0.5, 1.0)[:, None] + rng.normal(0, 0.05, (n_items, dim))
    catalogue = pl.DataFrame(
        {
            "item_id": [f"i{item}" for item in range(n_items)],
            "title": [
                f"{rng.choice(['Red', 'BLUE'])} {KINDS[one].title()} no. {item}" for item, one in enumerate(kind)
            ],
            "category": [f"shelf {one % 2}" for one in kind],
            "price": np.where(cheap, rng.uniform(1, 2, n_items), rng.uniform(20, 40, n_items)),
        }
    )
    return catalogue, V.astype(np.float32)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_items_it_never_saw_land_beside_their_kind_and_at_its_length():
    catalogue, V = a_shop(3_000)
    fitted = ContentMap.fit(catalogue[:2_000], V[:2_000])
    found = fitted.embed(catalogue[2_000:])
    assert found.dtype == np.float32
    assert cosine(found, V[2_000:]).min() > 0.85
    lengths = np.linalg.norm(found, axis=1)
    assert lengths.mean() == pytest.approx(np.linalg.norm(V[2_000:], axis=1).mean(), rel=0.1)


def test_each_field_alone_says_something_and_none_says_the_mean_item():
    catalogue, V = a_shop()
    fitted = ContentMap.fit(catalogue, V)
    rows = pl.DataFrame(
        {
            "title": ["a lamp", None, None, None],
            "category": [None, "shelf 1", None, None],
            "price": [None, None, 30, None],
        },
        schema={"title": pl.String, "category": pl.String, "price": pl.Float64},
    )
    title, category, price, nothing = fitted.embed(rows)
    assert title.argmax() == 0
    assert set(category.argsort()[-2:].tolist()) == {1, 3}  # mugs and clocks stand on shelf 1
    assert np.linalg.norm(price) > np.linalg.norm(nothing)  # dear items are longer
    np.testing.assert_allclose(nothing, fitted.scale * fitted.offset, rtol=1e-6)
    np.testing.assert_allclose(fitted.embed(pl.DataFrame({"sku": ["x"]}))[0], nothing)


@pytest.mark.parametrize("price", [0.0, -1.0, float("nan"), float("inf")])
def test_a_price_that_has_no_logarithm_says_nothing_and_breaks_nothing(price):
    catalogue, V = a_shop()
    fitted = ContentMap.fit(catalogue, V)
    found = fitted.embed(pl.DataFrame({"title": ["mug"], "price": [price]}))
    np.testing.assert_array_equal(found, fitted.embed(pl.DataFrame({"title": ["mug"]})))


def test_ridge_agrees_with_the_dense_normal_equations():
    rng = np.random.default_rng(0)
    X = sp.random_array((80, 30), density=0.2, rng=rng, dtype=np.float32)
    V = rng.normal(size=(80, 5)).astype(np.float32)
    heed = rng.uniform(0.1, 2, 80).astype(np.float32)
    offset, W = _ridge(sp.csr_matrix(X), V, heed, 0.7)
    mean = (heed[:, None] * V).sum(axis=0) / heed.sum()
    D = X.toarray()
    exact = np.linalg.solve(D.T @ (heed[:, None] * D) + 0.7 * np.eye(30), D.T @ (heed[:, None] * (V - mean)))
    np.testing.assert_allclose(offset, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(W, exact, atol=0.01 * np.abs(exact).max())


def test_a_saved_map_embeds_the_same_and_another_file_is_refused(tmp_path):
    catalogue, V = a_shop()
    fitted = ContentMap.fit(catalogue, V)
    fitted.save(tmp_path / "content.safetensors")
    again = ContentMap.load(tmp_path / "content.safetensors")
    np.testing.assert_array_equal(again.embed(catalogue), fitted.embed(catalogue))
    assert (again.reg, again.scale) == (fitted.reg, fitted.scale)
    (tmp_path / "other").write_bytes(b"no map")
    for name in ("other", "missing"):
        with pytest.raises(ModelError, match=f"{name}: not a content map"):
            ContentMap.load(tmp_path / name)


def test_the_same_catalogue_gives_the_same_map_and_writes_to_nothing():
    catalogue, V = a_shop(80)
    V.flags.writeable = False
    first, second = (ContentMap.fit(catalogue, V, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)
    assert first.weights.shape == (COLUMNS, 6)


def test_a_catalogue_of_another_length_is_refused():
    catalogue, V = a_shop(20)
    with pytest.raises(ModelError, match="catalogue: 19 rows for 20 embeddings"):
        ContentMap.fit(catalogue[:19], V)
