from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from data.errors import ModelError, ServingError
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import decode_catalogue
from recsys.model.scoring import score, top_k
from serving.http.app import STATUS, ServiceSettings, create_app
from tests.listening import listening
from tests.shop import DIM, make_bundle, service

RECOMMEND = "/v1/recommendations"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b", unavailable=(5, 6))


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("older") / "b", seed=1, dim=DIM + 3)


@pytest.fixture(scope="module")
def client(bundle: Bundle, older: Bundle) -> httpx.Client:
    return service(bundle, older)


@pytest.fixture
def profile() -> list[float]:
    return np.random.default_rng(7).normal(size=DIM).astype(np.float32).tolist()


def body(bundle: Bundle, profile: object, **changes: object) -> dict[str, Any]:
    return {"mode": "profile", "bundle_version": bundle.version, "profile": profile, "top_k": 5} | changes


def as_base64(profile: list[float]) -> str:
    return base64.b64encode(np.array(profile, dtype="<f4").tobytes()).decode()


def item_ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["recommendations"]]


def error_of(answer: httpx.Response, code: str) -> dict[str, Any]:
    """Every error has the one shape, its code's status, and a request id."""
    content = answer.json()
    assert set(content) == {"error"}
    assert set(content["error"]) == {"code", "message", "details"}
    assert content["error"]["code"] == code
    assert answer.status_code == STATUS[code]
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.headers["x-request-id"]) == 32
    return dict(content["error"])


def test_a_profile_is_answered_with_the_best_available_items(
    client: httpx.Client, bundle: Bundle, profile: list[float]
) -> None:
    scores = score(bundle.table, np.array([profile], dtype=np.float32), bundle.config.trend_weight)[0]
    items, values = top_k(scores, 5, np.array([5, 6], dtype=np.int32))
    answer = client.post(RECOMMEND, json=body(bundle, profile))
    assert item_ids(answer) == [f"sku-{item}" for item in items]
    content = answer.json()
    assert [item["score"] for item in content["recommendations"]] == pytest.approx(values, rel=1e-5)
    assert {key: content[key] for key in ("bundle_version", "mode", "fallback", "unknown_exclude")} == {
        "bundle_version": bundle.version,
        "mode": "profile",
        "fallback": None,
        "unknown_exclude": [],
    }
    first = content["recommendations"][0]
    row = bundle.catalogue.row(int(items[0]), named=True)
    assert {key: first[key] for key in ("title", "category", "price")} == {
        key: row[key] for key in ("title", "category", "price")
    }
    assert answer.headers["cache-control"] == "no-store"


def test_base64_and_numbers_are_the_same_profile(client: httpx.Client, bundle: Bundle, profile: list[float]) -> None:
    one = client.post(RECOMMEND, json=body(bundle, profile))
    other = client.post(RECOMMEND, json=body(bundle, as_base64(profile)))
    ids = [answer.json().pop("recommendation_id") for answer in (one, other)]
    assert one.json() | {"recommendation_id": ""} == other.json() | {"recommendation_id": ""}
    assert ids[0] != ids[1]


def test_an_older_bundle_is_answered_from_its_own_table(client: httpx.Client, older: Bundle) -> None:
    wide = np.random.default_rng(8).normal(size=DIM + 3).astype(np.float32)
    expected, _ = top_k(score(older.table, wide[None], older.config.trend_weight)[0], 5)
    answer = client.post(RECOMMEND, json=body(older, wide.tolist()))
    assert item_ids(answer) == [f"sku-{item}" for item in expected]


def test_a_new_shopper_gets_the_trend_and_the_answer_says_so(client: httpx.Client, bundle: Bundle) -> None:
    expected, values = top_k(bundle.table.trend, 8, np.array([5, 6, 3], dtype=np.int32))
    answer = client.post(RECOMMEND, json=body(bundle, None, top_k=8, exclude=["sku-3"]))
    assert item_ids(answer) == [f"sku-{item}" for item in expected]
    assert answer.json()["fallback"] == "trend"
    assert [item["score"] for item in answer.json()["recommendations"]] == pytest.approx(values)


def test_excluded_items_never_appear_and_unknown_ones_are_named(
    client: httpx.Client, bundle: Bundle, profile: list[float]
) -> None:
    plain = item_ids(client.post(RECOMMEND, json=body(bundle, profile, top_k=8)))
    answer = client.post(RECOMMEND, json=body(bundle, profile, exclude=[*plain[:3], "gone", plain[0]]))
    assert item_ids(answer) == plain[3:]
    assert answer.json()["unknown_exclude"] == ["gone"]


