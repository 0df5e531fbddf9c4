"""Plain values, as JSON, YAML and TOML have them, in strict types: with the place of every mistake.

Of somebody's own file (`read_strictly`) msgspec checks names and types, by a struct that is made of each dataclass; the
dataclass checks its own bounds. Of a request (`convert_unquoted`) msgspec checks the bounds of its types too, and no
message repeats what was sent.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
import types
from collections import Counter
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect

from data.errors import DataError, OwnshelfError

T = TypeVar("T")

MAX_FILE_BYTES = 200_000
"""Of a definition: what people write is far smaller."""
MAX_NUMBER = 2**53
"""Every number below is the same in each language that reads a definition."""
_FLOAT_WITHOUT_POINT = re.compile(r"[+-]?\d{1,9}[eE][+-]?\d{1,3}", re.ASCII)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_WORDS = {
    "int": "an integer",
    "float": "a finite number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def read_strictly(
    kind: type[T],
    raw: object,
    where: str,
    *,
    base: T | None = None,
    left_out: tuple[str, ...] = (),
    infinite: bool = False,
    error: type[OwnshelfError] = DataError,
) -> T:
    """Read plain values as a dataclass, and what they hold as the dataclasses of its fields.

    where: what the values are, for messages ("" names fields alone). base: what a field is where it is not given;
    without it the dataclass's default, and a field without one must be given. Either
    completes what is given in part. left_out: fields that may not be given.
    infinite: numbers may be infinite, and "inf" is one. Raises `error` with place, value and what it must be, of every
    mistake in names and types, or of every one in bounds.
    """
    reader = _Reader(where, infinite, error)
    try:
        struct = msgspec.convert(raw, _struct(kind, left_out, infinite))  # type: ignore[arg-type]  # a class is hashable
    except msgspec.ValidationError as problem:
        found = reader.mistakes(kind, raw, where, left_out, complete=base is None)
        raise error("; ".join(found)) if found else reader.refusal(kind, raw, str(problem), left_out) from None
    made: T = reader.made(kind, struct, where, base)
    return made


def convert_unquoted(kind: Any, raw: object, where: str, *, error: type[OwnshelfError] = DataError) -> Any:
    """Convert plain values to a msgspec type, whose custom types are made of whatever stands in their place.

    Raises `error` with the place of the first mistake and what must be there. No message repeats a value or a name that
    is not the type's: whoever sends a secret in the wrong field must not find it in a message.
    """
    try:
        return msgspec.convert(raw, kind, dec_hook=lambda custom, value: custom(value))
    except (msgspec.ValidationError, OverflowError) as problem:
        info, place = inspect.type_info(kind), where
        for name, at in _STEP.findall(str(problem).partition(" - at `$")[2].removesuffix("`")):
            info = _part_at(info, name)
            place += f".{name}" if name else f"[{at}]"
        raise error(f"{place}: must be {_requirement(info)}") from None


def load_plain(path: Path) -> object:
    """Read the plain values of a .yaml, .yml or .json file, no key twice in one object. Raises DataError."""
    import yaml  # only here: devices and services get JSON

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            _once([key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
            return super().construct_mapping(node, deep)

    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) > MAX_FILE_BYTES:
        raise DataError(f"{path}: {len(content)} bytes: must be at most {MAX_FILE_BYTES}")
    try:
        if path.suffix == ".json":
            return json.loads(content, object_pairs_hook=_object_once)
        return yaml.load(content, Loader)  # nosec B506 # a SafeLoader
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:120]
        kind = "JSON" if path.suffix == ".json" else "YAML"
        raise DataError(f"{path}: is not {kind} ({first})") from None


def _object_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _once([key for key, _ in pairs])
    return dict(pairs)


def _once(keys: Sequence[str]) -> None:
    twice = sorted(key for key, times in Counter(keys).items() if times > 1)
    if twice:
        raise DataError(f"{brief(twice[0])}: is given twice in one object")


def brief(value: object) -> str:
    """Show a value of somebody else's file in a message: a few of its parts, however many there are."""
    try:
        return f"{reprlib.repr(value):.80}"
    except ValueError:
        return "an integer of too many digits"


@lru_cache(maxsize=256)
def _struct(kind: type, left_out: tuple[str, ...], infinite: bool) -> type[msgspec.Struct]:
    """Make the struct of a dataclass: every field may be unset, and no other name is taken."""
    hints = get_type_hints(kind)
    columns = [
        (one.name, _type(hints[one.name], infinite) | msgspec.UnsetType, msgspec.UNSET)
        for one in fields(kind)
        if one.name not in left_out
    ]
    return msgspec.defstruct(kind.__name__, columns, forbid_unknown_fields=True)


