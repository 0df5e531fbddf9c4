"""JSON as rows of text: one object a line, an array, or an object that holds one; a broken line is a row of nulls.

This is the plain reader: it says what polars' own reader must give for every file that polars reads at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

_CHUNK = 1 << 16
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = " \t\r\n,"
_ESCAPES = str.maketrans({'"': '\\"', "\n": "\\n", "\r": "\\r"})
"""All that polars escapes of a text within a list or an object; a backslash stays as it is."""

Row = list[str | int | None]
Record = tuple[int, dict[str, Any] | None]
"""The line at which an object begins, from 1, and the object; None where the line holds none."""


def read_records(path: Path) -> Iterator[Record]:
    """Read every object of a JSON file: of its lines, of its array, or of the first array within its one object."""
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        first = next((line for line in stream if line.strip()), "").strip()
    whole = first.startswith("[") or (first.startswith("{") and parse(first) is None and not first.endswith("}"))
    return _of_array(path) if whole else _of_lines(path)


def parse(text: str) -> dict[str, Any] | None:
    """Parse the object that a text is, or None. Of a key that occurs twice the first counts."""
    try:
        value = json.loads(text, object_pairs_hook=_pairs, parse_constant=_refuse, parse_float=_float)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def text_of(value: Any) -> str | None:
    """Write a JSON value as polars does in a column of text: 1.0 is "1", a list is "[1, 2]", null is None."""
    if value is None:
        return None
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    return _inner(value)


def lookup(record: dict[str, Any], name: str) -> Any:
    """Look up a field, or a dotted path: ``properties.sku``; digits step into a list."""
    if name in record:
        return record[name]
    value: Any = record
    for part in name.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def plain_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield line and the text of `columns` (names or dotted paths) of each object; blank lines are no rows."""
    for line, record in read_records(path):
        yield [line, *(None if record is None else text_of(lookup(record, name)) for name in columns)]


def exploded_rows(path: Path, columns: Sequence[str], events_in: str) -> Iterator[Row]:
    """Yield line and `columns` of each event of a session. A line without a list of objects is one row of nulls."""
    for line, record in read_records(path):
        events = None if record is None else record.get(events_in)
        usable = isinstance(events, list) and all(isinstance(event, dict) for event in events)
        for event in (events or [{}]) if usable and isinstance(events, list) else [None]:
            row = {} if event is None else {**(record or {}), **event}
            yield [line, *(text_of(row.get(name)) for name in columns)]


def _of_lines(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, parse(line)


def _of_array(path: Path) -> Iterator[Record]:
    """Yield objects of the first array of a file, a buffer at a time; what is no object ends as one record of None."""
    decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_refuse, parse_float=_float)
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        buffer, line = "", 1
        while "[" not in buffer:
            if not (chunk := stream.read(_CHUNK)):
                yield 1, None
                return
            buffer += chunk
        start = buffer.index("[") + 1
        line += buffer.count("\n", 0, start)
        buffer, wanted = buffer[start:], _CHUNK
        while True:
            rest = buffer.lstrip(_SPACE)
            line += buffer.count("\n", 0, len(buffer) - len(rest))
            buffer = rest
            if buffer.startswith("]"):
                return
            try:
                value, end = decoder.raw_decode(buffer)
                if end == len(buffer) and not isinstance(value, (dict, list)):
                    raise ValueError  # a number may go on in what is not read yet
            except (ValueError, RecursionError):
                chunk = stream.read(wanted)
                wanted *= 2  # an object of many chunks is not tried once a chunk
                if not chunk:
                    yield line, None
                    return
                buffer += chunk
                continue
            wanted = _CHUNK
            yield line, value if isinstance(value, dict) else None
            line += buffer.count("\n", 0, end)
            buffer = buffer[end:]


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(pairs) if len({name for name, _ in pairs}) == len(pairs) else dict(reversed(pairs))


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large")
    return value


def _number(value: float) -> str:
    """Write a number as Rust does: all digits, no exponent, no ``.0``."""
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _members(value: dict[str, Any]) -> str:
    return ", ".join(f'"{key}": {_inner(member)}' for key, member in value.items())


_WRITE: dict[type, Callable[[Any], str]] = {
    str: lambda value: f'"{_SURROGATE.sub(chr(0xFFFD), value).translate(_ESCAPES)}"',
    bool: lambda value: "true" if value else "false",
    int: str,
    float: _number,
    list: lambda value: f"[{', '.join(map(_inner, value))}]",
    dict: lambda value: "{" + _members(value) + "}",
}


def _inner(value: Any) -> str:
    return "null" if value is None else _WRITE.get(type(value), str)(value)
