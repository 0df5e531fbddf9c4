"""Business rules by hand, against a walk of the whole ranking written out, and what is refused."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ModelError
from data.vocabulary import Vocabulary
from recsys.lists.rules import Cap, PreparedRules, RankedList, apply_lifts, arrange, groups_of, parse_rules, prepare

SHOP = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "d", "e", "f"],
        "category": ["tea", "tea", "tea", "mugs", None, None],
        "price": [5.0, 1.0, 2.0, 8.0, 9.0, 4.0],
        "brand": ["x", "y", "x", "x", "y", None],
    }
)
SCORES = np.array([6, 5, 4, 3, 2, 1], dtype=np.float32)
ALL = np.ones(6, dtype=np.bool_)


def ready(value: object) -> PreparedRules:
    return prepare(parse_rules(value), SHOP, Vocabulary(SHOP["item_id"]))


def named(found: RankedList) -> str:
    return "".join(SHOP["item_id"][found.item_idx.tolist()])


def ids(value: object, top_k: int = 6, without: str = "") -> str:
    prepared = ready(value)
    allowed = ~SHOP["item_id"].is_in(list(without)).to_numpy()
    return named(arrange(apply_lifts(SCORES, allowed, prepared), allowed, prepared, top_k))


def test_no_rules_are_the_ranking() -> None:
    assert ids({}) == "abcdef"
    assert ids({}, 3, without="b") == "acd"
    assert not parse_rules({})
    assert parse_rules({"cap": [{"by": "category", "most": 1}]})


def test_a_boost_is_in_deviations_of_the_allowed_scores() -> None:
    # SCORES have deviation sqrt(17.5 / 6) = 1.708; f at 1 + 2.5·1.708 = 5.27 comes between a and b
    boost = {"boost": [{"filter": {"item_id": "f"}, "by": 2.5}]}
    assert ids(boost) == "afbcde"
    # without a and b the deviation is sqrt(5/4) = 1.118: 1 + 2.795 = 3.795, between c and d
    assert ids(boost, without="ab") == "cfde"
    thousandfold = apply_lifts(1000 * SCORES, ALL, ready(boost))
    np.testing.assert_allclose(thousandfold, 1000 * apply_lifts(SCORES, ALL, ready(boost)), rtol=1e-6)


def test_a_bury_is_a_boost_downwards_and_both_add_up() -> None:
    assert ids({"bury": [{"filter": {"category": "tea"}, "by": 100}]}) == "defabc"
    both = {
        "boost": [{"filter": {"item_id": ["a", "f"]}, "by": 3}],
        "bury": [{"filter": {"item_id": "a"}, "by": 3}],
    }
    np.testing.assert_allclose(apply_lifts(SCORES, ALL, ready(both))[:5], SCORES[:5], rtol=1e-6)
    assert ids(both) == "fabcde"


def test_nothing_to_lift_leaves_the_scores_alone() -> None:
    assert apply_lifts(SCORES, ALL, ready({})) is SCORES
    nothing = apply_lifts(SCORES, ~ALL, ready({"boost": [{"filter": {}, "by": 1}]}))
    np.testing.assert_array_equal(nothing, SCORES)


def test_a_cap_lets_the_best_of_each_group_through_and_does_not_count_items_without_one() -> None:
    assert ids({"cap": [{"by": "category", "most": 1}]}) == "adef"
    assert ids({"cap": [{"by": "category", "most": 2}]}, 4) == "abde"
    assert ids({"cap": [{"by": "attributes.brand", "most": 1}]}) == "abf"
    # a (tea, x), b (tea, y), not c (tea is full), d (mugs, x: the second of 2), e (y: the second of 2), f (neither)
    assert ids({"cap": [{"by": "category", "most": 2}, {"by": "attributes.brand", "most": 2}]}) == "abdef"


def test_a_pin_goes_to_its_place_and_the_others_close_up() -> None:
    assert ids({"pin": [{"item_id": "f", "position": 1}]}) == "fabcde"
    assert ids({"pin": [{"item_id": "a", "position": 3}, {"item_id": "e", "position": 2}]}) == "beacdf"
    assert ids({"pin": [{"item_id": "f", "position": 2}]}, 2) == "af"


def test_a_pinned_item_is_nowhere_before_its_place_and_last_where_the_list_ends_sooner() -> None:
    late = {"pin": [{"item_id": "a", "position": 5}]}
    assert ids(late, 4) == "bcde"
    assert ids(late, 5) == "bcdea"
    assert ids(late, 9) == "bcdeaf"
    assert ids({"pin": [{"item_id": "a", "position": 9}, {"item_id": "b", "position": 8}]}, 6) == "cdefba"


def test_a_pin_on_what_may_not_be_shown_does_nothing() -> None:
    assert ids({"pin": [{"item_id": "f", "position": 1}]}, without="f") == "abcde"
    prepared = ready({"pin": [{"item_id": "gone", "position": 1}, {"item_id": "c", "position": 1 + 1}]})
    assert prepared.unknown == ("gone",)
    found = arrange(SCORES, ALL, prepared, 3)
    assert named(found) == "acb"
    assert found.pinned.tolist() == [False, True, False]
    assert found.scores.tolist() == [6, 4, 5]


def test_a_pinned_item_counts_for_its_cap_and_is_not_refused_by_it() -> None:
    cap = [{"by": "category", "most": 1}]
    assert ids({"pin": [{"item_id": "c", "position": 2}], "cap": cap}) == "dcef"
    assert ids({"pin": [{"item_id": "c", "position": 1}, {"item_id": "b", "position": 2}], "cap": cap}) == "cbdef"


def test_a_pool_in_another_order_is_walked_first() -> None:
    first = np.array([2, 0, 1])
    prepared = ready({"cap": [{"by": "category", "most": 2}]})
    assert named(arrange(SCORES, ALL, prepared, 4, first)) == "cade"
    assert named(arrange(SCORES, ALL, ready({}), 6, first)) == "cabdef"
    allowed = ALL.copy()
    allowed[2] = False
    assert named(arrange(SCORES, allowed, ready({}), 6, first)) == "abdef"


def walked_out(
    scores: np.ndarray, allowed: np.ndarray, pins: dict[int, int], caps: list[tuple[np.ndarray, int]], top_k: int
) -> list[int]:
    """The whole ranking, one item after the other."""
    pins = {item: position for item, position in pins.items() if allowed[item]}
    counts: list[dict[int, int]] = [{} for _ in caps]

    def count(item: int) -> None:
        for (groups, _), count_of in zip(caps, counts, strict=True):
            count_of[groups[item]] = count_of.get(groups[item], 0) + 1

    for item in pins:
        count(item)
    rest = []
    for item in sorted(range(len(scores)), key=lambda item: (-scores[item], item)):
        if not allowed[item] or item in pins:
            continue
        full = [
            groups[item] >= 0 and count_of.get(groups[item], 0) >= most
            for (groups, most), count_of in zip(caps, counts, strict=True)
        ]
        if not any(full):
            count(item)
            rest.append(item)
    waiting = sorted(pins, key=lambda item: pins[item])
    out: list[int] = []
    while len(out) < top_k and (rest or waiting):
        due = waiting and (pins[waiting[0]] <= len(out) + 1 or not rest)
        out.append(waiting.pop(0) if due else rest.pop(0))
    return out


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_fast_walk_is_the_whole_ranking_written_out(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 60))
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    scores = rng.integers(0, 12, n).astype(np.float32)  # many ties
    allowed = rng.random(n) < data.draw(st.sampled_from([0.2, 0.8, 1.0]))
    n_caps, n_pins = data.draw(st.integers(0, 3)), data.draw(st.integers(0, min(4, n)))
    caps = [(rng.integers(-1, 5, n).astype(np.int32), int(rng.integers(1, 4))) for _ in range(n_caps)]
    items, positions = rng.permutation(n)[:n_pins].tolist(), (1 + rng.permutation(12)[:n_pins]).tolist()
    pins = tuple(sorted(zip(items, positions, strict=True), key=lambda pin: pin[1]))
    top_k = data.draw(st.integers(1, 30))
    for array in (scores, allowed, *(groups for groups, _ in caps)):
        array.flags.writeable = False
    prepared = PreparedRules(None, pins, tuple(caps), ())
    found = arrange(scores, allowed, prepared, top_k)
    expected = walked_out(scores, allowed, dict(pins), caps, top_k)
    assert found.item_idx.tolist() == expected
    assert len(set(expected)) == len(expected)
    assert found.scores.tolist() == scores[expected].tolist()
    # a shorter list is its beginning, so that pages are slices
    assert arrange(scores, allowed, prepared, max(1, top_k // 2)).item_idx.tolist() == expected[: max(1, top_k // 2)]


def test_a_full_list_is_found_however_deep_one_group_buries_the_others() -> None:
    groups = np.where(np.arange(20_000) < 19_990, 0, np.arange(20_000)).astype(np.int32)
    scores = np.arange(20_000, 0, -1).astype(np.float32)
    prepared = PreparedRules(None, (), ((groups, 2),), ())
    found = arrange(scores, np.ones(20_000, dtype=np.bool_), prepared, 10)
    assert found.item_idx.tolist() == [0, 1, *range(19_990, 19_998)]


def test_groups_are_by_equal_values_and_missing_ones_have_none() -> None:
    frame = SHOP.with_columns(
        size=pl.Series([38, 38, None, 40, 40, 38]), weight=pl.Series([1.5, float("nan"), 1.5, None, 2.0, 1.5])
    )

    def alike(field: str) -> list[list[int]]:
        groups = groups_of(Cap(field, 1, "rules.cap[0].by"), frame)
        assert groups.dtype == np.int32
        return sorted(np.flatnonzero(groups == group).tolist() for group in set(groups.tolist()) - {-1})

    assert alike("category") == [[0, 1, 2], [3]]
    assert alike("attributes.size") == [[0, 1, 5], [3, 4]]
    assert alike("attributes.weight") == [[0, 2, 5], [4]]
    assert alike("attributes.brand") == [[0, 2, 3], [1, 4]]
    bare = frame.select("item_id")
    assert groups_of(Cap("category", 1, "x"), bare).tolist() == [-1] * 6
    with pytest.raises(ModelError, match=r"x: no such field; must be one of item_id, .*available"):
        groups_of(Cap("attributes.size", 1, "x"), bare)
    with pytest.raises(ModelError, match=r"x: a column of List\(Int64\), which cannot be capped by"):
        groups_of(Cap("attributes.tags", 1, "x"), SHOP.with_columns(tags=pl.Series([[1]] * 6)))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "rules: must be an object"),
        ([], "rules: must be an object"),
        ({"pins": []}, "rules: must be an object of pin, boost, bury or cap$"),
        ({"pin": {}}, "rules.pin: must be a list of at most 100"),
        ({"pin": [{"item_id": "a", "position": 1}] * 101}, "rules.pin: must be a list of at most 100"),
        ({"pin": ["a"]}, r"rules.pin\[0\]: must be an object of item_id and position"),
        ({"pin": [{"item_id": "a"}]}, r"rules.pin\[0\]: must be an object of item_id and position"),
        ({"pin": [{"item_id": 7, "position": 1}]}, r"rules.pin\[0\].item_id: must be text"),
        ({"pin": [{"item_id": "a", "position": 0}]}, r"rules.pin\[0\].position: must be a whole number from 1 to 1000"),
        ({"pin": [{"item_id": "a", "position": True}]}, r"rules.pin\[0\].position: must be a whole number"),
        ({"pin": [{"item_id": "", "position": 1}]}, r"pin\[0\].item_id: must be text of 1 to 128 characters$"),
        (
            {"pin": [{"item_id": "x" * 129, "position": 1}]},
            r"pin\[0\].item_id: must be text of 1 to 128 characters$",
        ),
        ({"pin": [{"item_id": "a", "position": 1.5}]}, r"rules.pin\[0\].position: must be a whole number"),
        (
            {"pin": [{"item_id": "a", "position": 1}, {"item_id": "a", "position": 2}]},
            "rules.pin: two pins have the same item_id",
        ),
        (
            {"pin": [{"item_id": "a", "position": 1}, {"item_id": "b", "position": 1}]},
            "rules.pin: two pins have the same position",
        ),
        (
            {"boost": [{"filter": {}, "by": 0}]},
            r"boost\[0\].by: must be a finite number above 0 and at most 100$",
        ),
        (
            {"boost": [{"filter": {}, "by": "1"}]},
            r"boost\[0\].by: must be a finite number above 0 and at most 100$",
        ),
        (
            {"bury": [{"filter": {}, "by": 101}]},
            r"rules.bury\[0\].by: must be a finite number above 0 and at most 100$",
        ),
        ({"bury": [{"filter": {"price": "x"}, "by": 1}]}, r"rules.bury\[0\].filter.price: must be a finite number"),
        ({"boost": [{"filter": {}, "by": 1, "to": 2}]}, r"rules.boost\[0\]: must be an object of filter and by"),
        ({"cap": [{"by": "price", "most": 1}]}, r"rules.cap\[0\].by: must be category or attributes.NAME"),
        ({"cap": [{"by": "attributes.", "most": 1}]}, r"rules.cap\[0\].by: no such field"),
        ({"cap": [{"by": "attributes.price", "most": 1}]}, r"rules.cap\[0\].by: no attribute but the field price"),
        ({"cap": [{"by": "category", "most": 0}]}, r"rules.cap\[0\].most: must be a whole number from 1 to 1000"),
        (
            {"cap": [{"by": "category", "most": 1}, {"by": "category", "most": 2}]},
            "rules.cap: two caps are by the",
        ),
    ],
)
def test_a_mistake_is_one_error_with_its_place(value: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_rules(value)


def test_a_boost_by_what_the_catalogue_does_not_have() -> None:
    with pytest.raises(ModelError, match=r"rules.boost\[0\].filter.attributes.size: no such field; must be one of"):
        ready({"boost": [{"filter": {"attributes.size": 38}, "by": 1}]})


def test_a_key_does_not_depend_on_the_order_of_rules() -> None:
    pins = [{"item_id": "a", "position": 1}, {"item_id": "b", "position": 2}]
    boosts = [{"filter": {"price": 1}, "by": 1}, {"filter": {"price": 2}, "by": 1}]
    one = parse_rules({"pin": pins, "boost": boosts})
    assert one.key == parse_rules({"boost": boosts[::-1], "pin": pins[::-1]}).key
    assert one.key != parse_rules({"pin": pins, "bury": boosts}).key
    assert one.key != parse_rules({"pin": pins}).key


def test_a_list_of_nothing_is_refused() -> None:
    with pytest.raises(ModelError, match="top_k=0: must be 1 or more"):
        arrange(SCORES, ALL, ready({}), 0)


def test_a_whole_number_may_be_written_with_a_point() -> None:
    sent = {"pin": [{"item_id": "f", "position": 2.0}], "cap": [{"by": "category", "most": 3.0}]}
    whole = {"pin": [{"item_id": "f", "position": 2}], "cap": [{"by": "category", "most": 3}]}
    assert parse_rules(sent) == parse_rules(whole)
