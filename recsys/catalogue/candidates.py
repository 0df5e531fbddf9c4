"""Candidates: what the service answers a coarse question with, and the device ranks by its exact profile.

As JSON: item_id, title, category, price as columns; rows (int8), scale and trend (float32, little-endian) as base64.
Items travel in the order of item_idx, so that of equal scores the device puts the same one first as everybody.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import ModelError, OwnshelfError
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import SHOWN, catalogue_of
from recsys.model.items import ItemTable
from recsys.model.quantization import dequantize, quantize
from recsys.model.scoring import score, top_k

MAX_CANDIDATES = 2000
MAX_DIM = 4096
COLUMNS = tuple(name for name in SHOWN if name != "available")
"""Columns that travel: nobody is offered what is not available."""


@dataclass(frozen=True, eq=False)
class QuantizedRows:
    """A bundle's rows as they travel, made once: rows int8 (n_items, dim), scale, trend (n_items,), shown COLUMNS."""

    rows: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]
    trend: npt.NDArray[np.float32]
    shown: pl.DataFrame

    @staticmethod
    def of(bundle: Bundle) -> QuantizedRows:
        """Quantize a bundle's rows."""
        rows, scale = quantize(bundle.table.item_embeddings)
        return QuantizedRows(rows, scale, bundle.table.trend, shown_of(bundle))

    def with_changes(self, catalogue: pl.DataFrame, fresh: npt.NDArray[np.float32]) -> QuantizedRows:
        """Replace the columns by those of a catalogue of now, and append rows (n_new, dim)."""
        rows, scale = quantize(fresh)
        shown = pl.DataFrame(
            {
                name: catalogue[name].cast(SHOWN[name])
                if name in catalogue.columns
                else pl.Series([None] * catalogue.height, dtype=SHOWN[name])
                for name in COLUMNS
            }
        )
        return QuantizedRows(
            np.concatenate([self.rows, rows]),
            np.concatenate([self.scale, scale]),
            np.concatenate([self.trend, np.zeros(len(fresh), dtype=np.float32)]),
            shown,
        )


def shown_of(bundle: Bundle) -> pl.DataFrame:
    """Select the COLUMNS of a bundle's items."""
    return catalogue_of(bundle).shown.select(COLUMNS)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Items to rank: shown has the COLUMNS, row i of it is row i of table (embeddings to half an int8 step)."""

    shown: pl.DataFrame
    table: ItemTable

    @property
    def item_ids(self) -> list[str]:
        """The item_ids, in the order of the rows."""
        return self.shown["item_id"].to_list()


def encode_candidates(source: QuantizedRows, item_idx: npt.NDArray[np.int32]) -> dict[str, Any]:
    """Encode items (n,) in any order as a JSON-able dict."""
    if len(item_idx) > MAX_CANDIDATES:
        raise ModelError(f"candidates={len(item_idx)}: must be at most {MAX_CANDIDATES}")
    chosen = np.sort(item_idx)
    columns: dict[str, Any] = source.shown[chosen].to_dict(as_series=False)
    return columns | {
        "dim": int(source.rows.shape[1]),
        "rows": _base64(source.rows[chosen]),
        "scale": _base64(source.scale[chosen].astype("<f4")),
        "trend": _base64(source.trend[chosen].astype("<f4")),
    }


def decode_candidates(content: object, dim: int) -> Candidates | None:
    """Decode the candidates of encode_candidates; None when there is not one.

    dim: that the device expects.

    Raises ModelError for anything else than what encode_candidates writes.
    """
    try:
        if not isinstance(content, Mapping) or set(content) != {*COLUMNS, "dim", "rows", "scale", "trend"}:
            raise ModelError("its fields are not those of candidates")
        if content["dim"] != dim or not 1 <= dim <= MAX_DIM:
            raise ModelError(f"dim={content['dim']!r}: must be {dim}")
        if not all(isinstance(content[name], list) for name in COLUMNS):
            raise ModelError("columns must be lists")
        shown = pl.DataFrame({name: content[name] for name in COLUMNS}, schema={name: SHOWN[name] for name in COLUMNS})
        n = shown.height
        if n > MAX_CANDIDATES:
            raise ModelError(f"{n} items, must be at most {MAX_CANDIDATES}")
        rows = _read(content["rows"], "i1", n * dim).reshape(n, dim)
        scale, trend = _read(content["scale"], "<f4", n), _read(content["trend"], "<f4", n)
        if n == 0:
            return None
        if not (np.isfinite(scale) & (scale >= 0)).all():
            raise ModelError("scale: must be finite, 0 or more")
        ids = shown["item_id"]
        if ids.null_count() or ids.n_unique() < n:
            raise ModelError("item_id: must be given, each once")
        return Candidates(shown, ItemTable(dequantize(rows, scale), trend, np.zeros(dim, dtype=np.float32)))
    except OwnshelfError as error:
        raise ModelError(f"candidates: {error}") from None
    except (ValueError, TypeError, KeyError, OverflowError, pl.exceptions.PolarsError) as error:
        raise ModelError(f"candidates: not what a service answers ({type(error).__name__})") from None


def rerank(
    candidates: Candidates,
    vector: npt.NDArray[np.float32],
    trend_weight: float,
    k: int,
    bonus: Mapping[str, float],
    exclude: Collection[str] = (),
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Rerank candidates by the one score and what the device adds to it.

    Returns the best k rows of `candidates`, and their scores.

    vector: the exact profile (dim,). bonus: by item_id, of the repeat counter; what is no candidate is left out.
    """
    scores = score(candidates.table, vector[None], trend_weight)[0]
    ids = candidates.item_ids
    scores += np.array([bonus.get(item_id, 0.0) for item_id in ids], dtype=np.float32)
    hidden = np.flatnonzero([item_id in exclude for item_id in ids]).astype(np.int32)
    return top_k(scores, k, hidden)


def _base64(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _read(text: object, kind: str, n: int) -> npt.NDArray[Any]:
    if not isinstance(text, str):
        raise ModelError("arrays must be base64")
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ModelError("arrays must be base64") from None
    values = np.frombuffer(content, dtype=kind)
    if len(values) != n:
        raise ModelError(f"an array has {len(values)} values, must have {n}")
    return values
