from __future__ import annotations

import hashlib
import inspect
import pickle
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import ModelError, ServingError
from data.interactions import EventKind
from federation.device.device import Device
from federation.device.erasure import erase_device
from federation.device.export import seal_export
from federation.device.state import DeviceState, Event, encode_events, merge
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import catalogue_of, decode_catalogue, encode_catalogue
from recsys.evaluation.device_settings import choose_config, neighbours
from recsys.lists.diversity import diversify, intra_list_similarity
from recsys.model.profile import ProfileConfig, make_profile, repeat_counts, repeat_score
from tests.federation.device.a_shopper import DAY, NOW, shopped
from tests.shop import make_bundle, sent_by, service


def test_an_event_moves_the_list_at_once(device: Device, bundle: Bundle) -> None:
    before = device.recommend(10, now=NOW)
    assert before.fallback == "trend"
    V = bundle.table.item_embeddings
    far = int(np.argmin(V @ V[0]))
    device.observe("sku-0", "like", NOW)
    liking = device.recommend(40, now=NOW, repeat=False)
    assert liking.fallback is None
    device.observe(f"sku-{far}", "like", NOW)
    both = device.recommend(40, now=NOW, repeat=False)
    assert both.item_ids.index(f"sku-{far}") < liking.item_ids.index(f"sku-{far}")


def test_the_list_is_the_formula(device: Device, bundle: Bundle) -> None:
    shopped(device)
    items = np.array([1, 2, 2, 9, 30], dtype=np.int32)
    kinds = np.array([0, 2, 2, 1, 4], dtype=np.uint8)
    times = np.array([NOW - (10 - day) * DAY for day in range(5)])
    u = make_profile(bundle.table, items, kinds, times, NOW, bundle.config, bundle.version).vector
    scores = bundle.table.item_embeddings @ u + bundle.config.trend_weight * bundle.table.trend
    own, counts = repeat_counts(items, kinds, times, NOW, bundle.config.repeat_half_life)
    assert own.tolist() == [2]
    scores[2] += bundle.config.repeat_weight * repeat_score(counts)[0]
    scores[[5, 6]] = -np.inf
    expected = [f"sku-{item}" for item in np.argsort(-scores)[:7]]
    assert device.recommend(7, now=NOW).item_ids == expected


def test_own_settings_are_those_that_its_own_baskets_speak_for(device: Device, bundle: Bundle) -> None:
    """The same list as with the settings that choose_config finds for the same history; the default list otherwise."""
    rng = np.random.default_rng(0)
    for day in range(12):
        for item in rng.choice(8, 3, replace=False) + 8 * (day % 2):
            device.observe(f"sku-{item}", "purchase", NOW - (12 - day) * DAY)
    events = device.state.events
    item_idx = bundle.items.index_of([event.item_id for event in events])
    kind = np.array([event.kind for event in events], dtype=np.uint8)
    time = np.array([event.time for event in events], dtype=np.int64)
    chosen = choose_config(bundle.table, item_idx, kind, time, bundle.config, neighbours(bundle.config))
    assert chosen != bundle.config
    profile = make_profile(bundle.table, item_idx, kind, time, NOW, chosen, bundle.version).vector
    expected = bundle.table.item_embeddings @ profile + chosen.trend_weight * bundle.table.trend
    listed = device.recommend(10, now=NOW, repeat=False, own_settings=True)
    scores = expected[bundle.items.index_of(list(listed.item_ids))]
    np.testing.assert_allclose([item.score for item in listed.items], scores, rtol=1e-4)
    assert [item.score for item in device.recommend(10, now=NOW, repeat=False).items] != list(scores)


def test_unavailable_and_excluded_items_never_appear(device: Device) -> None:
    shopped(device)
    everything = device.recommend(1000, now=NOW, exclude=["sku-1", "gone", "sku-2"])
    assert set(everything.item_ids) == {f"sku-{item}" for item in range(40)} - {"sku-1", "sku-2", "sku-5", "sku-6"}
    assert everything.unknown_exclude == ("gone",)


def test_no_consent_records_nothing_and_uses_nothing(tmp_path: Path, bundle: Bundle) -> None:
    device = Device.create(tmp_path / "home", key_store="file", bundle=bundle)
    assert device.consent == "nothing"
    observed = device.observe("sku-1", "purchase", NOW)
    assert not observed.recorded
    assert "consent=nothing" in observed.note
    assert device.show()["events"] == []
    device.set_consent("observe")
    shopped(device)
    personal = device.recommend(10, now=NOW)
    device.set_consent("nothing")
    assert device.recommend(10, now=NOW).fallback == "trend"
    assert device.profile(NOW) is None
    device.set_consent("contribute")
    assert device.recommend(10, now=NOW) == personal


