"""The filter language: by hand, against its own definition row by row, and what it refuses."""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.errors import ModelError
from recsys.search.filters import MAX_LEAVES, MAX_VALUES, Filter, field_of, fields_of, parse_filter

SHOP = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "d", "e"],
        "category": ["tea", "coffee", None, "tea", "mugs"],
        "price": [5.0, 20.0, 7.5, None, math.nan],
        "available": [True, False, None, True, True],
        "colour": ["red", "blue", "red", None, "green"],
        "size": [38, 40, None, 36, 38],
        "organic": [True, False, None, True, False],
    }
)


def listed(value: object, catalogue: pl.DataFrame = SHOP) -> str:
    """The ids of the items that match, as one word."""
    asked = parse_filter(value)
    asked.check(catalogue)
    return "".join(catalogue["item_id"].filter(pl.Series(asked.mask(catalogue))))


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ({}, "abcde"),
        ({"category": "tea"}, "ad"),
        ({"category": ["tea", "mugs"]}, "ade"),
        ({"category": "never heard of"}, ""),
        ({"price": {"min": 5, "max": 7.5}}, "ac"),  # inclusive at both ends; null and NaN are no price
        ({"price": {"min": 0}}, "abc"),
        ({"price": {"max": 5}}, "a"),
        ({"price": 20}, "b"),
        ({"price": [20, 5]}, "ab"),
        ({"available": True}, "acde"),  # an item is available unless it says no
        ({"available": False}, "b"),
        ({"available": [True, False]}, "abcde"),
        ({"item_id": ["e", "a"]}, "ae"),
        ({"attributes.colour": "red"}, "ac"),
        ({"attributes.size": {"min": 38}}, "abe"),
        ({"attributes.size": 38}, "ae"),
        ({"attributes.organic": False}, "be"),
        ({"category": "tea", "attributes.colour": "red"}, "a"),
        ({"not": {"category": "tea"}}, "bce"),  # the plain complement: c, without a category, is in it
        ({"any": [{"category": "coffee"}, {"price": {"max": 6}}]}, "ab"),
        ({"all": [{"category": "tea"}, {"not": {"attributes.size": {"max": 36}}}]}, "a"),
        ({"any": [{}]}, "abcde"),
        ({"not": {}}, ""),
    ],
)
def test_what_a_filter_lets_through(value: object, items: str) -> None:
    assert listed(value) == items


def test_columns_that_a_shop_never_gave() -> None:
    bare = pl.DataFrame({"item_id": ["a", "b"], "colour": pl.Series([None, None], dtype=pl.Null)})
    assert listed({"available": True}, bare) == "ab"
    assert listed({"available": False}, bare) == ""
    assert listed({"category": "tea"}, bare) == listed({"price": {"min": 0}}, bare) == ""
    assert listed({"not": {"price": {"min": 0}}}, bare) == "ab"
    assert listed({"attributes.colour": "red"}, bare) == listed({"attributes.colour": 3}, bare) == ""
    assert listed({"category": "tea"}, bare.head(0)) == ""


