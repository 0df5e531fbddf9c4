"""Random shops and what a device of each lists: inputs and exact outputs for a device in another language.

`python -m tests.vectors.shops 20 --seed 0` prints them as JSON. A shop: `file` (base64), the catalogue as it is
downloaded; `changes` of its items since; `events` as (item_id, kind, µs); `now`; and `calls`, each a placement, what is
asked, and the answer. No two items of a shop have tastes or intents closer than GAP, nor are all alike: their ranks
would be rounding.
"""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from data.interactions import MICROS_PER_DAY, EventKind
from federation.device.lists import Selection, own_arm, profile_of, rank, without_seen
from federation.device.state import DeviceState, Event
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import Catalogue, decode_catalogue, encode_catalogue
from recsys.catalogue.changes import CatalogueChange
from recsys.lists.diversity import diversify, pool_size
from recsys.mix.features import FEATURES, TREND_HALF_LIVES
from recsys.mix.mix_tables import MixTables, attributes_of, byte_scale, in_bytes, round_transitions
from recsys.mix.model import MixModel
from recsys.mix.pools import halves
from recsys.model.fold_in import cart_query, context_query
from recsys.model.items import INTENT, TASTE, ItemTable
from recsys.model.profile_config import ProfileConfig
from recsys.model.scoring import score, score_without_profile, top_k
from recsys.search.filters import parse_filter

NOW = 1_800_000_000 * 1_000_000
GAP = 2e-6
"""Of two items' scores, relative to the largest: float32 sums of two orders differ by less."""

SPREAD = 0.05
"""Standard deviation of an item's scores, relative to the largest: the mix divides by it, and rounding with it."""

Rng = np.random.Generator


