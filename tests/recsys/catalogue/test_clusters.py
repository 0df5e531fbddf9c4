from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data.errors import ModelError
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import encode_catalogue
from recsys.catalogue.clusters import (
    Clusters,
    centroids_of,
    cluster_candidates,
    cluster_count,
    cluster_queries,
    decode_clusters,
    direction_queries,
    encode_clusters,
    interleave,
    nearest,
)
from recsys.model.items import ItemTable
from recsys.model.profile_config import ProfileConfig
from recsys.model.scoring import score, top_k
from recsys.search.retrieval import ItemIndex
from tests.shop import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b", n_items=600, dim=8, unavailable=(5, 6))


@pytest.fixture(scope="module")
def clusters(bundle: Bundle) -> Clusters:
    return bundle.clusters


def shelves(n_shelves: int = 12, each: int = 50, dim: int = 16, seed: int = 0) -> ItemTable:
    """Items around a few directions far apart."""
    rng = np.random.default_rng(seed)
    middle = np.linalg.qr(rng.normal(size=(dim, dim)))[0][:n_shelves]
    V = np.repeat(middle, each, axis=0) + rng.normal(0, 0.05, (n_shelves * each, dim))
    return ItemTable(V.astype(np.float32), np.zeros(len(V), np.float32), V.mean(0).astype(np.float32))


@pytest.mark.parametrize(
    ("n_items", "k"), [(1, 1), (38, 1), (78, 2), (600, 15), (9_983, 255), (9_984, 256), (10**6, 256)]
)
def test_there_is_a_centroid_for_every_39_items_up_to_256(n_items: int, k: int) -> None:
    assert cluster_count(n_items) == k


def test_centroids_are_directions_and_the_same_on_any_number_of_threads(bundle: Bundle) -> None:
    threads = faiss.omp_get_max_threads()
    try:
        found = []
        for n in (1, 2):
            faiss.omp_set_num_threads(n)
            found.append(centroids_of(bundle.table))
            assert faiss.omp_get_max_threads() == n
    finally:
        faiss.omp_set_num_threads(threads)
    np.testing.assert_array_equal(found[0], found[1])
    assert found[0].shape == (15, 8)
    np.testing.assert_allclose(np.linalg.norm(found[0], axis=1), 1.0, atol=1e-5)
    assert not np.array_equal(centroids_of(bundle.table, seed=1), found[0])


def test_rows_of_zeros_have_no_direction_and_no_say() -> None:
    table = shelves()
    V = np.vstack((table.item_embeddings, np.zeros((40, table.dim), np.float32)))
    grown = ItemTable(V, np.zeros(len(V), np.float32), table.mean_profile)
    assert np.linalg.norm(centroids_of(grown), axis=1).min() > 0.99
    nothing = ItemTable(np.zeros((3, 4), np.float32), np.zeros(3, np.float32), np.zeros(4, np.float32))
    assert centroids_of(nothing).tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_a_taste_finds_its_shelf() -> None:
    """The true top 20 of a direction near one of 12 shelves of 50 lie among 100 candidates of its centroid."""
    table, config = shelves(), ProfileConfig(trend_weight=0.0)
    clusters = Clusters(
        "v",
        "n",
        centroids_of(table),
        table.gram,
        table.mean_profile,
        table.parts,
        config,
        table.n_items,
    )
    rng = np.random.default_rng(1)
    found = 0
    for shelf in range(12):
        u = table.item_embeddings[shelf * 50] + rng.normal(0, 0.05, table.dim).astype(np.float32)
        exact = top_k(score(table, u[None], 0.0)[0], 20)[0]
        candidates = cluster_candidates(table, clusters, nearest(clusters.centroids, u, 1), 100)
        found += len(np.intersect1d(exact, candidates))
    assert found / 240 > 0.9


def test_nearest_names_the_centroids_of_highest_cosine_in_an_order_that_says_nothing() -> None:
    centroids = np.eye(4, dtype=np.float32)
    vector = np.array([0.1, 3.0, -5.0, 2.0], dtype=np.float32)
    assert nearest(centroids, vector, 1) == [1]
    assert nearest(centroids, vector, 2) == [1, 3]
    assert nearest(centroids, vector, 3) == [0, 1, 3]
    assert nearest(centroids, -vector, 2) == [0, 2]
    with pytest.raises(ModelError, match=r"clusters=5: must be 1\.\.4"):
        nearest(centroids, vector, 5)
    with pytest.raises(ModelError, match=r"vector: shape \(3,\)"):
        nearest(centroids, vector[:3], 1)


@given(
    vector=arrays(np.float32, 8, elements=st.integers(-16, 16).map(lambda n: n / 8)),
    scale=st.floats(0.25, 64),
    n=st.integers(1, 4),
)
def test_what_is_named_depends_on_the_direction_alone(
    clusters: Clusters, vector: np.ndarray, scale: float, n: int
) -> None:
    scale = 2.0 ** round(np.log2(scale))  # exact in floating point
    assert nearest(clusters.centroids, vector * np.float32(scale), n) == nearest(clusters.centroids, vector, n)


