"""A catalogue feed as a table of items: prices with one currency, availability, variants of a product as one item."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from data.errors import DataError
from data.limits import MAX_ID_CHARS
from data.values.availability import read_availability
from data.values.numbers import PLAIN, Locale, currency_of, price_of

Entry = dict[str, Any]
"""One product or variant: id, group, title, category, price, sale_price, availability, brand, image, url, gtin, …"""
ATTRIBUTES = ("brand", "gtin", "image", "url", "colour", "size", "regular_price", "variants")
_SHOWN = 3


@dataclass(frozen=True)
class Feed:
    """name: of the format. frame: item_id, title, category, price, available and those of ATTRIBUTES that it has.

    aliases: id of a variant → id of its product, which is the item. currency: of all prices, "" where none is named.
    notes: what was no value.
    """

    name: str
    frame: pl.DataFrame
    aliases: dict[str, str]
    currency: str
    notes: tuple[str, ...]


def make_feed(name: str, entries: Iterator[Entry] | Sequence[Entry], locale: Locale = PLAIN) -> Feed:
    """Gather the variants of each product: the first one names it, the cheapest one prices it, any one is available.

    Raises DataError when prices are in more than one currency, or no entry has an id.
    """
    items: dict[str, Entry] = {}
    aliases: dict[str, str] = {}
    odd_prices: list[str] = []
    odd_words: list[str] = []
    currency, nameless = "", 0
    for entry in entries:
        entry_id, group = _text(entry.get("id")), _text(entry.get("group"))
        key = group or entry_id or ""
        if not _usable(key):
            nameless += 1
            continue
        if entry_id and entry_id != key and _usable(entry_id):
            aliases[entry_id] = key
        regular, sale = (_price(entry.get(field), locale, odd_prices) for field in ("price", "sale_price"))
        for field in ("price", "sale_price"):
            told = _text(entry.get("currency")) or currency_of(_text(entry.get(field)) or "")
            if told and entry.get(field) and currency and told != currency:
                raise DataError(f"items={name}: prices in {currency} and in {told}: a catalogue has one currency")
            currency = currency or (told if told and entry.get(field) else "")
        word = _text(entry.get("availability"))
        available = read_availability(word) if word else None
        if word and available is None:
            odd_words.append(word)
        row = {
            "item_id": key,
            "title": _text(entry.get("group_title")) or _text(entry.get("title")),
            "category": _text(entry.get("category")),
            "price": sale if sale is not None and (regular is None or sale <= regular) else regular,
            "regular_price": regular if sale is not None else None,
            "available": available,
            **{field: _text(entry.get(field)) for field in ("brand", "gtin", "image", "url", "colour", "size")},
            "variants": 1,
        }
        items[key] = _merged(items[key], row) if key in items else row
    if not items:
        raise DataError(f"items={name}: no entry has an id")
    schema: dict[str, Any] = dict.fromkeys(next(iter(items.values())), pl.String)
    schema |= {"price": pl.Float64, "regular_price": pl.Float64, "available": pl.Boolean, "variants": pl.Int64}
    frame = pl.DataFrame(list(items.values()), schema=schema)
    empty = [field for field in ATTRIBUTES if frame[field].null_count() == len(frame)]
    if not aliases:
        empty.append("variants")
    notes = [f"items: read as {name}" + (f", prices in {currency}" if currency else "")]
    if aliases:
        notes.append(f"items: {len(aliases)} variants are grouped into {len(set(aliases.values()))} products")
    notes += [f"items: {nameless} entries have no usable id; left out"] if nameless else []
    notes += _told("values are no price", odd_prices) + _told("words of availability are unknown", odd_words)
    return Feed(name, frame.drop(dict.fromkeys(empty)), aliases, currency, tuple(notes))


def _merged(before: Entry, row: Entry) -> Entry:
    """Merge one more variant into a product.

    What is told first stays, the lowest price counts, one in stock is enough.
    """
    merged = {field: before[field] if before[field] is not None else row[field] for field in before}
    prices = [entry["price"] for entry in (before, row) if entry["price"] is not None]
    in_stock = [entry["available"] for entry in (before, row) if entry["available"] is not None]
    return merged | {
        "price": min(prices, default=None),
        "available": any(in_stock) if in_stock else None,
        "variants": before["variants"] + 1,
    }


def _price(value: Any, locale: Locale, odd: list[str]) -> float | None:
    if value in (None, ""):
        return None
    price = price_of(value, locale)
    if price is None:
        odd.append(str(value))
    return price


def _text(value: Any) -> str | None:
    text = re.sub(r"\s+", " ", str(value)).strip() if value is not None else ""
    return text or None


def _usable(key: str) -> bool:
    return 0 < len(key) <= MAX_ID_CHARS and key not in (".", "..") and key.isprintable()


def _told(what: str, values: list[str]) -> list[str]:
    if not values:
        return []
    return [f"items: {len(values)} {what} ({', '.join(map(repr, values[:_SHOWN]))}); they are unknown"]
