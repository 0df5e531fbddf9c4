from __future__ import annotations

import hashlib
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ServingError
from federation.device.asking.client import service_client
from federation.device.device import Device
from federation.device.lists import Recommendations, asked_for
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import encode_catalogue
from recsys.model.profile import ProfileConfig
from tests.federation.device.a_shopper import NOW, shopped
from tests.shop import make_bundle, sent_by, service


def test_without_consent_the_service_is_told_nothing_either(device: Device, bundle: Bundle) -> None:
    shopped(device).set_consent("nothing")
    client = service(bundle)
    assert device.recommend_from(client, 5, now=NOW, mode="profile").fallback == "trend"
    assert json.loads(sent_by(client)[-1][1])["profile"] is None


def test_the_repeat_counter_joins_the_same_items_whoever_ranks(tmp_path: Path, bundle: Bundle) -> None:
    device = Device.create(tmp_path / "home", consent="observe", key_store="file", bundle=bundle)
    shopped(device)
    client = service(bundle)
    for top_k in range(1, 38):
        here = device.recommend(top_k, now=NOW)
        asked = device.recommend_from(client, top_k, now=NOW, mode="profile")
        assert asked.item_ids == here.item_ids
        assert [item.score for item in asked.items] == pytest.approx([item.score for item in here.items], abs=1e-5)


def test_a_bought_item_far_down_the_service_list_is_lifted_by_the_device(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", config=ProfileConfig(repeat_weight=50.0))
    device = Device.create(tmp_path / "home", consent="observe", key_store="file", bundle=bundle)
    device.observe("sku-3", "purchase", NOW)
    for _ in range(2):
        device.observe("sku-3", "dislike", NOW)
    client = service(bundle)
    assert "sku-3" not in device.recommend_from(client, 5, now=NOW, repeat=False, mode="profile").item_ids
    assert device.recommend_from(client, 5, now=NOW, mode="profile").item_ids[0] == "sku-3"
    assert device.recommend_from(client, 5, now=NOW, exclude=["sku-3"], mode="profile").item_ids[0] != "sku-3"
    assert device.recommend(5, now=NOW).item_ids[0] == "sku-3"


numbers = st.integers(-8, 8).map(lambda n: n / 4)  # sums of their products are exact in float32


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_service_and_device_rank_alike_for_the_same_profile_and_table(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    n, dim = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4))
    V = np.array(data.draw(st.lists(numbers, min_size=n * dim, max_size=n * dim)), dtype=np.float32).reshape(n, dim)
    trend = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)), dtype=np.float32) / 4
    folder = tmp_path_factory.mktemp("p")
    config = ProfileConfig(trend_weight=0.25)
    bundle = make_bundle(folder / "b", n_items=n, dim=dim, embeddings=V, trend=trend, config=config)
    device = Device.create(folder / "home", consent="observe", key_store="file", bundle=bundle)
    for item in data.draw(st.lists(st.integers(0, n - 1), max_size=4)):
        device.observe(f"sku-{item}", data.draw(st.sampled_from(["view", "purchase", "dislike"])), NOW)
    top_k = data.draw(st.integers(1, n + 1))
    here = device.recommend(top_k, now=NOW, repeat=False)
    there = device.recommend_from(service(bundle), top_k, mode="profile", now=NOW, repeat=False)
    assert here.fallback == there.fallback
    assert [item.score for item in there.items] == pytest.approx([item.score for item in here.items], abs=1e-5)
    everywhere = {item.item_id: item.score for item in device.recommend(n, now=NOW, repeat=False).items}
    for ours, theirs in zip(here.item_ids, there.item_ids, strict=True):
        assert ours == theirs or everywhere[ours] == pytest.approx(everywhere[theirs], abs=1e-5)


def test_an_old_bundle_is_fetched_anew_and_asked_once_more(tmp_path: Path) -> None:
    old, new = make_bundle(tmp_path / "old"), make_bundle(tmp_path / "new", seed=1)
    device = shopped(Device.create(tmp_path / "home", consent="observe", key_store="file", bundle=old))
    client = service(new)
    listed = device.recommend_from(client, 5, now=NOW, mode="profile")
    assert listed.bundle_version == new.version
    fresh = shopped(Device.create(tmp_path / "fresh", consent="observe", key_store="file"))
    assert fresh.recommend_from(client, 5, now=NOW, mode="profile") == listed
    assert [request.url.path for request, _ in sent_by(client)][:5] == [
        "/v1/recommendations",
        "/v1/catalogue/current",
        f"/v1/catalogue/{new.version}",
        f"/v1/catalogue/{new.version}/changes",
        "/v1/recommendations",
    ]


def test_a_service_that_never_agrees_is_given_up_after_two_questions(tmp_path: Path, bundle: Bundle) -> None:
    asked = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        if request.method == "POST":
            asked += 1
            return httpx.Response(409, json={"error": {"code": "bundle_too_old", "message": "old", "details": {}}})
        if request.url.path.endswith("/changes"):
            return httpx.Response(404, json={"error": {"code": "not_found", "message": "no", "details": {}}})
        content = encode_catalogue(bundle)
        return httpx.Response(200, content=content, headers={"etag": f'"{hashlib.sha256(content).hexdigest()}"'})

    device = Device.create(tmp_path / "home", consent="observe", key_store="file", bundle=bundle)
    client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://shop.test")
    with pytest.raises(ServingError, match="refuses the bundle"):
        device.recommend_from(client, 5, mode="profile")
    assert asked == 2