def test_coded_text_and_narrow_numbers() -> None:
    coded = pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "category": pl.Series(["tea", None, "mugs"], dtype=pl.Categorical),
            "brand": pl.Series(["x", "y", None], dtype=pl.Enum(["x", "y"])),
            "price": pl.Series([19.99, 20.0, None], dtype=pl.Float32),
            "rank": pl.Series([1, 255, None], dtype=pl.UInt8),
            "weight": pl.Series(["1.50", "2.00", None]).cast(pl.Decimal(10, 2)),
        }
    )
    assert listed({"category": ["tea", "gone"]}, coded) == listed({"category": "tea"}, coded) == "a"
    assert listed({"attributes.brand": ["y", "not one of the words"]}, coded) == "b"
    assert listed({"attributes.brand": "not one of the words"}, coded) == ""
    assert listed({"price": {"min": 19.99}}, coded) == "ab"  # float32(19.99) is below float64's
    assert listed({"price": [19.99, 1e300]}, coded) == "a"
    assert listed({"attributes.rank": {"min": -1, "max": 1000}}, coded) == "ab"
    assert listed({"attributes.weight": {"max": 1.5}}, coded) == "a"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "filter: must be an object"),
        (None, "filter: must be an object"),
        (
            {"colour": "red"},
            "filter.colour: no such field; must be item_id, category, price, available or",
        ),
        ({"attributes.": "red"}, "filter.attributes.: no such field"),
        ({"attributes.price": 3}, "filter.attributes.price: no attribute but the field price"),
        ({"category": 5}, "filter.category: must be text"),
        ({"category": []}, f"filter.category: must be text or a list of 1 to {MAX_VALUES}$"),
        ({"category": ["a"] * (MAX_VALUES + 1)}, f"filter.category: must be text or a list of 1 to {MAX_VALUES}$"),
        ({"category": ["a", None]}, r"filter.category\[1\]: must be text$"),
        ({"category": {"min": 5}}, f"filter.category: must be text or a list of 1 to {MAX_VALUES}$"),
        ({"available": "yes"}, "filter.available: must be true or false"),
        ({"available": 1}, "filter.available: must be true or false"),
        ({"price": "5"}, "filter.price: must be a finite number"),
        ({"price": True}, "filter.price: must be a finite number"),
        ({"price": {}}, "filter.price: must have min or max$"),
        (
            {"price": {"min": 1, "below": 2}},
            f"filter.price: must be a finite number, a list of 1 to {MAX_VALUES} or an object of min or max$",
        ),
        ({"price": {"min": 6, "max": 5}}, "filter.price: min must be at most max"),
        ({"any": [{}, {"price": {"min": "5"}}]}, r"filter.any\[1\].price.min: must be a finite number$"),
        ({"price": {"min": None}}, "filter.price.min: must be a finite number$"),
        ({"price": {"min": False}}, "filter.price.min: must be a finite number$"),
        ({"price": {"max": math.nan}}, "filter.price.max: must be a finite number"),
        ({"price": {"max": 10**400}}, "filter.price.max: must be a finite number"),
        ({"price": -math.inf}, "filter.price: must be a finite number"),
        ({"attributes.size": [38, "L"]}, r"filter.attributes.size\[1\]: must be a finite number"),
        ({"attributes.size": [38, True]}, r"filter.attributes.size\[1\]: must be a finite number"),
        ({"attributes.colour": "\ud800"}, "filter.attributes.colour: must be text that is valid Unicode"),
        (
            {"attributes.colour": None},
            "filter.attributes.colour: must be text, a finite number, true or false, a list of 1 to",
        ),
        ({"any": []}, "filter.any: must be a list of at least 1$"),
        ({"all": {"price": 5}}, "filter.all: must be a list of at least 1$"),
        ({"not": [{"price": 5}]}, "filter.not: must be an object"),
        ({"any": [{"price": n} for n in range(MAX_LEAVES + 1)]}, f"more than {MAX_LEAVES} conditions"),
        ({5: "red"}, r"filter.\?: a field's name must be text"),
    ],
)
def test_a_mistake_is_one_error_with_its_place(value: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_filter(value)


def test_depth_is_bounded_before_it_is_walked() -> None:
    value: dict[str, object] = {"price": 1}
    for _ in range(7):
        value = {"not": value}
    parse_filter(value)
    for _ in range(100_000):
        value = {"not": value}
    with pytest.raises(ModelError, match=r"filter(\.not){8}: must not be nested deeper than 8"):
        parse_filter(value)


@pytest.mark.parametrize(
    "value",
    [
        {"price": [1234.5, "x"]},
        {"category": [1234.5]},
        {"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xt": 1},
        {"1234.5": 1},
        {"price": {"min": 1234.5, "max": 1}},
        {"price": {"1234.5": 1}},
        1234.5,
        [1234.5],
        {"any": 1234.5},
    ],
)
def test_no_message_repeats_a_value_which_may_be_a_misplaced_profile(value: object) -> None:
    with pytest.raises(ModelError) as refused:
        parse_filter(value)
    assert "1234" not in str(refused.value)
    assert "QUJD" not in str(refused.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"attributes.brand": "x"},
            "filter.attributes.brand: no such field; must be one of item_id, category, price, available, "
            "attributes.colour, attributes.size, attributes.organic",
        ),
        ({"attributes.size": "38"}, "filter.attributes.size: must be a finite number"),
        ({"attributes.size": True}, "filter.attributes.size: must be a finite number"),
        ({"attributes.colour": {"min": 3}}, "filter.attributes.colour: must be text"),
        (
            {"not": {"any": [{}, {"attributes.organic": "yes"}]}},
            "filter.not.any[1].attributes.organic: must be",
        ),
    ],
)
def test_a_field_or_kind_that_the_catalogue_does_not_have(value: object, message: str) -> None:
    asked = parse_filter(value)
    with pytest.raises(ModelError) as refused:
        asked.check(SHOP)
    assert str(refused.value).startswith(message)


