"""The options by which `ingest` and `inspect` read a log: defined once, and handed to a command as LogOptions."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any

import typer

from data.log_reading.log_source import LogOptions
from data.log_reading.recognition import AUTO
from serving.cli.pairs import pairs

Locale = Annotated[str | None, typer.Option(help="how numbers and dates are written: de_DE, en_US, …")]


def _log_options(
    preset: Annotated[str, typer.Option("--format", help="a public log's or export's name, generic, or auto")] = AUTO,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", help="user=COLUMN item=COLUMN time=COLUMN …, repeatable; a.b steps into JSON"),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(help="the log's event words: buy=purchase return=-purchase ping=ignore, repeatable"),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="kind of every event where no column says")] = None,
    separator: Annotated[str | None, typer.Option(help="column separator of a text file")] = None,
    time_format: Annotated[str | None, typer.Option(help="strptime format of times, the only one then")] = None,
    time_unit: Annotated[str | None, typer.Option(help="s, ms, us or ns of integer times, the only one then")] = None,
    timezone: Annotated[str, typer.Option(help="zone of times that name none")] = "UTC",
    locale: Locale = None,
    null: Annotated[list[str] | None, typer.Option("--null", help="a word that means nothing, repeatable")] = None,
    guests: Annotated[
        list[str] | None, typer.Option("--guests", help="a user id that many people share, repeatable")
    ] = None,
    no_header: Annotated[
        bool, typer.Option("--no-header", help="the first line is a row: columns are column_1, column_2, …")
    ] = False,
    no_time: Annotated[
        bool, typer.Option("--no-time", help="the log has no times: its order is that of the file")
    ] = False,
) -> LogOptions:
    return LogOptions(
        preset=preset,
        mapping=pairs("--map", mapping) or None,
        timezone=timezone,
        kind=kind,
        kinds=pairs("--kinds", kinds) or None,
        separator=separator,
        time_format=time_format,
        time_unit=time_unit,
        locale=locale,
        null=null or (),
        guests=guests or (),
        no_header=no_header,
        no_time=no_time,
    )


def with_log_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options by which a log is read, in the place of its parameter `options`."""
    shared = signature(_log_options, eval_str=True).parameters
    parameters: list[Parameter] = []
    for parameter in signature(command, eval_str=True).parameters.values():
        parameters += shared.values() if parameter.name == "options" else [parameter]

    @wraps(command)
    def with_options(**values: Any) -> None:
        options = _log_options(**{name: values.pop(name) for name in shared})
        command(**values, options=options)

    by_keyword = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters]
    with_options.__signature__ = Signature(by_keyword)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options