def test_the_vault_holds_no_item_in_clear(device: Device, tmp_path: Path) -> None:
    shopped(device)
    for path in (tmp_path / "home").iterdir():
        assert b"sku-" not in path.read_bytes()


def test_nothing_prints_what_a_shopper_did(device: Device) -> None:
    shopped(device)
    state = device.state
    for shown in (repr(device), repr(state), repr(state.events), str(state.events[0]), repr(state.own_rows)):
        assert "sku-" not in shown
        assert "0." not in shown


def test_a_profile_refuses_pickle_and_prints_no_values(device: Device) -> None:
    profile = shopped(device).profile(NOW)
    assert profile is not None
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(profile)
    assert f"{profile.vector[0]:.3f}" not in repr(profile)


def test_the_state_has_no_place_for_an_account() -> None:
    assert {field.name for field in fields(DeviceState)} == {
        "consent",
        "events",
        "own_rows",
        "catalogue",
        "participation",  # what it sent into sums, so that it keeps within what was agreed
        "clusters",  # the hash of a public file, like catalogue
        "noise",  # what it said in mode noised, so that it says the same again and counts what it costs
        "named",  # what it named in mode cluster, so that it names the same again and no more than its bound
        "experiments",  # in which it is and what it said there, so that it says each thing once
        "minor",  # of the vault's format
        "unknown",  # what a newer program wrote, to be written again
    }
    assert {field.name for field in fields(Event)} == {
        "time",
        "item_id",
        "kind",
        "quantity",
        "unknown",
        "price",
        "available",  # of the shop's own catalogue as it was then, for price-dropped and back-in-stock
    }
    for method in (Device.create, Device.open, Device.observe, Device.recommend, Device.recommend_from):
        assert not {"user", "user_id", "account", "email", "device_id", "session"} & set(
            inspect.signature(method).parameters
        )


def test_logging_in_changes_nothing(tmp_path: Path, bundle: Bundle) -> None:
    guest = shopped(Device.create(tmp_path / "home", consent="observe", key_store="file"))
    client = service(bundle)
    before = guest.recommend_from(client, 5, now=NOW, mode="profile")
    client.cookies.set("shop_session", "alice")  # the shop's own login, in the same HTTP client
    logged_in = Device.open(tmp_path / "home")
    assert logged_in.recommend_from(client, 5, now=NOW, mode="profile") == before
    assert logged_in.show() == guest.show()
    bodies = [body for request, body in sent_by(client) if request.method == "POST"]
    assert bodies[0] == bodies[1]


def test_two_programs_share_one_device_without_losing_events(tmp_path: Path) -> None:
    one = Device.create(tmp_path / "home", consent="observe", key_store="file")
    two = Device.open(tmp_path / "home")
    one.observe("a", "view", 1)
    two.observe("b", "view", 2)
    one.observe("c", "view", 3)
    assert [event["item_id"] for event in two.show()["events"]] == ["a", "b", "c"]


def test_events_of_equal_time_keep_the_order_in_which_they_happened(tmp_path: Path) -> None:
    device = Device.create(tmp_path / "home", consent="observe", key_store="file")
    for item, time in (("c", 5), ("a", 5), ("late", 9), ("b", 5), ("early", 1)):
        device.observe(item, "view", time)
    assert [event["item_id"] for event in device.show()["events"]] == ["early", "c", "a", "b", "late"]


def test_an_unknown_item_is_kept_said_and_used_once_a_bundle_has_it(tmp_path: Path) -> None:
    small = make_bundle(tmp_path / "small", n_items=10)
    large = make_bundle(tmp_path / "large", n_items=20, seed=1)
    device = Device.create(tmp_path / "home", consent="observe", key_store="file", bundle=small)
    observed = device.observe("sku-15", "purchase", NOW)
    assert (observed.recorded, observed.in_catalogue) == (True, False)
    assert small.version in observed.note
    assert device.recommend(5, now=NOW).fallback == "trend"
    later = Device.open(tmp_path / "home", large)
    assert later.recommend(5, now=NOW).fallback is None


