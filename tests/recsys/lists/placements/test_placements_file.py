from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from data.errors import DataError, ModelError
from recsys.lists.placements.placement import SOURCES, Placement, Placements
from recsys.lists.placements.placements_file import (
    canonical_json,
    check_against,
    content_hash,
    placements_of,
    read_placements,
    to_dict,
)

CATALOGUE = pl.DataFrame({"item_id": ["a"], "category": ["tea"], "price": [1.0], "brand": ["oak"], "tags": [["x"]]})


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"source": "for-you", "top_k": 0}, "placements.shelf.top_k=0: must be 1..1000"),
        ({"source": "for-you", "top_k": "9"}, "placements.shelf.top_k='9': must be an integer"),
        ({"source": "foryou"}, "placements.shelf.source='foryou': must be one of for-you"),
        ({"top_k": 3}, "placements.shelf.source: is missing"),
        ({"source": "for-you", "topk": 3}, "placements.shelf.topk: is unknown, must be one of source, top_k"),
        ({"source": "for-you", "diversity": 1.5}, "placements.shelf.diversity=1.5: must be 0..1"),
        ({"source": "for-you", "trend_share": -0.1}, "placements.shelf.trend_share=-0.1: must be 0..1"),
        ({"source": "for-you", "fallback": "popular"}, "placements.shelf.fallback='popular': must be one of trending"),
        ({"source": "for-you", "filter": {"price": {"max": "9"}}}, "shelf.filter.price.max: must be a finite number"),
        ({"source": "for-you", "rules": {"pin": [{"item_id": "a"}]}}, "shelf.rules.pin[0]: must be an object"),
        ({"source": "for-you", "rules": {"pins": []}}, "placements.shelf.rules: must be an object of pin"),
        ({"source": "for-you", "layer": "Home page"}, "placements.shelf.layer='Home page': must be a-z"),
        ({"source": "new-for-you", "days": 0}, "placements.shelf.days=0.0: must be above 0"),
        ("for-you", "placements.shelf"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(settings: object, told: str) -> None:
    with pytest.raises(ModelError) as refused:
        placements_of({"placements": {"shelf": settings}})
    assert told in str(refused.value)


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(ModelError) as refused:
        placements_of({"placements": {"a": {"source": "x"}, "b": {"source": "similar", "top_k": 0}}, "shelves": {}})
    for told in ("'shelves': is unknown", "placements.a.source='x'", "placements.b.top_k=0"):
        assert told in str(refused.value)


@pytest.mark.parametrize("raw", [None, [], "a", 3, {"placements": []}, {"attributes": "brand"}, {"attributes": [1]}])
def test_what_is_no_file_of_placements_is_refused(raw: object) -> None:
    with pytest.raises(ModelError):
        placements_of(raw)


@pytest.mark.parametrize("name", ["", "Home", "a b", "-a", "a" * 65, "ä"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(ModelError, match="a name must be"):
        placements_of({"placements": {name: {"source": "for-you"}}})


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "placements.yaml"
    path.write_text("placements:\n  a: {source: for-you}\n  a: {source: similar}\n")
    with pytest.raises(DataError, match="given twice"):
        read_placements(path)


def test_a_file_reads_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "placements.yaml"
    path.write_text(
        "attributes: [size]\nplacements:\n  page:\n    source: goes-with\n    top_k: 6\n"
        "    filter: {attributes.brand: oak}\n    rules: {cap: [{by: category, most: 2}]}\n"
    )
    placements = read_placements(path)
    assert placements.named("page").top_k == 6
    assert placements.carried == ("added_at", "brand", "regular_price", "size")
    assert placements_of(to_dict(placements)) == placements
    assert canonical_json(placements) == (
        '{"attributes":["size"],"placements":{"page":{"filter":{"attributes.brand":"oak"},'
        '"rules":{"cap":[{"by":"category","most":2}]},"source":"goes-with","top_k":6}}}'
    )


def test_the_hash_knows_content_and_not_its_order_or_defaults() -> None:
    one = placements_of({"placements": {"a": {"source": "for-you", "top_k": 10}, "b": {"source": "similar"}}})
    other = placements_of({"placements": {"b": {"source": "similar"}, "a": {"source": "for-you"}}, "attributes": []})
    assert content_hash(one) == content_hash(other)
    assert content_hash(one) != content_hash(placements_of({"placements": {"a": {"source": "for-you", "top_k": 9}}}))


def test_a_field_that_the_catalogue_lacks_is_named_with_its_place() -> None:
    placements = placements_of(
        {
            "placements": {
                "a": {"source": "for-you", "filter": {"attributes.colour": "red"}},
                "b": {"source": "for-you", "rules": {"cap": [{"by": "attributes.tags", "most": 1}]}},
                "c": {"source": "for-you", "filter": {"attributes.brand": "oak"}},
            },
            "attributes": ["weight"],
        }
    )
    with pytest.raises(ModelError) as refused:
        check_against(placements, CATALOGUE)
    told = str(refused.value)
    assert "placements.a.filter.attributes.colour: no such field" in told
    assert "placements.b.rules.cap[0].by: a column of List(String)" in told
    assert "attributes[0]='weight': the catalogue has no such column" in told
    assert "placements.c" not in told


def test_each_source_is_a_placement_without_a_file() -> None:
    assert all(Placements().named(source) == Placement(source) for source in SOURCES)
    with pytest.raises(ModelError, match="must be one of for-you"):
        Placements().named("shelf")
