"""Files that are a catalogue feed, told by their content, read as one table of items."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.feeds.feed import Feed, make_feed
from data.feeds.json_ld import read_page
from data.feeds.table_feeds import read_table, table_format
from data.feeds.xml_feeds import read_xml, xml_format
from data.log_reading.opening.csv_files import first_line
from data.log_reading.opening.export_files import SEPARATORS, records_of
from data.log_reading.opening.sources import Table, files_of
from data.log_reading.opening.unpacking import unpack
from data.values.numbers import PLAIN, Locale

_HEAD_BYTES = 1 << 16


def feed_format(path: Path) -> str:
    """Tell a feed's format.

    One of google-merchant, facebook-catalogue, shopify-products, woocommerce-products, heureka, json-ld, or "".
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if b"\0" in head or not head.strip():
        return ""
    text = head.decode("utf-8-sig", "replace").lstrip()
    if text.startswith("<"):
        return xml_format(text) or ("json-ld" if "<html" in text.lower() or "<!doctype html" in text.lower() else "")
    if text.startswith(("{", "[")):
        return ""
    return table_format(first_line(text.splitlines(keepends=True), SEPARATORS)[1])


def open_feed(source: Table, scratch: Path | None = None, locale: Locale = PLAIN) -> Feed | None:
    """Open the feed that files are, or None where they are none. Raises DataError for a feed that cannot be used."""
    try:
        paths = [unpack(path, scratch)[0] for path in files_of(source)]
    except DataError:
        return None
    names = [feed_format(path) for path in paths]
    if not names[0]:
        return None
    if len(set(names)) > 1:
        raise DataError(f"items={paths[0].name} …: files of several formats: {', '.join(sorted(set(names)))}")
    return make_feed(names[0], chain.from_iterable(_entries(names[0], path) for path in paths), locale)


def _entries(name: str, path: Path) -> Iterator[dict[str, Any]]:
    if name == "json-ld":
        return read_page(path)
    if _is_xml(path):
        return read_xml(path)
    return read_table(name, (record for _, record in records_of(path) if record is not None))


def _is_xml(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")
