from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from recsys.catalogue import clusters
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.candidates import QuantizedRows
from serving.shelf.served import ServedBundles, serve_bundle
from tests.shop import make_bundle, service


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    return [make_bundle(tmp_path_factory.mktemp("bundles") / f"b{seed}", seed=seed) for seed in range(2)]


@pytest.mark.parametrize("mapped", [False, True])
def test_a_service_computes_no_clusters_but_serves_those_of_the_bundle(
    bundles: list[Bundle], mapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = ServedBundles(bundles[:1], tmp_path if mapped else None)

    def none(*asked: Any) -> npt.NDArray[np.float32]:
        raise AssertionError("clusters are part of the bundle")

    monkeypatch.setattr(clusters, "centroids_of", none)
    shelf.replace([bundles[1], bundles[0]])
    expected = bundles[1].clusters
    assert shelf.current.clusters_file.read() == clusters.encode_clusters(expected)
    np.testing.assert_array_equal(shelf.current.clusters.centroids, expected.centroids)
    assert shelf.current.clusters.config == expected.config


def test_a_cluster_request_computes_no_clusters_and_quantizes_no_table(
    bundles: list[Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = service(bundles[0])

    def late(*_: Any) -> None:
        raise AssertionError("a request waits for this")

    monkeypatch.setattr(clusters, "centroids_of", late)
    monkeypatch.setattr(QuantizedRows, "of", late)
    asked = {"mode": "cluster", "bundle_version": bundles[0].version, "clusters": [0], "candidates": 5}
    assert client.post("/v1/recommendations", json=asked).status_code == 200
    assert client.get(f"/v1/clusters/{bundles[0].version}").status_code == 200


def test_mapped_rows_of_candidates_are_those_in_memory(bundles: list[Bundle], tmp_path: Path) -> None:
    mapped, held = serve_bundle(bundles[0], tmp_path).quantized, serve_bundle(bundles[0]).quantized
    np.testing.assert_array_equal(mapped.rows, held.rows)
    np.testing.assert_array_equal(mapped.scale, held.scale)
    assert mapped.shown.equals(held.shown)
