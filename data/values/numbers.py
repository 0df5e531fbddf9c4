"""Numbers as people write them: currencies, thousands, decimal commas. The one checker of prices for every door.

`read_number` is the plain reader, `number_column` the quick one over a column; they give the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from data.errors import DataError
from data.limits import MAX_PRICE
from data.values.nobody import NULL_WORDS

_SIGNS = "$€£¥₹₽₺₩₫₪฿₴₦¢"
_CODE = rf"(?:[A-Z]{{3}}|[{_SIGNS}]|[A-Z]{{1,2}}[{_SIGNS}]|zł|Kč|kr\.?|Ft|lei|лв\.?|руб\.?)"
_SPACE = "  \u202f"
_BODY = rf"[0-9.,'’{_SPACE}]*[0-9](?:[.,]-)?"
_SHAPE = (
    rf"^(?P<open>[(])?(?P<sign>[-−+])?\s*(?:{_CODE})?\s*(?P<more>[-−+])?"
    rf"(?P<body>{_BODY})\s*(?:{_CODE})?(?P<close>[)])?$"
)
_GROUP = rf"['’{_SPACE}]"
_PLAIN = r"^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$"
_CURRENCY = re.compile(_CODE)

# (what a body looks like, its mark of thousands, its decimal mark), the first that fits counts; a comma before three
# digits may be either mark, and is not read unless a locale says.
_OPEN_FORMS = (
    (r"^\d*\.?\d+$", "", "."),
    (r"^\d{1,3}(?:,\d{3})+\.\d+$", ",", "."),
    (r"^\d{1,3}(?:\.\d{3})+,\d+$", ".", ","),
    (r"^\d{1,3}(?:,\d{3}){2,}$", ",", "."),
    (r"^\d{1,3}(?:\.\d{3}){2,}$", ".", ","),
    (r"^(?:0,\d+|\d+,\d{1,2}|\d+,\d{4,}|\d{4,},\d+)$", "", ","),
)
_COMMA_PLACES = (
    "de at fr es it nl be pl pt br cs cz sk ru uk ua sv se da dk nb no fi hu ro tr el gr bg hr sl id vi vn lt lv et ee"
    " ar cl co"
)
_DECIMAL_COMMA = frozenset(_COMMA_PLACES.split())
_MONTH_FIRST = frozenset(["us", "ph"])


@dataclass(frozen=True)
class Locale:
    """How a place writes. decimal: "." or ",", None where nobody said; month_first: 12/31/2024."""

    name: str = ""
    decimal: str | None = None
    month_first: bool | None = None

    @staticmethod
    def of(name: str | None) -> Locale:
        """Read ``de``, ``de_DE``, ``en-US`` …; None and "" say nothing. Raises DataError for what is no locale."""
        if not name:
            return Locale()
        match = re.fullmatch(r"([a-zA-Z]{2})(?:[_-]([a-zA-Z]{2}))?(?:\..*)?", name)
        if match is None:
            raise DataError(f"locale={name!r}: must be a language and a country, such as de_DE or en_US")
        language, country = match[1].lower(), (match[2] or "").lower()
        comma = country in _DECIMAL_COMMA if country else language in _DECIMAL_COMMA
        comma = comma or (language in _DECIMAL_COMMA and country not in ("ch", "li", "mx", "us", "gb"))
        month_first = country in _MONTH_FIRST if country else (None if language == "en" else False)
        return Locale(name, "," if comma else ".", month_first)


PLAIN = Locale()


def read_number(text: str, locale: Locale = PLAIN) -> float | None:
    """Read the number that a text is, or None: ``$5.00``, ``1.299,00``, ``1 299,- Kč``, ``(3.50)`` is −3.5.

    ``1,299`` is None unless the locale says what the comma is. Never inf or nan.
    """
    text = text.strip(f" \t\r\n{_SPACE}")
    if locale.decimal != "," and re.fullmatch(_PLAIN, text):
        return _finite(text)
    match = re.match(_SHAPE, text)
    if match is None or (match["sign"] and match["more"]) or bool(match["open"]) != bool(match["close"]):
        return None
    body = re.sub(r"[.,]-$", "", match["body"])
    body = re.sub(rf"(\d){_GROUP}(\d{{3}})", r"\1\2", re.sub(rf"(\d){_GROUP}(\d{{3}})", r"\1\2", body))
    negative = (match["sign"] or match["more"]) in ("-", "−")
    for form, thousands, decimal in _forms(locale):
        if re.match(form, body):
            plain = body.replace(thousands, "") if thousands else body
            value = _finite(plain.replace(decimal, "."))
            return None if value is None else (-value if negative or match["open"] else value)
    return None


def number_column(column: pl.Expr, locale: Locale = PLAIN) -> pl.Expr:
    """Read a column of text as Float64, each value as read_number does; null where there is none."""
    text = column.str.strip_chars(f" \t\r\n{_SPACE}")
    sign, more = (text.str.extract(_SHAPE, index) for index in (2, 3))
    opened, closed = text.str.extract(_SHAPE, 1), text.str.extract(_SHAPE, 5)
    body = text.str.extract(_SHAPE, 4).str.replace(r"[.,]-$", "")
    grouped = rf"(\d){_GROUP}(\d{{3}})"
    body = body.str.replace_all(grouped, "${1}${2}").str.replace_all(grouped, "${1}${2}")
    value = pl.lit(None, dtype=pl.Float64)
    for form, thousands, decimal in reversed(_forms(locale)):
        plain = body.str.replace_all(thousands, "", literal=True) if thousands else body
        number = plain.str.replace(decimal, ".", literal=True).cast(pl.Float64, strict=False)
        value = pl.when(body.str.contains(form)).then(number).otherwise(value)
    negative = pl.coalesce(sign, more).is_in(["-", "−"]).fill_null(False) | opened.is_not_null()
    right = (sign.is_null() | more.is_null()) & (opened.is_null() == closed.is_null())
    value = pl.when(right).then(pl.when(negative).then(-value).otherwise(value))
    if locale.decimal != ",":
        value = pl.when(text.str.contains(_PLAIN)).then(text.cast(pl.Float64, strict=False)).otherwise(value)
    return pl.when(value.is_finite()).then(value)


def price_of(value: object, locale: Locale = PLAIN) -> float | None:
    """Read a price in 0..1e12 from a number or a text, or None."""
    if isinstance(value, bool) or value is None:
        return None
    number = float(value) if isinstance(value, (int, float)) else read_number(str(value), locale)
    return number if number is not None and 0 <= number <= MAX_PRICE else None


def price_column(column: pl.Series, locale: Locale = PLAIN) -> tuple[pl.Series, pl.Series]:
    """Read Float64 prices from a column of numbers or text.

    Beside them the values that are none, as text, without nulls and blanks.

    A price is finite and in 0..1e12; words for nothing (NULL, n/a, …) are null and no fault.
    """
    if column.dtype == pl.String:
        number = column.to_frame("v").select(number_column(pl.col("v"), locale)).to_series()
    elif column.dtype.is_numeric():
        number = column.cast(pl.Float64)
    else:
        number = column.cast(pl.String).to_frame("v").select(number_column(pl.col("v"), locale)).to_series()
    usable = number.is_finite() & number.is_between(0.0, MAX_PRICE)
    told = column.cast(pl.String)
    blank = told.str.strip_chars().str.to_lowercase().is_in(["", *NULL_WORDS])
    faults = told.filter((~usable.fill_null(False)) & column.is_not_null() & ~blank)
    price = pl.DataFrame({"v": number, "ok": usable}).select(pl.when("ok").then("v")).to_series()
    return price.alias(column.name), faults


def strict_numbers(catalogue: pl.DataFrame) -> pl.DataFrame:
    """Keep the numbers that JSON has: floats that are nan or infinite, and prices that are none, become null."""
    floats = [name for name, dtype in catalogue.schema.items() if dtype.is_float()]
    finite = [pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in floats]
    catalogue = catalogue.with_columns(finite)
    if "price" not in catalogue.columns or not catalogue.schema["price"].is_numeric():
        return catalogue
    price = pl.col("price")
    return catalogue.with_columns(pl.when(price.is_between(0, MAX_PRICE)).then(price).alias("price"))


def currency_of(text: str) -> str:
    """Find the currency that a price names, "" where it names none: ``12.50 EUR`` is EUR, ``$5`` is $."""
    match = _CURRENCY.search(text)
    return match[0] if match else ""


def _forms(locale: Locale) -> tuple[tuple[str, str, str], ...]:
    if locale.decimal is None:
        return _OPEN_FORMS
    decimal, thousands = locale.decimal, "," if locale.decimal == "." else "."
    d, t = re.escape(decimal), re.escape(thousands)
    return (
        (rf"^(?:\d+(?:{d}\d*)?|{d}\d+)$", "", decimal),
        (rf"^\d{{1,3}}(?:{t}\d{{3}})+(?:{d}\d+)?$", thousands, decimal),
    )


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= 1.7976931348623157e308 else None
