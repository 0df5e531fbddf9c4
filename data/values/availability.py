"""Availability in the words of feeds and shops: Google, Facebook, schema.org, Shopify, WooCommerce, yes and no."""

from __future__ import annotations

import math
import re

import polars as pl

_YES_WORDS = (
    "true t yes y on instock available availableforpickup limitedavailability instoreonly onlineonly preorder presale"
    " backorder onbackorder availablefororder lowstock limitedstock madetoorder"
)
_NO_WORDS = (
    "false f no n off outofstock soldout unavailable discontinued notavailable outofprint nostock oos archived draft"
)
_YES, _NO = frozenset(_YES_WORDS.split()), frozenset(_NO_WORDS.split())
COLUMNS = ("available", "availability", "stock_status", "stockstatus", "in_stock", "instock", "is_available")
"""Names of columns that tell whether an item can be bought now."""


def read_availability(word: str) -> bool | None:
    """Read a word that says if an item can be ordered, None for another word. A number does unless it is 0 or less."""
    text = word.strip().lower().removeprefix("https://schema.org/").removeprefix("http://schema.org/")
    try:
        return None if math.isnan(float(text)) else float(text) > 0
    except ValueError:
        folded = re.sub(r"[\s_\-]+", "", text)
    return True if folded in _YES else False if folded in _NO else None


def availability_column(told: pl.Series) -> tuple[pl.Series, list[str]]:
    """Read availability as a Boolean of each value, null where it is empty or unknown.

    Beside it the unknown words, each once.
    """
    if told.dtype == pl.Boolean:
        return told, []
    words = told.cast(pl.String)
    distinct = words.drop_nulls().unique(maintain_order=True)
    read = {word: read_availability(word) for word in distinct.to_list() if word.strip()}
    known = {word: truth for word, truth in read.items() if truth is not None}
    truth = words.replace_strict(list(known), list(known.values()), default=None, return_dtype=pl.Boolean)
    return truth.alias(told.name), [word for word, value in read.items() if value is None]