def test_lists_are_dealt_in_turn_each_item_once() -> None:
    lists = np.array([[1, 2, 3], [2, 4, 5]], dtype=np.int32)
    assert interleave(lists, 10).tolist() == [1, 2, 4, 3, 5]
    assert interleave(lists, 3).tolist() == [1, 2, 4]


@given(st.data())
def test_interleaving_gives_as_many_distinct_items_as_are_wanted_and_there(data: st.DataObject) -> None:
    n, most = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 12))
    lists = np.array([data.draw(st.permutations(range(12))) for _ in range(n)], dtype=np.int32)[:, :most]
    dealt = interleave(lists, most).tolist()
    assert len(dealt) == len(set(dealt)) == most
    assert dealt[0] == lists[0, 0]
    assert set(dealt) <= set(lists.ravel().tolist())


@settings(max_examples=25)
@given(ids=st.lists(st.integers(0, 14), min_size=1, max_size=4, unique=True), most=st.integers(1, 700))
def test_the_scan_and_an_index_agree(bundle: Bundle, clusters: Clusters, ids: list[int], most: int) -> None:
    allowed = np.ones(600, dtype=np.bool_)
    allowed[[5, 6]] = False
    scanned = cluster_candidates(bundle.table, clusters, ids, most, allowed)
    hidden = np.array([5, 6], dtype=np.int32)
    weight = bundle.config.trend_weight
    index = ItemIndex.build(bundle.table)
    lists = [
        index.search(query, most, trend_weight=weight, hidden=hidden)[0] for query in cluster_queries(clusters, ids)
    ]
    assert set(scanned.tolist()) ^ set(interleave(np.stack(lists), most).tolist()) == set()
    assert len(scanned) == min(most, 598)
    assert not {5, 6} & set(scanned.tolist())


@pytest.mark.parametrize(
    ("ids", "message"),
    [([], "0 ids"), ([1, 1], "2 ids, 1 of them"), ([0, 1, 2, 3, 4], "5 ids"), ([15], "0..14"), ([-1], "0..14")],
)
def test_a_name_that_is_none_is_refused(clusters: Clusters, ids: list[int], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        cluster_queries(clusters, ids)


def test_a_query_is_the_direction_with_the_mean_mixed_in() -> None:
    """Direction (1, 0), mean (0, 2): (1, .3)/|(1, .3)| · 3 · 2."""
    query = direction_queries(np.array([[7.0, 0.0]], np.float32), np.array([0.0, 2.0], np.float32))
    np.testing.assert_allclose(query, [[6 / 1.09**0.5, 1.8 / 1.09**0.5]], rtol=1e-6)
    nothing_known = direction_queries(np.array([[0.0, 3.0]], np.float32), np.zeros(2, np.float32))
    np.testing.assert_allclose(nothing_known, [[0.0, 1.0]])
    with pytest.raises(ModelError, match="not finite"):
        direction_queries(np.array([[np.nan, 0.0]], np.float32), np.zeros(2, np.float32))
    with pytest.raises(ModelError, match="directions: shape"):
        direction_queries(np.zeros((1, 3), np.float32), np.zeros(2, np.float32))


def test_the_file_is_the_same_for_everybody_and_comes_back_whole(bundle: Bundle, clusters: Clusters) -> None:
    content = encode_clusters(bundle.clusters)
    assert content == encode_clusters(bundle.clusters) == encode_clusters(clusters)
    read = decode_clusters(content)
    for field in fields(Clusters):
        if field.name != "digest":
            np.testing.assert_array_equal(getattr(read, field.name), getattr(clusters, field.name))
    assert read.gram.flags.writeable is False
    assert read.digest is not None
    assert len(read.digest) == 64
    assert b"sku-" not in content


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: b"<html>",
        lambda content: content[:-4],
        lambda content: content.replace(b'"format": "1"', b'"format": "2"'),
        lambda content: content.replace(b'"n_items": "600"', b'"n_items": "-60"'),
        lambda content: content.replace(b'\\"taste\\", 8', b'\\"taste\\", 9'),
        lambda content: content[:-4] + np.float32(np.nan).tobytes(),
    ],
)
def test_a_file_that_is_none_is_refused(bundle: Bundle, change: Callable[[bytes], bytes]) -> None:
    content = encode_clusters(bundle.clusters)
    changed = change(content)
    assert changed != content
    with pytest.raises(ModelError, match=r"^clusters: "):
        decode_clusters(changed)


def test_a_catalogue_is_not_a_clusters_file(bundle: Bundle) -> None:
    with pytest.raises(ModelError, match=r"^clusters: "):
        decode_clusters(encode_catalogue(bundle))
