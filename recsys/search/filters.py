"""The filter language: which items may be shown, a small typed JSON value, the same on a device and in the service.

    {"category": "kitchen"} | {"category": ["a", "b"]}     one value, or any of several
    {"price": {"min": 5, "max": 20}}                       inclusive; either may lack
    {"available": true} | {"attributes.size": {"min": 38}} attributes.NAME is any other column of the catalogue
    {"not": F} | {"any": [F, …]} | {"all": [F, …]}         an object of several fields means all of them; {}: no filter

A missing value (null, NaN) matches no leaf and `not` is the plain complement, except that an item is available unless
it says no. Numbers are compared as float64. An error names the place and never repeats a value: a request that carries
a profile in the wrong field must not find it in a message.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import ModelError
from data.strict import convert_unquoted

MAX_DEPTH = 8
MAX_LEAVES = 200
MAX_VALUES = 1000
"""Of one list of alternatives."""

Kind = Literal["text", "number", "flag"]
Value = str | float | bool
FIELDS: Mapping[str, Kind] = {"item_id": "text", "category": "text", "price": "number", "available": "flag"}
_ATTRIBUTE = "attributes."
_T = TypeVar("_T")


class RawFilter:
    """A filter as it was sent, to be parsed: its names are those of a catalogue's columns, which no type knows."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Least and greatest of a number, inclusive; at least one of them."""

    min: float | msgspec.UnsetType = msgspec.UNSET
    max: float | msgspec.UnsetType = msgspec.UNSET


Several = Annotated[tuple[_T, ...], msgspec.Meta(min_length=1, max_length=MAX_VALUES)]
SeveralFilters = Annotated[tuple[RawFilter, ...], msgspec.Meta(min_length=1)]
CONDITIONS: Mapping[Kind | Literal["any"], Any] = {
    "text": str | Several[str],
    "number": float | Several[float] | Bounds,
    "flag": bool | Several[bool],
    "any": str | float | bool | Several[str | float | bool] | Bounds,
}
"""What may stand beside a field of each kind, and of one whose kind the catalogue alone knows; msgspec's types."""
_WORDS: Mapping[Kind, str] = {"text": "text", "number": "a finite number", "flag": "true or false"}
_SHOWABLE = re.compile(r"[A-Za-z_][\w. \-]{0,39}")


@dataclass(frozen=True)
class OneOf:
    """The field has one of these values: distinct, ascending, all of one kind."""

    name: str
    kind: Kind
    values: tuple[Value, ...]
    where: str = field(compare=False, repr=False)


@dataclass(frozen=True)
class Between:
    """low ≤ the field ≤ high; None is no bound."""

    name: str
    low: float | None
    high: float | None
    where: str = field(compare=False, repr=False)
    kind: Kind = "number"


@dataclass(frozen=True)
class Not:
    """The complement of a part."""

    part: Node


@dataclass(frozen=True)
class AnyOf:
    """At least one part."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class AllOf:
    """Every part; no part at all matches everything."""

    parts: tuple[Node, ...]


Leaf = OneOf | Between
Node = OneOf | Between | Not | AnyOf | AllOf


@dataclass(frozen=True)
class Filter:
    """A parsed filter. Two filters are equal, and hash alike, when their keys are.

    key: canonical JSON, in which neither the order of fields, parts and values nor a repetition counts.
    """

    root: Node = field(compare=False)
    key: str

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Every condition on a field."""
        return tuple(_leaves(self.root))

    def check(self, catalogue: pl.DataFrame) -> None:
        """Check fields and values against the catalogue's columns.

        Raises ModelError for a field that the catalogue does not have, or a value that its column cannot have.
        """
        for leaf in self.leaves:
            column = field_of(leaf.name, leaf.where)
            if column not in catalogue.columns:
                if leaf.name in FIELDS:
                    continue
                raise ModelError(f"{leaf.where}: no such field; must be one of {', '.join(fields_of(catalogue))}")
            kind = column_kind(catalogue.schema[column])
            if kind is None:
                raise ModelError(f"{leaf.where}: a column of {catalogue.schema[column]}, which cannot be filtered on")
            if kind != "nothing" and kind != leaf.kind:
                raise ModelError(f"{leaf.where}: must be {_WORDS[kind]}")

    def mask(self, catalogue: pl.DataFrame) -> npt.NDArray[np.bool_]:
        """Mark the rows that match, (n_items,) bool, read-only.

        The filter must have passed `check` on the same columns.
        """
        matches = catalogue.select(_expression(self.root, catalogue.schema)).to_series().to_numpy()
        mask = np.broadcast_to(matches, catalogue.height) if len(matches) == 1 else np.asarray(matches, dtype=np.bool_)
        mask.flags.writeable = False
        return mask

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Match one item by the language's definition: the reference beside `mask`. row: column → value."""
        return _holds(self.root, row)

    def single_category(self) -> str | None:
        """Return the category, when the filter says nothing but that it is this one."""
        root = self.root
        if isinstance(root, OneOf) and root.name == "category" and len(root.values) == 1:
            return str(root.values[0])
        return None


