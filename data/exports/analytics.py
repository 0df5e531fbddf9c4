"""Exports of analytics: GA4 in BigQuery, Segment and RudderStack, Snowplow, Matomo, Adobe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from data.exports.flat import IGNORED, Export, Record, each, first, has, objects, within

_GA4_ITEM = {
    "item": ("item_id", "item_name"), "title": ("item_name",), "category": ("item_category",), "price": ("price",),
    "quantity": ("quantity",),
}  # fmt: skip
_SEGMENT_ITEM = {
    "item": ("product_id", "sku", "id"), "title": ("name", "title"), "category": ("category",), "price": ("price",),
    "quantity": ("quantity",),
}  # fmt: skip
_SNOWPLOW = "com_snowplowanalytics_snowplow_"
_SNOWPLOW_ITEM = {
    "item": ("id", "sku"), "title": ("name",), "category": ("category",), "price": ("price", "unitPrice", "unit_price"),
    "quantity": ("quantity",), "currency": ("currency",),
}  # fmt: skip
_MATOMO_ITEM = {
    "item": ("itemSKU", "sku"), "title": ("itemName", "name"), "category": ("itemCategory", "category"),
    "price": ("price",), "quantity": ("quantity",),
}  # fmt: skip
_ADOBE_EVENTS = {"1": "purchase", "2": "prodView", "12": "scAdd", "13": "scRemove"}


def _ga4(record: Record) -> Iterator[Record]:
    params = {p.get("key"): p.get("value") for p in objects(record.get("event_params"))}
    session = params.get("ga_session_id")
    unknown = ("(not set)", None, "")
    items = [item for item in objects(record.get("items")) if first(item, "item_id", "item_name") not in unknown]
    head = {
        "user": first(record, "user_id", "user_pseudo_id"),
        "time": record.get("event_timestamp"),
        "event": record.get("event_name"),
        "session": first(session, "int_value", "string_value") if isinstance(session, dict) else session,
        "order_id": within(record, "ecommerce", "transaction_id"),
        "currency": first(params.get("currency"), "string_value") if isinstance(params.get("currency"), dict) else None,
    }
    yield from each(head, items, _GA4_ITEM)


def _segment(record: Record) -> Iterator[Record]:
    told = record.get("properties")
    properties: Record = told if isinstance(told, dict) else {}
    items = objects(properties.get("products"))
    if not items and first(properties, "product_id", "sku"):
        items = [properties]
    head = {
        "user": first(record, "userId", "user_id", "anonymousId", "anonymous_id"),
        "time": first(record, "timestamp", "originalTimestamp", "sentAt", "receivedAt"),
        "event": record.get("event") or record.get("type"),
        "order_id": first(properties, "order_id", "checkout_id"),
        "currency": properties.get("currency"),
        "session": within(record, "context", "sessionId"),
    }
    yield from each(head, items, _SEGMENT_ITEM)


def _snowplow(record: Record) -> Iterator[Record]:
    action = _first_of(record, f"unstruct_event_{_SNOWPLOW}ecommerce_snowplow_ecommerce_action_1")
    cart = _first_of(record, f"unstruct_event_{_SNOWPLOW}add_to_cart_1")
    removed = _first_of(record, f"unstruct_event_{_SNOWPLOW}remove_from_cart_1")
    items = objects(record.get(f"contexts_{_SNOWPLOW}ecommerce_product_1"))
    event = first(action, "type") or record.get("event_name") or record.get("event")
    if cart or removed:
        items, event = [cart or removed or {}], "add_to_cart" if cart else "remove_from_cart"
    head = {
        "user": first(record, "user_id", "domain_userid", "network_userid"),
        "time": first(record, "derived_tstamp", "collector_tstamp", "dvce_created_tstamp"),
        "event": event,
        "session": record.get("domain_sessionid"),
        "order_id": first(record, "ti_orderid", "tr_orderid"),
    }
    if first(record, "ti_sku"):
        line = {"item": record["ti_sku"], "title": record.get("ti_name"), "category": record.get("ti_category")}
        money = {"price": record.get("ti_price"), "quantity": record.get("ti_quantity")}
        yield {**head, **line, **money, "currency": record.get("ti_currency"), "event": "transaction_item"}
        return
    yield from each(head, items, _SNOWPLOW_ITEM)


def _first_of(record: Record, name: str) -> Record | None:
    return next(iter(objects(record.get(name))), None)


def _matomo(record: Record) -> Iterator[Record]:
    head = {
        "user": first(record, "userId", "visitorId", "idVisitor", "idvisitor"),
        "session": first(record, "idVisit", "idvisit"),
    }
    actions = objects(record.get("actionDetails"))
    for action in actions:
        moment = {**head, "time": first(action, "timestamp", "serverTimePretty"), "currency": action.get("currency")}
        kind = action.get("type")
        if kind == "ecommerceOrder":
            order = {**moment, "event": "order", "order_id": action.get("orderId")}
            yield from each(order, objects(action.get("itemDetails")), _MATOMO_ITEM)
        elif sku := first(action, "productViewSku", "_pks"):
            title, category = first(action, "productViewName", "_pkn"), action.get("productViewCategories")
            seen = {"title": title, "category": category[0] if isinstance(category, list) and category else None}
            yield {**moment, **seen, "event": "view", "item": sku, "price": first(action, "productViewPrice", "_pkp")}
        elif kind == "ecommerceAbandonedCart":
            yield from each({**moment, "event": "cart"}, objects(action.get("itemDetails")), _MATOMO_ITEM)
        else:
            yield {**moment, "event": IGNORED}
    if not actions:
        yield {**head, "time": first(record, "serverTimestamp", "lastActionTimestamp"), "event": IGNORED}


def _adobe(record: Record) -> Iterator[Record]:
    codes = str(first(record, "post_event_list", "event_list") or "").split(",")
    words = [_ADOBE_EVENTS[code.partition("=")[0].strip()] for code in codes if code.partition("=")[0] in _ADOBE_EVENTS]
    high, low = first(record, "post_visid_high", "visid_high"), first(record, "post_visid_low", "visid_low")
    head = {
        "user": first(record, "mcvisid") or (f"{high}_{low}" if high and low else None),
        "time": first(record, "hit_time_gmt", "cust_hit_time_gmt", "post_cust_hit_time_gmt", "date_time"),
        "order_id": first(record, "post_purchaseid", "purchaseid"),
        "currency": first(record, "post_currency", "currency") if words else None,
        "session": record.get("visit_num"),
    }
    lines = [
        part.split(";") for part in str(first(record, "post_product_list", "product_list") or "").split(",") if part
    ]
    items = []
    for line in lines:
        category, sku, quantity, revenue = (*line, "", "", "", "")[:4]
        price = _per_unit(revenue, quantity)
        items.append({"category": category, "item": sku, "quantity": quantity, "price": price})
    for word in words[:1]:
        keep = ("item", "category", *(("quantity", "price") if word == "purchase" else ()))
        yield from each({**head, "event": word}, items, {name: (name,) for name in keep})
    if not words:
        yield {**head, "event": IGNORED}


def _per_unit(revenue: str, quantity: str) -> str | None:
    try:
        return repr(float(revenue) / float(quantity or 1))
    except (ValueError, ZeroDivisionError):
        return revenue or None


def _is_segment(record: Record) -> bool:
    known = has(record, "anonymousId") or has(record, "userId") or has(record, "messageId")
    return known and record.get("type") in ("track", "page", "identify", "screen", "group", "alias")


ANALYTICS = (
    Export("ga4", lambda record: has(record, "event_name", "event_timestamp", "user_pseudo_id"), _ga4),
    Export("segment", _is_segment, _segment),
    Export(
        "snowplow",
        lambda record: has(record, "collector_tstamp", "domain_userid") or has(record, "app_id", "etl_tstamp"),
        _snowplow,
    ),
    Export("matomo", lambda record: has(record, "actionDetails") and has(record, "visitorId"), _matomo),
    Export(
        "adobe",
        lambda record: (
            ("product_list" in record or "post_product_list" in record)
            and ("event_list" in record or "post_event_list" in record)
        ),
        _adobe,
    ),
)


def as_json(value: Any) -> Any:
    """Read a value of a csv cell that is JSON; anything else stays as it is. Warehouses write nested columns so."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
