"""Lists over HTTP: filters, exclusions, rules, pages and candidates, against what may be shown by definition."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.device.device import Device
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.candidates import decode_candidates
from recsys.model.fold_in import CONTEXT_WEIGHT, blend, cart_query, context_query
from recsys.model.items import INTENT, TASTE
from recsys.model.profile_config import ProfileConfig
from recsys.model.scoring import score
from recsys.search.filters import parse_filter
from tests.shop import DIM, N_ITEMS, make_bundle, service

RECOMMEND = "/v1/recommendations"
GONE = (5, 6, 17)
PROFILE = np.random.default_rng(7).normal(size=DIM).astype(np.float32).tolist()
ALL = [f"sku-{item}" for item in range(N_ITEMS)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b", unavailable=GONE)


@pytest.fixture(scope="module")
def client(bundle: Bundle) -> httpx.Client:
    return service(bundle)


@pytest.fixture
def fresh(bundle: Bundle) -> httpx.Client:
    """A service whose items may be changed."""
    return service(bundle)


def body(bundle: Bundle, profile: Any = PROFILE, **changes: Any) -> dict[str, Any]:
    return {"mode": "profile", "bundle_version": bundle.version, "profile": profile, "top_k": 5} | changes


def ok(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["recommendations"]]


def ask(client: httpx.Client, bundle: Bundle, profile: Any = PROFILE, **changes: Any) -> list[str]:
    return ids(ok(client.post(RECOMMEND, json=body(bundle, profile, **changes))))


def coarse(client: httpx.Client, bundle: Bundle, mode: str = "cluster", **changes: Any) -> list[str]:
    said = {"clusters": [0]} if mode == "cluster" else {"noised": PROFILE}
    sent = {"mode": mode, "bundle_version": bundle.version, "candidates": 2_000} | said | changes
    return [str(one) for one in ok(client.post(RECOMMEND, json=sent))["candidates"]["item_id"]]


def similar(client: httpx.Client, item_id: str, **asked: Any) -> list[str]:
    answer = ok(client.post(f"/v1/items/{item_id}/similar", json={"top_k": 1_000} | asked))
    return [item["item_id"] for item in answer["similar"]]


def put(client: httpx.Client, *items: dict[str, Any]) -> None:
    ok(client.put("/v1/items", json={"items": list(items)}))


def every_list(client: httpx.Client, bundle: Bundle, **changes: Any) -> list[list[str]]:
    """The whole catalogue, as each way of asking shows it."""
    pins = {"pin": [{"item_id": item, "position": at} for at, item in enumerate(ALL[:30], 1)]}
    return [
        *(ask(client, bundle, profile, top_k=1_000, **changes) for profile in (PROFILE, None)),
        ask(client, bundle, top_k=1_000, diversity=0.5, **changes),
        ask(client, bundle, None, top_k=1_000, rules=pins, **changes),
        coarse(client, bundle, **changes),
        coarse(client, bundle, "noised", **changes),
    ]


@pytest.mark.parametrize(
    "asked",
    [
        {"item_id": ["sku-3", "sku-4", "sku-9"]},
        {"price": {"min": 1.25, "max": 5}},  # of sku-1, 2, 3, 4 without sku-3, which has no price
        {"all": [{"category": "shelf 1"}, {"any": [{"price": {"max": 11.25}}, {"item_id": "sku-13"}]}]},  # 1, 9, 13
        {"item_id": ["sku-3", "sku-4", "sku-5", "sku-9", "nothing"]},  # sku-5 is not available
    ],
)
def test_a_filter_that_matches_three_items_returns_exactly_three(
    client: httpx.Client, bundle: Bundle, asked: dict[str, Any]
) -> None:
    matching = parse_filter(asked)
    expected = {row["item_id"] for row in bundle.catalogue.to_dicts() if row["available"] and matching.matches(row)}
    assert len(expected) == 3
    for listed in every_list(client, bundle, filter=asked):
        assert sorted(listed) == sorted(expected)
    assert sorted(similar(client, "sku-30", filter=asked)) == sorted(expected)
    assert len(ask(client, bundle, top_k=3, filter=asked)) == 3
    assert ok(client.post(RECOMMEND, json=body(bundle, filter=asked)))["cursor"] is None


def test_nothing_that_matches_is_an_empty_list_everywhere(client: httpx.Client, bundle: Bundle) -> None:
    for listed in every_list(client, bundle, filter={"category": "nowhere"}):
        assert listed == []
    assert similar(client, "sku-1", filter={"available": False}) == []


def test_an_unavailable_item_never_appears(fresh: httpx.Client, bundle: Bundle) -> None:
    hidden = {f"sku-{item}" for item in GONE}
    for listed in every_list(fresh, bundle):
        assert sorted(listed) == sorted(set(ALL) - hidden)
    best = ask(fresh, bundle, top_k=2)
    trending = ask(fresh, bundle, None, top_k=2)
    put(fresh, *({"item_id": item, "available": False} for item in {*best, *trending}))
    hidden |= {*best, *trending}
    for listed in every_list(fresh, bundle):
        assert sorted(listed) == sorted(set(ALL) - hidden)
    assert not hidden & set(similar(fresh, "sku-30"))
    named = {"item_id": [best[0], "sku-30"]}
    for listed in every_list(fresh, bundle, filter=named):  # a filter cannot bring it back
        assert listed == ["sku-30"]
    put(fresh, *({"item_id": item, "available": True} for item in hidden))
    for listed in every_list(fresh, bundle):
        assert sorted(listed) == sorted(ALL)


def test_a_page_shows_nothing_that_became_unavailable_or_was_deleted_meanwhile(
    fresh: httpx.Client, bundle: Bundle
) -> None:
    first = ok(fresh.post(RECOMMEND, json=body(bundle)))
    coming = ask(fresh, bundle, cursor=first["cursor"])
    put(fresh, {"item_id": coming[0], "available": False})
    ok(fresh.delete(f"/v1/items/{coming[1]}"))
    second = ask(fresh, bundle, cursor=first["cursor"])
    assert second[:3] == coming[2:]
    assert not {*ids(first), *coming[:2]} & set(second)


QUESTIONS: list[dict[str, Any]] = [
    {},
    {"profile": None},
    {"context": "sku-1"},
    {"cart": ["sku-1", "sku-2"], "profile": None},
    {"diversity": 0.6},
    {"filter": {"category": ["shelf 0", "shelf 1", "shelf 2"]}},
    {"rules": {"pin": [{"item_id": "sku-9", "position": 1}, {"item_id": "sku-8", "position": 12}],
               "boost": [{"filter": {"category": "shelf 2"}, "by": 2}]}},
]  # fmt: skip


def pages(client: httpx.Client, sent: dict[str, Any]) -> list[list[str]]:
    found, cursor = [], None
    for _ in range(N_ITEMS + 2):
        answer = ok(client.post(RECOMMEND, json=sent | ({"cursor": cursor} if cursor else {})))
        found.append(ids(answer))
        cursor = answer["cursor"]
        if cursor is None:
            return found
    raise AssertionError("pages without end")


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("top_k", [1, 7, 37])
def test_pages_walk_everything_exactly_once(
    client: httpx.Client, bundle: Bundle, question: dict[str, Any], top_k: int
) -> None:
    walked = [item for page in pages(client, body(bundle, top_k=top_k, **question)) for item in page]
    whole = ask(client, bundle, **{"top_k": 1_000} | question)
    assert len(set(walked)) == len(walked)
    assert set(walked) == set(whole)
    if "diversity" not in question and "rules" not in question:
        assert walked == whole


def test_a_pin_keeps_its_place_over_pages(client: httpx.Client, bundle: Bundle) -> None:
    rules = {"pin": [{"item_id": "sku-9", "position": 2}, {"item_id": "sku-8", "position": 12}]}
    walked = [item for page in pages(client, body(bundle, rules=rules)) for item in page]
    assert (walked[1], walked[11]) == ("sku-9", "sku-8")


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("top_k", [3, 10])
def test_pages_that_a_cap_makes_short_go_on_until_everything_was_shown(
    client: httpx.Client, bundle: Bundle, most: int, top_k: int
) -> None:
    walked = pages(client, body(bundle, top_k=top_k, rules={"cap": [{"by": "category", "most": most}]}))
    assert sorted(item for page in walked for item in page) == sorted(ask(client, bundle, top_k=1_000))
    for page in walked:
        of = [int(item.removeprefix("sku-")) % 4 for item in page]
        assert max(of.count(shelf) for shelf in range(4)) <= most
    assert [len(page) for page in walked[:2]] == [min(top_k, 4 * most)] * 2


def test_a_capped_page_after_which_nothing_is_left_is_the_last(client: httpx.Client, bundle: Bundle) -> None:
    sent = body(bundle, filter={"item_id": ["sku-0", "sku-4"]}, rules={"cap": [{"by": "category", "most": 1}]})
    assert [len(page) for page in pages(client, sent)] == [1, 1]


def test_a_list_goes_on_for_as_long_as_items_match(tmp_path: Path) -> None:
    large = make_bundle(tmp_path / "large", n_items=4_500)
    client, shown, cursor = service(large), [], None
    for _ in range(6):
        answer = ok(client.post(RECOMMEND, json=body(large, top_k=1_000, cursor=cursor)))
        shown += ids(answer)
        cursor = answer["cursor"]
        if cursor is None:
            break
    assert len(shown) == len(set(shown)) == 4_500


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["available", "gone", "new", "price", "delete"]), st.integers(0, N_ITEMS - 1)),
        max_size=6,
    ),
    top_k=st.integers(1, 12),
    question=st.sampled_from(QUESTIONS),
)
def test_no_page_repeats_an_item_whatever_changes_in_between(
    bundle: Bundle, steps: list[tuple[str, int]], top_k: int, question: dict[str, Any]
) -> None:
    client = service(bundle)
    shown: list[str] = []
    cursor = None
    for kind, item in [*steps, ("price", 0), ("price", 0)]:
        answer = ok(client.post(RECOMMEND, json=body(bundle, top_k=top_k, **question) | {"cursor": cursor}))
        shown += ids(answer)
        assert len(set(shown)) == len(shown)
        cursor = answer["cursor"]
        if cursor is None:
            break
        name = f"sku-{item}"
        if kind == "delete":
            assert client.delete(f"/v1/items/{name}").status_code in (200, 404)
        elif kind == "new":
            put(client, {"item_id": f"new-{item}", "title": f"Thing “{item}”", "category": "shelf 1"})
        else:
            put(client, {"item_id": name, **({"price": 1.0} if kind == "price" else {"available": kind != "gone"})})


item_ids = st.sampled_from([*ALL, "unknown-1", "unknown-2"])
leaf = st.one_of(
    st.builds(lambda v: {"category": v}, st.lists(st.sampled_from(["shelf 0", "shelf 1", "no"]), min_size=1)),
    st.builds(lambda low, more: {"price": {"min": low, "max": low + more}}, st.integers(0, 40), st.integers(0, 20)),
    st.builds(lambda v: {"item_id": v}, st.lists(item_ids, min_size=1, max_size=12)),
    st.builds(lambda v: {"available": v}, st.booleans()),
)
filters = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.builds(lambda f: {"not": f}, inner),
        st.builds(lambda name, f: {name: f}, st.sampled_from(["any", "all"]), st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=5,
)
pins = st.lists(st.tuples(item_ids, st.integers(1, 30)), max_size=4, unique_by=(lambda p: p[0], lambda p: p[1]))
rules = st.fixed_dictionaries(
    {},
    optional={
        "pin": pins.map(lambda some: [{"item_id": item, "position": at} for item, at in some]),
        "boost": st.lists(st.builds(lambda f, by: {"filter": f, "by": by}, filters, st.floats(0.1, 9)), max_size=2),
        "bury": st.lists(st.builds(lambda f, by: {"filter": f, "by": by}, filters, st.floats(0.1, 9)), max_size=2),
        "cap": st.integers(1, 5).map(lambda most: [{"by": "category", "most": most}]),
    },
)


@settings(max_examples=150, deadline=None)
@given(
    asked=st.none() | filters,
    exclude=st.lists(item_ids, max_size=30),
    diversity=st.sampled_from([0.0, 0.0, 0.3, 1.0]),
    ruled=st.none() | rules,
    profile=st.sampled_from([PROFILE, None, [0.0] * DIM]),
    context=st.none() | item_ids,
    cart=st.lists(item_ids, max_size=3),
    top_k=st.integers(1, 50),
)
def test_a_list_is_of_allowed_items_each_once_and_short_only_when_no_more_fit(
    client: httpx.Client,
    bundle: Bundle,
    asked: Any,
    exclude: list[str],
    diversity: float,
    ruled: Any,
    profile: Any,
    context: str | None,
    cart: list[str],
    top_k: int,
) -> None:
    sent = body(bundle, profile, filter=asked, exclude=exclude, diversity=diversity, rules=ruled, top_k=top_k)
    answer = ok(client.post(RECOMMEND, json=sent | {"context": context, "cart": cart, "reasons": True}))
    near = {*cart, *([] if context is None else [context])}
    rows = {row["item_id"]: row for row in bundle.catalogue.to_dicts()}
    fit = {
        name: row
        for name, row in rows.items()
        if row["available"] and name not in {*exclude, *near} and (asked is None or parse_filter(asked).matches(row))
    }
    listed = ids(answer)
    assert len(set(listed)) == len(listed)
    assert set(listed) <= set(fit)
    assert answer["unknown_exclude"] == [name for name in exclude if name not in rows]
    caps = (ruled or {}).get("cap")
    if caps:
        pinned = [item["item_id"] for item in answer["recommendations"] if item["reason"] == "pinned"]
        for category in {row["category"] for row in rows.values()}:
            most = caps[0]["most"]
            fits = [name for name in fit if rows[name]["category"] == category]
            held = [name for name in listed if rows[name]["category"] == category]
            assert len(held) <= max(most, len(set(held) & set(pinned)))
            assert len(listed) == top_k or len(held) >= min(most, len(fits))
    else:
        assert len(listed) == min(top_k, len(fit))
    assert answer["fallback"] == ("trend" if profile is None and not near & set(rows) else None)


def test_a_context_and_a_cart_are_never_in_the_list_and_the_unknown_are_named(
    client: httpx.Client, bundle: Bundle
) -> None:
    sent = body(bundle, context="sku-1", cart=["sku-2", "nothing"], top_k=1_000, rules={
        "pin": [{"item_id": "sku-2", "position": 1}, {"item_id": "neither", "position": 2}]})  # fmt: skip
    answer = ok(client.post(RECOMMEND, json=sent))
    assert not {"sku-1", "sku-2"} & set(ids(answer))
    assert answer["unknown_items"] == ["nothing", "neither"]
    assert len(ids(answer)) == N_ITEMS - len(GONE) - 2


def test_a_context_alone_is_answered_by_likeness(client: httpx.Client, bundle: Bundle) -> None:
    """By the inner product with the context's direction, to which the trend is added as it is to every list."""
    V, trend = bundle.table.item_embeddings, bundle.table.trend
    scores = V @ (V[3] / np.linalg.norm(V[3]))
    answer = ok(client.post(RECOMMEND, json=body(bundle, None, context="sku-3", top_k=4)))
    by_row = {f"sku-{item}": item for item in range(N_ITEMS)}
    shown = [by_row[item] for item in ids(answer)]
    lengths = [
        (one["score"] - bundle.config.trend_weight * trend[row]) / scores[row]
        for row, one in zip(shown, answer["recommendations"], strict=True)
    ]
    assert lengths == pytest.approx([lengths[0]] * 4, rel=1e-3)
    assert answer["fallback"] is None


