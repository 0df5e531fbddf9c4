from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from data.errors import BudgetExhausted, ServingError
from data.interactions import MICROS_PER_DAY
from federation.device.asking.ask_coarse import profile_from_rows
from federation.device.asking.relayed import Relay, relayed_client
from federation.device.cluster_ledger import ClusterPolicy
from federation.device.device import Device
from federation.device.noise_ledger import NoisePolicy
from federation.protocol.oblivious.encapsulation import GatewayKey
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.clusters import nearest
from recsys.model.profile_config import ProfileConfig
from serving.http.app import create_app
from serving.http.oblivious.gateway import add_gateway
from tests.modes_service import modes_service
from tests.shop import InProcess, make_bundle, sent_by
from tests.tiny_relay import TinyRelay

NOW = 1_700_000_000_000_000
DAY = MICROS_PER_DAY
POLICY = NoisePolicy(epsilon=8.0, period_days=30.0, max_epsilon=16.0)
HISTORY = (("sku-1", "view"), ("sku-2", "purchase"), ("sku-2", "purchase"), ("sku-9", "cart"), ("sku-30", "dislike"))
MODES = ("cluster", "noised")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b", n_items=400, unavailable=(5, 6))


@pytest.fixture(scope="module")
def client(bundle: Bundle) -> httpx.Client:
    return modes_service(bundle)


@pytest.fixture
def holder(tmp_path: Path, bundle: Bundle) -> Device:
    """A device that has the whole table."""
    return shopped(Device.create(tmp_path / "holder", consent="observe", key_store="file", bundle=bundle), None)


@pytest.fixture
def light(tmp_path: Path, bundle: Bundle, client: httpx.Client) -> Device:
    """A device that has the clusters file and the rows of the pages it was shown."""
    device = Device.create(tmp_path / "light", consent="observe", key_store="file")
    assert device.refresh_clusters(client) == bundle.version
    return shopped(device, bundle)


def shopped(device: Device, pages: Bundle | None) -> Device:
    for day, (item, kind) in enumerate(HISTORY):
        row = None if pages is None else np.array(pages.table.item_embeddings[pages.items.index_of([item])[0]])
        device.observe(item, kind, NOW - (10 - day) * DAY, row=row)
    return device


def bodies(client: httpx.Client) -> list[dict[str, Any]]:
    return [json.loads(body) for request, body in sent_by(client) if request.method == "POST"]


def test_a_device_without_a_catalogue_makes_the_same_profile(light: Device, holder: Device, bundle: Bundle) -> None:
    exact = holder.profile(NOW)
    own = profile_from_rows(light.state, bundle.clusters, NOW)
    assert exact is not None
    assert own is not None
    np.testing.assert_allclose(own.vector, exact.vector, atol=1e-6)
    assert light.catalogue is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("repeat", [True, False])
def test_with_every_item_a_candidate_the_list_is_the_device_s_own(
    light: Device, holder: Device, client: httpx.Client, mode: Any, repeat: bool
) -> None:
    """Candidates have int8 rows: scores agree to the step, order where scores differ by more than that."""
    here = holder.recommend(398, now=NOW, repeat=repeat)
    exact = {item.item_id: item.score for item in here.items}
    for device in (light, holder):
        asked = device.recommend_from(client, 20, mode=mode, candidates=2000, noise=POLICY, now=NOW, repeat=repeat)
        assert (asked.mode, asked.fallback, asked.bundle_version) == (mode, None, here.bundle_version)
        scores = [item.score for item in asked.items]
        np.testing.assert_allclose(scores, [exact[item_id] for item_id in asked.item_ids], atol=0.02)
        np.testing.assert_allclose(scores, [item.score for item in here.items[:20]], atol=0.02)
        shown = {item.item_id: (item.title, item.category, item.price) for item in here.items}
        assert all(shown[item.item_id] == (item.title, item.category, item.price) for item in asked.items)


@pytest.mark.parametrize("mode", MODES)
def test_only_the_agreed_fields_are_sent(light: Device, bundle: Bundle, mode: Any) -> None:
    client = modes_service(bundle)
    light.recommend_from(client, 5, mode=mode, candidates=40, now=NOW, exclude=["sku-8"])
    [(request, body)] = sent_by(client)
    said = {"cluster": "clusters", "noised": "noised"}[mode]
    assert set(json.loads(body)) == {"mode", "bundle_version", "candidates", said}
    assert b"sku-" not in body
    assert "cookie" not in request.headers


