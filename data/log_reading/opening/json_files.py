"""JSON files as lazy frames: polars reads the clean ones, `json_rows` the others; each file by one of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from data.errors import DataError
from data.log_reading.opening.csv_repair import set_down
from data.log_reading.opening.json_rows import exploded_rows, parse, plain_rows, read_records
from data.log_reading.opening.source import LINE, Source

_PIECE = 1 << 20
_HEAD_LINES = 1_000
_BLANK = re.compile(rb"\n[ \t\r]*\n")
# Polars writes NUL for half of a surrogate pair, which is no character.
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F]"
_SURROGATE = re.compile(_HIGH + b"(?!" + _LOW + b")|(?<!" + _HIGH + b")" + _LOW)


@dataclass(frozen=True)
class JsonShape:
    """The shape of a JSON file, from one pass over its bytes.

    clean: polars and the plain reader give the same rows. late: those of some wanted top-level fields that only lines
    after the first thousand have.
    """

    clean: bool
    late: tuple[str, ...]


def open_json(
    path: Path, name: str, head: bytes, known: frozenset[str], events_in: str, scratch: Path | None
) -> Source:
    """Open a file of one object a line, an array of objects, or an object that holds one.

    head: the start of the file. known: fields to look for in the whole file. Dotted names of `known` whose first part
    is a field become columns. events_in: the field whose list has one object an event, or "".
    """
    fields, inner = _fields(path, events_in)
    if events_in and not inner:
        raise DataError(f"source={name}: no line of its start has a list of objects in {events_in!r}")
    if not fields:
        raise DataError(f"source={name}: no line of its start is a JSON object")
    shape = _scan(path, known.difference(fields) if not events_in else frozenset())
    fields = (*fields, *shape.late)
    lines = shape.clean and not head.startswith((b"\xef\xbb\xbf", b"[")) and _first_is_object(head)
    if events_in:
        outer = tuple(field for field in fields if field != events_in)
        columns = (*outer, *(field for field in inner if field not in outer))

        def sessions() -> Source:
            rows = set_down(exploded_rows(path, columns, events_in), (LINE, *columns), scratch)
            return Source(rows, rows, columns, name)

        if not lines:
            return sessions()
        return _sessions(path, name, outer, columns, events_in, sessions)
    dotted = tuple(sorted(field for field in known if field not in fields and field.partition(".")[0] in fields))
    columns = (*fields, *dotted)

    def by_hand() -> Source:
        rows = set_down(plain_rows(path, columns), (LINE, *columns), scratch)
        return Source(rows, rows, columns, name, nested=True)

    if not lines or dotted:
        return by_hand()
    frame = pl.scan_ndjson(path, schema=dict.fromkeys(fields, pl.String), row_index_name=LINE, row_index_offset=1)
    return Source(frame, frame, columns, name, by_hand, nested=True)


def json_paths(record: object, prefix: str = "") -> Iterator[str]:
    """Yield every dotted path of a record that leads to a value, for messages and `ownshelf inspect`."""
    if isinstance(record, dict):
        for key, value in record.items():
            yield from json_paths(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(record, list) and record and isinstance(record[0], dict):
        yield from json_paths(record[0], f"{prefix}.0")
    elif prefix:
        yield prefix


def _sessions(
    path: Path, name: str, outer: tuple[str, ...], columns: tuple[str, ...], events_in: str, by_hand: object
) -> Source:
    inner = pl.List(pl.Struct(dict.fromkeys(columns[len(outer) :], pl.String)))
    schema: dict[str, pl.DataType] = {**{field: pl.String() for field in outer}, events_in: inner}
    lines = pl.scan_ndjson(path, schema=schema, row_index_name=LINE, row_index_offset=1)
    frame = lines.explode(events_in).unnest(events_in).select(LINE, *columns)
    return Source(frame, frame, columns, name, by_hand)  # type: ignore[arg-type]


def _fields(path: Path, events_in: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """List fields of the first thousand objects, and those of their events."""
    outer: dict[str, None] = {}
    inner: dict[str, None] = {}
    for number, (_, record) in enumerate(read_records(path)):
        if number == _HEAD_LINES:
            break
        if record is None:  # counted as a bad row when it is its turn
            continue
        outer |= dict.fromkeys(record)
        events = record.get(events_in) if events_in else None
        if isinstance(events, list):
            inner |= dict.fromkeys(key for event in events if isinstance(event, dict) for key in event)
    return tuple(outer), tuple(inner)


def _first_is_object(head: bytes) -> bool:
    line = next((line for line in head.splitlines() if line.strip()), b"")
    return parse(line.decode("utf-8", "replace")) is not None


def _scan(path: Path, wanted: frozenset[str]) -> JsonShape:
    """Look at every byte of a file once: a refund far down may be the first row to need a field."""
    clean, late, missing = True, set[str](), set(wanted)
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE) + stream.readline():
            clean = clean and not (_BLANK.search(b"\n" + piece) or _SURROGATE.search(piece) or b"\0" in piece)
            for line in _lines_with(missing, piece) if missing else ():
                record = parse(line.decode("utf-8", "replace"))
                late |= missing.intersection(record or ())
                missing -= late
    return JsonShape(clean, tuple(sorted(late)))


def _lines_with(names: set[str], piece: bytes) -> Iterator[bytes]:
    """Yield lines that have one of the names as a key, at whatever depth; `names` may shrink meanwhile."""
    known = b"|".join(re.escape(json.dumps(name).encode()) for name in sorted(names, key=len, reverse=True))
    end = 0
    for hit in re.finditer(rb"[{,]\s*(" + known + rb")\s*:", piece):
        if hit.start() >= end and json.loads(hit[1]) in names:
            end = piece.find(b"\n", hit.end())
            end = len(piece) if end < 0 else end
            yield piece[piece.rfind(b"\n", 0, hit.start()) + 1 : end]
