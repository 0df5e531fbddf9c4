"""Columns of a catalogue that filters and rules of a placement name, as a device gets them: typed, dictionary-coded.

    tensor attribute_K  uint8, uint16 or int32 (n_items,): 0 for a missing value, else 1 + place among the values
    metadata attributes JSON [{"name", "kind": text | number | flag, "values": […]}, …], K the place in this list

A column of few values costs a byte an item and each value once. What no filter can name is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import ModelError
from recsys.search.filters import Kind, column_kind

PREFIX = "attribute_"
TYPES: Mapping[Kind, type[pl.DataType]] = {"text": pl.String, "number": pl.Float64, "flag": pl.Boolean}


def select_attributes(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Select the named columns that there are and that a filter can name, each as its type in TYPES."""
    columns = []
    for name in names:
        kind = column_kind(frame.schema[name]) if name in frame.columns else None
        if kind is not None and kind != "nothing":
            column = frame[name].cast(TYPES[kind])
            columns.append(column.fill_nan(None) if kind == "number" else column)
    return pl.DataFrame(columns)


def encode_attributes(frame: pl.DataFrame) -> tuple[dict[str, npt.NDArray[Any]], list[dict[str, Any]]]:
    """Encode columns of select_attributes as tensors and what they mean, as JSON; values in ascending order."""
    tensors: dict[str, npt.NDArray[Any]] = {}
    meaning = []
    for place, column in enumerate(frame.get_columns()):
        values = column.drop_nulls().unique().sort()
        code = column.to_frame("value").join(
            pl.DataFrame({"value": values, "code": np.arange(1, len(values) + 1)}),
            on="value", how="left", maintain_order="left",
        )["code"].fill_null(0).to_numpy()  # fmt: skip
        width = np.uint8 if len(values) < 2**8 else np.uint16 if len(values) < 2**16 else np.int32
        tensors[f"{PREFIX}{place}"] = code.astype(width)
        meaning.append({"name": column.name, "kind": column_kind(column.dtype), "values": values.to_list()})
    return tensors, meaning


def decode_attributes(meaning: object, tensors: Mapping[str, npt.NDArray[Any]], n_items: int) -> pl.DataFrame:
    """Decode the columns. Raises ModelError for anything that encode_attributes does not make."""
    if not isinstance(meaning, list):
        raise ModelError("attributes: must be a list")
    columns = []
    for place, told in enumerate(meaning):
        try:
            values = pl.Series(told["name"], told["values"], dtype=TYPES[told["kind"]], strict=True)
            code = tensors[f"{PREFIX}{place}"].astype(np.int64)
        except (KeyError, TypeError, pl.exceptions.PolarsError) as error:
            raise ModelError(f"attributes[{place}]: not a column of this version ({type(error).__name__})") from None
        if code.shape != (n_items,) or not 0 <= int(code.min(initial=0)) <= int(code.max(initial=0)) <= len(values):
            raise ModelError(
                f"attributes[{place}]: codes {code.shape} up to {code.max(initial=0)}; {len(values)} values"
            )
        at = pl.Series(np.where(code > 0, code - 1, 0)).cast(pl.UInt32)
        known = values.gather(at) if len(values) else pl.Series(told["name"], [None] * n_items, TYPES[told["kind"]])
        columns.append(known.zip_with(pl.Series(code > 0), pl.Series(told["name"], [None] * n_items, known.dtype)))
    return pl.DataFrame(columns)