def test_fewer_than_top_k_come_only_when_no_more_are_left(
    client: httpx.Client, bundle: Bundle, profile: list[float]
) -> None:
    left = {f"sku-{item}" for item in range(40)} - {"sku-5", "sku-6", "sku-7"}
    for sent in (profile, None):
        answer = client.post(RECOMMEND, json=body(bundle, sent, top_k=1000, exclude=["sku-7"]))
        assert set(item_ids(answer)) == left
        assert len(item_ids(answer)) == len(left)
        everything = [f"sku-{item}" for item in range(40)]
        assert item_ids(client.post(RECOMMEND, json=body(bundle, sent, exclude=everything))) == []


def test_defaults_are_ten_items_and_no_excludes(client: httpx.Client, bundle: Bundle) -> None:
    sent = {"mode": "profile", "bundle_version": bundle.version, "profile": None}
    assert len(item_ids(client.post(RECOMMEND, json=sent))) == 10


NAN = as_base64([float("nan")] + [0.0] * (DIM - 1))
INF = as_base64([float("inf")] + [0.0] * (DIM - 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"profile": [0.0] * (DIM - 1)}, f"profile: {DIM - 1} values, must be {DIM}"),
        ({"profile": []}, f"profile: 0 values, must be {DIM}"),
        ({"profile": as_base64([0.0] * (DIM + 1))}, f"profile: {4 * DIM + 4} bytes, must be {4 * DIM}"),
        ({"profile": ""}, f"profile: 0 bytes, must be {4 * DIM}"),
        ({"profile": "not base64!"}, "profile: must be base64"),
        ({"profile": "ü" * 44}, "profile: must be base64"),
        ({"profile": NAN}, "profile: has values that are not finite"),
        ({"profile": INF}, "profile: has values that are not finite"),
        ({"profile": as_base64([1e6] + [0.0] * (DIM - 1))}, "profile: has values that are not finite or beyond"),
        ({"profile": [1e6] + [0.0] * (DIM - 1)}, "profile.0: Input should be less than or equal to 131072"),
        ({"profile": ["1"] * DIM}, "profile.0: Input should be a valid number"),
        ({"profile": [True] * DIM}, "profile.0: Input should be a valid number"),
        ({"profile": 3}, "profile: must be base64, a list of numbers, or null"),
        ({"profile": {"vector": []}}, "profile: must be base64, a list of numbers, or null"),
        ({"top_k": 0}, "top_k: must be a whole number 1..1000"),
        ({"top_k": 1001}, "top_k: must be a whole number 1..1000"),
        ({"top_k": 2.5}, "top_k: must be a whole number 1..1000"),
        ({"top_k": "5"}, "top_k: must be a whole number 1..1000"),
        ({"top_k": True}, "top_k: must be a whole number 1..1000"),
        ({"top_k": None}, "top_k: must be a whole number 1..1000"),
        ({"exclude": ["x"] * 1001}, "exclude: List should have at most 1000 items"),
        ({"exclude": [""]}, "exclude.0: String should have at least 1 character"),
        ({"exclude": ["x" * 129]}, "exclude.0: String should have at most 128 characters"),
        ({"exclude": [1]}, "exclude.0: Input should be a valid string"),
        ({"exclude": "sku-1"}, "exclude: Input should be a valid array"),
        ({"mode": "telepathy"}, "mode: must be one of profile, cluster, noised"),
        ({"bundle_version": ""}, "bundle_version: String should have at least 1 character"),
        ({"bundle_version": 3}, "bundle_version: Input should be a valid string"),
        ({"user_id": "alice"}, "user_id: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_body_is_one_clear_error(
    client: httpx.Client, bundle: Bundle, profile: list[float], changes: dict[str, object], message: str
) -> None:
    error = error_of(client.post(RECOMMEND, json=body(bundle, profile) | changes), "invalid_request")
    assert error["message"].startswith(message)
    assert error["details"]["problems"][0]["at"] == message.partition(":")[0]