def test_without_a_catalogue_it_records_and_says_how_to_get_one(tmp_path: Path) -> None:
    device = Device.create(tmp_path / "home", consent="observe", key_store="file")
    assert device.observe("sku-1", "view").in_catalogue is None
    with pytest.raises(ServingError, match="ownshelf device refresh"):
        device.recommend(5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "view"), "item_id: must not be empty"),
        (("sku-1", "stare"), "kind='stare': must be one of"),
        (("sku-1", "view", datetime(2024, 1, 1)), "must have a time zone"),
        (("sku-1", "view", NOW, 0.0), "quantity=0.0: must be > 0"),
        (("sku-1", "view", NOW, float("nan")), "quantity=nan: must be > 0"),
    ],
)
def test_a_wrong_event_is_refused_with_name_value_and_bound(
    device: Device, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ServingError, match=message):
        device.observe(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("top_k", [0, -1, 1001])
def test_top_k_is_bounded(device: Device, top_k: int) -> None:
    with pytest.raises(ServingError, match=rf"top_k={top_k}: must be 1\.\.1000"):
        device.recommend(top_k)
    with pytest.raises(ServingError, match=rf"top_k={top_k}: must be 1\.\.1000"):
        device.recommend_from("http://127.0.0.1:1", top_k, mode="profile")


def test_unknown_consent_is_refused(device: Device) -> None:
    with pytest.raises(ServingError, match="consent='maybe': must be one of"):
        device.set_consent("maybe")


def test_times_are_microseconds_or_aware_datetimes(device: Device) -> None:
    moment = datetime(2011, 11, 9, 10, 30, tzinfo=UTC)
    device.observe("sku-1", "view", moment)
    device.observe("sku-2", "view", moment + timedelta(microseconds=1))
    assert [event["time"] for event in device.show()["events"]] == [
        "2011-11-09T10:30:00+00:00",
        "2011-11-09T10:30:00.000001+00:00",
    ]


def test_forgetting_an_item_leaves_no_event_and_no_row_of_it(device: Device) -> None:
    shopped(device)
    assert device.forget("sku-2") == 2
    assert device.forget("sku-2") == 0
    state = device.state
    assert "sku-2" not in {event.item_id for event in state.events}
    assert state.own_rows is not None
    assert "sku-2" not in state.own_rows.item_ids


def test_forgetting_drops_the_row_without_a_bundle_at_hand_too(device: Device, tmp_path: Path) -> None:
    shopped(device)
    bare = Device.open(tmp_path / "home")
    bare.forget("sku-9")
    own = bare.state.own_rows
    assert own is not None
    assert own.item_ids == ("sku-1", "sku-2", "sku-30")
    assert own.rows.shape == (3, 8)


def test_erasing_leaves_no_file_and_no_way_to_open(device: Device, bundle: Bundle, tmp_path: Path) -> None:
    shopped(device).refresh(service(bundle))
    device.erase()
    assert list((tmp_path / "home").iterdir()) == []
    with pytest.raises(ServingError, match="missing"):
        Device.open(tmp_path / "home")
    with pytest.raises(ServingError, match="missing"):
        erase_device(tmp_path / "home")


def test_devices_of_one_shopper_merge_by_an_encrypted_export(tmp_path: Path) -> None:
    phone = Device.create(tmp_path / "phone", consent="observe", key_store="file")
    laptop = Device.create(tmp_path / "laptop", consent="observe", key_store="file")
    phone.observe("a", "view", 1)
    phone.observe("shared", "purchase", 5)
    laptop.observe("b", "view", 3)
    laptop.observe("shared", "purchase", 5)
    exported = phone.export("correct horse")
    assert b"shared" not in exported
    assert laptop.import_(exported, "correct horse") == 1
    assert laptop.import_(exported, "correct horse") == 0
    assert [event["item_id"] for event in laptop.show()["events"]] == ["a", "b", "shared"]
    with pytest.raises(ServingError, match="wrong passphrase"):
        laptop.import_(exported, "wrong horse")


def test_an_export_carries_events_and_not_the_choice_of_its_device(tmp_path: Path) -> None:
    phone = Device.create(tmp_path / "phone", consent="contribute", key_store="file")
    phone.observe("a", "view", 1)
    laptop = Device.create(tmp_path / "laptop", key_store="file")
    laptop.import_(phone.export("correct horse"), "correct horse")
    assert laptop.consent == "nothing"


events = st.lists(
    st.builds(Event, st.integers(0, 3), st.sampled_from("ab"), st.sampled_from(EventKind), st.just(1.0)), max_size=8
).map(lambda drawn: tuple(sorted(drawn, key=lambda event: event.time)))


@given(events, events, events)
def test_merging_is_a_union_in_any_order(a: tuple[Event, ...], b: tuple[Event, ...], c: tuple[Event, ...]) -> None:
    def key(event: Event) -> tuple[int, str, int]:
        return event.time, event.item_id, int(event.kind)

    assert merge(a, a) == a
    assert merge(merge(a, b), b) == merge(a, b)
    assert sorted(merge(a, b), key=key) == sorted(merge(b, a), key=key)
    assert sorted(merge(merge(a, b), c), key=key) == sorted(merge(a, merge(b, c)), key=key)
    assert set(merge(a, b)) == set(a) | set(b)
    assert [event.time for event in merge(a, b)] == sorted(event.time for event in merge(a, b))


@given(events)
def test_what_is_stored_is_what_comes_back(history: tuple[Event, ...]) -> None:
    state = DeviceState("observe", history, None, "ab" * 32)
    assert DeviceState.decode(state.encode()) == state


def test_the_one_byte_catalogue_gives_nearly_the_list_of_the_exact_table(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", n_items=500, dim=32)
    rounded, client = tmp_path / "rounded", service(bundle)
    Device.create(rounded, consent="observe", key_store="file").refresh(client)
    shared = []
    for start in range(0, 500, 25):
        device = Device.open(rounded)
        for item in range(start, start + 5):
            device.observe(f"sku-{item}", "purchase", NOW)
        here = device.recommend(20, now=NOW)
        exact = Device.open(rounded, bundle).recommend(20, now=NOW)
        shared.append(len(set(here.item_ids) & set(exact.item_ids)))
    assert np.mean(shared) / 20 > 0.97


def etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_refresh_fetches_once(device: Device, bundle: Bundle) -> None:
    client = service(bundle)
    assert device.refresh(client) is True
    assert device.refresh(client) is False
    assert [len(body) for _, body in sent_by(client)] == [0] * 6


def test_refresh_removes_the_catalogue_before(tmp_path: Path) -> None:
    device = Device.create(tmp_path / "home", key_store="file")
    for seed in (0, 1):
        device.refresh(service(make_bundle(tmp_path / f"b{seed}", seed=seed)))
    assert len(list((tmp_path / "home").glob("catalogue-*"))) == 1


def test_a_changed_catalogue_on_disk_is_noticed_and_fetched_again(tmp_path: Path, bundle: Bundle) -> None:
    device = Device.create(tmp_path / "home", key_store="file")
    client = service(bundle)
    device.refresh(client)
    [path] = (tmp_path / "home").glob("catalogue-*")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not the catalogue that was fetched"):
        Device.open(tmp_path / "home").recommend(3)
    assert device.refresh(client) is True
    assert len(Device.open(tmp_path / "home").recommend(3).items) == 3


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.Response(200, content=b"<html>"), "not the file that its ETag names"),
        (httpx.Response(404, content=b"<html>"), "status 404, not an Ownshelf service"),
        (httpx.Response(404, json={"error": {"message": "no such"}}), "status 404: 'no such'"),
        (httpx.Response(200, content=b"x", headers={"etag": f'"{etag(b"x")}"'}), "not a catalogue file"),
    ],
)
def test_a_catalogue_that_is_none_is_refused(tmp_path: Path, answer: httpx.Response, message: str) -> None:
    device = Device.create(tmp_path / "home", key_store="file")
    client = httpx.Client(transport=httpx.MockTransport(lambda _: answer), base_url="http://shop.test")
    with pytest.raises((ServingError, ModelError), match=message):
        device.refresh(client)
    assert list((tmp_path / "home").glob("catalogue-*")) == []