def field_of(name: str, where: str | None = None) -> str:
    """Find the column of a field: itself, or NAME of attributes.NAME. Raises ModelError, at `where`, for no field."""
    if name in FIELDS:
        return name
    column = name.removeprefix(_ATTRIBUTE)
    if column in ("", name):
        raise ModelError(f"{where or show_name(name)}: no such field; must be {', '.join(FIELDS)} or attributes.NAME")
    if column in FIELDS:
        raise ModelError(f"{where or show_name(name)}: no attribute but the field {column}")
    return column


def fields_of(catalogue: pl.DataFrame) -> list[str]:
    """List the fields that a filter on this catalogue may name."""
    return [*FIELDS, *(_ATTRIBUTE + column for column in catalogue.columns if column not in FIELDS)]


def column_kind(dtype: pl.DataType) -> Kind | Literal["nothing"] | None:
    """Classify what values a column holds.

    "nothing" where all are null, None where no filter can say anything of it.
    """
    if dtype == pl.Null:
        return "nothing"
    if dtype == pl.Boolean:
        return "flag"
    if dtype.is_numeric():
        return "number"
    return "text" if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)) else None


def show_name(name: object) -> str:
    """Show a key in an error message: itself where it looks like a field's name, which no vector and no number does."""
    return name if isinstance(name, str) and _SHOWABLE.fullmatch(name) else "?"


def parse_filter(value: object, where: str = "filter") -> Filter:
    """Parse a filter from a JSON value. Raises ModelError with the place of whatever is wrong."""
    root = _parse(value, where, 1, [])
    return Filter(root, _key(root))


