"""Orders as shop systems export them: Shopify, WooCommerce, Magento. Refunded and cancelled lines undo purchases."""

from __future__ import annotations

from collections.abc import Iterator

from data.exports.flat import IGNORED, Export, Record, first, has, objects, within

_NO_SALE = frozenset(
    ["failed", "pending", "draft", "checkout-draft", "trash", "pending_payment", "payment_review", "fraud"]
)
_UNDONE = frozenset(["refunded", "voided", "cancelled", "canceled", "closed"])


def _line(head: Record, line: Record, undone_at: object) -> Iterator[Record]:
    """Yield a purchase, and its undoing when the order was taken back."""
    yield {**head, **line, "event": "purchase"}
    if undone_at:
        yield {**head, **line, "event": "refund", "time": undone_at}


def _shopify_csv(record: Record) -> Iterator[Record]:
    paid = first(record, "Created at", "Paid at", "Processed at")
    status = str(record.get("Financial Status") or "").lower()
    undone = first(record, "Cancelled at") or (paid if status in ("refunded", "voided") else None)
    head = {
        "user": str(first(record, "Email", "Customer: ID", "Phone") or "").lower() or None,
        "time": paid,
        "order_id": record.get("Name"),
        "currency": record.get("Currency"),
    }
    line = {
        "item": first(record, "Lineitem sku", "Lineitem name"),
        "title": record.get("Lineitem name"),
        "price": record.get("Lineitem price"),
        "quantity": record.get("Lineitem quantity"),
    }
    if status in ("pending", "expired"):
        yield {**head, **line, "event": IGNORED}
        return
    yield from _line(head, line, undone)


def _shopify_json(record: Record) -> Iterator[Record]:
    email = str(first(record, "email", "contact_email") or "").lower()
    head = {
        "user": email or within(record, "customer", "id"),
        "time": first(record, "created_at", "processed_at"),
        "order_id": first(record, "name", "id"),
        "currency": record.get("currency"),
    }
    lines = objects(record.get("line_items"))
    for entry in lines:
        yield from _line(head, _shopify_line(entry), record.get("cancelled_at"))
    for refund in objects(record.get("refunds")) if not record.get("cancelled_at") else []:
        for entry in objects(refund.get("refund_line_items")):
            line = {**_shopify_line(entry.get("line_item") or {}), "quantity": entry.get("quantity")}
            yield {**head, **line, "event": "refund", "time": refund.get("created_at")}
    if not lines:
        yield {**head, "event": IGNORED}


def _shopify_line(entry: Record) -> Record:
    names = {"item": ("sku", "variant_id", "product_id"), "title": ("title", "name"), "price": ("price",)}
    return {field: first(entry, *known) for field, known in names.items()} | {"quantity": entry.get("quantity")}


def _woo_json(record: Record) -> Iterator[Record]:
    status = str(record.get("status") or "").lower()
    customer = record.get("customer_id")
    head = {
        "user": str(within(record, "billing", "email") or "").lower()
        or (customer if customer not in (0, "0") else None),
        "time": first(record, "date_created_gmt", "date_created"),
        "order_id": record.get("id"),
        "currency": record.get("currency"),
    }
    undone = first(record, "date_modified_gmt", "date_modified") if status in _UNDONE else None
    lines = objects(record.get("line_items"))
    for entry in lines:
        line = {
            "item": first(entry, "sku") or (entry.get("variation_id") or entry.get("product_id")),
            "title": entry.get("name"),
            "price": entry.get("price"),
            "quantity": entry.get("quantity"),
        }
        if status in _NO_SALE:
            yield {**head, **line, "event": IGNORED}
        else:
            yield from _line(head, line, undone)
    if not lines:
        yield {**head, "event": IGNORED}


def _woo_csv(record: Record) -> Iterator[Record]:
    status = str(first(record, "Order Status", "status") or "").lower().removeprefix("wc-")
    head = {
        "user": str(first(record, "Email (Billing)", "billing_email", "Customer User ID") or "").lower() or None,
        "time": first(record, "Order Date", "order_date", "date"),
        "order_id": first(record, "Order Number", "Order ID", "order_id"),
        "currency": first(record, "Order Currency", "currency"),
    }
    line = {
        "item": first(record, "SKU", "Product Id", "Item Name"),
        "title": record.get("Item Name"),
        "price": first(record, "Item Cost", "Item Price"),
        "quantity": first(record, "Quantity", "Quantity (- Refund)"),
    }
    if status.replace(" ", "-") in _NO_SALE or "pending" in status:
        yield {**head, **line, "event": IGNORED}
        return
    yield from _line(head, line, head["time"] if status in _UNDONE else None)


def _magento(record: Record) -> Iterator[Record]:
    head = {
        "user": str(record.get("customer_email") or "").lower() or record.get("customer_id"),
        "time": record.get("created_at"),
        "order_id": record.get("increment_id"),
        "currency": first(record, "order_currency_code", "base_currency_code"),
    }
    status = str(first(record, "status", "state") or "").lower()
    lines = [line for line in objects(record.get("items")) if not line.get("parent_item_id")]
    for entry in lines:
        line = {
            "item": first(entry, "sku", "product_id"),
            "title": entry.get("name"),
            "price": entry.get("price"),
            "quantity": entry.get("qty_ordered"),
        }
        if status in _NO_SALE:
            yield {**head, **line, "event": IGNORED}
            continue
        yield {**head, **line, "event": "purchase"}
        back = float(entry.get("qty_refunded") or 0) + float(entry.get("qty_canceled") or 0)
        if back > 0:
            yield {
                **head,
                **line,
                "event": "refund",
                "quantity": back,
                "time": first(record, "updated_at", "created_at"),
            }
    if not lines:
        yield {**head, "event": IGNORED}


SHOPS = (
    Export(
        "shopify-orders",
        lambda record: has(record, "Lineitem name", "Lineitem quantity", "Created at"),
        _shopify_csv,
        partly_refunded=lambda record: str(record.get("Financial Status") or "").lower() == "partially_refunded",
        carry=("Name", ("Email", "Financial Status", "Paid at", "Currency", "Created at", "Cancelled at", "Phone")),
    ),
    Export(
        "shopify-orders-json",
        lambda record: has(record, "line_items", "created_at") and has(record, "financial_status"),
        _shopify_json,
    ),
    Export(
        "woocommerce-orders-json",
        lambda record: (
            has(record, "line_items", "billing") and ("date_created_gmt" in record or "date_created" in record)
        ),
        _woo_json,
        partly_refunded=lambda record: (
            bool(objects(record.get("refunds"))) and str(record.get("status") or "").lower() not in _UNDONE
        ),
    ),
    Export(
        "woocommerce-orders",
        lambda record: ("Order Number" in record or "Order ID" in record) and has(record, "Item Name", "Order Status"),
        _woo_csv,
    ),
    Export("magento-orders", lambda record: has(record, "increment_id", "items"), _magento),
)
