"""schema.org products in saved pages: the JSON-LD that a shop writes into its HTML for search engines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from data.feeds.feed import Entry


class _Scripts(HTMLParser):
    """Collects the text of script elements of type application/ld+json."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script" and (dict(attrs).get("type") or "").lower() == "application/ld+json":
            self.texts.append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data


def read_page(path: Path) -> Iterator[Entry]:
    """Read the products of one saved page; a block that is no JSON is left out, as search engines do."""
    parser = _Scripts()
    parser.feed(path.read_text(encoding="utf-8-sig", errors="replace"))
    for text in parser.texts:
        try:
            told = json.loads(text)
        except ValueError:
            continue
        for product in _products(told):
            yield from _entries(product)


def _products(told: Any) -> Iterator[dict[str, Any]]:
    if isinstance(told, list):
        for part in told:
            yield from _products(part)
    elif isinstance(told, dict):
        kinds = told.get("@type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if "ProductGroup" in kinds or "Product" in kinds:
            yield told
        for name in ("@graph", "mainEntity", "itemListElement", "item"):
            if name in told:
                yield from _products(told[name])


def _entries(product: dict[str, Any]) -> Iterator[Entry]:
    variants = product.get("hasVariant") if isinstance(product.get("hasVariant"), list) else [product]
    group = product.get("productGroupID") if variants != [product] else None
    for variant in variants or []:
        if not isinstance(variant, dict):
            continue
        offer = _one(variant.get("offers")) or {}
        brand, image = variant.get("brand") or product.get("brand"), _one(variant.get("image") or product.get("image"))
        yield {
            "id": variant.get("sku") or variant.get("productID") or variant.get("@id") or variant.get("gtin13"),
            "group": group or variant.get("inProductGroupWithID"),
            "group_title": product.get("name") if group else None,
            "title": variant.get("name") or product.get("name"),
            "category": _name(variant.get("category") or product.get("category")),
            "price": offer.get("price") or offer.get("lowPrice"),
            "currency": offer.get("priceCurrency"),
            "availability": offer.get("availability"),
            "brand": _name(brand),
            "gtin": variant.get("gtin13") or variant.get("gtin"),
            "image": image.get("url") if isinstance(image, dict) else image,
            "url": variant.get("url") or product.get("url"),
        }


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _name(value: Any) -> Any:
    return value.get("name") if isinstance(value, dict) else _one(value)