def test_an_older_bundle_is_still_answered(tmp_path: Path) -> None:
    old, new = make_bundle(tmp_path / "old"), make_bundle(tmp_path / "new", seed=1)
    device = shopped(Device.create(tmp_path / "home", consent="observe", key_store="file", bundle=old))
    client = service(new, old)
    assert (
        device.recommend_from(client, 5, now=NOW, repeat=False, mode="profile").item_ids
        == device.recommend(5, now=NOW, repeat=False).item_ids
    )
    assert len(sent_by(client)) == 1


def test_only_the_agreed_fields_are_sent(device: Device, bundle: Bundle) -> None:
    client = service(bundle)
    shopped(device).recommend_from(client, 5, now=NOW, exclude=["sku-8"], mode="profile")
    [(request, body)] = sent_by(client)
    assert set(json.loads(body)) == {"mode", "bundle_version", "profile", "top_k"}
    assert b"sku-" not in body
    assert "cookie" not in request.headers
    assert "authorization" not in request.headers


def test_excludes_are_made_up_for_on_the_device(device: Device, bundle: Bundle) -> None:
    client = service(bundle)
    shopped(device)
    first = device.recommend(6, now=NOW).item_ids
    assert device.recommend_from(client, 3, now=NOW, exclude=first[:3], mode="profile").item_ids == first[3:]
    with pytest.raises(ServingError, match="top_k \\+ excluded items = 1001: must be at most 1000"):
        device.recommend_from(client, 999, exclude=["a", "b"], mode="profile")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, content=b"hello"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"recommendations": [{"item_id": 3, "score": 1.0}]}),
        httpx.Response(200, json={"recommendations": [{"item_id": "never-heard-of", "score": 1.0}]}),
        httpx.Response(200, content=b'{"recommendations": [{"item_id": "sku-1", "score": NaN}]}'),
        httpx.Response(302, headers={"location": "https://elsewhere.test"}),
        httpx.Response(500, json={"error": {"message": "internal"}}),
    ],
)
def test_a_nonsense_answer_is_one_clear_error(device: Device, answer: httpx.Response) -> None:
    client = httpx.Client(transport=httpx.MockTransport(lambda _: answer), base_url="http://shop.test")
    with pytest.raises(ServingError, match=r"^(service|catalogue): "):
        shopped(device).recommend_from(client, 5, now=NOW, mode="profile")


@pytest.mark.parametrize("address", ["http://shop.example", "ftp://shop.example", "shop.example", "http://10.0.0.1"])
def test_a_profile_is_never_sent_in_the_clear(device: Device, address: str) -> None:
    with pytest.raises(ServingError, match="must be https://"):
        device.recommend_from(address, 5, mode="profile")


def test_a_service_that_is_away_is_one_clear_error(device: Device) -> None:
    with pytest.raises(ServingError, match="cannot be asked"):
        device.recommend_from("http://127.0.0.1:9", 5, mode="profile")


def test_no_proxy_of_the_environment_gets_to_see_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://192.0.2.1:1")
    for address in ("http://127.0.0.1:1", "https://shop.test"):
        with service_client(address) as client:
            assert client._mounts == {}


@pytest.mark.parametrize("mode", ["device", "profile", "cluster", "noised"])
def test_items_of_the_own_history_are_left_out_when_it_is_asked_for(device: Device, bundle: Bundle, mode: str) -> None:
    client = service(bundle)
    device.refresh(client)
    for item, kind in (("sku-1", "view"), ("sku-2", "purchase"), ("sku-3", "dislike"), ("not-in-the-bundle", "view")):
        device.observe(item, kind, NOW)

    def listed(unseen: bool) -> Recommendations:
        if mode == "device":
            return device.recommend(1_000, unseen=unseen, exclude=["sku-9", "gone"], now=NOW)
        return device.recommend_from(
            client,
            30,
            mode=mode,
            unseen=unseen,
            exclude=["sku-9", "gone"],
            now=NOW,  # type: ignore[arg-type]
        )

    assert {"sku-1", "sku-2"} & set(listed(False).item_ids)
    without = listed(True)
    assert not {"sku-1", "sku-2", "sku-3", "sku-9"} & set(without.item_ids)
    assert without.unknown_exclude == ("gone",)
    assert len(without.items) >= 30


def test_how_many_items_are_asked_for_does_not_count_the_history(device: Device, bundle: Bundle) -> None:
    client = service(bundle)
    device.refresh(client)
    asked = set()
    for item in range(1, 12):
        device.observe(f"sku-{item}", "view", NOW + item)
        device.recommend_from(client, 10, unseen=True, now=NOW + 20, mode="profile")
        asked.add(json.loads(sent_by(client)[-1][1])["top_k"])
    assert asked == {100}
    assert asked_for(10, 91, 1_000) == 200
    assert asked_for(10, 5_000, 1_000) == 1_000


def test_without_consent_the_history_is_not_used_to_leave_it_out(device: Device, bundle: Bundle) -> None:
    client = service(bundle)
    device.refresh(client)
    device.observe("sku-1", "view", NOW)
    device.set_consent("nothing")
    assert "sku-1" in device.recommend(1_000, unseen=True, now=NOW).item_ids