def test_exact_rows_of_the_own_history_outlive_the_bundle(device: Device, bundle: Bundle, tmp_path: Path) -> None:
    shopped(device)
    exact = device.profile(NOW)
    bare = Device.open(tmp_path / "home")
    bare.refresh(service(bundle))
    kept = bare.profile(NOW)
    assert exact is not None
    assert kept is not None
    np.testing.assert_array_equal(kept.vector, exact.vector)
    rounded = decode_catalogue(encode_catalogue(bundle))
    assert not np.array_equal(rounded.table.item_embeddings[1], bundle.table.item_embeddings[1])


def test_a_downloaded_catalogue_is_the_bundle_to_half_a_step(bundle: Bundle) -> None:
    content = encode_catalogue(bundle)
    assert encode_catalogue(bundle) == content
    fetched, whole = decode_catalogue(content), catalogue_of(bundle)
    step = np.abs(bundle.table.item_embeddings).max(axis=1, keepdims=True) / 127
    assert (np.abs(fetched.table.item_embeddings - bundle.table.item_embeddings) <= step / 2 + 1e-7).all()
    for name in ("gram", "trend", "mean_profile"):
        np.testing.assert_array_equal(getattr(fetched.table, name), getattr(bundle.table, name))
    assert fetched.shown.equals(whole.shown)
    assert fetched.config == bundle.config
    assert (fetched.bundle_version, fetched.name) == (bundle.version, bundle.name)
    assert fetched.unavailable.tolist() == [5, 6]