@pytest.fixture(scope="module")
def intent_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with a current intent, whose output columns are as long as the taste's and say something else."""
    return make_bundle(
        tmp_path_factory.mktemp("bundle") / "intent",
        unavailable=GONE,
        parts=((TASTE, DIM // 2), (INTENT, DIM // 2)),
        config=ProfileConfig(intent_pools=(0.5,)),
    )


def expected_list(bundle: Bundle, query: np.ndarray[Any, np.dtype[np.float32]], hidden: set[int], k: int) -> list[str]:
    table = bundle.table
    scores = table.item_embeddings @ query + np.float32(bundle.config.trend_weight) * table.trend
    scores[sorted({*hidden, *GONE})] = -np.inf
    return [f"sku-{item}" for item in np.argsort(-scores, kind="stable")[:k]]


@pytest.mark.parametrize("profile", [None, PROFILE])
def test_a_product_page_is_served_by_the_measured_formula(
    bundle: Bundle, intent_bundle: Bundle, profile: list[float] | None
) -> None:
    vector = None if profile is None else np.array(profile, dtype=np.float32)
    for one in (bundle, intent_bundle):
        client, table = service(one), one.table
        for item in (1, 3, 22):
            query = context_query(table, table.item_embeddings[item], vector)
            assert ask(client, one, profile, context=f"sku-{item}", top_k=12) == expected_list(one, query, {item}, 12)


def test_the_output_columns_of_a_product_pages_item_say_nothing_about_its_list(intent_bundle: Bundle) -> None:
    table = intent_bundle.table
    whole = blend(table.item_embeddings[3], None, CONTEXT_WEIGHT)
    listed = ask(service(intent_bundle), intent_bundle, None, context="sku-3", top_k=12)
    assert listed != expected_list(intent_bundle, whole, {3}, 12)


@pytest.mark.parametrize("profile", [None, PROFILE])
def test_on_a_page_the_cart_stands_where_the_profile_stood(intent_bundle: Bundle, profile: list[float] | None) -> None:
    table, client = intent_bundle.table, service(intent_bundle)
    vector = None if profile is None else np.array(profile, dtype=np.float32)
    cart = cart_query(table, np.array([4, 9], dtype=np.int32), intent_bundle.config, vector)
    query = context_query(table, table.item_embeddings[3], cart)
    asked = {"context": "sku-3", "cart": ["sku-4", "sku-9"], "top_k": 12}
    listed = ask(client, intent_bundle, profile, **asked)
    assert listed == expected_list(intent_bundle, query, {3, 4, 9}, 12)
    assert listed != ask(client, intent_bundle, profile, **asked | {"cart": []}, exclude=["sku-4", "sku-9"])
    assert listed != ask(client, intent_bundle, profile, **asked | {"context": None}, exclude=["sku-3"])
    missing = ask(client, intent_bundle, profile, **asked | {"context": "nothing"})
    assert missing == expected_list(intent_bundle, cart, {4, 9}, 12)


def test_new_items_on_a_page_or_in_a_cart_speak_in_the_taste_alone(intent_bundle: Bundle) -> None:
    table, client = intent_bundle.table, service(intent_bundle)
    put(client, {"item_id": "new-1", "title": "Thing 3", "category": "shelf 3", "price": 4.0})
    row = np.frombuffer(base64.b64decode(client.get("/v1/items/new-1").json()["row"]), dtype="<f4")
    assert np.abs(row[DIM // 2 :]).max() > 0  # or there would be nothing to leave out
    expected = expected_list(intent_bundle, context_query(table, row, None), set(), 12)
    assert ask(client, intent_bundle, None, context="new-1", top_k=12) == expected
    assert ask(client, intent_bundle, None, cart=["new-1"], top_k=12) == expected


def test_similar_leaves_out_what_it_is_told_to_and_nothing_else(client: httpx.Client) -> None:
    everything = similar(client, "sku-3")
    left_out = [everything[0], everything[4], "unheard-of"]
    assert similar(client, "sku-3", exclude=left_out) == [item for item in everything if item not in left_out]
    assert similar(client, "sku-3", exclude=left_out, top_k=1) == [everything[1]]


def test_reasons_say_what_put_an_item_there(client: httpx.Client, bundle: Bundle) -> None:
    def reasons(profile: Any, **changes: Any) -> dict[str, str]:
        answer = ok(client.post(RECOMMEND, json=body(bundle, profile, reasons=True, top_k=1_000, **changes)))
        return {item["item_id"]: item["reason"] for item in answer["recommendations"]}

    assert set(reasons(None).values()) == {"trend"}
    assert set(reasons(PROFILE).values()) <= {"trend", "profile"}
    assert reasons([10.0 * x for x in PROFILE])[ask(client, bundle, top_k=1)[0]] == "profile"
    assert "similar" in set(reasons(None, context="sku-1").values())
    ruled = reasons(
        PROFILE,
        rules={
            "pin": [{"item_id": "sku-9", "position": 3}],
            "boost": [{"filter": {"category": "shelf 2"}, "by": 1}],
            "bury": [{"filter": {"category": "shelf 3"}, "by": 1}],
        },
    )
    assert ruled["sku-9"] == "pinned"
    boosted = {item for item, reason in ruled.items() if reason == "boosted"}
    assert boosted == {f"sku-{item}" for item in range(2, N_ITEMS, 4)} - {"sku-6"}
    plain = client.post(RECOMMEND, json=body(bundle)).json()["recommendations"]
    assert all("reason" not in item for item in plain)


def test_a_boost_and_a_bury_move_by_deviations_of_the_scores(client: httpx.Client, bundle: Bundle) -> None:
    plain = ok(client.post(RECOMMEND, json=body(bundle, top_k=1_000)))["recommendations"]
    before = {item["item_id"]: item["score"] for item in plain}
    unit = float(np.std(list(before.values())))
    moved = {
        "boost": [{"filter": {"category": "shelf 0"}, "by": 2}],
        "bury": [{"filter": {"price": {"max": 9}}, "by": 1}],
    }
    after = ok(client.post(RECOMMEND, json=body(bundle, top_k=1_000, rules=moved)))["recommendations"]
    for item in after:
        by = 2.0 * (item["category"] == "shelf 0") - 1.0 * (item["price"] is not None and item["price"] <= 9)
        assert item["score"] == pytest.approx(before[item["item_id"]] + by * unit, abs=1e-4)
    assert [item["score"] for item in after] == sorted((item["score"] for item in after), reverse=True)


def test_a_batch_answers_each_as_a_single_request_would(client: httpx.Client, bundle: Bundle) -> None:
    cursor = ok(client.post(RECOMMEND, json=body(bundle)))["cursor"]
    asked: list[Any] = [
        body(bundle),
        *(body(bundle, **question) for question in QUESTIONS),
        body(bundle, cursor=cursor, top_k=3.0, diversity=1, exclude=["x"]),
        {"mode": "cluster", "bundle_version": bundle.version, "clusters": [0.0], "candidates": 7},
        {"mode": "noised", "bundle_version": bundle.version, "noised": [1] * DIM},
        body(bundle, top_k=0),
        body(bundle, bundle_version="0123456789abcdef"),
        body(bundle, filter={"colour": "red"}),
        {"mode": "device"},
        {},
        None,
        3,
        "x",
        [],
    ]
    answers = ok(client.post(f"{RECOMMEND}/batch", json={"requests": asked}))["answers"]
    assert len(answers) == len(asked)
    for sent, found in zip(asked, answers, strict=True):
        one_body = json.dumps(sent).encode()
        single = client.post(RECOMMEND, content=one_body, headers={"content-type": "application/json"}).json()
        for one in (single, found):
            one.pop("recommendation_id", None)
        assert found == single, sent


@pytest.mark.parametrize("mode", ["cluster", "noised"])
def test_a_device_ranks_candidates_to_the_list_that_its_whole_profile_would_get(
    client: httpx.Client, bundle: Bundle, mode: str, tmp_path: Path
) -> None:
    said: dict[str, Any] = {"clusters": [0]} if mode == "cluster" else {"noised": PROFILE}
    sent = {"mode": mode, "bundle_version": bundle.version, "exclude": ["sku-2"]} | said
    got = decode_candidates(ok(client.post(RECOMMEND, json=sent))["candidates"], DIM)
    assert got is not None
    scores = score(got.table, np.array([PROFILE], dtype=np.float32), bundle.config.trend_weight)[0]
    ranked = [got.item_ids[row] for row in np.argsort(-scores, kind="stable")[:10]]
    exact = ask(client, bundle, top_k=10, exclude=["sku-2"])
    assert len(set(ranked) & set(exact)) >= 9  # rows are rounded to 8 bits
    device = Device.create(tmp_path / "home", consent="observe", key_store="file")
    device.refresh(client)
    for item in ("sku-1", "sku-9", "sku-30"):
        device.observe(item, "view")
    whole = device.recommend_from(client, 10, mode="profile")
    coarsely = device.recommend_from(client, 10, mode=mode)  # type: ignore[arg-type]
    assert len(set(whole.item_ids) & set(coarsely.item_ids)) >= 9
    assert whole.item_ids[0] == coarsely.item_ids[0]


def test_a_cursor_of_another_bundle_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other", seed=3)
    client = service(bundle, other)
    cursor = ok(client.post(RECOMMEND, json=body(other)))["cursor"]
    answer = client.post(RECOMMEND, json=body(bundle, cursor=cursor))
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == "cursor: must be the cursor of an answer for this bundle_version"


def test_a_cursor_with_items_that_this_worker_does_not_know_yet_is_answered(
    bundle: Bundle, client: httpx.Client
) -> None:
    ahead = service(bundle)
    put(ahead, {"item_id": "new", "title": "Thing"})
    first = ok(ahead.post(RECOMMEND, json=body(bundle, rules={"pin": [{"item_id": "new", "position": 1}]})))
    assert ids(first)[0] == "new"
    second = ok(client.post(RECOMMEND, json=body(bundle, cursor=first["cursor"])))
    third = ask(ahead, bundle, top_k=1_000, cursor=second["cursor"])
    assert not {"new", *ids(first), *ids(second)} & set(third)
    assert len(ids(first)) + len(ids(second)) + len(third) == N_ITEMS - len(GONE) + 1


@pytest.mark.parametrize(
    ("mode", "surplus"),
    [
        ("profile", {"clusters": [0]}),
        ("profile", {"noised": PROFILE}),
        ("profile", {"candidates": 5}),
        ("cluster", {"profile": PROFILE}),
        ("cluster", {"noised": PROFILE}),
        ("cluster", {"top_k": 5}),
        ("cluster", {"cart": ["sku-1"]}),
        ("cluster", {"rules": {}}),
        ("noised", {"profile": PROFILE}),
        ("noised", {"clusters": [0]}),
        ("noised", {"cursor": "x"}),
        ("noised", {"reasons": True}),
    ],
)
def test_a_body_of_one_mode_has_no_field_of_another(
    client: httpx.Client, bundle: Bundle, mode: str, surplus: dict[str, Any]
) -> None:
    own = {"profile": {"profile": None}, "cluster": {"clusters": [0]}, "noised": {"noised": PROFILE}}[mode]
    sent = {"mode": mode, "bundle_version": bundle.version} | own
    ok(client.post(RECOMMEND, json=sent))
    answer = client.post(RECOMMEND, json=sent | surplus)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == f"{next(iter(surplus))}: Extra inputs are not permitted"


@pytest.mark.parametrize(
    "content",
    [
        b'{"mode":"profile","bundle_version":"V","profile":null,"diversity":NaN}',
        b'{"mode":"profile","bundle_version":"V","profile":null,"diversity":1.01}',
        b'{"mode":"profile","bundle_version":"V","profile":null,"filter":{"price":{"min":NaN}}}',
        b'{"mode":"profile","bundle_version":"V","profile":null,"filter":{"price":{"min":1e999}}}',
        b'{"mode":"profile","bundle_version":"V","profile":null,"rules":{"boost":[{"filter":{},"by":NaN}]}}',
        b'{"mode":"cluster","bundle_version":"V","clusters":[NaN]}',
        b'{"mode":"cluster","bundle_version":"V","clusters":[0, 0]}',
        b'{"mode":"cluster","bundle_version":"V","clusters":[65535]}',
        b'{"mode":"noised","bundle_version":"V","noised":[NaN,0,0,0,0,0,0,0]}',
        b'{"mode":"noised","bundle_version":"V","noised":null}',
    ],
)
def test_what_is_no_number_or_no_cluster_is_refused_alone_and_in_a_batch(
    client: httpx.Client, bundle: Bundle, content: bytes
) -> None:
    sent = content.replace(b'"V"', f'"{bundle.version}"'.encode())
    headers = {"content-type": "application/json"}
    answer = client.post(RECOMMEND, content=sent, headers=headers)
    assert answer.status_code == 422, answer.text
    many = client.post(f"{RECOMMEND}/batch", content=b'{"requests":[' + sent + b"]}", headers=headers)
    assert many.json()["answers"] == [answer.json()]


@pytest.mark.parametrize("known", [{}, {"context": "sku-1"}, {"cart": ["sku-1", "sku-2"]}])
def test_without_a_profile_the_current_bundle_needs_no_version(
    client: httpx.Client, bundle: Bundle, known: dict[str, Any]
) -> None:
    named = ok(client.post(RECOMMEND, json=body(bundle, None, **known)))
    asked = body(bundle, None, bundle_version="current", **known)
    first = ok(client.post(RECOMMEND, json=asked))
    assert first["bundle_version"] == bundle.version
    assert ids(first) == ids(named)
    second = ok(client.post(RECOMMEND, json=asked | {"cursor": first["cursor"]}))
    assert not set(ids(first)) & set(ids(second))
    many = ok(client.post(f"{RECOMMEND}/batch", json={"requests": [asked]}))["answers"]
    assert ids(many[0]) == ids(named)


@pytest.mark.parametrize(
    "sent",
    [
        {"mode": "profile", "profile": PROFILE},
        {"mode": "cluster", "clusters": [0]},
        {"mode": "noised", "noised": PROFILE},
    ],
)
def test_what_was_made_for_a_bundle_names_it(client: httpx.Client, bundle: Bundle, sent: dict[str, Any]) -> None:
    answer = client.post(RECOMMEND, json=sent | {"bundle_version": "current"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "bundle_too_old")
    assert "`current` is for questions without a profile" in answer.json()["error"]["message"]
    assert answer.json()["error"]["details"]["current"] == bundle.version