def check_text(text: str, where: str) -> str:
    """Return a text. Raises ModelError for half a surrogate pair, which no column can hold."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ModelError(f"{where}: must be text that is valid Unicode")
    return text


def check_number(number: float, where: str) -> float:
    """Return a number, 0.0 for −0.0. Raises ModelError for one that is not finite."""
    if not math.isfinite(number):
        raise ModelError(f"{where}: must be a finite number")
    return number + 0.0


def _parse(value: object, where: str, depth: int, leaves: list[Leaf]) -> Node:
    if not isinstance(value, Mapping):
        raise ModelError(f"{where}: must be an object")
    if depth > MAX_DEPTH:
        raise ModelError(f"{where}: must not be nested deeper than {MAX_DEPTH}")
    parts: list[Node] = []
    for name, condition in value.items():
        place = f"{where}.{show_name(name)}"
        if name == "not":
            parts.append(Not(_parse(condition, place, depth + 1, leaves)))
        elif name in ("any", "all"):
            several = convert_unquoted(SeveralFilters, condition, place, error=ModelError)
            inner = [_parse(part.value, f"{place}[{at}]", depth + 1, leaves) for at, part in enumerate(several)]
            parts.append(_join(AnyOf if name == "any" else AllOf, inner))
        else:
            leaves.append(_leaf(name, condition, place))
            parts.append(leaves[-1])
            if len(leaves) > MAX_LEAVES:
                raise ModelError(f"{where}: more than {MAX_LEAVES} conditions")
    return _join(AllOf, parts)


def _join(join: type[AnyOf] | type[AllOf], parts: list[Node]) -> Node:
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, join) else (part,))]
    ordered = sorted({_key(part): part for part in flat}.items())
    return ordered[0][1] if len(ordered) == 1 else join(tuple(part for _, part in ordered))


def _leaf(name: object, condition: object, where: str) -> Leaf:
    if not isinstance(name, str):
        raise ModelError(f"{where}: a field's name must be text")
    field_of(name, where)
    wanted = FIELDS.get(name)
    value = convert_unquoted(CONDITIONS[wanted or "any"], condition, where, error=ModelError)
    if isinstance(value, Bounds):
        low, high = (
            None if bound is msgspec.UNSET else check_number(bound, f"{where}.{name}")
            for name, bound in (("min", value.min), ("max", value.max))
        )
        if low is None and high is None:
            raise ModelError(f"{where}: must have min or max")
        if low is not None and high is not None and low > high:
            raise ModelError(f"{where}: min must be at most max")
        return Between(name, low, high, where)
    places = [f"{where}[{at}]" for at in range(len(value))] if isinstance(value, tuple) else [where]
    values = value if isinstance(value, tuple) else (value,)
    typed = [_typed(part, place) for part, place in zip(values, places, strict=True)]
    kind = wanted or typed[0][0]
    for (value_kind, _), place in zip(typed, places, strict=True):
        if value_kind != kind:
            raise ModelError(f"{place}: must be {_WORDS[kind]}")
    return OneOf(name, kind, tuple(sorted({value for _, value in typed})), where)


def _typed(value: Value, where: str) -> tuple[Kind, Value]:
    if isinstance(value, bool):
        return "flag", value
    if isinstance(value, str):
        return "text", check_text(value, where)
    return "number", check_number(value, where)


def _key(node: Node) -> str:
    return json.dumps(_canonical(node), sort_keys=True, separators=(",", ":"))


def _canonical(node: Node) -> dict[str, Any]:
    if isinstance(node, Not):
        return {"not": _canonical(node.part)}
    if isinstance(node, AnyOf):
        return {"any": [_canonical(part) for part in node.parts]}
    if isinstance(node, AllOf):
        return {"all": [_canonical(part) for part in node.parts]} if node.parts else {}
    if isinstance(node, OneOf):
        return {node.name: list(node.values) if len(node.values) > 1 else node.values[0]}
    bounds = {"min": node.low, "max": node.high}
    return {node.name: {bound: value for bound, value in bounds.items() if value is not None}}


def _leaves(node: Node) -> Iterator[Leaf]:
    if isinstance(node, Not):
        yield from _leaves(node.part)
    elif isinstance(node, (AnyOf, AllOf)):
        for part in node.parts:
            yield from _leaves(part)
    else:
        yield node


def _holds(node: Node, row: Mapping[str, Any]) -> bool:
    if isinstance(node, Not):
        return not _holds(node.part, row)
    if isinstance(node, (AnyOf, AllOf)):
        verdicts = [_holds(part, row) for part in node.parts]
        return any(verdicts) if isinstance(node, AnyOf) else all(verdicts)
    value = row.get(field_of(node.name))
    if value is None and node.name == "available":
        value = True
    if value is None or value != value:
        return False
    if isinstance(node, OneOf):
        return value in node.values
    return (node.low is None or node.low <= value) and (node.high is None or value <= node.high)


def _expression(node: Node, schema: pl.Schema) -> pl.Expr:
    """Build a boolean expression without nulls."""
    if isinstance(node, Not):
        return ~_expression(node.part, schema)
    if isinstance(node, (AnyOf, AllOf)):
        parts = [_expression(part, schema) for part in node.parts]
        if not parts:
            return pl.lit(True)
        return pl.any_horizontal(parts) if isinstance(node, AnyOf) else pl.all_horizontal(parts)
    column = field_of(node.name, node.where)
    dtype = schema.get(column, pl.Null())
    if isinstance(node, OneOf) and node.name == "available":
        known = pl.lit(True) if dtype == pl.Null else pl.col(column).fill_null(True)
        return known.is_in(list(node.values))
    if dtype == pl.Null:
        return pl.lit(False)
    return _condition(node, pl.col(column), dtype).fill_null(False)


def _condition(node: Leaf, column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype.is_numeric():
        column = column.fill_nan(None) if dtype.is_float() else column.cast(pl.Float64)
    elif isinstance(dtype, (pl.Categorical, pl.Enum)):
        column = column.cast(pl.String)
    number = pl.Float32 if dtype == pl.Float32 else pl.Float64  # 19.99 of a float32 column is at least 19.99
    if isinstance(node, OneOf):
        if len(node.values) > 1:
            return column.is_in(pl.Series(node.values, dtype=number if node.kind == "number" else None).implode())
        return column == (pl.lit(node.values[0], number) if node.kind == "number" else pl.lit(node.values[0]))
    bounds = []
    if node.low is not None:
        bounds.append(column >= pl.lit(node.low, number))
    if node.high is not None:
        bounds.append(column <= pl.lit(node.high, number))
    return pl.all_horizontal(bounds)
