"""Exports of analytics and shop systems are recognised by their content, and each product event is one event."""

# ruff: noqa: E501  # exports are as wide as their programs write them

import json

import polars as pl
import pytest

from data.dataset import read_log
from data.errors import DataError

GA4 = [
    {"event_date": "20240115", "event_timestamp": "1705276800000000", "event_name": name, "user_pseudo_id": "p.1",
     "user_id": None, "event_params": [{"key": "ga_session_id", "value": {"int_value": 7}}],
     "ecommerce": {"transaction_id": "T1"}, "items": items}
    for name, items in [
        ("session_start", []),
        ("page_view", []),
        ("view_item", [{"item_id": "SKU1", "item_name": "Pan", "price": 12.5, "quantity": 1, "item_category": "pans"}]),
        ("add_to_cart", [{"item_id": "SKU1", "item_name": "Pan", "price": 12.5, "quantity": 2}]),
        ("purchase", [{"item_id": "SKU1", "price": 12.5, "quantity": 1}, {"item_id": "SKU2", "price": 9.0, "quantity": 3}]),
        ("view_item", [{"item_id": "(not set)", "item_name": "(not set)"}]),
    ]
]  # fmt: skip
SEGMENT = [
    {"type": "track", "event": "Product Viewed", "anonymousId": "a1", "userId": None,
     "timestamp": "2024-01-15T10:00:00.123Z", "properties": {"product_id": "A", "price": 3, "name": "Pan"}},
    {"type": "track", "event": "Product Added", "anonymousId": "a1", "userId": "u1",
     "timestamp": "2024-01-15T10:01:00Z", "properties": {"product_id": "A", "price": 3, "quantity": 2}},
    {"type": "track", "event": "Order Completed", "anonymousId": "a1", "userId": "u1",
     "timestamp": "2024-01-15T10:02:00Z",
     "properties": {"order_id": "o", "products": [{"product_id": "A", "quantity": 2}, {"product_id": "B"}]}},
    {"type": "page", "anonymousId": "a1", "timestamp": "2024-01-15T10:03:00Z", "properties": {}},
]  # fmt: skip
PRODUCTS = "contexts_com_snowplowanalytics_snowplow_ecommerce_product_1"
ACTION = "unstruct_event_com_snowplowanalytics_snowplow_ecommerce_snowplow_ecommerce_action_1"
SNOWPLOW = [
    {"app_id": "s", "collector_tstamp": "2024-01-15 10:00:00.000", "domain_userid": "d1", "event": "unstruct",
     "event_name": "snowplow_ecommerce_action", ACTION: {"type": kind}, PRODUCTS: [{"id": "A", "price": 4, "currency": "EUR"}]}
    for kind in ("product_view", "add_to_cart", "transaction")
] + [
    {"app_id": "s", "collector_tstamp": "2024-01-15 10:05:00.000", "domain_userid": "d1", "event": "page_view",
     "event_name": "page_view"},
    {"app_id": "s", "collector_tstamp": "2024-01-15 10:06:00.000", "domain_userid": "d1", "event": "transaction_item",
     "ti_sku": "B", "ti_price": 2, "ti_quantity": 1, "ti_orderid": "o", "ti_currency": "EUR"},
]  # fmt: skip
MATOMO = [
    {"idVisit": 5, "visitorId": "ab12", "actionDetails": [
        {"type": "action", "timestamp": 1705276800, "productViewSku": "A", "productViewName": "Pan"},
        {"type": "action", "timestamp": 1705276805, "url": "https://shop.example/imprint"},
        {"type": "ecommerceOrder", "timestamp": 1705276900, "orderId": "1",
         "itemDetails": [{"itemSKU": "A", "itemName": "Pan", "price": 12.5, "quantity": 2}]}]},
]  # fmt: skip
WOO = [
    {"id": 1, "status": "completed", "currency": "EUR", "date_created_gmt": "2024-01-15T10:00:00", "customer_id": 4,
     "billing": {"email": "A@x.example"}, "line_items": [{"product_id": 9, "sku": "A", "quantity": 1, "price": 5}]},
    {"id": 2, "status": "refunded", "currency": "EUR", "date_created_gmt": "2024-01-16T10:00:00",
     "date_modified_gmt": "2024-01-18T10:00:00", "customer_id": 4, "billing": {"email": "a@x.example"},
     "line_items": [{"product_id": 8, "sku": "B", "quantity": 1, "price": 5}]},
    {"id": 3, "status": "failed", "currency": "EUR", "date_created_gmt": "2024-01-17T10:00:00", "customer_id": 0,
     "billing": {"email": ""}, "line_items": [{"product_id": 8, "sku": "B", "quantity": 1, "price": 5}]},
]  # fmt: skip
MAGENTO = {"items": [
    {"increment_id": "100", "created_at": "2024-01-15 10:00:00", "updated_at": "2024-01-20 10:00:00", "status": "complete",
     "customer_email": "a@x.example", "order_currency_code": "EUR", "items": [
         {"item_id": 1, "sku": "A-red", "qty_ordered": 2, "qty_refunded": 2, "price": 5},
         {"item_id": 2, "sku": "A-red", "parent_item_id": 1, "qty_ordered": 2, "price": 0},
         {"item_id": 3, "sku": "B", "qty_ordered": 1, "price": 7}]},
]}  # fmt: skip
SHOPIFY_JSON = {"orders": [
    {"id": 1, "name": "#1", "email": "a@x.example", "created_at": "2024-01-15T10:00:00+01:00", "financial_status": "paid",
     "currency": "EUR", "cancelled_at": None, "line_items": [{"sku": "A", "price": "5.00", "quantity": 2}],
     "refunds": [{"created_at": "2024-01-16T10:00:00+01:00",
                  "refund_line_items": [{"quantity": 2, "line_item": {"sku": "A", "price": "5.00"}}]}]},
]}  # fmt: skip
SHOPIFY_CSV = """Name,Email,Financial Status,Paid at,Currency,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Cancelled at,Created at
#1001,a@x.example,paid,2024-01-15 10:00:00 -0500,EUR,1,Pan,12.50,SKU1,,2024-01-15 10:00:00 -0500
#1001,a@x.example,,,,2,Pot,20.00,SKU2,,
#1002,b@x.example,refunded,2024-01-16 10:00:00 -0500,EUR,1,Pan,12.50,SKU1,2024-01-17 10:00:00 -0500,2024-01-16 10:00:00 -0500
"""
WOO_CSV = """Order Number,Order Status,Order Date,Email (Billing),Quantity,Item Cost,SKU,Item Name
1,Completed,2024-01-15 10:00,a@x.example,1,5.00,A,Pan
2,Refunded,2024-01-16 10:00,a@x.example,1,7.00,B,Pot
"""
ADOBE = """hit_time_gmt\tvisid_high\tvisid_low\tevent_list\tproduct_list
1705276800\t1\t2\t2\t;SKU1
1705276860\t1\t2\t12,20\tpans;SKU1
1705276900\t1\t2\t1\t;SKU1;2;25.00,;SKU2;1;9.00
1705276990\t1\t2\t20\t
"""


