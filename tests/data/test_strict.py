"""Plain values as dataclasses: what is taken, what is refused, and where a refusal says that the mistake is."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError, FederationError
from data.strict import brief, convert_unquoted, read_strictly


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Leaf:
    share: float
    n: int = 3
    colour: Colour = Colour.RED

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise DataError(f"share={self.share}: must be 0..1")


@dataclass(frozen=True)
class Tree:
    name: str
    kind: Literal["oak", "elm"] = "oak"
    leaves: tuple[Leaf, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)
    best: Leaf | None = None
    flag: bool = False
    own: Leaf = Leaf(0.25, 7, Colour.BLUE)
    fresh: Leaf = field(default_factory=lambda: Leaf(0.75))


def tree(**values: Any) -> Tree:
    return read_strictly(Tree, {"name": "t"} | values, "tree")


def test_what_is_given_is_taken_and_what_is_not_is_the_default() -> None:
    made = tree(leaves=[{"share": 1, "colour": "blue"}], best={"share": 0.5, "n": 9}, pair=[1, 2.5])
    assert made == Tree("t", leaves=(Leaf(1.0, 3, Colour.BLUE),), best=Leaf(0.5, 9), pair=(1.0, 2.5))
    assert isinstance(made.leaves[0].share, float)
    assert isinstance(made.leaves[0].colour, Colour)


def test_what_is_given_in_part_is_completed_by_the_default_or_the_base() -> None:
    assert tree(own={"share": 0.5}).own == Leaf(0.5, 7, Colour.BLUE)
    assert tree(fresh={"share": 0.5}).fresh == Leaf(0.5, 3)
    base = Tree("b", "elm", best=Leaf(0.1, 5), flag=True)
    made = read_strictly(Tree, {"best": {"share": 0.2}, "kind": "oak"}, "tree", base=base)
    assert made == Tree("b", "oak", best=Leaf(0.2, 5), flag=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": 3}, "tree.name=3: must be text"),
        ({"name": "a\0"}, "tree.name='a\\x00': must be text without NUL and lone surrogates"),
        ({"nam": 3}, "tree.nam: is unknown, must be one of name, kind, leaves, pair, best, flag, own, fresh"),
        ({"kind": "fir"}, "tree.kind='fir': must be one of oak, elm"),
        ({"leaves": 3}, "tree.leaves=3: must be a list"),
        ({"leaves": [{"share": 0}, 4]}, "tree.leaves[1]=4: must be an object"),
        ({"leaves": [{"share": 0}, {"share": 0, "m": 1}]}, "tree.leaves[1].m: is unknown, must be one of share, n"),
        ({"leaves": [{"share": 0}, {"n": 1}]}, "tree.leaves[1].share: is missing"),
        ({"leaves": [{"share": "1e-6"}]}, "tree.leaves[0].share='1e-6': must be a number, with a point for YAML"),
        ({"leaves": [{"share": 0, "n": 1.5}]}, "tree.leaves[0].n=1.5: must be an integer"),
        ({"leaves": [{"share": 0, "n": True}]}, "tree.leaves[0].n=True: must be an integer"),
        ({"leaves": [{"share": 0, "n": 2**53}]}, "tree.leaves[0].n=9007199254740992: must be an integer below 2^53"),
        ({"leaves": [{"share": 0, "colour": "pink"}]}, "tree.leaves[0].colour='pink': must be one of red, blue"),
        ({"best": {"share": math.nan}}, "tree.best.share=nan: must be a finite number"),
        ({"best": {"share": math.inf}}, "tree.best.share=inf: must be a finite number"),
        ({"best": {"share": "inf"}}, "tree.best.share='inf': must be a finite number"),
        ({"best": {"share": 2}}, "share=2.0: must be 0..1"),
        ({"best": 3}, "tree.best=3: must be an object or null"),
        ({"pair": [1, "x"]}, "tree.pair[1]='x': must be a finite number"),
        ({"pair": [1]}, "tree.pair=[1]: expected `array` of length 2, got 1"),
        ({"flag": 1}, "tree.flag=1: must be true or false"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_what_it_must_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as refused:
        tree(**values)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("raw", [None, [], 3, "x", True])
def test_what_is_no_object_is_refused(raw: object) -> None:
    with pytest.raises(FederationError, match="must be an object"):
        read_strictly(Tree, raw, "tree", error=FederationError)


def test_infinite_numbers_are_taken_where_they_may_be() -> None:
    @dataclass(frozen=True)
    class Bound:
        most: float

    for raw in ("inf", math.inf):
        assert read_strictly(Bound, {"most": raw}, "", infinite=True) == Bound(math.inf)
    with pytest.raises(DataError, match="most=nan: must be a finite number"):
        read_strictly(Bound, {"most": math.nan}, "", infinite=True)
    with pytest.raises(DataError, match="most='nan'"):
        read_strictly(Bound, {"most": "nan"}, "", infinite=True)


def test_a_field_that_is_left_out_is_unknown() -> None:
    with pytest.raises(DataError, match="flag: is unknown, must be one of name, kind, leaves, pair, best, own, fresh"):
        read_strictly(Tree, {"name": "t", "flag": True}, "", left_out=("flag",))


def test_zero_has_one_text() -> None:
    assert json.dumps(asdict(tree(best={"share": -0.0}))["best"]["share"]) == "0.0"


leaves = st.builds(
    Leaf, st.floats(0, 1).map(lambda x: x + 0.0), st.integers(-(2**53) + 1, 2**53 - 1), st.sampled_from(Colour)
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.builds(Tree, texts, st.sampled_from(["oak", "elm"]), st.lists(leaves).map(tuple), best=st.none() | leaves))
def test_what_was_written_is_read_back(made: Tree) -> None:
    assert read_strictly(Tree, json.loads(json.dumps(asdict(made))), "tree") == made


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["name", "leaves", "best", "share", "n", "x"]), inner)
    ),
)


@given(anything)
def test_whatever_it_is_given_it_makes_it_or_refuses_it_in_one_way(raw: object) -> None:
    made: Tree | DataError
    try:
        made = read_strictly(Tree, raw, "tree")
    except DataError as refused:
        made = refused
    assert isinstance(made, Tree) or str(made).strip()


def test_a_value_in_a_message_is_short() -> None:
    assert len(brief("x" * 10_000)) <= 80
    assert brief(10**5_000) == "an integer of too many digits"


def test_every_mistake_is_told_of_names_and_types_and_of_bounds() -> None:
    with pytest.raises(DataError) as refused:
        tree(nam=3, kind="fir", leaves=[{"share": "x"}, {"share": 0}, {"n": 1.5}], best=7)
    assert str(refused.value).split("; ") == [
        "tree.nam: is unknown, must be one of name, kind, leaves, pair, best, flag, own, fresh",
        "tree.kind='fir': must be one of oak, elm",
        "tree.leaves[0].share='x': must be a finite number",
        "tree.leaves[2].share: is missing",
        "tree.leaves[2].n=1.5: must be an integer",
        "tree.best=7: must be an object or null",
    ]
    with pytest.raises(DataError) as refused:
        tree(leaves=[{"share": 2}, {"share": 0}, {"share": -1}], best={"share": 3})
    assert str(refused.value).split("; ") == [f"share={n}: must be 0..1" for n in ("2.0", "-1.0", "3.0")]


class Needle(msgspec.Struct, forbid_unknown_fields=True):
    length: Annotated[float, msgspec.Meta(gt=0, le=9)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=5)] = "leaf"


class Twig(msgspec.Struct, forbid_unknown_fields=True):
    leaves: Annotated[tuple[Needle, ...], msgspec.Meta(max_length=2)] = ()
    rings: Annotated[int, msgspec.Meta(ge=1, le=7)] | msgspec.UnsetType = msgspec.UNSET
    bark: bool | str | Needle | tuple[float, ...] = False


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("s3cret", "twig: must be an object of leaves, rings or bark"),
        (["s3cret"], "twig: must be an object of leaves, rings or bark"),
        ({"s3cret": 1}, "twig: must be an object of leaves, rings or bark"),
        ({5: "s3cret"}, "twig: must be an object of leaves, rings or bark"),
        ({"leaves": "s3cret"}, "twig.leaves: must be a list of at most 2"),
        ({"leaves": [{"length": 1}] * 3}, "twig.leaves: must be a list of at most 2"),
        ({"leaves": [{"name": "pin"}]}, "twig.leaves[0]: must be an object of length and name"),
        ({"leaves": [{"length": 1, "s3cret": 2}]}, "twig.leaves[0]: must be an object of length and name"),
        ({"leaves": [{"length": 1}, {"length": "s3cret"}]}, "twig.leaves[1].length: must be a finite number above 0"),
        ({"leaves": [{"length": 10**400}]}, "twig.leaves[0].length: must be a finite number above 0 and at most 9"),
        ({"leaves": [{"length": 1, "name": "s3cret"}]}, "twig.leaves[0].name: must be text of 1 to 5 characters"),
        ({"rings": 8}, "twig.rings: must be a whole number from 1 to 7"),
        ({"rings": "s3cret"}, "twig.rings: must be a whole number from 1 to 7"),
        ({"bark": ["s3cret"]}, "twig.bark[0]: must be a finite number"),
        (
            {"bark": {"name": "pin"}},
            "twig.bark: must be true or false, text, an object of length and name or a list",
        ),
        ({"bark": {"length": 0}}, "twig.bark.length: must be a finite number above 0 and at most 9"),
        ({"bark": None}, "twig.bark: must be true or false, text"),
    ],
)
def test_of_a_request_the_place_and_the_type_are_told_and_nothing_that_was_sent(raw: object, message: str) -> None:
    with pytest.raises(FederationError) as refusal:
        convert_unquoted(Twig, raw, "twig", error=FederationError)
    assert str(refusal.value).startswith(message)
    assert "s3cret" not in str(refusal.value)


def test_a_right_request_is_made_of_its_types() -> None:
    made = convert_unquoted(Twig, {"leaves": [{"length": 2}], "rings": 3}, "twig")
    assert made == Twig((Needle(2.0),), 3)
    assert type(made.leaves[0].length) is float