def test_cluster_ids_are_the_nearest_of_the_profile_and_no_more(light: Device, holder: Device, bundle: Bundle) -> None:
    client = modes_service(bundle)
    for period, n in enumerate((1, 2, 4)):
        naming, now = ClusterPolicy(max_answers=3), NOW + period * 30 * DAY
        light.recommend_from(client, 5, mode="cluster", clusters=n, naming=naming, now=now)
        profile = holder.profile(NOW + period * 30 * DAY)
        assert profile is not None
        assert bodies(client)[-1]["clusters"] == nearest(bundle.clusters.centroids, profile.vector, n)
    with pytest.raises(Exception, match=r"clusters=5: must be 1\.\.4"):
        light.recommend_from(client, 5, mode="cluster", clusters=5, now=NOW + 90 * DAY)


def test_a_noised_message_is_not_the_profile_and_stays_the_same_for_its_period(
    light: Device, holder: Device, bundle: Bundle
) -> None:
    client = modes_service(bundle)
    for day in (0, 3, 29):
        light.recommend_from(client, 5, mode="noised", noise=POLICY, now=NOW + day * DAY)
        row = np.array(bundle.table.item_embeddings[day])
        light.observe(f"sku-{day}", "purchase", NOW + day * DAY, row=row)  # the profile changes, the message does not
    light.recommend_from(client, 5, mode="noised", noise=POLICY, now=NOW + 30 * DAY)
    sent = [body["noised"] for body in bodies(client)]
    assert len(sent) == 4
    assert len(set(sent[:3])) == 1
    assert sent[3] != sent[0]
    vector = np.frombuffer(base64.b64decode(sent[0]), "<f4")
    profile = holder.profile(NOW)
    assert profile is not None
    assert vector.shape == profile.vector.shape
    assert abs(vector @ profile.vector) / np.linalg.norm(profile.vector) < 0.9999
    shown = light.show()
    assert (shown["noised_messages"], shown["noised_epsilon"]) == (2, 16.0)


def test_at_its_bound_the_mode_is_refused_and_nothing_is_sent(light: Device, bundle: Bundle) -> None:
    client = modes_service(bundle)
    for period in range(2):
        light.recommend_from(client, 5, mode="noised", noise=POLICY, now=NOW + period * 30 * DAY)
    before = len(sent_by(client))
    with pytest.raises(BudgetExhausted, match="epsilon=24 over this device's lifetime: must be at most 16; use mode"):
        light.recommend_from(client, 5, mode="noised", noise=POLICY, now=NOW + 60 * DAY)
    assert len(sent_by(client)) == before
    assert light.recommend_from(client, 5, mode="cluster", now=NOW + 60 * DAY).mode == "cluster"


def test_the_message_is_in_the_vault_before_it_is_sent(light: Device, bundle: Bundle, tmp_path: Path) -> None:
    sent: list[bytes] = []

    def lost(request: httpx.Request) -> httpx.Response:
        sent.append(request.read())
        held = Device.open(tmp_path / "light").state.noise  # as after a crash at this moment
        assert (held.drawn, held.epsilon) == (1, 8.0)
        raise httpx.ReadTimeout("gone")

    away = httpx.Client(transport=httpx.MockTransport(lost), base_url="http://shop.test")
    for _ in range(2):
        with pytest.raises(ServingError, match="cannot be asked"):
            Device.open(tmp_path / "light").recommend_from(away, 5, mode="noised", noise=POLICY, now=NOW)
    assert sent[0] == sent[1]
    assert light.state.noise.drawn == 1


def test_another_bundle_is_fetched_and_costs_another_message(tmp_path: Path, bundle: Bundle) -> None:
    new = make_bundle(tmp_path / "new", n_items=400, seed=1)
    device = shopped(Device.create(tmp_path / "home", consent="observe", key_store="file", bundle=bundle), None)
    device.recommend_from(modes_service(bundle), 5, mode="noised", noise=POLICY, now=NOW)
    client = modes_service(new)
    listed = device.recommend_from(client, 5, mode="noised", noise=POLICY, now=NOW)
    assert listed.bundle_version == new.version
    assert [request.url.path for request, _ in sent_by(client)] == [
        "/v1/recommendations",
        "/v1/clusters/current",
        f"/v1/clusters/{new.version}",
        "/v1/recommendations",
    ]
    assert listed.fallback == "trend"  # none of its rows is of the new bundle, so it says nothing
    assert device.state.noise.drawn == 1
    assert len(list((tmp_path / "home").glob("clusters-*"))) == 1