@pytest.mark.parametrize("named", [set(), {"mode"}, {"bundle_version"}, {"profile"}, {"mode", "profile"}])
@pytest.mark.parametrize("asked", [{}, {"cart": ["sku-1"]}, {"context": "sku-2", "top_k": 3}])
def test_a_question_without_a_profile_need_not_say_so(
    client: httpx.Client, bundle: Bundle, named: set[str], asked: dict[str, Any]
) -> None:
    whole = {"mode": "profile", "bundle_version": "current", "profile": None}
    answers = [
        client.post(RECOMMEND, json={name: whole[name] for name in names} | asked).json() for names in (whole, named)
    ]
    for answer in answers:
        del answer["recommendation_id"]
    assert answers[0] == answers[1]
    assert answers[0]["bundle_version"] == bundle.version
    assert answers[0]["fallback"] == (None if asked else "trend")


def test_a_profile_says_for_which_bundle_it_was_made(client: httpx.Client, bundle: Bundle) -> None:
    sent = body(bundle, [0.5] * DIM)
    del sent["bundle_version"]
    error = error_of(client.post(RECOMMEND, json=sent), "bundle_too_old")
    assert error["details"]["fetch"] == f"/v1/catalogue/{bundle.version}"


@pytest.mark.parametrize("stray", [{"clusters": [0]}, {"noised": [0.0] * DIM}, {"profil": [0.0] * DIM}])
def test_a_question_of_another_mode_must_name_it(client: httpx.Client, stray: dict[str, Any]) -> None:
    error = error_of(client.post(RECOMMEND, json=stray), "invalid_request")
    assert error["message"] == f"{next(iter(stray))}: Extra inputs are not permitted"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"mode": "profile"', b"[" * 10_000, b'{"a":' * 5_000],
)
def test_a_body_that_is_no_object_is_refused(client: httpx.Client, content: bytes) -> None:
    answer = client.post(RECOMMEND, content=content, headers={"content-type": "application/json"})
    error_of(answer, "invalid_request")


def test_nan_as_a_json_number_is_refused(client: httpx.Client, bundle: Bundle) -> None:
    sent = json.dumps(body(bundle, [float("nan")] * DIM)).encode()
    answer = client.post(RECOMMEND, content=sent, headers={"content-type": "application/json"})
    assert error_of(answer, "invalid_request")["message"] == "profile.0: Input should be a finite number"


def test_a_whole_number_may_be_written_with_a_point(client: httpx.Client, bundle: Bundle) -> None:
    sent = json.dumps(body(bundle, None)).replace('"top_k": 5', '"top_k": 5.0').encode()
    answer = client.post(RECOMMEND, content=sent, headers={"content-type": "application/json; charset=utf-8"})
    assert len(item_ids(answer)) == 5


def test_other_content_types_are_refused(client: httpx.Client) -> None:
    error_of(client.post(RECOMMEND, content=b"{}"), "unsupported_media_type")
    error_of(client.post(RECOMMEND, data={"mode": "profile"}), "unsupported_media_type")


def test_device_mode_is_answered_with_where_the_catalogue_is(client: httpx.Client, bundle: Bundle) -> None:
    error = error_of(client.post(RECOMMEND, json={"mode": "device"}), "device_mode")
    assert "fetch the catalogue" in error["message"]
    assert client.get(error["details"]["fetch"], follow_redirects=True).status_code == 200


def test_a_bundle_that_is_not_served_is_409_with_what_to_fetch(
    client: httpx.Client, bundle: Bundle, profile: list[float]
) -> None:
    answer = client.post(RECOMMEND, json=body(bundle, profile, bundle_version="0123456789abcdef"))
    error = error_of(answer, "bundle_too_old")
    assert answer.status_code == 409
    assert error["details"] == {"current": bundle.version, "fetch": f"/v1/catalogue/{bundle.version}"}