def test_a_column_of_lists_cannot_be_filtered_on() -> None:
    frame = SHOP.with_columns(tags=pl.Series([["x"]] * 5))
    with pytest.raises(ModelError, match=r"attributes.tags: a column of List\(String\), which cannot be filtered on"):
        parse_filter({"attributes.tags": "x"}).check(frame)


def test_fields_and_their_columns() -> None:
    assert [field_of(name) for name in ("item_id", "price", "attributes.colour")] == ["item_id", "price", "colour"]
    assert field_of("attributes.a.b") == "a.b"
    assert fields_of(SHOP)[3:] == ["available", "attributes.colour", "attributes.size", "attributes.organic"]
    with pytest.raises(ModelError, match=r"^title: no such field"):
        field_of("title")


def test_the_prebuilt_index_of_a_category_is_recognised() -> None:
    assert parse_filter({"category": "tea"}).single_category() == "tea"
    assert parse_filter({"all": [{"category": ["tea", "tea"]}]}).single_category() == "tea"
    for other in ({}, {"category": ["tea", "mugs"]}, {"category": "tea", "price": 5}, {"item_id": "tea"}):
        assert parse_filter(other).single_category() is None
    assert parse_filter({"not": {"category": "tea"}}).single_category() is None


def test_a_key_does_not_depend_on_how_a_filter_is_written() -> None:
    ways = [
        {"category": ["b", "a"], "price": {"min": 5}},
        {"price": {"min": 5.0}, "category": ["a", "b", "a"]},
        {"all": [{"price": {"min": 5}}, {"all": [{"category": ["a", "b"]}]}, {"price": {"min": 5}}]},
    ]
    parsed = [
        parse_filter(way, where) for way, where in zip(ways, ("filter", "rules.boost[0].filter", "x"), strict=True)
    ]
    assert {asked.key for asked in parsed} == {'{"all":[{"category":["a","b"]},{"price":{"min":5.0}}]}'}
    assert len(set(parsed)) == 1
    assert parse_filter({"price": 0}) == parse_filter({"price": -0.0})
    assert parse_filter({"attributes.x": 1}) != parse_filter({"attributes.x": True})
    assert parse_filter({"any": [{"price": 1}, {"price": 2}]}) != parse_filter({"all": [{"price": 1}, {"price": 2}]})


TEXTS = st.sampled_from(["", "a", "b", "é"])
NUMBERS = st.sampled_from([-1, 0, 0.5, 1, 2])
ITEMS = st.lists(
    st.fixed_dictionaries(
        {
            "item_id": TEXTS,
            "category": st.none() | TEXTS,
            "price": st.none() | st.sampled_from([math.nan, -1.0, 0.0, 0.5, 1.0, 2.0]),
            "available": st.none() | st.booleans(),
            "colour": st.none() | TEXTS,
            "size": st.none() | st.integers(-1, 2),
            "organic": st.none() | st.booleans(),
        }
    ),
    max_size=8,
)
SCHEMA = {
    "item_id": pl.String,
    "category": pl.String,
    "price": pl.Float64,
    "available": pl.Boolean,
    "colour": pl.String,
    "size": pl.Int64,
    "organic": pl.Boolean,
}


