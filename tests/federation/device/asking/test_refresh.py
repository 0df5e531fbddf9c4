from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from data.errors import ServingError
from data.interactions import MICROS_PER_DAY
from federation.device.asking import client as asking
from federation.device.asking.catalogue_file import read_changes
from federation.device.contribution import OwnHistory, training_vectors
from federation.device.device import Device
from federation.device.participation import _catalogue_of
from federation.device.state import known_columns
from federation.private_sum.refusals import TaskRefused
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import decode_catalogue, encode_catalogue
from recsys.catalogue.changes import CatalogueChanges
from tests.federation.service.live_round import training_task
from tests.shop import DIM, N_ITEMS, make_bundle, sent_by, service

NOW = 1_700_000_000_000_000


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    """Two bundles of one catalogue; the second has moved a little, as after a round."""
    folder = tmp_path_factory.mktemp("pair")
    rng = np.random.default_rng(5)
    V = rng.normal(0, 0.5, (300, DIM)).astype(np.float32)
    moved = V + rng.normal(0, 0.005, V.shape).astype(np.float32)
    old = make_bundle(folder / "old", n_items=300, embeddings=V)
    return old, make_bundle(folder / "new", n_items=300, embeddings=moved)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    made = Device.create(tmp_path / "home", consent="contribute", key_store="file")
    for day, item in enumerate((1, 2, 9, 30)):
        made.observe(f"sku-{item}", "purchase", NOW - (10 - day) * MICROS_PER_DAY)
    return made


@pytest.fixture
def shop(tmp_path: Path) -> httpx.Client:
    return service(make_bundle(tmp_path / "bundle", unavailable=(5,)))


def put(client: httpx.Client, *items: dict[str, Any]) -> None:
    client.put("/v1/items", json={"items": list(items)}).raise_for_status()


def files(device: Device) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in device.folder.glob("c*-*"))


class Between(httpx.BaseTransport):
    """Passes requests on to a service, with answers changed on the way."""

    def __init__(self, client: httpx.Client, change: Callable[[httpx.Request, httpx.Response], httpx.Response]) -> None:
        self.inner, self.change = client._transport, change
        self.asked: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.raw_path.decode())
        return self.change(request, self.inner.handle_request(request))


def between(client: httpx.Client, change: Callable[[httpx.Request, httpx.Response], httpx.Response]) -> httpx.Client:
    return httpx.Client(transport=Between(client, change), base_url=client.base_url)


def told(client: httpx.Client) -> list[str]:
    transport = client._transport
    assert isinstance(transport, Between)
    return transport.asked


