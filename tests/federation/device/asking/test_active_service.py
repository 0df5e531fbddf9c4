"""A service that cheats in mode cluster: other centroids under the same version, or a new bundle at every page view."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from data.errors import ModelError
from data.interactions import MICROS_PER_DAY
from federation.device.device import Device
from federation.device.state import DeviceState
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.clusters import Clusters, encode_clusters, nearest, version_of
from tests.modes_service import modes_service
from tests.shop import make_bundle, sent_by

NOW = 1_700_000_000_000_000
DAY = MICROS_PER_DAY


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b", n_items=400)


class ActiveService:
    """Answers every question in mode cluster with 409, and then has other centroids of its own choice."""

    def __init__(self, honest: Clusters, *, forge_version: bool) -> None:
        self.honest, self.forge_version = honest, forge_version
        self.named: list[tuple[int, ...]] = []
        self.asked_with: list[np.ndarray] = []
        self.served = 0
        self.of_version: dict[str, np.ndarray] = {}

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self._answer), base_url="http://shop.test")

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            body = json.loads(request.read())
            if body["mode"] == "cluster":
                self.named.append(tuple(body["clusters"]))
                self.asked_with.append(self.of_version.get(body["bundle_version"], self.honest.centroids))
                return httpx.Response(409, json={"error": {"code": "bundle_too_old"}})
            return httpx.Response(200, json={"recommendations": []})
        chosen = np.random.default_rng(self.served).normal(size=self.honest.centroids.shape).astype(np.float32)
        chosen /= np.linalg.norm(chosen, axis=1, keepdims=True)
        self.served += 1
        clusters = replace(self.honest, centroids=chosen)
        if self.forge_version:  # the honest way to have them: a bundle of its own
            version = version_of(str(clusters.manifest_hash), clusters.content_hash)
            clusters = replace(clusters, bundle_version=version)
        self.of_version[str(clusters.bundle_version)] = chosen
        content = encode_clusters(clusters)
        return httpx.Response(200, content=content, headers={"etag": f'"{_sha256(content)}"'})


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def device(tmp_path: Path, bundle: Bundle) -> Device:
    device = Device.create(tmp_path / "light", consent="observe", key_store="file")
    device.refresh_clusters(modes_service(bundle))
    for item in (1, 2, 9):
        device.observe(f"sku-{item}", "purchase", NOW, row=np.array(bundle.table.item_embeddings[item]))
    return device


def test_other_centroids_under_the_same_version_are_refused_after_one_answer(device: Device, bundle: Bundle) -> None:
    cheat = ActiveService(bundle.clusters, forge_version=False)
    for _ in range(64):
        with pytest.raises(ModelError, match=f"clusters: are not those of bundle {bundle.version}"):
            device.recommend_from(cheat.client(), 5, mode="cluster", now=NOW)
    assert len(set(cheat.named)) == 1


def test_a_version_that_was_taken_has_one_file_even_where_the_hash_is_broken(
    device: Device, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if somebody had found two files of one version."""
    monkeypatch.setattr("federation.device.asking.clusters_file.check_part_of_bundle", lambda clusters: None)
    cheat = ActiveService(bundle.clusters, forge_version=False)
    with pytest.raises(ModelError, match=f"a second file for bundle {bundle.version}"):
        device.recommend_from(cheat.client(), 5, mode="cluster", now=NOW)
    assert len(cheat.named) == 1


def test_a_new_bundle_at_every_page_view_gets_one_answer_for_life(device: Device, bundle: Bundle) -> None:
    """Every later one is a function of the first and of centroids that the service knows: it tells nothing more."""
    cheat = ActiveService(bundle.clusters, forge_version=True)

    def look(day: int) -> None:
        """Look at a page, with its row of the bundle at hand."""
        device.change(lambda state: _with_rows_of_the_newest(state))
        assert device.recommend_from(cheat.client(), 5, mode="cluster", now=NOW + day * DAY).fallback == "trend"

    for day in (*range(29), *range(30, 90, 10)):
        look(day)
    assert device.state.named.answered == 1
    last = device.state.named.last
    assert last is not None
    assert last.named is not None
    for centroids, clusters in zip(cheat.asked_with, cheat.named, strict=True):
        assert clusters == tuple(sorted({nearest(centroids, place, 1)[0] for place in last.named}))
    shown = device.show()
    assert (shown["cluster_answers"], shown["cluster_answers_left"]) == (1, 0)


def _with_rows_of_the_newest(state: DeviceState) -> DeviceState:
    own = state.own_rows
    assert own is not None
    return replace(state, own_rows=replace(own, bundle_version=state.named.pinned[-1][0]))


def test_clusters_that_the_catalogue_at_hand_does_not_name_are_refused(tmp_path: Path, bundle: Bundle) -> None:
    device = Device.create(tmp_path / "holder", consent="observe", key_store="file")
    device.refresh(modes_service(bundle))
    forged = replace(bundle.clusters, n_items=bundle.clusters.n_items + 1)
    content = encode_clusters(replace(forged, bundle_version=bundle.version))

    def answers(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=content, headers={"etag": f'"{_sha256(content)}"'})

    client = httpx.Client(transport=httpx.MockTransport(answers), base_url="http://shop.test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("federation.device.asking.clusters_file.check_part_of_bundle", lambda clusters: None)
        with pytest.raises(ModelError, match=f"not those that the catalogue of bundle {bundle.version} names"):
            device.refresh_clusters(client)
    assert device.state.clusters is None


def test_what_was_named_is_in_the_vault_before_it_is_sent(device: Device) -> None:
    sent: list[Any] = []

    def lost(request: httpx.Request) -> httpx.Response:
        sent.append(request.read())
        assert Device.open(device.folder).state.named.answered == 1
        raise httpx.ReadTimeout("gone")

    client = httpx.Client(transport=httpx.MockTransport(lost), base_url="http://shop.test")
    for day in (0, 20):
        with pytest.raises(Exception, match="cannot be asked"):
            device.recommend_from(client, 5, mode="cluster", now=NOW + day * DAY)
    assert sent[0] == sent[1]


def test_by_default_a_catalogue_that_fits_is_fetched_and_the_service_learns_nothing(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = modes_service(bundle)
    device = Device.create(tmp_path / "new", consent="observe", key_store="file")
    device.observe("sku-2", "purchase", NOW)
    assert device.recommend_from(client, 5, now=NOW).mode == "device"
    assert device.recommend_from(client, 5, now=NOW) == device.recommend(5, now=NOW)
    assert {request.method for request, _ in sent_by(client)} == {"GET"}
    monkeypatch.setattr("federation.device.asking.ask_coarse.MAX_DEVICE_ITEMS", 399)
    large = Device.create(tmp_path / "large", consent="observe", key_store="file")
    large.refresh_clusters(client)
    large.observe("sku-2", "purchase", NOW, row=np.array(bundle.table.item_embeddings[2]))
    assert large.recommend_from(client, 5, now=NOW).mode == "cluster"
    assert json.loads(sent_by(client)[-1][1])["mode"] == "cluster"
