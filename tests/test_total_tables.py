"""A table that maps a Literal or an Enum has an entry for each of its values: none is met first by a user."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

PACKAGES = ("data", "recsys", "federation", "serving")


@cache
def modules() -> tuple[ModuleType, ...]:
    roots = [importlib.import_module(name) for name in PACKAGES]
    names = [info.name for root in roots for info in pkgutil.walk_packages(root.__path__, f"{root.__name__}.")]
    return (*roots, *(importlib.import_module(name) for name in names))


def values_of(kind: Any) -> frozenset[Any] | None:
    """The values of a Literal or an Enum; None of any other type."""
    if get_origin(kind) is Literal:
        return frozenset(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return frozenset(kind)
    return None


def tables() -> Iterator[tuple[str, dict[Any, Any], Any]]:
    """Name, content and type of the keys of every table that a module defines with a display; None for no type."""
    for module in modules():
        assert module.__file__ is not None
        for line in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
            target = line.target if isinstance(line, ast.AnnAssign) else getattr(line, "targets", [None])[0]
            if not isinstance(target, ast.Name) or not isinstance(getattr(line, "value", None), ast.Dict):
                continue
            key_type = None
            if isinstance(line, ast.AnnAssign):
                annotation = eval(ast.unparse(line.annotation), {**vars(module), "Mapping": Mapping})
                key_type = get_args(annotation)[0] if get_args(annotation) else None
            yield f"{module.__name__}.{target.id}", getattr(module, target.id), key_type


def test_a_table_by_literal_or_enum_has_every_value() -> None:
    checked = 0
    for name, table, key_type in tables():
        values = values_of(key_type)
        if values is not None:
            assert set(table) == values, name
            checked += 1
    assert checked > 0


def test_a_table_whose_keys_are_such_values_says_so_by_its_type() -> None:
    """Else the test above would not see it."""
    literals = {
        values: f"{module.__name__}.{name}"
        for module in modules()
        for name, kind in vars(module).items()
        if (values := values_of(kind)) and len(values) > 1 and all(isinstance(value, str) for value in values)
    }
    unsaid = [
        (name, literal)
        for name, table, key_type in tables()
        for values, literal in literals.items()
        if len(table) > 1 and set(table) <= values and values_of(key_type) is None
    ]
    assert unsaid == []