def lines(records):
    return "\n".join(map(json.dumps, records))


EXPORTS = [
    ("ga4", "ga4.json", lines(GA4), {"view": 1, "cart": 1, "purchase": 2}, {"event of no product": 3}, 0),
    ("segment", "segment.jsonl", lines(SEGMENT), {"view": 1, "cart": 1, "purchase": 2}, {"event of no product": 1}, 0),
    (
        "snowplow",
        "snowplow.jsonl",
        lines(SNOWPLOW),
        {"view": 1, "cart": 1, "purchase": 2},
        {"event of no product": 1},
        0,
    ),
    ("matomo", "matomo.json", json.dumps(MATOMO, indent=1), {"view": 1, "purchase": 1}, {"event of no product": 1}, 0),
    ("woocommerce-orders-json", "woo.json", json.dumps(WOO), {"purchase": 2}, {"event of no product": 1}, 1),
    ("magento-orders", "magento.json", json.dumps(MAGENTO, indent=2), {"purchase": 2}, {}, 1),
    ("shopify-orders-json", "shopify.json", json.dumps(SHOPIFY_JSON, indent=2), {"purchase": 1}, {}, 1),
    ("shopify-orders", "orders_export.csv", SHOPIFY_CSV, {"purchase": 3}, {}, 1),
    ("woocommerce-orders", "orders.csv", WOO_CSV, {"purchase": 2}, {}, 1),
    ("adobe", "hits.tsv", ADOBE, {"view": 1, "cart": 1, "purchase": 2}, {"event of no product": 1}, 0),
]


