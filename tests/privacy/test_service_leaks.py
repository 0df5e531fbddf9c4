"""A planted, recognisable profile is sent in every way there is; then everything that came out is searched for it."""

from __future__ import annotations

import ast
import base64
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from federation.device.device import Device
from recsys.catalogue.bundle import Bundle
from serving.http.app import ServiceSettings
from serving.http.resources.ask_bodies import ClusterRequest, NoisedRequest, ProfileRequest
from tests.shop import DIM, make_bundle, running_service, sent_by, service

ROOT = Path(__file__).parents[2]
PLANTED = [float(np.float32(7777.125 + 11.5 * place)) for place in range(DIM)]
AS_BASE64 = base64.b64encode(np.array(PLANTED, dtype="<f4").tobytes()).decode()
MARKS = [f"{value:.2f}"[:-1] for value in PLANTED] + [AS_BASE64[start : start + 8] for start in range(0, 32, 8)]
SECRET_ITEM = "sku-of-a-secret-wish"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b")


def requests_with_the_profile(version: str) -> Iterator[bytes]:
    for profile in (PLANTED, AS_BASE64):
        good = {"mode": "profile", "bundle_version": version, "profile": profile, "top_k": 3}
        for changes in (
            {},
            {"exclude": ["sku-1"]},
            {"top_k": 0},
            {"top_k": PLANTED[0]},
            {"mode": AS_BASE64},
            {"mode": "device"},
            {"bundle_version": "0123456789abcdef"},
            {"bundle_version": AS_BASE64},
            {"profile": PLANTED[:-1]},
            {"profile": [*PLANTED[:-1], 1e9]},
            {"profile": [*PLANTED[:-1], str(PLANTED[-1])]},
            {"profile": AS_BASE64[:-4]},
            {"profile": AS_BASE64 + "!"},
            {"profile": {"vector": PLANTED}},
            {"surplus": profile},
            {AS_BASE64: 1},
            {str(PLANTED[0]): 1},
            {"exclude": PLANTED},
            {"exclude": AS_BASE64},
        ):
            yield json.dumps(good | changes).encode()
        yield json.dumps(good).encode()[:-1]
        yield json.dumps([good]).encode()
        yield json.dumps(good).encode() + b"\xff"
        yield json.dumps(good | {"padding": "x" * 5000}).encode()


def found(text: str) -> list[str]:
    return [mark for mark in MARKS if mark in text]


def said(answer: httpx.Response) -> str:
    return answer.text + str(dict(answer.headers))


def test_the_marks_are_in_what_is_sent(bundle: Bundle) -> None:
    sent = [body.decode(errors="replace") for body in requests_with_the_profile(bundle.version)]
    assert all(found(body) for body in sent)
    assert set(MARKS) == {mark for body in sent for mark in found(body)}