def test_an_older_bundle_is_asked_for_as_long_as_it_is_answered(tmp_path: Path, light: Device, bundle: Bundle) -> None:
    client = modes_service(make_bundle(tmp_path / "new", n_items=400, seed=1), bundle)
    assert light.recommend_from(client, 5, mode="cluster", now=NOW).bundle_version == bundle.version
    assert len(sent_by(client)) == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_device_without_a_profile_says_nothing_and_gets_the_trend(tmp_path: Path, bundle: Bundle, mode: Any) -> None:
    client = modes_service(bundle)
    device = Device.create(tmp_path / "new", consent="observe", key_store="file")
    listed = device.recommend_from(client, 3, mode=mode, now=NOW, exclude=["sku-0"])
    assert (listed.mode, listed.fallback) == (mode, "trend")
    trend = np.array(bundle.table.trend)
    trend[[0, 5, 6]] = -1
    assert listed.item_ids == [f"sku-{item}" for item in np.argsort(-trend)[:3]]
    assert bodies(client) == [{"mode": "profile", "bundle_version": bundle.version, "profile": None, "top_k": 4}]
    assert device.state.noise.drawn == 0


def test_without_consent_a_history_is_not_used(light: Device, client: httpx.Client) -> None:
    light.set_consent("nothing")
    assert light.recommend_from(client, 3, mode="cluster", now=NOW).fallback == "trend"
    assert light.recommend_from(client, 3, mode="noised", now=NOW).fallback == "trend"
    assert light.state.noise.drawn == 0


@pytest.mark.parametrize("mode", MODES)
def test_unavailable_and_excluded_items_never_appear(light: Device, client: httpx.Client, mode: Any) -> None:
    listed = light.recommend_from(client, 395, mode=mode, now=NOW, exclude=["sku-1", "sku-2"])
    assert set(listed.item_ids).isdisjoint({"sku-1", "sku-2", "sku-5", "sku-6"})
    assert len(listed.items) == 395
    with pytest.raises(ServingError, match=r"top_k \+ excluded items = 7: must be at most candidates=6"):
        light.recommend_from(client, 5, mode=mode, now=NOW, candidates=6, exclude=["a", "b"])