def test_a_device_with_an_older_bundle_takes_the_difference(device: Device, pair: tuple[Bundle, Bundle]) -> None:
    old, new = pair
    device.refresh(service(old))
    sizes: list[int] = []

    def watch(request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        if "ownshelf-delta-from" in answer.headers:
            sizes.append(len(answer.read()))
        return answer

    client = between(service(new, old), watch)
    assert device.refresh(client) is True
    assert told(client) == [
        f"/v1/catalogue/current?since={old.version}",
        f"/v1/catalogue/{new.version}?since={old.version}",
        f"/v1/catalogue/{new.version}/changes?since=0",
    ]
    whole = encode_catalogue(new)
    assert len(sizes) == 1
    assert sizes[0] < 0.5 * len(whole)
    assert device.catalogue_hash == hashlib.sha256(whole).digest()
    [kept] = device.folder.glob("catalogue-*")
    assert kept.read_bytes() == whole
    assert device.refresh(client) is False


def test_a_service_without_the_older_bundle_sends_the_whole(device: Device, pair: tuple[Bundle, Bundle]) -> None:
    old, new = pair
    device.refresh(service(old))
    client = between(service(new), lambda _, answer: answer)
    assert device.refresh(client) is True
    assert told(client)[1] == f"/v1/catalogue/{new.version}"
    assert device.catalogue_hash == hashlib.sha256(encode_catalogue(new)).digest()


def answered(answer: httpx.Response, content: bytes, **headers: str) -> httpx.Response:
    kept = {name: value for name, value in answer.headers.items() if name != "content-length"}
    return httpx.Response(200, content=content, headers=kept | {k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer, _: answered(answer, answer.read()[:-9]),
        lambda answer, _: answered(answer, b"<html>"),
        lambda answer, _: answered(answer, answer.read(), ownshelf_delta_from="another"),
        lambda answer, _: answered(answer, answer.read(), etag='"0"'),
        lambda answer, whole: answered(answer, whole),
    ],
    ids=["torn", "no delta", "another version", "another hash", "the whole under a delta's header"],
)
def test_whatever_is_wrong_with_a_difference_the_whole_is_fetched(
    device: Device, pair: tuple[Bundle, Bundle], spoil: Callable[[httpx.Response, bytes], httpx.Response]
) -> None:
    old, new = pair
    device.refresh(service(old))
    whole = encode_catalogue(new)

    def change(_: httpx.Request, answer: httpx.Response) -> httpx.Response:
        return spoil(answer, whole) if "ownshelf-delta-from" in answer.headers else answer

    client = between(service(new, old), change)
    assert device.refresh(client) is True
    assert f"/v1/catalogue/{new.version}" in told(client)
    assert device.catalogue_hash == hashlib.sha256(whole).digest()


def test_a_difference_that_is_too_large_is_not_read_on(
    device: Device, pair: tuple[Bundle, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = pair
    device.refresh(service(old))
    whole = encode_catalogue(new)
    monkeypatch.setattr(asking, "MAX_CATALOGUE_BYTES", len(whole))

    def change(_: httpx.Request, answer: httpx.Response) -> httpx.Response:
        return answered(answer, bytes(len(whole) + 1)) if "ownshelf-delta-from" in answer.headers else answer

    assert device.refresh(between(service(new, old), change)) is True
    assert device.catalogue_hash == hashlib.sha256(whole).digest()


def test_an_item_made_unavailable_is_gone_after_a_refresh_and_comes_back(device: Device, shop: httpx.Client) -> None:
    device.refresh(shop)
    first, second = device.recommend(2, now=NOW).item_ids
    put(shop, {"item_id": first, "available": False})
    shop.delete(f"/v1/items/{second}").raise_for_status()
    assert device.refresh(shop) is False
    left = device.recommend(1000, now=NOW).item_ids
    assert len(left) == N_ITEMS - 3
    assert not {first, second, "sku-5"} & set(left)
    put(shop, {"item_id": first, "available": True}, {"item_id": "sku-5", "available": True})
    device.refresh(shop)
    assert {first, "sku-5"} < set(device.recommend(1000, now=NOW).item_ids)


def test_prices_titles_and_categories_are_those_of_now_in_lists_and_filters(device: Device, shop: httpx.Client) -> None:
    put(shop, {"item_id": "sku-7", "title": "Now", "category": "new shelf", "price": 1234.5})
    device.refresh(shop)
    [item] = device.recommend(5, now=NOW, filter={"category": "new shelf"}).items
    assert (item.item_id, item.title, item.category, item.price) == ("sku-7", "Now", "new shelf", 1234.5)
    assert device.recommend(5, now=NOW, filter={"price": {"min": 1000}}).item_ids == ["sku-7"]


def test_a_new_item_is_recommended_and_moves_the_profile(device: Device, shop: httpx.Client) -> None:
    put(shop, {"item_id": "new-1", "title": "Thing “1”", "category": "shelf 1", "price": 3.0})
    unknown = device.observe("new-1", "view", NOW - 5)
    device.refresh(shop)
    assert unknown.in_catalogue is None
    assert "new-1" in device.recommend(1000, now=NOW).item_ids
    assert device.observe("new-1", "like", NOW).in_catalogue is True
    row = np.frombuffer(base64.b64decode(shop.get("/v1/items/new-1").json()["row"]), "<f4")
    assert device.catalogue is not None
    np.testing.assert_array_equal(device.catalogue.table.item_embeddings[N_ITEMS], row)
    liking = device.recommend(1000, now=NOW, repeat=False).item_ids.index("new-1")
    device.forget("new-1")
    assert liking < device.recommend(1000, now=NOW, repeat=False).item_ids.index("new-1")


def changed_shop(client: httpx.Client) -> None:
    new = [
        {"item_id": f"new-{at}", "title": f"Thing {at}", "category": f"shelf {at % 4}", "price": 2.0 * at}
        for at in range(6)
    ]
    put(client, *new)
    put(client, {"item_id": "sku-2", "available": False}, {"item_id": "sku-8", "category": "shelf 3", "price": 1.0})
    put(client, {"item_id": "new-0", "price": 5.0}, {"item_id": "new-3", "available": False})
    client.delete("/v1/items/new-4").raise_for_status()
    client.delete("/v1/items/sku-11").raise_for_status()


@pytest.mark.parametrize("question", [{}, {"category": "shelf 0"}, {"price": {"max": 6}}], ids=json.dumps)
@pytest.mark.parametrize("personal", [True, False])
def test_service_and_device_rank_alike_after_changes(
    tmp_path: Path, shop: httpx.Client, question: dict[str, Any], personal: bool
) -> None:
    """The device refreshes twice, so that its order of new items is put together of two answers."""
    device = Device.create(tmp_path / "mine", consent="observe", key_store="file")
    put(shop, {"item_id": "new-1", "title": "Thing 1", "category": "shelf 1"})
    device.refresh(shop)
    changed_shop(shop)
    device.refresh(shop)
    if personal:
        for day, item in enumerate(("sku-1", "new-1", "sku-2", "sku-11")):
            device.observe(item, "purchase", NOW - (9 - day) * MICROS_PER_DAY)
    profile = device.profile(NOW)
    assert (profile is None) is not personal
    here = device.recommend(1000, now=NOW, repeat=False, filter=question)
    body = {
        "mode": "profile",
        "bundle_version": here.bundle_version,
        "profile": None if profile is None else profile.vector.tolist(),
        "top_k": 1000,
        "filter": question,
    }
    there = shop.post("/v1/recommendations", json=body).json()["recommendations"]
    scores = {item.item_id: item.score for item in here.items}
    assert set(scores) == {item["item_id"] for item in there}
    assert [item["score"] for item in there] == pytest.approx([item.score for item in here.items], abs=2e-2)
    for item in there:  # alike to half a step of the int8 rows
        assert scores[item["item_id"]] == pytest.approx(item["score"], abs=2e-2)
    if not personal:
        assert here.item_ids == [item["item_id"] for item in there]
    shown = {item.item_id: (item.title, item.category, item.price) for item in here.items}
    assert shown == {item["item_id"]: (item["title"], item["category"], item["price"]) for item in there}


@pytest.mark.parametrize("mode", ["profile", "cluster", "noised"])
def test_a_list_with_an_item_newer_than_the_last_refresh_is_no_error(
    device: Device, shop: httpx.Client, mode: Any
) -> None:
    device.refresh(shop)
    put(shop, {"item_id": "new-1", "title": "Thing “1”", "category": "shelf 1"})
    listed = device.recommend_from(shop, 41, mode=mode, clusters=4, candidates=1000, now=NOW)
    assert "new-1" in listed.item_ids


def test_a_training_report_is_of_the_signed_catalogue_alone(device: Device, tmp_path: Path) -> None:
    """The same vectors with and without live changes, and with an event on an item that is not signed."""
    bundle = make_bundle(tmp_path / "bundle")
    shop, (task, _) = service(bundle), training_task(bundle)
    device.refresh(shop)

    def vectors() -> dict[str, Any]:
        catalogue = _catalogue_of(device, shop, task)
        own = OwnHistory(*known_columns(device.state.events, catalogue.items), at=NOW)
        return training_vectors(own, catalogue, task, 0)

    before = vectors()
    changed_shop(shop)
    device.refresh(shop)
    device.observe("new-1", "purchase", NOW - 1)
    assert device.catalogue is not None
    assert device.catalogue.table.n_items == N_ITEMS + 6
    assert device.catalogue_hash == task.bundle_hash == hashlib.sha256(encode_catalogue(bundle)).digest()
    after = vectors()
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    own = OwnHistory(*known_columns(device.state.events, device.catalogue.items), at=NOW)
    with pytest.raises(TaskRefused, match="has changes since its bundle"):
        training_vectors(own, device.catalogue, task, 0)


def test_a_service_that_knows_no_changes_is_good_enough(device: Device, shop: httpx.Client) -> None:
    def older(request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        if request.url.path.endswith("/changes"):
            return httpx.Response(404, json={"error": {"code": "not_found", "message": "no", "details": {}}})
        return answer

    assert device.refresh(between(shop, older)) is True
    assert len(device.recommend(5, now=NOW).items) == 5
    assert files(device) == ["catalogue"]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500, json={"error": {"code": "internal", "message": "no", "details": {}}}),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, json={"bundle_version": "another", "sequence": 1, "changes": []}),
        httpx.Response(307, headers={"location": "https://elsewhere.test"}),
        httpx.Response(204),
    ],
)
def test_changes_that_are_none_are_an_error_and_the_catalogue_is_kept(
    device: Device, shop: httpx.Client, answer: httpx.Response
) -> None:
    def spoil(request: httpx.Request, given: httpx.Response) -> httpx.Response:
        return answer if request.url.path.endswith("/changes") else given

    with pytest.raises(ServingError, match=r"^service: "):
        device.refresh(between(shop, spoil))
    assert len(device.recommend(5, now=NOW).items) == 5
    assert files(device) == ["catalogue"]