def _type(hint: Any, infinite: bool) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return Union[tuple(_type(one, infinite) for one in arguments)]  # noqa: UP007  # of types known at run time
    if origin is tuple:
        return tuple[tuple(one if one is ... else _type(one, infinite) for one in arguments)]  # type: ignore[misc]
    if isinstance(hint, type) and is_dataclass(hint):
        return _struct(hint, (), infinite)
    return float | Literal["inf"] if hint is float and infinite else hint


class _Reader:
    """One reading: turns structs into dataclasses, and msgspec's problems into sentences of this house."""

    def __init__(self, where: str, infinite: bool, error: type[OwnshelfError]) -> None:
        self._where = where
        self._infinite = infinite
        self._error = error

    def made(self, kind: Any, struct: msgspec.Struct, where: str, base: Any) -> Any:
        """Make the dataclass of a struct."""
        hints = get_type_hints(kind)
        values, mistakes = {}, []
        for field in fields(kind):
            value = getattr(struct, field.name, msgspec.UNSET)
            place = f"{where}.{field.name}" if where else field.name
            if value is not msgspec.UNSET:
                try:
                    values[field.name] = self._value(hints[field.name], value, place, _before(field, base))
                except OwnshelfError as mistake:
                    mistakes.append(mistake)
            elif base is not None:
                values[field.name] = getattr(base, field.name)
            elif field.default is MISSING and field.default_factory is MISSING:
                mistakes.append(self._error(f"{place}: is missing"))
        if mistakes:
            raise _together(mistakes, self._error)
        return kind(**values)

    def mistakes(
        self, hint: Any, raw: object, where: str, left_out: tuple[str, ...] = (), *, complete: bool = True
    ) -> list[str]:
        """Name every mistake in names and types, each with its place; none where msgspec takes the values."""
        inside = _some(hint)
        if isinstance(inside, type) and is_dataclass(inside) and isinstance(raw, dict):
            hints, known = get_type_hints(inside), [one for one in fields(inside) if one.name not in left_out]
            names = [one.name for one in known]
            told = [
                f"{where}.{key}".removeprefix(".") + f": is unknown, must be one of {', '.join(names)}"
                for key in raw
                if key not in names
            ]
            for one in known:
                place = f"{where}.{one.name}".removeprefix(".")
                if one.name in raw:
                    told += self.mistakes(hints[one.name], raw[one.name], place, complete=_before(one, None) is None)
                elif complete and one.default is MISSING and one.default_factory is MISSING:
                    told.append(f"{place}: is missing")
            return told
        kinds = get_args(inside) if get_origin(inside) is tuple else ()
        if kinds and kinds[-1] is ... and isinstance(raw, list | tuple):
            return [told for at, one in enumerate(raw) for told in self.mistakes(kinds[0], one, f"{where}[{at}]")]
        try:
            msgspec.convert(raw, _type(hint, self._infinite))
        except msgspec.ValidationError as problem:
            return [str(_Reader(where, self._infinite, self._error).refusal(hint, raw, str(problem), left_out))]
        return []

    def _value(self, hint: Any, value: Any, where: str, base: Any) -> Any:
        if isinstance(value, msgspec.Struct):
            return self.made(_dataclass_in(hint), value, where, base)
        if isinstance(value, tuple):
            kinds = get_args(_some(hint))
            made, mistakes = [], []
            for at, one in enumerate(value):
                own = kinds[0] if len(kinds) < 2 or kinds[1] is ... else kinds[at]
                try:
                    made.append(self._value(own, one, f"{where}[{at}]", None))
                except OwnshelfError as mistake:
                    mistakes.append(mistake)
            if mistakes:
                raise _together(mistakes, self._error)
            return tuple(made)
        if isinstance(value, float) or (value == "inf" and _some(hint) is float):
            number = float(value) + 0.0  # of 0 and -0.0 one text
            if math.isnan(number) or (not self._infinite and not abs(number) < MAX_NUMBER):
                raise self._error(f"{where}={brief(value)}: must be a finite number")
            return number
        if isinstance(value, int) and not abs(value) < MAX_NUMBER:
            raise self._error(f"{where}={brief(value)}: must be an integer below 2^53")
        if isinstance(value, str) and ("\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value)):
            raise self._error(f"{where}={brief(value)}: must be text without NUL and lone surrogates")
        return value

    def refusal(self, kind: type, raw: object, problem: str, left_out: tuple[str, ...]) -> OwnshelfError:
        """Say a problem of msgspec's with the value, and what it must be."""
        text, _, path = problem.partition(" - at `$")
        steps = [name or int(at) for name, at in _STEP.findall(path.removesuffix("`"))]
        hint, value = kind, raw
        for step in steps:
            hint, value = _below(hint, step), value[step]  # type: ignore[index]
        place = self._where + "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in steps)
        place = place.removeprefix(".")
        if unknown := re.search(r"unknown field `(.*)`", text):
            known = [one.name for one in fields(_dataclass_in(hint)) if steps or one.name not in left_out]
            name = f"{place}.{unknown[1]}".removeprefix(".")
            return self._error(f"{name}: is unknown, must be one of {', '.join(known)}")
        told = f"{place}={brief(value)}" if place else brief(value)
        if choices := _choices(hint):
            return self._error(f"{told}: must be one of {', '.join(choices)}")
        if _some(hint) is float and isinstance(value, str) and _FLOAT_WITHOUT_POINT.fullmatch(value):
            return self._error(f"{told}: must be a number, with a point for YAML to see one: 1.0e-6")
        if text.startswith(("Number out of range", "Integer")):
            return self._error(
                f"{told}: must be {'a finite number' if _some(hint) is float else 'an integer below 2^53'}"
            )
        if expected := re.fullmatch(r"Expected `(.*)`, got `.*`", text):
            kinds = [_WORDS[one] for one in expected[1].split(" | ") if one in _WORDS]
            return self._error(f"{told}: must be {' or '.join(kinds) or expected[1]}")
        return self._error(f"{told}: {text[:1].lower()}{text[1:]}")


def _part_at(info: Any, name: str) -> Any:
    """Find the type of a struct's field, or of a list's items where no field is named; in a union's fitting part."""
    for part in getattr(info, "types", (info,)):
        if name and isinstance(part, inspect.StructType):
            return next(field.type for field in part.fields if field.encode_name == name)
        if not name and isinstance(part, inspect.VarTupleType | inspect.ListType):
            return part.item_type
    return info


def _requirement(info: Any) -> str:
    """Say what a value of a type must be: "text of 1 to 128 characters"."""
    return _joined([_noun(part) for part in getattr(info, "types", (info,))], "or")


def _joined(parts: list[str], word: str) -> str:
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}" if len(parts) > 1 else parts[0]