def several(one: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return one | st.lists(one, min_size=1, max_size=3)


RANGES = (
    st.tuples(NUMBERS, NUMBERS)
    .map(sorted)
    .flatmap(lambda ends: st.sampled_from([{"min": ends[0]}, {"max": ends[1]}, {"min": ends[0], "max": ends[1]}]))
)
LEAVES = st.fixed_dictionaries(
    {},
    optional={
        "item_id": several(TEXTS),
        "category": several(TEXTS),
        "price": several(NUMBERS) | RANGES,
        "available": several(st.booleans()),
        "attributes.colour": several(TEXTS),
        "attributes.size": several(NUMBERS) | RANGES,
        "attributes.organic": several(st.booleans()),
    },
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=3)}),
        st.tuples(LEAVES, st.lists(inner, min_size=1, max_size=3)).map(lambda both: both[0] | {"all": both[1]}),
    ),
    max_leaves=6,
).filter(lambda value: json.dumps(value).count("{") < 40)


def depth_of(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, dict) + max((depth_of(part) for part in inner), default=0)


def by_definition(value: dict[str, object], row: dict[str, object]) -> bool:
    """A third reading, of the JSON itself."""

    def leaf(name: str, asked: object) -> bool:
        held = row[name.removeprefix("attributes.")]
        if name == "available":
            held = held is not False
        if held is None or (isinstance(held, float) and math.isnan(held)):
            return False
        if isinstance(asked, dict):
            return bool(asked.get("min", held) <= held <= asked.get("max", held))
        return held in asked if isinstance(asked, list) else held == asked

    found = []
    for name, asked in value.items():
        if name == "not":
            found.append(not by_definition(asked, row))
        elif name in ("any", "all"):
            parts = [by_definition(part, row) for part in asked]
            found.append(any(parts) if name == "any" else all(parts))
        else:
            found.append(leaf(name, asked))
    return all(found)


@settings(max_examples=300, deadline=None)
@given(FILTERS.filter(lambda value: depth_of(value) <= 7), ITEMS)
@example({"not": {"any": [{"price": {"min": -1}}, {"available": False}]}}, [])
def test_a_mask_is_the_language_row_by_row(value: dict[str, object], rows: list[dict[str, object]]) -> None:
    catalogue = pl.DataFrame(rows, schema=SCHEMA)
    asked = parse_filter(value)
    asked.check(catalogue)
    mask = asked.mask(catalogue)
    assert mask.dtype == np.bool_
    assert not mask.flags.writeable
    assert mask.tolist() == [asked.matches(row) for row in rows] == [by_definition(value, row) for row in rows]


@settings(max_examples=100, deadline=None)
@given(FILTERS.filter(lambda value: depth_of(value) <= 3), ITEMS)
def test_a_key_is_a_filter_itself_that_says_the_same(value: dict[str, object], rows: list[dict[str, object]]) -> None:
    asked = parse_filter(value)
    again: Filter = parse_filter(json.loads(asked.key))
    assert again == asked
    assert again.key == asked.key
    assert [again.matches(row) for row in rows] == [asked.matches(row) for row in rows]


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["not", "any", "all", "price", "min", "category", "attributes.x"]), inner)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_filter_or_one_clear_error(value: object) -> None:
    catalogue = SHOP.with_columns(x=pl.lit("t"))
    try:
        asked = parse_filter(value)
        asked.check(catalogue)
    except ModelError as error:
        said = str(error)
    else:
        said = f"filter lets {asked.mask(catalogue).sum()} through"
    assert said.startswith("filter")
    assert "\n" not in said
