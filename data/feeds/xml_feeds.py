"""Feeds in XML: Google Merchant Center (RSS and Atom) and Heureka, an element at a time, without entities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError  # nosec B405 # types only; defusedxml parses

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from data.errors import DataError
from data.feeds.feed import Entry

_GOOGLE = {
    "id": "id", "item_group_id": "group", "title": "title", "product_type": "category", "price": "price",
    "sale_price": "sale_price", "availability": "availability", "brand": "brand", "gtin": "gtin",
    "image_link": "image", "link": "url", "color": "colour", "size": "size",
}  # fmt: skip
_HEUREKA = {
    "ITEM_ID": "id", "ITEMGROUP_ID": "group", "PRODUCTNAME": "title", "CATEGORYTEXT": "category", "PRICE_VAT": "price",
    "MANUFACTURER": "brand", "EAN": "gtin", "IMGURL": "image", "URL": "url",
}  # fmt: skip
_ENTRIES = {"item": _GOOGLE, "entry": _GOOGLE, "SHOPITEM": _HEUREKA}


def xml_format(head: str) -> str:
    """Tell google-merchant or heureka by the start of a file, "" for other XML."""
    if "<SHOP" in head:
        return "heureka"
    return "google-merchant" if "base.google.com" in head or "<g:id" in head else ""


def read_xml(path: Path) -> Iterator[Entry]:
    """Read the entries of a feed. Raises DataError for broken XML and for XML that declares entities."""
    try:
        for _, element in iterparse(str(path), events=("end",), forbid_dtd=False, forbid_entities=True):
            names = _ENTRIES.get(_local(element))
            if names is None:
                continue
            yield _entry(element, names)
            element.clear()
    except DefusedXmlException:
        raise DataError(f"items={path.name}: declares XML entities, which no feed needs; it is not read") from None
    except ParseError as error:
        raise DataError(f"items={path.name}: broken XML ({error})") from None


def _entry(element: Element, names: dict[str, str]) -> Entry:
    entry: Entry = {}
    for child in element:
        field = names.get(_local(child))
        if field and field not in entry:
            text = (child.text or "").strip() or child.get("href", "")
            if text:
                entry[field] = text
    if names is _HEUREKA:
        entry["currency"] = ""
        entry["category"] = (entry.get("category") or "").removeprefix("Heureka.cz | ").replace(" | ", " > ")
        delivery = next((child.text for child in element if _local(child) == "DELIVERY_DATE"), None)
        entry["availability"] = "in stock" if delivery is None or delivery.strip().isdigit() else ""
    return entry


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]