def test_a_body_beyond_the_bound_is_413_whether_it_says_so_or_not(bundle: Bundle) -> None:
    client = service(bundle, settings=ServiceSettings(max_body_bytes=100))
    headers = {"content-type": "application/json"}
    error = error_of(client.post(RECOMMEND, content=b" " * 101, headers=headers), "body_too_large")
    assert error["message"] == "body: must be at most 100 bytes"
    chunked = client.post(RECOMMEND, content=iter([b" " * 60] * 2), headers=headers)
    error_of(chunked, "body_too_large")
    error_of(client.post(RECOMMEND, content=b" " * 100, headers=headers), "invalid_request")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v1", "not_found"),
        ("GET", "/v1/recommendations/", "not_found"),
        ("GET", RECOMMEND, "method_not_allowed"),
        ("DELETE", RECOMMEND, "method_not_allowed"),
        ("POST", "/healthz", "method_not_allowed"),
        ("POST", "/v1/items/sku-1/similar", "invalid_request"),
        ("PATCH", "/v1/items/sku-1/similar", "method_not_allowed"),
        ("GET", "/v1/items/nope/similar", "unknown_item"),
        ("GET", "/v1/items/%F0%9F%91%9F/similar", "unknown_item"),
        ("GET", "/v1/items/sku-1/similar?top_k=0", "invalid_request"),
        ("GET", "/v1/items/sku-1/similar?top_k=many", "invalid_request"),
        ("GET", "/v1/items/sku-1/similar?top=3", "invalid_request"),
        ("GET", "/v1/catalogue/0123456789abcdef", "unknown_bundle"),
        ("GET", "/redoc", "not_found"),
    ],
)
def test_every_error_has_the_one_shape(client: httpx.Client, method: str, path: str, code: str) -> None:
    answer = client.request(method, path)
    error_of(answer, code)
    assert ("allow" in answer.headers) == (code == "method_not_allowed")


def test_an_unexpected_error_is_500_in_the_one_shape_and_says_nothing_of_itself(
    bundle: Bundle, profile: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = service(bundle)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"lost {profile}")

    monkeypatch.setattr("recsys.search.retrieval.ItemIndex.search", broken)
    answer = client.post(RECOMMEND, json=body(bundle, profile))
    assert answer.status_code == 500
    request_id = answer.headers["x-request-id"]
    assert answer.json() == {
        "error": {"code": "internal", "message": "internal error", "details": {"request_id": request_id}}
    }
    [record] = [record for record in caplog.records if record.name == "ownshelf.serving"]
    assert "RuntimeError at" in record.getMessage()
    assert request_id in record.getMessage()
    assert "lost" not in record.getMessage()
    assert record.exc_info is None
    not_ready = client.get("/readyz")
    assert not_ready.status_code == 503
    error_of(not_ready, "not_ready")


def test_similar_items_are_the_nearest_by_cosine(client: httpx.Client, bundle: Bundle) -> None:
    V = bundle.table.item_embeddings / np.linalg.norm(bundle.table.item_embeddings, axis=1, keepdims=True)
    cosine = V @ V[2]
    cosine[[2, 5, 6]] = -np.inf
    order = np.argsort(-cosine)[:4]
    content = client.get("/v1/items/sku-2/similar", params={"top_k": 4}).json()
    assert [item["item_id"] for item in content["similar"]] == [f"sku-{item}" for item in order]
    assert [item["score"] for item in content["similar"]] == pytest.approx(cosine[order], abs=1e-6)
    assert (content["item_id"], content["bundle_version"]) == ("sku-2", bundle.version)


def test_similar_items_do_not_change_the_table(client: httpx.Client, bundle: Bundle) -> None:
    before = np.array(bundle.table.item_embeddings)
    first = client.get("/v1/items/sku-2/similar").json()
    assert client.get("/v1/items/sku-2/similar").json() == first
    np.testing.assert_array_equal(bundle.table.item_embeddings, before)
    assert not bundle.table.item_embeddings.flags.writeable


def test_an_item_without_a_direction_is_similar_to_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    V = np.eye(4, 3, dtype=np.float32)
    V[3] = 0
    client = service(make_bundle(tmp_path / "b", n_items=4, dim=3, embeddings=V))
    assert [item["score"] for item in client.get("/v1/items/sku-3/similar").json()["similar"]] == [0.0, 0.0, 0.0]


