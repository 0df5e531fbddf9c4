"""Feeds as tables: Google Merchant Center tsv, Facebook catalogue csv, Shopify and WooCommerce product exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data.feeds.feed import Entry

Row = Mapping[str, Any]
_GOOGLE = {
    "id": "id", "group": "item_group_id", "title": "title", "price": "price", "sale_price": "sale_price",
    "availability": "availability", "brand": "brand", "gtin": "gtin", "image": "image_link", "url": "link",
    "colour": "color", "size": "size",
}  # fmt: skip
_CATEGORIES = ("product_type", "google_product_category", "fb_product_category")


def table_format(columns: Sequence[str]) -> str:
    """Name the feed that a header is of, "" for none."""
    names = {name.strip().lower().replace(" ", "_") for name in columns}
    if {"handle", "title", "variant_price"} <= names:
        return "shopify-products"
    if {"type", "sku", "name", "regular_price"} <= names and ({"in_stock?", "stock_status", "id"} & names):
        return "woocommerce-products"
    if {"id", "title", "availability", "price"} <= names and ({"image_link", "link", "condition"} & names):
        facebook = {"fb_product_category", "quantity_to_sell_on_facebook"} & names
        return "facebook-catalogue" if facebook else "google-merchant"
    return ""


def read_table(name: str, rows: Iterator[Row]) -> Iterator[Entry]:
    """Read the entries of a feed that table_format recognised. rows: by the header's own names."""
    plain = ({key.strip().lower().replace(" ", "_"): value for key, value in row.items()} for row in rows)
    return {"shopify-products": _shopify, "woocommerce-products": _woocommerce}.get(name, _google)(plain)


def _google(rows: Iterator[Row]) -> Iterator[Entry]:
    for row in rows:
        entry = {field: row.get(column) for field, column in _GOOGLE.items()}
        yield entry | {"category": next((row[name] for name in _CATEGORIES if row.get(name)), None)}


def _shopify(rows: Iterator[Row]) -> Iterator[Entry]:
    """Read Shopify's products.

    A product is the lines of one handle. Its first line has what all share; lines of an image alone are none.
    """
    first: Row = {}
    for row in rows:
        if row.get("handle") != first.get("handle"):
            first = row
        if not (row.get("variant_price") or row.get("variant_sku")):
            continue
        status = str(first.get("status") or "active").lower()
        published = str(first.get("published") or "true").lower() == "true" and status == "active"
        yield {
            "id": row.get("variant_sku") or f"{row.get('handle')}",
            "group": row.get("handle"),
            "title": first.get("title"),
            "category": first.get("product_category") or first.get("type"),
            "price": row.get("variant_compare_at_price") or row.get("variant_price"),
            "sale_price": row.get("variant_price") if row.get("variant_compare_at_price") else None,
            "availability": _shopify_stock(row) if published else "archived",
            "brand": first.get("vendor"),
            "gtin": row.get("variant_barcode"),
            "image": row.get("variant_image") or first.get("image_src"),
        }


def _shopify_stock(row: Row) -> str:
    """Judge stock: an untracked variant, and one that may be sold below zero, are in stock."""
    if not row.get("variant_inventory_tracker") or row.get("variant_inventory_policy") == "continue":
        return "in stock"
    return str(row.get("variant_inventory_qty") or "")


def _woocommerce(rows: Iterator[Row]) -> Iterator[Entry]:
    """Read WooCommerce's products.

    A variation names its parent by ``id:12`` or by SKU; a variable product itself has no price of its own.
    """
    skus: dict[str, str] = {}
    for row in rows:
        kind, product_id = str(row.get("type") or "").lower(), str(row.get("sku") or row.get("id") or "")
        if row.get("id"):
            skus[f"id:{row['id']}"] = product_id
        parent = str(row.get("parent") or "")
        yield {
            "id": product_id,
            "group": skus.get(parent, parent) if "variation" in kind else product_id,
            "title": row.get("name"),
            "category": row.get("categories"),
            "price": row.get("regular_price"),
            "sale_price": row.get("sale_price"),
            "availability": row.get("in_stock?") or row.get("stock_status") or row.get("stock"),
            "image": str(row.get("images") or "").partition(",")[0],
            "brand": row.get("brands"),
            "gtin": row.get("gtin,_upc,_ean,_or_isbn"),
        }