@pytest.mark.parametrize(("name", "file", "text", "kinds", "refused", "undone"), EXPORTS, ids=[e[0] for e in EXPORTS])
def test_an_export_is_recognised_and_its_product_events_are_read(tmp_path, name, file, text, kinds, refused, undone):
    (tmp_path / file).write_text(text)
    dataset = read_log(tmp_path / file)
    told = dataset.summary
    assert told["preset"] == name
    assert told["kinds"] == kinds
    assert told["rejected"] == refused
    assert told["undone"] == undone
    assert told["rows"] == told["events"] + told["duplicates"] + told["cancellations"] + sum(refused.values())
    assert told["from"].startswith("2024-01-15")
    assert read_log(tmp_path / file, preset=name).hash == dataset.hash


def test_lines_of_an_order_share_what_its_first_line_says(tmp_path):
    (tmp_path / "orders.csv").write_text(SHOPIFY_CSV)
    dataset = read_log(tmp_path / "orders.csv")
    assert dataset.users.ids.to_list() == ["a@x.example", "b@x.example"]
    assert dataset.events["order_id"].to_list() == ["#1001", "#1001", "#1002"]
    assert dataset.events["undone_time"].is_not_null().to_list() == [False, False, True]
    assert str(dataset.events["time"][0]) == "2024-01-15 15:00:00+00:00"


def test_two_currencies_are_an_error_that_names_both(tmp_path):
    (tmp_path / "orders.csv").write_text(
        SHOPIFY_CSV.replace("-0500,EUR,1,Pan,12.50,SKU1,2024", "-0500,USD,1,Pan,12.50,SKU1,2024")
    )
    with pytest.raises(DataError, match="line 4: prices in EUR and in USD"):
        read_log(tmp_path / "orders.csv")


def test_ga4_is_read_from_parquet_and_a_broken_line_is_one_refused_row(tmp_path):
    (tmp_path / "ga4.json").write_text(lines(GA4))
    frame = pl.DataFrame(GA4)
    frame.write_parquet(tmp_path / "ga4.parquet")
    assert read_log(tmp_path / "ga4.parquet").hash == read_log(tmp_path / "ga4.json").hash
    (tmp_path / "ga4.json").write_text(lines(GA4) + '\n{"event_name": \n')
    broken = read_log(tmp_path / "ga4.json")
    assert broken.summary["rejected"]["line is empty or unreadable"] == 1
    assert broken.rejects.filter(reason="line is empty or unreadable")["line"].to_list() == [7]


def test_a_refund_that_names_an_order_and_no_product_undoes_every_line_of_it(tmp_path):
    refund = {
        **GA4[4],
        "event_name": "refund",
        "event_timestamp": "1705363200000000",
        "items": [],
        "user_pseudo_id": None,
    }
    elsewhere = {**refund, "ecommerce": {"transaction_id": "T9"}}
    (tmp_path / "ga4.json").write_text(lines([*GA4, refund, elsewhere]))
    dataset = read_log(tmp_path / "ga4.json")
    told = dataset.summary
    assert (told["undone"], told["cancellations"]) == (2, 2)
    assert told["rejected"] == {"event of no product": 3, "user is missing": 1}  # an order that is not in the file
    assert told["rows"] == told["events"] + told["duplicates"] + told["cancellations"] + 4
    bought = dataset.events.filter(pl.col("kind") == "purchase")
    assert bought["undone_time"].dt.to_string("%F").to_list() == ["2024-01-16"] * 2


def test_orders_refunded_in_part_are_counted_where_the_export_does_not_say_which_lines(tmp_path):
    (tmp_path / "orders.csv").write_text(
        SHOPIFY_CSV.replace("#1001,a@x.example,paid", "#1001,a@x.example,partially_refunded")
    )
    shopify = read_log(tmp_path / "orders.csv")
    assert shopify.summary["undone"] == 1
    assert any(note.startswith("orders refunded in part: 1;") for note in shopify.summary["notes"])
    part = {**WOO[0], "refunds": [{"id": 5, "total": "-2.00"}]}
    (tmp_path / "woo.json").write_text(json.dumps([part, *WOO[1:]]))
    woo = read_log(tmp_path / "woo.json")
    assert woo.summary["undone"] == 1
    assert any(note.startswith("orders refunded in part: 1;") for note in woo.summary["notes"])
