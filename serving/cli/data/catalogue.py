"""`ownshelf catalogue import`: a feed to a running service, of which only what changed is put."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from data.atomic import write_atomically
from data.errors import DataError, OwnshelfError, ServingError
from data.feeds.feed import Feed
from data.log_reading.opening.feed_files import open_feed
from data.log_reading.opening.sources import files_of
from data.values.numbers import Locale as NumberLocale
from serving.cli.data.log_options import Locale
from serving.cli.errors import OneLineErrors
from serving.cli.options import AsJson
from serving.cli.output import console, errors, print_json

app = typer.Typer(cls=OneLineErrors, no_args_is_help=True, pretty_exceptions_enable=False)
BATCH = 500
"""Items in one PUT."""
MAX_GONE = 0.5
FEW_GONE = 10
"""Items that may always vanish."""
FIELDS = ("title", "category", "price", "available")
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Difference:
    """Changes of a feed since the last time. put: item_id → fields; gone: items that it has no more."""

    put: dict[str, dict[str, Any]]
    gone: tuple[str, ...]
    marks: dict[str, str]


@app.callback()
def options() -> None:
    """Fetch the catalogue of a running service."""


@app.command("import")
def import_(
    feed: Annotated[str, typer.Argument(help="catalogue feed: xml, tsv, csv or saved pages; Google, Shopify, …")],
    service: Annotated[str, typer.Option(help="address of the service")],
    key: Annotated[str | None, typer.Option(envvar="OWNSHELF_API_KEY", help="API key that may put items")] = None,
    state: Annotated[Path | None, typer.Option(help="what was put last; by default beside the feed")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="go on, and put what changes in the feed")] = False,
    every_s: Annotated[float, typer.Option(min=0.1, help="seconds between two looks at the feed")] = 5.0,
    max_gone: Annotated[
        float, typer.Option(min=0, max=1, help="share of the items that may vanish from the feed at once")
    ] = MAX_GONE,
    locale: Locale = None,
    as_json: AsJson = False,
) -> None:
    """Put the items of a feed whose title, category, price or availability changed since the last import.

    An item that the feed has no more becomes unavailable. While it watches, a feed that is half written and a service
    that is away are named, and tried again at the next look.
    """
    book = state or Path(f"{feed}.imported.json")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=service, headers=headers, timeout=_TIMEOUT_S) as client:

        def put() -> None:
            _say(import_feed(_opened(feed, locale), client, book, max_gone), as_json)

        if watch:
            watch_feed(feed, put, lambda: time.sleep(every_s))
        else:
            put()


def watch_feed(feed: str, put: Callable[[], None], wait: Callable[[], None]) -> None:
    """Put a feed now and whenever a file of it changed, until Ctrl-C.

    A change is put at the first look that finds it as the look before did: a file that is being written waits. What
    failed is said once, and tried again at the next look.
    """
    put_last: object = None
    last_look: object = None
    problem = ""
    while True:
        try:
            stamp = [(path, path.stat().st_mtime_ns, path.stat().st_size) for path in files_of(feed)]
            settled = last_look is None or stamp == last_look
            last_look = stamp
            if settled and stamp != put_last:
                put()
                put_last, problem = stamp, ""
        except (OwnshelfError, OSError, httpx.HTTPError) as error:
            if str(error) != problem:
                problem = str(error)
                errors.print(f"{problem}; trying again", style="yellow")
        wait()


def import_feed(feed: Feed, client: httpx.Client, book: Path, max_gone: float = MAX_GONE) -> dict[str, int]:
    """Put what changed since `book` was written, then write it; return the counts.

    Raises DataError when a larger share than `max_gone` of the items has vanished: a feed cut short would empty the
    shop. Raises ServingError when the service refuses; then the book says what was put until then.
    """
    before = _marks(book)
    change = difference(feed, before)
    if len(change.gone) > max(max_gone * len(before), FEW_GONE):
        raise DataError(
            f"feed={feed.name}: {len(change.gone)} of {len(before)} items are no longer in it: is it whole? "
            "--max-gone 1 lets them become unavailable"
        )
    done = dict(before)
    for batch in _batches(change.put):
        _put(client, batch)
        done |= {item_id: change.marks[item_id] for item_id in batch}
        write_atomically(book, _text(done))
    for batch in _batches({item_id: {"available": False} for item_id in change.gone}):
        _put(client, batch)
        done = {item_id: mark for item_id, mark in done.items() if item_id not in batch}
        write_atomically(book, _text(done))
    write_atomically(book, _text(done))
    return {"items": len(feed.frame), "put": len(change.put), "gone": len(change.gone)}


def difference(feed: Feed, before: Mapping[str, str]) -> Difference:
    """Find what the feed says otherwise than the marks of the last import."""
    rows = feed.frame.select("item_id", *(name for name in FIELDS if name in feed.frame.columns)).to_dicts()
    fields = {row.pop("item_id"): {**row, "available": row.get("available") is not False} for row in rows}
    marks = {item_id: _mark(told) for item_id, told in fields.items()}
    put = {item_id: fields[item_id] for item_id, mark in marks.items() if before.get(item_id) != mark}
    return Difference(put, tuple(sorted(before.keys() - fields.keys())), marks)


def _opened(feed: str, locale: str | None) -> Feed:
    files_of(feed)  # raises for a path that is missing, which is no unknown feed
    opened = open_feed(feed, locale=NumberLocale.of(locale))
    if opened is None:
        raise DataError(f"feed={feed}: is no catalogue feed that is known; `ownshelf inspect {feed}` says what it is")
    return opened


def _put(client: httpx.Client, batch: Mapping[str, Mapping[str, Any]]) -> None:
    items = [{"item_id": item_id, **fields} for item_id, fields in batch.items()]
    try:
        answer = client.put("/v1/items", content=json.dumps({"items": items}, allow_nan=False).encode(),
                            headers={"content-type": "application/json"})  # fmt: skip
    except httpx.HTTPError as error:
        raise ServingError(f"service={client.base_url}: cannot be reached ({type(error).__name__})") from None
    if answer.status_code != 200:
        raise ServingError(f"service={client.base_url}: refused {len(items)} items: {answer.text[:300]}")


def _batches(items: Mapping[str, dict[str, Any]]) -> Iterator[dict[str, dict[str, Any]]]:
    names = list(items)
    for start in range(0, len(names), BATCH):
        yield {name: items[name] for name in names[start : start + BATCH]}


def _mark(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


def _marks(book: Path) -> dict[str, str]:
    try:
        marks: dict[str, str] = json.loads(book.read_text(encoding="utf-8"))["items"]
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError):
        raise DataError(f"state={book}: is no state of an import; remove it to put everything again") from None
    return marks


def _text(marks: Mapping[str, str]) -> bytes:
    return (json.dumps({"items": marks}, indent=0, sort_keys=True) + "\n").encode()


def _say(counts: Mapping[str, int], as_json: bool) -> None:
    if as_json:
        print_json(counts)
    else:
        words = f"{counts['put']} of {counts['items']} items put, {counts['gone']} no longer in the feed"
        console.print(words, highlight=False)
