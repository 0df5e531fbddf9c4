"""Every setting as an option of `ownshelf serve`: made from the settings, so that the two cannot drift apart."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo

from serving.process.settings import Settings, variable


def with_settings(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command whose ``**options`` are the settings, each None unless it is given."""
    hints = get_type_hints(function, include_extras=True)
    parameters = [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    offered = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name, field))
        for name, field in Settings.model_fields.items()
    ]

    def command(*args: Any, **kwargs: Any) -> None:
        function(*args, **kwargs)

    command.__doc__ = function.__doc__
    command.__signature__ = inspect.Signature([*parameters, *offered])  # type: ignore[attr-defined]  # typer reads it
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in (*parameters, *offered)}
    return command


def _option(name: str, field: FieldInfo) -> Any:
    default = "" if field.default in (None, (), False) else f" (default {field.default})"
    flag = f"--{name.replace('_', '-')}"
    names = (flag, f"--no-{name}") if field.annotation is bool else (flag,)
    spelled = "/".join(names)
    help_text = f"{field.description} [{variable(name)}]{default}"
    return Annotated[_type(field.annotation) | None, typer.Option(spelled, help=help_text, show_default=False)]


def _type(annotation: Any) -> Any:
    """Choose what the command line reads for a setting; the setting itself judges the value."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not type(None))
    return annotation if annotation in (int, float, bool, Path) else str
