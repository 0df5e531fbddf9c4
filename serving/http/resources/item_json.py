"""Items as JSON: the object of each item of a list, with its usual fields or those that a question asks for."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.http.bodies import invalid_field
from serving.http.resources.ask_bodies import ATTRIBUTE, LISTED_FIELDS, Reason
from serving.shelf.served import ServedBundle

Vector = npt.NDArray[np.float32]
Items = npt.NDArray[np.int32]


def list_json(
    one: ServedBundle,
    items: Items,
    scores: Vector,
    reasons: Sequence[Reason] | None = None,
    fields: Sequence[str] | None = None,
) -> bytes:
    """Write a JSON array of items; scores have the nine digits that identify a float32.

    fields: those that every item has beside item_id and score, checked by `check_fields`; None for the usual ones.
    """
    texts = one.texts_of(items) if fields is None else _texts(one, items, fields)
    parts: list[Any] = [None] * (2 * len(items) if reasons is None else 3 * len(items))
    step = 2 if reasons is None else 3
    parts[::step], parts[1::step] = texts, scores.tolist()
    if reasons is not None:
        parts[2::step] = [reason.encode() for reason in reasons]
    return _list_form(len(items), reasons is not None) % tuple(parts)


@lru_cache(maxsize=64)
def _list_form(n: int, with_reasons: bool) -> bytes:
    """Make the form of a list of n: one form filled once takes half the time of n of them."""
    row = b'%b%.9g, "reason": "%b"}' if with_reasons else b"%b%.9g}"
    return b"[" + b",".join([row] * n) + b"]"


def check_fields(one: ServedBundle, fields: Sequence[str] | None) -> None:
    """Check named fields.

    Raises Refusal, with the place, for a field that the catalogue does not have or that is named twice.
    """
    if fields is None:
        return
    known = fields_of(one)
    for at, name in enumerate(fields):
        if name not in known:
            raise invalid_field(f"fields.{at}", f"no such field; must be one of {', '.join(known)}")
    if len(set(fields)) < len(fields):
        raise invalid_field("fields", "one is named twice")


def fields_of(one: ServedBundle) -> tuple[str, ...]:
    """List what may be asked for of items: LISTED_FIELDS, null where the catalogue lacks one, and its own columns."""
    own = (name for name in one.live.catalogue.columns if name not in ("item_id", *_COLUMNS))
    return (*LISTED_FIELDS, *(ATTRIBUTE + name for name in own))


_COLUMNS = ("title", "category", "price", "available")
_TEXTS = ("title", "category", "image", "link")


def field_columns(one: ServedBundle, items: Items, fields: Sequence[str]) -> dict[str, Any]:
    """Read fields of items (n,): a list of n values by field; those of attributes by name under `attributes`."""
    catalogue = one.live.catalogue
    names = [name.removeprefix(ATTRIBUTE) for name in fields]
    columns: dict[str, Any] = {}
    for field, name in zip(fields, names, strict=True):
        if field == "available":
            values: list[Any] = one.live.available[items].tolist()
        elif name in catalogue.columns:
            values = [plain(value) for value in catalogue[name][items].to_list()]
            if field in _TEXTS:
                values = [None if value is None else str(value) for value in values]
        else:
            values = [None] * len(items)
        held = columns.setdefault("attributes", {}) if field.startswith(ATTRIBUTE) else columns
        held[name] = values
    return columns


def _texts(one: ServedBundle, items: Items, fields: Sequence[str]) -> list[bytes]:
    """Write each item's object up to its score."""
    columns = field_columns(one, items, fields)
    attributes = columns.pop("attributes", None)
    ids = one.live.catalogue["item_id"][items].to_list()
    texts = []
    for at, item_id in enumerate(ids):
        row = {"item_id": item_id} | {name: values[at] for name, values in columns.items()}
        if attributes is not None:
            row["attributes"] = {name: values[at] for name, values in attributes.items()}
        texts.append(json.dumps(row, ensure_ascii=False, allow_nan=False)[:-1].encode() + b', "score": ')
    return texts


def row_text(one: ServedBundle, item_idx: int) -> str:
    """Write an item's embedding as base64 of dim little-endian float32."""
    row = one.live.vectors(np.array([item_idx]))[0]
    return base64.b64encode(row.astype("<f4").tobytes()).decode()


def plain(value: Any) -> Any:
    """Turn a catalogue's value into one that JSON has; what is no number there becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)