def shops(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Draw n shops."""
    made: list[dict[str, Any]] = []
    rng = np.random.Generator(np.random.PCG64(seed))
    with np.errstate(all="ignore"):  # a BLAS kernel may raise flags for lanes beyond a row; a NaN fails the comparison
        while len(made) < n:
            drawn = _shop(rng)
            if drawn is not None:
                made.append(drawn)
    return made


def _shop(rng: Rng) -> dict[str, Any] | None:
    n_items, dim = int(rng.integers(2, 260)), int(rng.integers(2, 20))
    config = _config(rng)
    bundle = _bundle(rng, n_items, dim, config)
    file = encode_catalogue(bundle)
    changes = _changes(rng, n_items, bundle.table.dim) if rng.random() < 0.3 else []
    catalogue = decode_catalogue(file).with_changes(changes)
    events = _events(rng, n_items)
    state = DeviceState(consent="observe", events=tuple(events))
    if _too_close(state, catalogue):
        return None
    return {
        "file": base64.b64encode(file).decode(),
        "changes": [_change(change) for change in changes],
        "events": [[event.item_id, event.kind.name.lower(), event.time] for event in events],
        "now": NOW,
        "profile": _profile(state, catalogue),
        "calls": [_for_you(rng, state, catalogue) for _ in range(3)] + _others(rng, state, catalogue),
    }


def _config(rng: Rng) -> ProfileConfig:
    pools = tuple(rng.uniform(0, 0.95, int(rng.integers(1, 4))).tolist()) if rng.random() < 0.5 else ()
    return ProfileConfig(
        alpha=float(rng.uniform(0.01, 1)),
        reg=float(10 ** rng.uniform(-4, -1)),
        half_life=float(rng.choice([3.0, 30.0, np.inf])),
        half_life_unit="days" if rng.random() < 0.6 else "events",
        floor=float(rng.uniform(0, 0.5)),
        kind_weights=tuple(rng.uniform(0, 1, 5).round(2).tolist()),
        trend_weight=float(rng.uniform(0, 0.5)),
        repeat_weight=float(rng.uniform(0, 1)),
        repeat_half_life=float(rng.choice([20.0, 90.0, np.inf])),
        intent_pools=pools,
        intent_share=float(rng.choice([0.0, 0.3, 1.0])),
    )


def _bundle(rng: Rng, n_items: int, dim: int, config: ProfileConfig) -> Bundle:
    width = dim * len(config.intent_pools) if rng.random() < 0.8 else 0
    parts = ((TASTE, dim), (INTENT, width)) if width else ((TASTE, dim),)
    rows = rng.normal(0, rng.uniform(0.1, 1), (n_items, dim + width)).astype(np.float32)
    trend = rng.random(n_items).astype(np.float32).round(3)
    shown = pl.DataFrame(
        {
            "item_id": [f"sku-{item}" for item in range(n_items)],
            "title": [None if rng.random() < 0.1 else f"Thing “{item}”" for item in range(n_items)],
            "category": [None if rng.random() < 0.2 else f"shelf {rng.integers(6)}" for _ in range(n_items)],
            "price": [None if rng.random() < 0.2 else round(float(rng.gamma(2, 5)), 2) for _ in range(n_items)],
            "available": [bool(rng.random() < 0.95) for _ in range(n_items)],
        },
        schema_overrides={"title": pl.String, "category": pl.String, "price": pl.Float64},
    )
    mix = None if rng.random() < 0.3 else _mix(rng, n_items, shown)
    table = ItemTable(rows, trend, np.zeros(dim + width, dtype=np.float32), parts)
    manifest: dict[str, Any] = {"training": {}, "files": {}}
    return Bundle(f"{rng.integers(2**60):016x}", "random", table, shown, config, manifest, Path(), 0, mix)


def _mix(rng: Rng, n_items: int, shown: pl.DataFrame) -> MixModel:
    dense = np.where(rng.random((n_items, n_items)) < min(1.0, 30 / n_items), rng.random((n_items, n_items)), 0.0)
    np.fill_diagonal(dense, 0.0)
    transitions = sparse.csr_array(dense.astype(np.float32))
    trends = np.log1p(rng.gamma(0.5, 2, (len(TREND_HALF_LIVES), n_items))).astype(np.float32)
    attributes = attributes_of(shown)
    tables = MixTables(
        round_transitions(transitions), in_bytes(trends, byte_scale(trends)), attributes.category, attributes.log_price
    )
    weights = {name: rng.normal(0.3, 0.5, len(FEATURES)) for name in ("all", "new")}
    return MixModel(weights, {"all": "mix", "new": "prior"}, 500, tables)  # type: ignore[arg-type]


def _changes(rng: Rng, n_items: int, dim: int) -> list[CatalogueChange]:
    changes = []
    for place in rng.choice(n_items + 5, min(n_items, 4), replace=False).tolist():
        fields = {"title": "Changed", "category": "shelf new", "price": 3.25, "available": bool(rng.random() < 0.8)}
        row = rng.normal(0, 0.5, dim).astype(np.float32) if place >= n_items else None
        deleted = place < n_items and rng.random() < 0.3
        changes.append(CatalogueChange(f"sku-{place}", None if deleted else fields, row))
    return changes


def _events(rng: Rng, n_items: int) -> list[Event]:
    n = int(rng.choice([0, 1, 3, 20, 140]))
    times = np.sort(NOW - (rng.gamma(1, 20, n) * MICROS_PER_DAY).astype(np.int64))[: n or None]
    times[rng.random(n) < 0.3] = times[0] if n else 0  # baskets: moments that several events share
    times = np.sort(times)
    if n and rng.random() < 0.2:
        times[-1] = NOW + MICROS_PER_DAY  # a clock that was wrong
    favourites = rng.permutation(n_items + 2)[: max(2, n_items // 3)]
    kinds = rng.choice(5, n, p=[0.4, 0.1, 0.35, 0.05, 0.1])
    items = rng.choice(favourites, n)
    return [
        Event(int(time), f"sku-{item}", EventKind(kind))
        for time, item, kind in zip(times, items.tolist(), kinds.tolist(), strict=True)
    ]


def _too_close(state: DeviceState, catalogue: Catalogue) -> bool:
    profile = profile_of(state, replace(catalogue, config=halves(catalogue.config)), NOW)
    if profile is None:
        return False
    table = catalogue.table
    for part, _ in table.parts:
        sorted_scores = np.sort(table.rows_of(part).astype(np.float64) @ profile.vector[table.part(part)])
        largest = np.abs(sorted_scores).max()
        distinct = sorted_scores[sorted_scores != 0]  # deleted new items have rows of zeros, alike for everybody
        if sorted_scores.std() < SPREAD * largest or (np.diff(distinct) < GAP * largest).any():
            return True
    return False


def _profile(state: DeviceState, catalogue: Catalogue) -> list[float] | None:
    profile = profile_of(state, catalogue, NOW)
    return None if profile is None else profile.vector.astype(float).tolist()


def _for_you(rng: Rng, state: DeviceState, catalogue: Catalogue) -> dict[str, Any]:
    """One call of Device.recommend: the same functions in the same order."""
    asked: dict[str, Any] = {
        "topK": int(rng.choice([1, 10, 40])),
        "unseen": bool(rng.random() < 0.3),
        "repeat": bool(rng.random() < 0.7),
        "exclude": [f"sku-{item}" for item in rng.integers(0, 300, 3)] if rng.random() < 0.3 else [],
        "diversity": float(rng.choice([0.0, 0.0, 0.3, 1.0])),
        "reasons": True,
    }
    if rng.random() < 0.4:
        asked["filter"] = _filter(rng)
    only = parse_filter(asked["filter"]) if "filter" in asked else None
    left_out = without_seen(state, asked["exclude"]) if asked["unseen"] else asked["exclude"]
    selection = Selection(only, asked["diversity"], True)
    if asked["diversity"] and _rounding_decides(rng, state, catalogue, asked, left_out, selection):
        return _for_you(rng, state, catalogue)
    listed = rank(
        state, catalogue, NOW, asked["topK"], left_out, own_arm(catalogue, asked["repeat"]), selection, asked["unseen"]
    )
    return {
        "placement": "for-you",
        "asked": asked,
        "fallback": listed.fallback,
        "items": listed.item_ids,
        "scores": [item.score for item in listed.items],
        "reasons": [
            None
            if item.reason is None
            else {
                "kind": item.reason.kind,
                "item": item.reason.item_id,
                "share": item.reason.share,
                "text": item.reason.text,
                "signals": dict(item.reason.signals),
            }
            for item in listed.items
        ],
    }


def _rounding_decides(
    rng: Rng, state: DeviceState, catalogue: Catalogue, asked: dict[str, Any], left_out: list[str], selection: Selection
) -> bool:
    """Whether a diversified list is another one when rows are rotated and scores moved by no more than rounding."""
    plain, pool = replace(selection, diversity=0.0), pool_size(asked["topK"])
    listed = rank(state, catalogue, NOW, pool, left_out, own_arm(catalogue, asked["repeat"]), plain, asked["unseen"])
    rows = catalogue.table.item_embeddings[catalogue.items.index_of(listed.item_ids)]
    scores = np.array([item.score for item in listed.items], dtype=np.float32)
    lists = [diversify(scores, rows, asked["topK"], selection.diversity)]
    for _ in range(6):
        turn = np.linalg.qr(rng.normal(size=(rows.shape[1],) * 2))[0]
        moved = scores * (1 + rng.normal(0, 3e-7, len(scores))).astype(np.float32)
        lists.append(diversify(moved, (rows @ turn).astype(np.float32), asked["topK"], selection.diversity))
    return any(not np.array_equal(lists[0], other) for other in lists[1:])


def _filter(rng: Rng) -> dict[str, Any]:
    filters: list[dict[str, Any]] = [
        {"category": "shelf 1"},
        {"category": ["shelf 0", "shelf 2", "none"], "price": {"max": 12.5}},
        {"not": {"price": {"min": 5, "max": 20}}},
        {"any": [{"price": {"min": 3.25, "max": 3.25}}, {"item_id": "sku-0"}, {"all": [{"available": True}]}]},
    ]
    return filters[int(rng.integers(len(filters)))]


def _others(rng: Rng, state: DeviceState, catalogue: Catalogue) -> list[dict[str, Any]]:
    """Trend, a product page and a cart, by the functions that the service and the device share."""
    table, config, ids = catalogue.table, catalogue.config, catalogue.items.ids
    profile = profile_of(state, catalogue, NOW)
    vector = None if profile is None else profile.vector
    page, cart = int(rng.integers(table.n_items)), rng.integers(0, table.n_items, 3).astype(np.int32)
    item, goes = context_query(table, table.item_embeddings[page], None), cart_query(table, cart, config, vector)
    plain = score(table, np.stack((item, goes)), config.trend_weight)
    return [
        _call("trending", {}, score_without_profile(table), catalogue, []),
        _call("similar", {"context": ids[page]}, plain[0], catalogue, [page]),
        _call("goes-with", {"cart": [ids[item] for item in cart.tolist()]}, plain[1], catalogue, cart.tolist()),
    ]


def _call(
    placement: str, asked: dict[str, Any], scores: npt.NDArray[np.float32], catalogue: Catalogue, hidden: list[int]
) -> dict[str, Any]:
    left_out = np.union1d(catalogue.unavailable, np.array(hidden, dtype=np.int32)).astype(np.int32)
    items, values = top_k(scores, 12, left_out)
    listed = {"items": [catalogue.items.ids[item] for item in items.tolist()], "scores": values.astype(float).tolist()}
    return {"placement": placement, "asked": {"topK": 12, **asked}, **listed}


def _change(change: CatalogueChange) -> dict[str, Any]:
    row = None if change.row is None else base64.b64encode(change.row.astype("<f4").tobytes()).decode()
    return {"item_id": change.item_id, "fields": change.fields, "row": row}


if __name__ == "__main__":
    json.dump(shops(int(sys.argv[1]), int(sys.argv[3]) if len(sys.argv) > 3 else 0), sys.stdout)