def _noun(info: Any) -> str:
    if isinstance(info, inspect.StrType):
        span = _span(info.min_length, info.max_length)
        return f"text of {span} characters" if span else "text"
    if isinstance(info, inspect.IntType):
        return f"a whole number from {info.ge} to {info.le}" if info.le is not None else "a whole number"
    if isinstance(info, inspect.FloatType):
        above = f" above {info.gt:g} and at most {info.le:g}" if info.gt is not None and info.le is not None else ""
        return f"a finite number{above}"
    if isinstance(info, inspect.BoolType):
        return "true or false"
    if isinstance(info, inspect.VarTupleType | inspect.ListType):
        return f"a list of {_span(info.min_length, info.max_length)}".removesuffix(" of ")
    if isinstance(info, inspect.StructType):
        word = "and" if any(field.required for field in info.fields) else "or"
        return f"an object of {_joined([field.encode_name for field in info.fields], word)}"
    return "another value"


def _span(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"at least {low}" if low is not None else f"at most {high}" if high is not None else ""


def _together(mistakes: list[OwnshelfError], error: type[OwnshelfError]) -> OwnshelfError:
    """Return the one mistake as it is, or one error with all of them."""
    return mistakes[0] if len(mistakes) == 1 else error("; ".join(map(str, mistakes)))


def _before(field: Any, base: Any) -> Any:
    """Find what completes a field that is given in part: the base's, else its default."""
    if base is not None:
        return getattr(base, field.name)
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


def _some(hint: Any) -> Any:
    """Strip a hint of the None that it may be."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(one for one in get_args(hint) if one is not type(None))
    return hint


def _dataclass_in(hint: Any) -> Any:
    return _some(hint)


def _below(hint: Any, step: str | int) -> Any:
    """Find the hint of a field, or of an item of a tuple."""
    inside = _some(hint)
    if isinstance(step, str):
        return get_type_hints(inside)[step]
    kinds = get_args(inside)
    return kinds[0] if kinds[-1] is ... else kinds[step]


def _choices(hint: Any) -> list[str]:
    inside = _some(hint)
    if get_origin(inside) is Literal:
        return [str(one) for one in get_args(inside)]
    return [str(one) for one in inside] if isinstance(inside, type) and issubclass(inside, StrEnum) else []