def test_own_purchases_are_lifted_here(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", n_items=100, config=ProfileConfig(repeat_weight=50.0))
    client = modes_service(bundle)
    device = Device.create(tmp_path / "home", consent="observe", key_store="file")
    device.refresh_clusters(client)
    row = np.array(bundle.table.item_embeddings[3])
    for kind in ("purchase", "dislike", "dislike"):
        device.observe("sku-3", kind, NOW, row=row)
    assert "sku-3" not in device.recommend_from(client, 5, mode="cluster", now=NOW, repeat=False).item_ids
    assert device.recommend_from(client, 5, mode="cluster", now=NOW).item_ids[0] == "sku-3"


def test_a_row_is_kept_for_the_bundle_at_hand_only(light: Device, bundle: Bundle, tmp_path: Path) -> None:
    row = np.ones(8, dtype=np.float32)
    kept = light.observe("sku-50", "view", NOW, row=row, row_version=bundle.version)
    other = light.observe("sku-51", "view", NOW, row=row, row_version="0" * 16)
    assert (kept.note, other.recorded) == ("recorded; with its row", True)
    assert "of another bundle" in other.note
    own = light.state.own_rows
    assert own is not None
    assert own.item_ids == ("sku-1", "sku-2", "sku-9", "sku-30", "sku-50")
    light.forget("sku-50")
    own = light.state.own_rows
    assert own is not None
    assert "sku-50" not in own.item_ids
    bare = Device.create(tmp_path / "bare", consent="observe", key_store="file")
    bare.observe("sku-1", "view", NOW, row=row)
    assert bare.state.own_rows is None


@pytest.mark.parametrize(
    "row", [np.ones(7, np.float32), np.ones(8), np.full(8, np.nan, np.float32), np.ones((1, 8), np.float32)]
)
def test_a_row_that_is_none_is_refused_and_the_event_with_it(light: Device, row: Any) -> None:
    before = len(light.state.events)
    with pytest.raises(ServingError, match=r"^row: "):
        light.observe("sku-50", "view", NOW, row=row)
    assert len(light.state.events) == before


def test_without_consent_no_row_is_kept(tmp_path: Path, client: httpx.Client) -> None:
    device = Device.create(tmp_path / "home", key_store="file")
    device.refresh_clusters(client)
    device.observe("sku-1", "view", NOW, row=np.ones(8, np.float32))
    assert device.state.own_rows is None


def test_a_changed_clusters_file_is_fetched_anew(light: Device, bundle: Bundle) -> None:
    [path] = light.folder.glob("clusters-*")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    client = modes_service(bundle)
    assert light.recommend_from(client, 5, mode="cluster", now=NOW).fallback is None
    assert sent_by(client)[0][0].url.path == "/v1/clusters/current"


def test_erasing_removes_the_clusters_file_too(light: Device) -> None:
    light.erase()
    assert list(light.folder.iterdir()) == []


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, content=b"hello"),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"bundle_version": "V", "mode": "cluster", "candidates": {}}),
        httpx.Response(200, json={"bundle_version": "other", "mode": "cluster", "candidates": {}}),
        httpx.Response(302, headers={"location": "https://elsewhere.test"}),
        httpx.Response(422, json={"error": {"message": "no such mode"}}),
        httpx.Response(409, json={"error": {"code": "bundle_too_old"}}),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_a_nonsense_answer_is_one_clear_error(light: Device, bundle: Bundle, answer: httpx.Response, mode: Any) -> None:
    def answers(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(304)
        body = answer.content.replace(b'"V"', json.dumps(bundle.version).encode())
        headers = {name: answer.headers[name] for name in ("location",) if name in answer.headers}
        return httpx.Response(answer.status_code, headers=headers, content=body)

    away = httpx.Client(transport=httpx.MockTransport(answers), base_url="http://shop.test")
    with pytest.raises(ServingError, match=r"^service: "):
        light.recommend_from(away, 5, mode=mode, now=NOW)


def test_a_service_that_sends_more_than_was_asked_is_refused(light: Device, bundle: Bundle) -> None:
    honest = modes_service(bundle)

    def more(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.read()) | {"candidates": 100}
        return honest.post("/v1/recommendations", json=body)

    away = httpx.Client(transport=httpx.MockTransport(more), base_url="http://shop.test")
    with pytest.raises(ServingError, match=r"service: 100 candidates, must be 1\.\.50"):
        light.recommend_from(away, 5, mode="cluster", candidates=50, now=NOW)


@pytest.mark.parametrize("mode", ["guess", ""])
def test_a_mode_that_is_none_is_refused(light: Device, client: httpx.Client, mode: Any) -> None:
    with pytest.raises(ServingError, match="mode="):
        light.recommend_from(client, 5, mode=mode)


@pytest.mark.parametrize("candidates", [0, 2001])
def test_there_is_a_least_and_a_most_of_candidates(light: Device, client: httpx.Client, candidates: int) -> None:
    with pytest.raises(ServingError, match=rf"candidates={candidates}: must be 1\.\.2000"):
        light.recommend_from(client, 5, mode="cluster", candidates=candidates)


def test_through_a_relay_the_list_is_the_same_and_nothing_of_the_question_is_seen(
    light: Device, bundle: Bundle, client: httpx.Client
) -> None:
    key = GatewayKey(bytes(range(32)))
    app = create_app([bundle])
    add_gateway(app, key, lambda: 100_000)
    network = TinyRelay(InProcess(app))
    direct = light.recommend_from(client, 10, mode="cluster", candidates=200, now=NOW)
    with relayed_client("https://shop.test", Relay("https://relay.test", key.config), transport=network) as relayed:
        listed = light.recommend_from(relayed, 10, mode="cluster", candidates=200, now=NOW)
    assert listed.item_ids == direct.item_ids
    assert len(network.by_relay) == 1
    assert not any("recommendations" in asked for asked in network.directly)
    assert b"cluster" not in network.by_relay[0]
