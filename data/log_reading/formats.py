"""Presets: how public logs name and write what happened. A preset is ten lines; a shop's own file is `generic`.

Columns are listed per role, with every name the log is published under (its original, and the one we ship).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from data.values.availability import COLUMNS as AVAILABILITY

REQUIRED = ("user", "item", "time")
EVENT_ROLES = (*REQUIRED, "event", "price", "quantity", "session", "order")
ITEM_ROLES = ("title", "category", "available")
ROLES = (*EVENT_ROLES, *ITEM_ROLES)


@dataclass(frozen=True)
class Preset:
    """One log format.

    columns: role → the names its column is known by. For time, more than one column: ``year+month+day``.
    separators: the one that occurs most often in the first line, in doubt the earlier; may be several characters.
    header: column names of files that come without a header line.
    kind: the kind of every event where there is no event column.
    kinds: what the log's event names mean; ``-purchase`` undoes a purchase.
    time_formats: strptime formats; time_unit: s, ms, us or ns of integer times; None: infer, and say so.
    attributes: columns of the log that describe the item (the last value counts); extras: kept with the event,
    None keeps every column that has no role.
    decode: column → code → word. refuse: (reason, rows to refuse), over the roles as columns and raw.item.
    items: (file beside the log, separator, names if it has no header) of the catalogue; item_columns: its roles.
    title: how to name an item whose log has no titles, over category and attributes.
    events_in: of a jsonl with one session a line: the field that lists its events.
    marks: sets of columns, any of which tells the format; first_line: a regular expression that does, for files
    without column names. Empty: never recognised, only named.
    """

    name: str
    columns: Mapping[str, tuple[str, ...]]
    separators: tuple[str, ...] = (",",)
    header: tuple[str, ...] = ()
    kind: str = "view"
    kinds: Mapping[str, str] = field(default_factory=dict)
    time_formats: tuple[str, ...] = ()
    time_unit: str | None = None
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    extras: tuple[str, ...] | None = ()
    decode: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    refuse: tuple[tuple[str, pl.Expr], ...] = ()
    items: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    item_columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    title: pl.Expr | None = None
    events_in: str = ""
    marks: tuple[tuple[str, ...], ...] = ()
    first_line: str = ""


def _numbered(words: str) -> dict[str, str]:
    return {str(code): word for code, word in enumerate(words.split(", "), start=1)}


_NO_PRODUCT = r"(?i)^(post|dot|m|c[23]|d|s|b|bank charges|amazonfee|cruk|pads|adjust2?|test\d+|gift(_.*)?)$"

_ISO_Z = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"

_PRESETS = (
    Preset(
        "online-retail",
        columns={
            "user": ("CustomerID", "Customer ID", "user_id"),
            "item": ("StockCode", "item_id"),
            "time": ("InvoiceDate", "ts"),
            "quantity": ("Quantity", "quantity"),
            "price": ("UnitPrice", "Price", "unit_price"),
            "session": ("InvoiceNo", "Invoice", "invoice"),
            "title": ("Description",),
        },
        separators=(",", ";", "\t"),
        kind="purchase",
        time_formats=("%m/%d/%Y %H:%M", "%Y-%m-%d %H:%M:%S"),
        extras=("Country", "country"),
        refuse=(
            ("not a product", pl.col("raw.item").str.contains(_NO_PRODUCT)),
            ("unit price is not above zero", pl.col("price") <= 0),
        ),
        items=(("items.parquet", ",", ()),),
        item_columns={"item": ("item_id",), "title": ("description",)},
        marks=(
            ("StockCode", "InvoiceDate", "InvoiceNo"),
            ("StockCode", "InvoiceDate", "Invoice"),
            ("item_id", "ts", "invoice", "unit_price"),
        ),
    ),
    Preset(
        "eshop-2008",
        columns={
            "user": ("session ID", "session_id"),
            "item": ("page 2 (clothing model)", "item_id"),
            "time": ("year+month+day", "date"),
            "order": ("order", "click_no"),
            "price": ("price", "price_usd"),
            "category": ("page 1 (main category)", "category"),
        },
        separators=(";", ","),
        time_formats=("%Y-%m-%d",),
        attributes={"colour": ("colour",)},
        extras=("country", "location", "photo_location", "page", "site_page"),
        decode={
            "category": _numbered("trousers, skirts, blouses, sale"),
            "colour": _numbered(
                "beige, black, blue, brown, burgundy, gray, green, navy blue, of many colors, olive, pink, "
                "red, violet, white"
            ),
        },
        title=pl.format("{} {} {}", "colour", "category", "item_id"),
        marks=(("session ID", "page 2 (clothing model)"), ("session_id", "click_no", "photo_location")),
    ),
    Preset(
        "retailrocket",
        columns={
            "user": ("visitorid",),
            "item": ("itemid",),
            "time": ("timestamp",),
            "event": ("event",),
            "session": ("transactionid",),
        },
        kinds={"addtocart": "cart", "transaction": "purchase"},
        time_unit="ms",
        marks=(("timestamp", "visitorid", "event", "itemid"),),
    ),
    Preset(
        "rees46",
        columns={
            "user": ("user_id",),
            "item": ("product_id",),
            "time": ("event_time",),
            "event": ("event_type",),
            "price": ("price",),
            "session": ("user_session",),
            "category": ("category_code",),
        },
        kinds={"remove_from_cart": "-cart"},
        time_formats=("%Y-%m-%d %H:%M:%S UTC",),
        attributes={"brand": ("brand",), "category_id": ("category_id",)},
        marks=(("event_time", "event_type", "product_id", "user_session"),),
    ),
    Preset(
        "yoochoose",  # yoochoose-clicks.dat: a session is one anonymous shopper
        columns={"user": ("SessionID",), "item": ("ItemID",), "time": ("Timestamp",), "category": ("Category",)},
        header=("SessionID", "Timestamp", "ItemID", "Category"),
        time_formats=("%Y-%m-%dT%H:%M:%S%.fZ",),
        marks=(("SessionID", "Timestamp", "ItemID", "Category"),),
        first_line=rf"^\d+,{_ISO_Z},\d+,\w+$",
    ),
    Preset(
        "yoochoose-buys",
        columns={
            "user": ("SessionID",),
            "item": ("ItemID",),
            "time": ("Timestamp",),
            "price": ("Price",),
            "quantity": ("Quantity",),
        },
        header=("SessionID", "Timestamp", "ItemID", "Price", "Quantity"),
        kind="purchase",
        time_formats=("%Y-%m-%dT%H:%M:%S%.fZ",),
        marks=(("SessionID", "Timestamp", "ItemID", "Price", "Quantity"),),
        first_line=rf"^\d+,{_ISO_Z},\d+,\d+(\.\d+)?,\d+$",
    ),
    Preset(
        "diginetica",  # most userId are NA: a session is one anonymous shopper; timeframe counts within it
        columns={"user": ("sessionId",), "item": ("itemId",), "time": ("eventdate",), "order": ("timeframe",)},
        separators=(";", ","),
        time_formats=("%Y-%m-%d",),
        extras=("userId",),
        items=(("product-categories.csv", ";", ()),),
        item_columns={"item": ("itemId",), "category": ("categoryId",)},
        marks=(("sessionId", "itemId", "timeframe", "eventdate"),),
    ),
    Preset(
        "diginetica-purchases",
        columns={"user": ("sessionId",), "item": ("itemId",), "time": ("eventdate",), "order": ("timeframe",)},
        separators=(";", ","),
        kind="purchase",
        time_formats=("%Y-%m-%d",),
        extras=("userId", "ordernumber"),
        items=(("product-categories.csv", ";", ()),),
        item_columns={"item": ("itemId",), "category": ("categoryId",)},
        marks=(("sessionId", "itemId", "timeframe", "eventdate", "ordernumber"),),
    ),
    Preset(
        "otto",
        columns={"user": ("session",), "item": ("aid",), "time": ("ts",), "event": ("type",)},
        kinds={"clicks": "view", "carts": "cart", "orders": "purchase"},
        time_unit="ms",
        events_in="events",
        marks=(("session", "events"), ("session", "aid", "ts", "type")),
    ),
    Preset(
        "amazon-2023",
        columns={"user": ("user_id",), "item": ("parent_asin",), "time": ("timestamp",)},
        kind="like",  # feedback, not browsing; published protocols count every rating as one
        time_unit="ms",
        extras=("rating",),
        marks=(("user_id", "parent_asin", "rating", "timestamp"),),
    ),
    Preset(
        "movielens",
        columns={
            "user": ("userId", "user_id"),
            "item": ("movieId", "item_id"),
            "time": ("timestamp",),
        },
        separators=("::", "\t", ","),
        header=("user_id", "item_id", "rating", "timestamp"),
        kind="like",  # feedback, not browsing; published protocols count every rating as one
        time_unit="s",
        extras=("rating",),
        items=(
            ("u.item", "|", ("item_id", "title")),
            ("*.item", "\t", ()),
            ("movies.dat", "::", ("item_id", "title", "genres")),
            ("movies.csv", ",", ()),
        ),
        item_columns={
            "item": ("item_id", "movieId"), "title": ("movie_title", "title"), "category": ("class", "genres"),
        },
        marks=(("userId", "movieId", "rating", "timestamp"),),
        first_line=(
            r"^(\d+(?P<between>::|\t)\d+(?P=between)\d(\.\d)?(?P=between)\d+"
            r"|user_id:token\titem_id:token\trating:float\ttimestamp:float.*)$"
        ),
    ),
    Preset(
        "generic",
        columns={
            "user": ("user_id", "user", "visitor_id", "customer_id", "shopper_id"),
            "item": ("item_id", "item", "product_id", "product", "sku", "stock_code", "article_id"),
            "time": ("time", "timestamp", "ts", "event_time", "datetime", "date", "created_at"),
            "event": ("event", "event_type", "kind", "event_kind", "action"),
            "price": ("price", "unit_price"),
            "quantity": ("quantity", "qty"),
            "session": ("session_id", "session", "user_session"),
            "order": ("order_in_session",),
            "title": ("title", "item_title", "product_title"),
            "category": ("category", "item_category", "category_code"),
            "available": AVAILABILITY,
        },
        separators=(",", ";", "\t", "|"),
        kinds={
            "click": "view", "pageview": "view", "page_view": "view", "addtocart": "cart", "add_to_cart": "cart",
            "order": "purchase", "buy": "purchase", "transaction": "purchase", "remove_from_cart": "-cart",
            "cancel": "-purchase", "refund": "-purchase", "return": "-purchase",
        },
        extras=None,
    ),
)  # fmt: skip

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _PRESETS}


@dataclass(frozen=True)
class FeedbackPreset:
    """One format of logged feedback: what was shown with which chance, and what came of it.

    columns: role → names its column is known by; contexts: how columns begin that are kept as they are. A role may be
    a sum of columns, ``campaign+position``, which name one thing together.
    """

    name: str
    columns: Mapping[str, tuple[str, ...]]
    contexts: tuple[str, ...] = ()


FEEDBACK_REQUIRED = ("item", "reward", "propensity")
FEEDBACK_ROLES = (*FEEDBACK_REQUIRED, "slot", "user", "policy")

_FEEDBACK_PRESETS = (
    FeedbackPreset(
        "open-bandit",
        columns={
            "item": ("item_id",),
            "reward": ("click",),
            "propensity": ("propensity_score", "pscore"),
            "slot": ("position",),
            "policy": ("policy",),
        },
        contexts=("timestamp", "campaign", "user_feature_"),
    ),
    FeedbackPreset(
        "generic",
        columns={
            "item": ("item_id", "item", "action", "product_id", "sku"),
            "reward": ("reward", "click", "clicked", "outcome"),
            "propensity": ("propensity", "propensity_score", "pscore", "probability"),
            "slot": ("slot", "position", "rank", "surface"),
            "user": ("user_id", "user", "visitor_id", "customer_id", "shopper_id"),
            "policy": ("policy", "logging_policy", "arm"),
        },
        contexts=("",),
    ),
)

FEEDBACK_PRESETS: dict[str, FeedbackPreset] = {preset.name: preset for preset in _FEEDBACK_PRESETS}
"""Logs with propensities: they name no shopper's history, so data/logged_feedback.py reads them, and no ingest."""
