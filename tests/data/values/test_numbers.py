"""Numbers: one value however it is written, none where it could be two; the quick reader is the plain one."""

import math

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.values.numbers import Locale, currency_of, number_column, price_column, price_of, read_number

GERMAN, AMERICAN = Locale.of("de_DE"), Locale.of("en_US")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12.5", 12.5),
        ("$5.00", 5.0),
        ("5 €", 5.0),
        ("EUR 1.299,00", 1299.0),
        ("1,299.00 USD", 1299.0),
        ("1 299,50 Kč", 1299.5),
        ("1'299.50", 1299.5),
        ("12,50", 12.5),
        ("0,999", 0.999),
        ("1.234.567", 1_234_567.0),
        ("(3.50)", -3.5),
        ("−4", -4.0),
        ("-$4", -4.0),
        ("$-4", -4.0),
        ("499,- Kč", 499.0),
        ("1e3", 1000.0),
        ("1.299", 1.299),
        ("1,299", None),
        ("1e400", None),
        ("inf", None),
        ("NaN", None),
        ("cheap", None),
        ("", None),
        ("1.2.3", None),
        ("--4", None),
        ("(4", None),
    ],
)
def test_a_number_is_read_as_people_write_it(text, value):
    assert read_number(text) == value


def test_a_locale_says_what_a_comma_is():
    assert read_number("1,299", AMERICAN) == 1299.0
    assert read_number("1,299", GERMAN) == 1.299
    assert read_number("1.299", GERMAN) == 1299.0
    assert read_number("1.299", AMERICAN) == 1.299
    assert Locale.of("de_CH").decimal == "."
    assert Locale.of("en_US").month_first is True
    assert Locale.of("en_GB").month_first is False
    assert Locale.of(None) == Locale()
    with pytest.raises(DataError, match="locale='german': must be"):
        Locale.of("german")


WRITTEN = st.one_of(
    st.text("0123456789.,-−+()'$€ eE\u00a0", max_size=12),
    st.text(max_size=6),
    st.floats(allow_nan=True).map(repr),
    st.from_regex(r"[$€]? ?[0-9]{1,3}([.,' ][0-9]{3}){0,3}([.,][0-9]{1,3})? ?(EUR|Kč)?", fullmatch=True),
)


@settings(max_examples=300)
@given(st.lists(WRITTEN, min_size=1, max_size=20), st.sampled_from([Locale(), GERMAN, AMERICAN]))
@example(["1.", ".5", "1e5", "+.5", "1_000"], Locale())
def test_the_quick_reader_gives_what_the_plain_one_gives(texts, locale):
    quick = pl.DataFrame({"v": texts}).select(number_column(pl.col("v"), locale))["v"].to_list()
    plain = [read_number(text, locale) for text in texts]
    assert quick == plain
    assert all(value is None or math.isfinite(value) for value in quick)


def test_a_price_is_finite_and_not_negative_at_every_door():
    texts = ["1e400", "12.50", "-4", "$5.00", "1.299,00", "7", "n/a", "", None, "2e12"]
    prices, faults = price_column(pl.Series("price", texts))
    assert prices.to_list() == [None, 12.5, None, 5.0, 1299.0, 7.0, None, None, None, None]
    assert prices.to_list() == [price_of(text) for text in texts]
    assert faults.to_list() == ["1e400", "-4", "2e12"]
    numbers, odd = price_column(pl.Series("price", [math.inf, math.nan, -1.0, 3.0]))
    assert numbers.to_list() == [None, None, None, 3.0]
    assert odd.to_list() == ["inf", "-1.0"]  # nan is how pandas writes a gap


def test_a_price_names_its_currency():
    assert [currency_of(text) for text in ("12.50 EUR", "$5", "7")] == ["EUR", "$", ""]