def test_no_answer_and_no_log_line_carries_the_profile(
    bundle: Bundle, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    client = service(bundle, settings=ServiceSettings(max_body_bytes=4000))
    statuses = set()
    for body in requests_with_the_profile(bundle.version):
        answer = client.post("/v1/recommendations", content=body, headers={"content-type": "application/json"})
        statuses.add(answer.status_code)
        assert found(said(answer)) == []
    assert statuses == {200, 409, 413, 422}
    assert found(caplog.text) == []
    assert found("".join(capfd.readouterr())) == []


def questions_with_the_profile_elsewhere(version: str) -> Iterator[dict[str, Any]]:
    """The vector, whole, in part or as text, in every field that could repeat it."""
    good = {"mode": "profile", "bundle_version": version, "profile": PLANTED, "top_k": 3}
    number, text, piece = PLANTED[0], AS_BASE64, AS_BASE64[:8]
    cluster = {"mode": "cluster", "bundle_version": version, "clusters": [0]}
    noised = {"mode": "noised", "bundle_version": version, "noised": PLANTED}
    yield from (good | {"reasons": True, "diversity": 0.5}, noised, noised | {"noised": AS_BASE64})
    filters: list[Any] = [
        {"category": number},
        {"category": text},
        {"price": text},
        {"price": {"min": text}},
        {"price": {"min": number, "max": number - 1}},
        {"price": {text: 1}},
        {"available": number},
        {"item_id": [text, number]},
        {"item_id": PLANTED},
        {text: 1},
        {str(number): 1},
        {f"attributes.{text}": number},
        {"not": text},
        {"any": [PLANTED]},
        {"all": {text: PLANTED}},
        PLANTED,
        text,
    ]
    for asked in filters:
        yield from (one | {"filter": asked} for one in (good, cluster, noised))
        yield good | {"rules": {"boost": [{"filter": asked, "by": 1}]}}
    rules: list[Any] = [
        {text: []},
        {"pin": [{"item_id": number, "position": 1}]},
        {"pin": [{"item_id": "sku-1", "position": number}]},
        {"pin": [{"item_id": "sku-1", "position": 1, text: 1}]},
        {"boost": [{"filter": {}, "by": number}]},
        {"bury": [{"filter": {}, "by": text}]},
        {"cap": [{"by": text, "most": 1}]},
        {"cap": [{"by": f"attributes.{piece}", "most": number}]},
        {"cap": PLANTED},
        PLANTED,
    ]
    yield from (good | {"rules": one} for one in rules)
    for value in (number, text, PLANTED, {text: number}):
        yield from (good | {name: value} for name in ("cursor", "diversity", "reasons", "cart"))
        yield from (cluster | {"clusters": value}, cluster | {"clusters": [value]}, cluster | {"candidates": value})
        yield from (noised | {"noised": value}, noised | {"noised": [value] * DIM}, noised | {"candidates": value})
        yield from (cluster | {"profile": value}, noised | {text: value}, {"mode": value}, good | {"context": [value]})


def test_no_field_is_repeated_by_an_answer_or_a_log_line(
    bundle: Bundle, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    client = service(bundle, settings=ServiceSettings(access_log="all"))
    statuses = set()
    asked = list(questions_with_the_profile_elsewhere(bundle.version))
    assert all(found(json.dumps(one)) for one in asked if one.get("mode") != "cluster" or "filter" in one)
    for one in asked:
        answer = client.post("/v1/recommendations", json=one)
        statuses.add(answer.status_code)
        if answer.status_code != 200:
            assert found(said(answer)) == [], one
        many = client.post("/v1/recommendations/batch", json={"requests": [one]})
        assert many.status_code == 200
        if "error" in many.json()["answers"][0]:
            assert found(said(many)) == [], one
        similar = client.post("/v1/items/sku-1/similar", json={"filter": one.get("filter", PLANTED)})
        assert found(said(similar)) == [], one
        assert found(said(client.post("/v1/recommendations/batch", json={"requests": one}))) == []
        wrong = client.put("/v1/items", json={"items": [{"item_id": "sku-1", "price": one, AS_BASE64: 1}]})
        assert wrong.status_code == 422
        assert found(said(wrong)) == []
    assert statuses == {200, 422}
    assert found(caplog.text) == []
    assert found("".join(capfd.readouterr())) == []


def test_no_crash_anywhere_carries_a_field(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def broken(*sent: Any, **more: Any) -> None:
        raise ValueError(f"bad {[np.asarray(one).tolist() for one in sent]} {more} {PLANTED}")

    for place in (
        "serving.http.resources.listing.check_fields",
        "serving.http.resources.listing.parse_filter",
        "serving.http.resources.listing.parse_rules",
        "serving.http.resources.listing.decode_cursor",
        "serving.http.resources.listing.direction_queries",
        "serving.http.resources.listing.encode_candidates",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, broken)
            patch.setattr("serving.http.resources.ask_routes.list_json", broken)
            client = service(bundle)
            for one in questions_with_the_profile_elsewhere(bundle.version):
                answer = client.post("/v1/recommendations", json=one)
                assert answer.status_code in (200, 422, 500)
                if answer.status_code != 200:
                    assert found(said(answer)) == []
    assert "ValueError at" in caplog.text
    assert found(caplog.text) == []


def test_no_crash_carries_the_profile(
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    client = service(bundle)

    def broken(_: object, profiles: Any, *__: object, **___: object) -> None:
        raise ValueError(f"bad vector {profiles.tolist()}")

    monkeypatch.setattr("recsys.search.retrieval.ItemIndex.search", broken)
    for body in requests_with_the_profile(bundle.version):
        answer = client.post("/v1/recommendations", content=body, headers={"content-type": "application/json"})
        assert found(said(answer)) == []
    assert "ValueError at" in caplog.text
    assert found(caplog.text) == []
    assert found("".join(capfd.readouterr())) == []


def test_a_log_that_cannot_be_written_prints_nothing_of_the_crash_either(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A failing log handler prints its own error, and with it the one that was being handled."""
    closed = io.StringIO()
    closed.close()
    broken_handler = logging.StreamHandler(closed)
    logging.getLogger("ownshelf.serving").addHandler(broken_handler)

    def broken(_: object, profiles: Any, *__: object, **___: object) -> None:
        raise ValueError(f"bad vector {profiles.tolist()}")

    client = service(bundle)
    monkeypatch.setattr("recsys.search.retrieval.ItemIndex.search", broken)
    try:
        for body in requests_with_the_profile(bundle.version):
            client.post("/v1/recommendations", content=body, headers={"content-type": "application/json"})
    finally:
        logging.getLogger("ownshelf.serving").removeHandler(broken_handler)
    printed = "".join(capfd.readouterr())
    assert "Logging error" in printed
    assert found(printed) == []


def test_a_running_server_prints_nothing_of_its_requests(bundle: Bundle, tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    with running_service(str(tmp_path / "b")) as (server, started):
        with httpx.Client(base_url=started["url"], timeout=60) as client:
            for body in requests_with_the_profile(started["bundle_version"]):
                headers = {"content-type": "application/json"}
                answer = client.post("/v1/recommendations", content=body, headers=headers)
                assert found(said(answer)) == []
            client.get(f"/v1/items/{SECRET_ITEM}/similar")
            assert client.get("/healthz").status_code == 200
        server.terminate()
        assert server.stdout is not None
        printed = server.stdout.read()
    assert found(printed) == []
    assert SECRET_ITEM not in printed
    assert "127.0.0.1" not in printed


def test_the_request_has_only_the_agreed_fields() -> None:
    """Each is needed for one answer; none names a shopper, a device or a session."""
    asked = {"mode", "bundle_version", "exclude", "filter", "fields"}  # fields: columns of the catalogue, by name
    shop = {
        "placement",
        "rules",
        "diversity",
        "reasons",
        "cursor",
        "context",
        "cart",
    }  # what is shown, of which the page knows all
    assert set(ProfileRequest.model_fields) == asked | shop | {"profile", "top_k"}
    assert set(ClusterRequest.model_fields) == asked | {"clusters", "candidates"}
    assert set(NoisedRequest.model_fields) == asked | {"noised", "candidates"}


def test_a_device_logs_nothing_of_its_history_or_profile(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    device = Device.create(tmp_path / "home", consent="observe", key_store="file")
    device.observe(SECRET_ITEM, "purchase")
    device.observe("sku-3", "purchase")
    client = service(bundle)
    device.recommend_from(client, 3, mode="profile")
    device.recommend(3)
    sent = json.loads(sent_by(client)[-1][1])
    assert len(sent["profile"]) > 40
    for text in (caplog.text, "".join(capfd.readouterr())):
        assert sent["profile"][:10] not in text
        assert SECRET_ITEM not in text
    for request, body in sent_by(client):
        assert SECRET_ITEM not in str(request.url) + str(request.headers) + body.decode()


def imported_by(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


SERVED = sorted(path for folder in ("http", "shelf", "state") for path in (ROOT / "serving" / folder).rglob("*.py"))
"""What answers a request, and what is told of it."""


def test_the_service_cannot_make_or_name_a_profile() -> None:
    forbidden = {f"recsys.model.profile.{name}" for name in ("Profile", "make_profile", "repeat_counts")}
    # of what a request names, cart_query and context_query; of a history, none
    forbidden |= {"recsys.model.fold_in.fold_in"}
    for path in SERVED:
        names = imported_by(path)
        assert not names & forbidden, path
        assert not {name for name in names if name.startswith("federation.device")}, path


def test_loading_the_service_loads_no_device_code() -> None:
    program = "import sys, serving.http.app; print([name for name in sys.modules if name.startswith('federation.')])"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    rooms = ("", ".activations", ".bundle_copies", ".change_log", ".database", ".migrations", ".objects")
    storage = [f"federation.storage{name}" for name in rooms]
    assert sorted(ast.literal_eval(run.stdout)) == storage  # databases, files and the order of versions, no table


def test_choosing_items_loads_no_profile() -> None:
    """Filters, rules, diversity and the fold-in of a cart are for the service too; reasons are not."""
    program = (
        "import sys, recsys.search.filters, recsys.lists.rules, recsys.lists.diversity, recsys.model.fold_in; "
        "print([name for name in sys.modules if name in ('recsys.model.profile', 'recsys.lists.reasons')])"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