def test_an_item_id_may_hold_slashes_and_spaces(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", n_items=3)
    renamed = bundle.catalogue.with_columns(item_id=np.array(["a/b", "c d", "é?#"], dtype=object))
    odd = replace(bundle, catalogue=renamed.cast({"item_id": str}))
    client = service(odd)
    for path in ("a%2Fb", "c%20d", "%C3%A9%3F%23"):
        assert len(client.get(f"/v1/items/{path}/similar").json()["similar"]) == 2


def test_the_catalogue_is_cacheable_for_ever_and_named_by_its_content(client: httpx.Client, bundle: Bundle) -> None:
    answer = client.get(f"/v1/catalogue/{bundle.version}")
    assert answer.status_code == 200
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert decode_catalogue(answer.content).bundle_version == bundle.version


@pytest.mark.parametrize("shape", ["{}", 'W/{}, "x"', '"x", {}', "*"])
def test_a_catalogue_that_is_held_is_not_sent_again(client: httpx.Client, bundle: Bundle, shape: str) -> None:
    etag = client.get(f"/v1/catalogue/{bundle.version}").headers["etag"]
    again = client.get(f"/v1/catalogue/{bundle.version}", headers={"if-none-match": shape.format(etag)})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    other = client.get(f"/v1/catalogue/{bundle.version}", headers={"if-none-match": '"x"'})
    assert other.status_code == 200


def test_current_leads_to_the_current_catalogue_and_is_never_cached(client: httpx.Client, bundle: Bundle) -> None:
    answer = client.get("/v1/catalogue/current")
    assert answer.status_code == 307
    assert answer.headers["cache-control"] == "no-cache"
    assert str(answer.next_request and answer.next_request.url.path) == f"/v1/catalogue/{bundle.version}"


def test_older_catalogues_are_still_there(client: httpx.Client, older: Bundle) -> None:
    content = client.get(f"/v1/catalogue/{older.version}").content
    assert decode_catalogue(content).table.dim == DIM + 3


def test_bundles_are_listed_current_first(client: httpx.Client, bundle: Bundle, older: Bundle) -> None:
    listed = client.get("/v1/bundles").json()["bundles"]
    assert [(one["version"], one["current"], one["dim"]) for one in listed] == [
        (bundle.version, True, DIM),
        (older.version, False, DIM + 3),
    ]
    for one in listed:
        assert len(client.get(one["catalogue"]).content) == one["catalogue_bytes"]


def test_health_and_readiness(client: httpx.Client, bundle: Bundle) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready", "bundle_version": bundle.version}


def test_no_bundle_or_the_same_twice_is_refused(bundle: Bundle) -> None:
    with pytest.raises(ServingError, match="none given"):
        create_app([])
    with pytest.raises(ServingError, match="given twice"):
        create_app([bundle, bundle])


def test_a_tampered_bundle_is_never_served(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    make_bundle(folder)
    tensors = folder / "tensors.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    with pytest.raises(ModelError, match="tampered"):
        Bundle.load(folder)


def test_a_request_leaves_the_served_arrays_as_they_were(bundle: Bundle, profile: list[float]) -> None:
    client = service(bundle)
    before = [np.array(getattr(bundle.table, name)) for name in ("item_embeddings", "trend", "mean_profile")]
    asked = body(bundle, profile, exclude=["sku-1"])
    rules = {"boost": [{"filter": {"category": "shelf 1"}, "by": 2}], "cap": [{"by": "category", "most": 1}]}
    first = client.post(RECOMMEND, json=asked).json()["recommendations"]
    client.post(RECOMMEND, json=body(bundle, None, exclude=["sku-2"], rules=rules))
    client.post(RECOMMEND, json=body(bundle, profile, diversity=0.7, rules=rules, context="sku-3", cart=["sku-4"]))
    client.post("/v1/items/sku-3/similar", json={"filter": {"category": "shelf 1"}})
    assert client.post(RECOMMEND, json=asked).json()["recommendations"] == first
    for name, array in zip(("item_embeddings", "trend", "mean_profile"), before, strict=True):
        np.testing.assert_array_equal(getattr(bundle.table, name), array)


def test_a_catalogue_travels_packed_to_whoever_unpacks_it(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", n_items=400)
    with listening(create_app([bundle])) as url, httpx.Client(base_url=url) as client:
        path = f"/v1/catalogue/{bundle.version}"
        whole = client.get(path, headers={"accept-encoding": "identity"})
        packed = client.get(path, headers={"accept-encoding": "br;q=1, gzip;q=0.5"})
        refused = client.get(path, headers={"accept-encoding": "gzip;q=0"})
    assert "content-encoding" not in whole.headers
    assert "content-encoding" not in refused.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < 0.9 * len(whole.content)
    assert packed.content == whole.content == refused.content
    assert {answer.headers["etag"] for answer in (whole, packed, refused)} == {
        f'"{hashlib.sha256(whole.content).hexdigest()}"'
    }
    assert packed.headers["vary"] == "accept-encoding"