def test_a_half_life_that_never_ends_survives_the_catalogue(tmp_path: Path) -> None:
    config = replace(ProfileConfig(), half_life=float("inf"))
    bundle = make_bundle(tmp_path / "b", config=config)
    assert decode_catalogue(encode_catalogue(bundle)).config == config


def test_a_filter_lets_only_what_matches_through(device: Device, bundle: Bundle) -> None:
    shopped(device)
    everything = device.recommend(1000, now=NOW)
    asked = {"category": "shelf 1", "price": {"max": 20}}
    some = device.recommend(1000, now=NOW, filter=asked)
    by_hand = [item for item in everything.items if item.category == "shelf 1" and (item.price or 99) <= 20]
    assert (
        list(some.items) == by_hand
    )  # sku-1, 9 and 13; sku-5 is unavailable, sku-17 and what follows dearer or unpriced
    assert sorted(some.item_ids) == ["sku-1", "sku-13", "sku-9"]
    assert device.recommend(2, now=NOW, filter=asked).item_ids == some.item_ids[:2]
    assert device.recommend(5, now=NOW, filter={"available": False}).items == ()
    assert device.recommend(5, now=NOW, filter={"attributes.title": "Thing “3”"}).item_ids == ["sku-3"]


def test_a_filter_on_a_field_that_the_device_does_not_hold_is_one_clear_error(device: Device) -> None:
    with pytest.raises(ModelError) as refused:
        device.recommend(5, now=NOW, filter={"attributes.colour": "red"})
    assert str(refused.value) == (
        "filter.attributes.colour: no such field; must be one of item_id, category, price, available, attributes.title"
    )
    with pytest.raises(
        ModelError, match=r"^filter\.price: must be a finite number, a list of 1 to 1000 or an object of min or max$"
    ):
        device.recommend(5, now=NOW, filter={"price": "cheap"})


@pytest.mark.parametrize("known", [True, False])
def test_diversity_chooses_from_a_deeper_pool(tmp_path: Path, known: bool) -> None:
    bundle = make_bundle(tmp_path / "b", n_items=300, dim=4)
    device = Device.create(tmp_path / "home", consent="observe", key_store="file", bundle=bundle)
    if known:
        shopped(device)
    plain = device.recommend(100, now=NOW)
    assert device.recommend(10, now=NOW, diversity=0.0).items == plain.items[:10]
    spread = device.recommend(10, now=NOW, diversity=0.6)
    pool = bundle.table.item_embeddings[bundle.items.index_of(list(plain.item_ids))]
    scores = np.array([item.score for item in plain.items], dtype=np.float32)
    order = diversify(scores, pool, 10, 0.6)
    assert list(spread.items) == [plain.items[place] for place in order]
    alike = intra_list_similarity(pool[:10])
    assert intra_list_similarity(pool[order]) < alike
    with pytest.raises(ModelError, match=r"diversity=2: must be 0\.\.1"):
        device.recommend(10, now=NOW, diversity=2)


@pytest.mark.parametrize(
    "location",
    ["http://192.0.2.1/v1/catalogue/x", "//shop.test:8443/x", "http://shop.test/v1/catalogue/x", "ftp://shop.test/x"],
)
def test_a_device_follows_its_service_nowhere_else(bundle: Bundle, tmp_path: Path, location: str) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(307, headers={"location": location})

    device = Device.create(tmp_path / "home", consent="observe", key_store="file")
    client = httpx.Client(transport=httpx.MockTransport(answer), base_url="https://shop.test")
    with client, pytest.raises(ServingError, match="to another address"):
        device.refresh(client)
    assert asked == ["https://shop.test/v1/catalogue/current"]


def test_a_time_that_no_calendar_has_is_neither_recorded_nor_imported(tmp_path: Path) -> None:
    device = Device.create(tmp_path / "home", consent="observe", key_store="file")
    for time in (-1, 10**20, datetime(1, 1, 1, tzinfo=UTC)):
        with pytest.raises(ServingError, match="must be microseconds from 1970"):
            device.observe("a", "view", time)
    assert device.show()["events"] == []
    event = Event(10**19, "a", EventKind.VIEW)
    with pytest.raises(ServingError, match="must be microseconds from 1970"):
        device.import_(seal_export(encode_events((event,)), "long enough"), "long enough")
    assert device.show()["events"] == []