def test_changes_that_do_not_fit_the_table_are_not_kept(device: Device, shop: httpx.Client) -> None:
    put(shop, {"item_id": "new-1", "title": "x"})

    def narrow(request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        if not request.url.path.endswith("/changes"):
            return answer
        told = json.loads(answer.read())
        told["changes"][0]["row"] = base64.b64encode(bytes(4 * (DIM - 1))).decode()
        return httpx.Response(200, json=told)

    with pytest.raises(ServingError, match=r"row .* of a new item"):
        device.refresh(between(shop, narrow))
    assert files(device) == ["catalogue"]


def test_changes_larger_than_their_bound_are_not_read_on(
    device: Device, shop: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MAX_CHANGES_BYTES", 1_000)
    put(shop, *({"item_id": f"new-{at}", "title": "x"} for at in range(20)))
    with pytest.raises(ServingError, match="changes: larger than 1000 bytes"):
        device.refresh(shop)


def test_only_what_is_new_is_asked_for_and_in_steps_of_a_hundred(device: Device, shop: httpx.Client) -> None:
    """Sequence 130 → the next question is since 100: every device that is between 100 and 199 asks the same."""
    for start in (0, 65):
        put(shop, *({"item_id": f"new-{at}", "title": f"n {at}"} for at in range(start, start + 65)))
    device.refresh(shop)
    put(shop, {"item_id": "new-129", "title": "last"})
    device.refresh(shop)
    asked = [str(request.url) for request, _ in sent_by(shop) if request.url.path.endswith("/changes")]
    assert [url.partition("?")[2] for url in asked] == ["since=0", "since=100"]
    assert device.catalogue is not None
    assert device.catalogue.table.n_items == N_ITEMS + 130
    assert device.catalogue.shown["title"][-1] == "last"


def test_a_service_whose_state_is_new_is_asked_for_everything(
    device: Device, shop: httpx.Client, tmp_path: Path
) -> None:
    """Its counting starts anew; what the device holds of before is not its state of now."""
    put(shop, *({"item_id": f"sku-{at}", "available": False} for at in range(10)))
    device.refresh(shop)
    again = service(make_bundle(tmp_path / "again", unavailable=(5,)))
    put(again, {"item_id": "sku-20", "available": False})
    device.refresh(again)
    assert device.catalogue is not None
    assert device.catalogue.unavailable.tolist() == [5, 20]


def test_changes_go_with_their_bundle_and_with_the_device(device: Device, pair: tuple[Bundle, Bundle]) -> None:
    old, new = pair
    first = service(old)
    put(first, {"item_id": "sku-3", "available": False})
    device.refresh(first)
    device.refresh(service(new))
    assert device.catalogue is not None
    assert device.catalogue.unavailable.tolist() == []
    assert files(device) == ["catalogue", "changes"]
    device.erase()
    assert files(device) == []


@pytest.mark.parametrize("spoil", [lambda content: content[:-20], lambda content: b"", lambda content: content + b" "])
def test_damaged_changes_are_fetched_again(device: Device, shop: httpx.Client, spoil: Callable[[bytes], bytes]) -> None:
    put(shop, {"item_id": "sku-3", "available": False})
    device.refresh(shop)
    [path] = device.folder.glob("changes-*")
    path.write_bytes(spoil(path.read_bytes()))
    assert "sku-3" in Device.open(device.folder).recommend(1000, now=NOW).item_ids
    assert device.refresh(shop) is False
    assert "sku-3" not in Device.open(device.folder).recommend(1000, now=NOW).item_ids


def test_changes_of_one_bundle_are_not_those_of_another(device: Device, pair: tuple[Bundle, Bundle]) -> None:
    old, new = pair
    client = service(old)
    put(client, {"item_id": "sku-3", "available": False})
    device.refresh(client)
    [path] = device.folder.glob("changes-*")
    content = path.read_bytes()
    device.refresh(service(new))
    [other] = device.folder.glob("changes-*")
    other.write_bytes(content)
    assert read_changes(device.folder, device.state.catalogue or "") is None


def test_a_page_s_row_of_a_new_item_spoils_no_other_row(device: Device, shop: httpx.Client) -> None:
    """The bundle's file does not have the item, so that its place in it is none, and not the last one."""
    device.refresh(shop)
    assert device.catalogue is not None
    last = device.catalogue.table.item_embeddings[-1].copy()
    device.observe("new-1", "view", NOW, row=np.full(DIM, 9, dtype=np.float32))
    np.testing.assert_array_equal(device.catalogue.table.item_embeddings[-1], last)


def test_another_program_s_refresh_is_seen_at_once(device: Device, shop: httpx.Client) -> None:
    other = Device.open(device.folder)
    device.refresh(shop)
    assert other.recommend(1, now=NOW).items
    put(shop, {"item_id": "sku-3", "available": False})
    device.refresh(shop)
    assert "sku-3" not in other.recommend(1000, now=NOW).item_ids


def test_two_programs_that_refresh_one_device_at_once_leave_it_whole(
    device: Device, pair: tuple[Bundle, Bundle]
) -> None:
    """From services that disagree, over and over, while a third program reads: never without a catalogue."""
    device.refresh(service(pair[0]))
    stop, faults = threading.Event(), []

    def guarded(work: Callable[[Device], object]) -> None:
        try:
            work(Device.open(device.folder))
        except BaseException as error:  # noqa: BLE001  # told by the main thread
            faults.append(error)

    def refresh(first: Bundle, second: Bundle) -> None:
        client = service(first, second)
        put(client, {"item_id": "sku-3", "available": False})

        def work(own: Device) -> None:
            for _ in range(15):
                own.refresh(client)

        guarded(work)

    def read() -> None:
        def work(own: Device) -> None:
            while not stop.is_set():
                assert len(Device.open(own.folder).recommend(3, now=NOW).items) == 3

        guarded(work)

    programs = [threading.Thread(target=refresh, args=order) for order in (pair, pair[::-1])]
    reader = threading.Thread(target=read)
    for thread in (*programs, reader):
        thread.start()
    for thread in programs:
        thread.join()
    stop.set()
    reader.join()
    assert faults == []
    held = Device.open(device.folder)
    assert held.catalogue is not None
    assert held.catalogue.unavailable.tolist() == [3]
    assert files(held) == ["catalogue", "changes"]


def test_an_answer_that_came_late_does_not_undo_a_newer_one(device: Device, shop: httpx.Client) -> None:
    """Another program refreshes after this one was answered and before it writes."""
    device.refresh(shop)
    put(shop, {"item_id": "sku-3", "available": False})

    def meanwhile(request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        if request.url.path.endswith("/changes"):
            put(shop, {"item_id": "sku-4", "available": False})
            Device.open(device.folder).refresh(shop)
        return answer

    device.refresh(between(shop, meanwhile))
    assert device.catalogue is not None
    assert device.catalogue.unavailable.tolist() == [3, 4, 5]


def test_a_device_without_a_catalogue_is_not_told_that_it_has_one(device: Device) -> None:
    client = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(304)), base_url="http://shop.test")
    with pytest.raises(ServingError, match="without a catalogue"):
        device.refresh(client)


def test_all_devices_of_a_version_ask_alike(tmp_path: Path, pair: tuple[Bundle, Bundle]) -> None:
    """Byte for byte, whatever their shoppers did, consented to or asked before."""
    old, new = pair
    said = []
    for name, consent, item in (("a", "contribute", "sku-1"), ("b", "observe", "sku-200"), ("c", "nothing", "sku-3")):
        device = Device.create(tmp_path / name, consent=consent, key_store="file")
        device.refresh(service(old))
        device.observe(item, "purchase", NOW)
        device.recommend(3, now=NOW)
        client = service(new, old)
        Device.open(tmp_path / name).refresh(client)
        said.append([(request.method, str(request.url), request.headers, body) for request, body in sent_by(client)])
    assert said[0] == said[1] == said[2]
    assert len(said[0]) == 3


def test_the_file_of_changes_holds_what_was_answered(device: Device, shop: httpx.Client) -> None:
    put(shop, {"item_id": "new-1", "title": "x"}, {"item_id": "sku-3", "available": False})
    device.refresh(shop)
    held = read_changes(device.folder, device.state.catalogue or "")
    assert isinstance(held, CatalogueChanges)
    assert (held.sequence, [one.item_id for one in held.changes]) == (2, ["sku-3", "new-1"])
    [path] = device.folder.glob("catalogue-*")
    assert decode_catalogue(path.read_bytes()).bundle_version == held.bundle_version


def test_a_service_that_lost_its_state_is_asked_for_everything_anew(device: Device, tmp_path: Path) -> None:
    """Though it has counted past the sequence that the device holds: nothing of before is kept, nothing new is lost."""
    bundle = make_bundle(tmp_path / "bundle")
    before, rebuilt = service(bundle), service(bundle)
    put(before, {"item_id": "sku-1", "available": False}, {"item_id": "old", "title": "x"})
    device.refresh(before)
    assert device.catalogue.table.n_items == N_ITEMS + 1
    put(rebuilt, *({"item_id": f"sku-{item}", "price": 1.0} for item in range(2, 9)))
    put(rebuilt, {"item_id": "sku-9", "available": False})
    client = between(rebuilt, lambda _, answer: answer)
    device.refresh(client)
    held = read_changes(device.folder, device.state.catalogue or "")
    assert held is not None
    assert [one.item_id for one in held.changes] == [f"sku-{item}" for item in range(2, 10)]
    assert device.catalogue.table.n_items == N_ITEMS
    listed = device.recommend(N_ITEMS, now=NOW).item_ids
    assert "sku-1" in listed
    assert "sku-9" not in listed
    device.refresh(client)
    assert [path.partition("?")[2] for path in told(client) if "/changes" in path] == ["since=0"] * 3


def test_changes_of_an_older_service_have_no_epoch(device: Device, shop: httpx.Client) -> None:
    put(shop, {"item_id": "sku-3", "available": False})

    def older(request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        if not request.url.path.endswith("/changes"):
            return answer
        said = json.loads(answer.read())
        del said["epoch"]
        return httpx.Response(200, json=said)

    device.refresh(between(shop, older))
    assert "sku-3" not in device.recommend(N_ITEMS, now=NOW).item_ids
    device.refresh(shop)
    held = read_changes(device.folder, device.state.catalogue or "")
    assert held is not None
    assert held.epoch != ""
