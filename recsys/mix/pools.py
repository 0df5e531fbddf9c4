"""Pools: the few hundred items that a device ranks by the mix, and every feature of each of them, for many devices.

A pool is all own items and the POOL best others of each signal. Training and serving rank inside the same pools. The
obvious version for one device is recsys/mix/plain_loops.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import sparse

from data.interactions import Interactions
from recsys.mix.features import (
    CATEGORY_HALF_LIFE,
    FEATURES,
    N_FEATURES,
    NEAR_HALF_LIFE,
    NEXT_HALF_LIFE,
    OWN_COLUMNS,
    POOL,
    PRICE_BOUND,
    RECENT_EVENTS,
    TREND_NAMES,
)
from recsys.mix.history_counts import events_without_dislikes, own_items, recent_items
from recsys.mix.mix_tables import CATEGORY_TREND, MixTables
from recsys.model.intent import intent_share
from recsys.model.items import INTENT, TASTE, ItemTable
from recsys.model.log_profiles import MakeSolver, closed_form, profiles_of
from recsys.model.profile_config import ProfileConfig

if TYPE_CHECKING:
    from recsys.model.solver import Solver

Floats = npt.NDArray[np.float32]
CELLS_AT_ONCE = 2_000_000
"""Devices × items that are scored at a time: 8 MB a signal."""

_COLUMN = {name: place for place, name in enumerate(FEATURES)}


@dataclass(frozen=True, eq=False, repr=False)
class Pools:
    """Pools of some devices, one after the other.

    offsets: (n_devices + 1,) int64; item_idx: (m,) int32, ascending within a device; features: (m, N_FEATURES) float32.
    """

    offsets: npt.NDArray[np.int64]
    item_idx: npt.NDArray[np.int32]
    features: Floats

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def device(self) -> npt.NDArray[np.int64]:
        """The device of each entry, (m,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def own(self) -> npt.NDArray[np.bool_]:
        """True where an entry is an item of the device's own history, (m,)."""
        owned: npt.NDArray[np.bool_] = self.features[:, _COLUMN["own"]] > 0
        return owned

    def where(self, keep: npt.NDArray[np.bool_]) -> Pools:
        """Keep only the entries where keep (m,) is true."""
        before = np.concatenate(([0], np.cumsum(keep)))
        return Pools(before[self.offsets], self.item_idx[keep], self.features[keep])


@dataclass(frozen=True, eq=False)
class Signals:
    """All that is public and that a pool is formed from: the item table, how to serve, the tables of the mix."""

    table: ItemTable
    config: ProfileConfig
    tables: MixTables
    make_solver: MakeSolver = closed_form

    @cached_property
    def solver(self) -> Solver:
        """The solver of the profiles; made once, for it looks at the whole table."""
        return self.make_solver(self.table, self.config)


def form_pools(
    signals: Signals,
    log: Interactions,
    now: int | npt.NDArray[np.int64],
    allowed: npt.NDArray[np.bool_] | None = None,
) -> Iterator[tuple[slice, Pools]]:
    """Form the pools of all users of a log as of `now` (µs, one moment or one a user), some users at a time.

    allowed: (n_items,) bool, what may be listed, everything by default. Yields the rows of the users and their pools.
    """
    at_once = max(1, CELLS_AT_ONCE // log.n_items)
    for start in range(0, log.n_users, at_once):
        rows = slice(start, min(start + at_once, log.n_users))
        part = log.users(np.arange(rows.start, rows.stop))
        moment = now[rows] if isinstance(now, np.ndarray) else now
        yield rows, _pools_of(signals, part, moment, _scores_of(signals, part, moment), allowed)


def pool_of_history(
    signals: Signals,
    history: Interactions,
    now: int,
    vector: npt.NDArray[np.float32],
    allowed: npt.NDArray[np.bool_] | None = None,
) -> Pools:
    """Form the pool of one device, which has its profile's vector (dim,) already.

    history: its events as those of user 0.

    vector: with both parts in it, in any shares (see halves).
    """
    return _pools_of(signals, history, now, _part_scores(signals.table, signals.config, vector[None]), allowed)


def features_of_history(signals: Signals, history: Interactions, now: int, vector: npt.NDArray[np.float32]) -> Floats:
    """Compute the features of every item for one device, (n_items, N_FEATURES) float32: as if all were in its pool."""
    dense = _part_scores(signals.table, signals.config, vector[None])
    return _pools_of(signals, history, now, dense, None, every=True).features


def halves(config: ProfileConfig) -> ProfileConfig:
    """Set both parts in a profile: any share between 0 and 1 does, each is scaled by its own spread."""
    return replace(config, intent_share=0.5)


def all_pools(signals: Signals, log: Interactions, now: int | npt.NDArray[np.int64]) -> Pools:
    """Form the pools of all users of a log, held together."""
    parts = [pools for _, pools in form_pools(signals, log, now)]
    sizes = np.concatenate([np.empty(0, np.int64), *(np.diff(part.offsets) for part in parts)])
    return Pools(
        np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
        np.concatenate([np.empty(0, np.int32), *(part.item_idx for part in parts)]),
        np.concatenate([np.empty((0, N_FEATURES), np.float32), *(part.features for part in parts)]),
    )


def _pools_of(
    signals: Signals,
    log: Interactions,
    now: int | npt.NDArray[np.int64],
    dense: dict[str, Floats],
    allowed: npt.NDArray[np.bool_] | None,
    *,
    every: bool = False,
) -> Pools:
    n_items, tables = log.n_items, signals.tables
    events = events_without_dislikes(log)
    own_rows = own_items(events, now)
    barred = np.zeros((log.n_users, n_items), dtype=np.bool_)
    barred[log.user_idx, log.item_idx] = True
    if allowed is not None:
        barred[:, ~allowed] = True
    pooled = np.zeros(barred.shape, dtype=np.bool_)
    _pool_trends(pooled, barred, tables.trend_best)
    ordered = {name: _ordered(scores, barred) for name, scores in dense.items()}
    for name, scores in dense.items():
        _pool_best(pooled, scores, barred, _kth_best(ordered[name]))
    near = {
        half_life: _asked_next(recent_items(events, half_life, RECENT_EVENTS), tables)
        for half_life in (NEXT_HALF_LIFE, NEAR_HALF_LIFE)
    }
    for pull in near.values():
        _pool_sparse(pooled, pull, barred)
    by_category = _category_scores(events, tables) if tables.n_categories else None
    if by_category is not None:
        others = np.where(barred, -np.inf, by_category)
        cut = n_items - min(POOL, n_items)
        kth = np.partition(others, cut, axis=1)[:, cut]
        _pool_best(pooled, by_category, barred, np.maximum(kth, np.finfo(np.float32).tiny))
    listable = own_rows.key if allowed is None else own_rows.key[allowed[own_rows.key % n_items]]
    pooled.ravel()[listable] = True
    pooled |= every
    key = np.flatnonzero(pooled)
    device, item = np.divmod(key, n_items)
    features = np.zeros((len(key), N_FEATURES), dtype=np.float32)
    for name, scores in dense.items():
        value = scores.ravel()[key]
        spread = scores.std(axis=1, dtype=np.float64)
        unit = np.where(spread > 0, 0.25 / np.maximum(spread, 1e-30), 0.0).astype(np.float32)
        features[:, _COLUMN[name]] = value * unit[device]
        features[:, _COLUMN[f"{name}_rank"]] = _log_rank(value, device, ordered[name], unit > 0)
    soon = near[NEXT_HALF_LIFE]
    value = _lookup(soon, key, n_items)
    mean = _row_mean(soon)
    features[:, _COLUMN["next"]] = np.log1p(value / mean[device]) / 2.0
    later = near[NEAR_HALF_LIFE]
    features[:, _COLUMN["near"]] = np.log1p(_lookup(later, key, n_items) / _row_mean(later)[device]) / 2.0
    place = np.searchsorted(own_rows.key, key)
    mine = np.append(own_rows.key, -1)[place] == key
    features[np.ix_(mine, OWN_COLUMNS)] = own_rows.values[place[mine]]
    for row, name in enumerate(TREND_NAMES):
        features[:, _COLUMN[name]] = tables.trends[row][item]
    if by_category is not None:
        n_categories = (by_category > 0).sum(axis=1)
        mean = np.where(n_categories > 0, by_category.sum(axis=1) / np.maximum(n_categories, 1), 1.0)
        features[:, _COLUMN["category"]] = np.log1p(by_category.ravel()[key] / mean[device]) / 2.0
    distance = _price_distance(events, tables, device, item)
    features[:, _COLUMN["price"]] = -np.minimum(np.nan_to_num(distance), np.float32(PRICE_BOUND))
    offsets = np.searchsorted(device, np.arange(log.n_users + 1)).astype(np.int64)
    return Pools(offsets, item.astype(np.int32), features)


def _scores_of(signals: Signals, log: Interactions, now: int | npt.NDArray[np.int64]) -> dict[str, Floats]:
    profiles = profiles_of(signals.table, halves(signals.config), log, now, lambda *_: signals.solver)
    return _part_scores(signals.table, signals.config, profiles)


def _part_scores(table: ItemTable, config: ProfileConfig, profiles: Floats) -> dict[str, Floats]:
    """Score by the taste and, where the table has it, by the intent, each (n_users, n_items)."""
    parts = {"taste": TASTE}
    if intent_share(table.parts, halves(config)) > 0:
        parts["intent"] = INTENT
    return {name: profiles[:, table.part(part)] @ table.rows_of(part).T for name, part in parts.items()}


def _ordered(scores: Floats, barred: npt.NDArray[np.bool_]) -> Floats:
    """Sort scores of the others ascending, −inf first for what is barred."""
    others = np.where(barred, np.float32(-np.inf), scores)
    others.sort(axis=1)
    return others


def _kth_best(ordered: Floats) -> Floats:
    n_items = ordered.shape[1]
    first = np.minimum(np.isneginf(ordered).sum(axis=1), n_items - 1)
    worst = ordered[np.arange(len(ordered)), first]
    kth: Floats = np.where(worst < ordered[:, -1], ordered[:, n_items - min(POOL, n_items)], np.float32(np.inf))
    return kth  # inf where all are alike, so that none is better


def _log_rank(
    value: Floats, device: npt.NDArray[np.int64], ordered: Floats, has_scores: npt.NDArray[np.bool_]
) -> Floats:
    """Compute 4 · log((n + 1)/(rank + 1)) / log(n + 1), rank: how many others score more.

    0 for a device without scores.
    """
    n_items = ordered.shape[1]
    bounds = np.searchsorted(device, np.arange(len(ordered) + 1))
    rank = np.empty(len(value), dtype=np.int64)
    for row in range(len(ordered)):
        inside = slice(bounds[row], bounds[row + 1])
        rank[inside] = n_items - np.searchsorted(ordered[row], value[inside], side="right")
    height = 4.0 * np.log((n_items + 1) / (rank + 1.0)) / np.log(n_items + 1)
    return np.where(has_scores[device], height, 0.0).astype(np.float32)


def _pool_best(pooled: npt.NDArray[np.bool_], scores: Floats, barred: npt.NDArray[np.bool_], kth: Floats) -> None:
    pooled |= (scores >= kth[:, None]) & ~barred


def _pool_trends(pooled: npt.NDArray[np.bool_], barred: npt.NDArray[np.bool_], best: npt.NDArray[np.int64]) -> None:
    """Pool the POOL others of the largest trend of each half-life: all of the first that are not barred."""
    for order in best:
        for row in range(len(pooled)):
            taken, start = 0, 0
            while taken < POOL and start < len(order):
                items = order[start : start + 2 * POOL]
                free = items[~barred[row, items]][: POOL - taken]
                pooled[row, free] = True
                taken, start = taken + len(free), start + 2 * POOL


def _asked_next(
    recent: sparse.csr_array[np.float32, tuple[int, int]], tables: MixTables
) -> sparse.csr_array[np.float32, tuple[int, int]]:
    pull = sparse.csr_array(recent @ tables.transitions)
    pull.sort_indices()
    return pull


def _pool_sparse(
    pooled: npt.NDArray[np.bool_], pull: sparse.csr_array[np.float32, tuple[int, int]], barred: npt.NDArray[np.bool_]
) -> None:
    """Pool the POOL largest of each sparse row, of what is not barred."""
    counts = np.diff(pull.indptr)
    if not counts.max(initial=0):
        return
    row = np.repeat(np.arange(pull.shape[0]), counts)
    values = np.where(barred[row, pull.indices], np.float32(0), pull.data)
    width = max(int(counts.max()), POOL)
    padded = np.zeros((pull.shape[0], width), dtype=np.float32)
    padded[row, np.arange(len(row)) - pull.indptr[row]] = values
    kth = np.partition(padded, width - POOL, axis=1)[:, width - POOL]
    best = (values >= kth[row]) & (values > 0)
    pooled[row[best], pull.indices[best]] = True


def _category_scores(events: Interactions, tables: MixTables) -> Floats:
    """Share of each item's category in the recent history × log popularity, (n_users, n_items); 0 without category."""
    recent = recent_items(events, CATEGORY_HALF_LIFE, RECENT_EVENTS).tocoo()
    shares = np.zeros((events.n_users, tables.n_categories + 1), dtype=np.float32)
    np.add.at(shares, (recent.coords[0], tables.category[recent.coords[1]]), recent.data)  # −1 is the last column
    shares[:, -1] = 0.0
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), np.float32(1e-30))
    scores: Floats = shares[:, tables.category] * tables.trends[CATEGORY_TREND]
    return scores


def _price_distance(
    events: Interactions, tables: MixTables, device: npt.NDArray[np.int64], item: npt.NDArray[np.int64]
) -> Floats:
    """Compute |log price − mean log price of the recent history| of each entry; nan where either is unknown."""
    recent = recent_items(events, CATEGORY_HALF_LIFE, RECENT_EVENTS)
    known = ~np.isnan(tables.log_price)
    weight = recent @ known.astype(np.float32)
    total = recent @ np.where(known, tables.log_price, np.float32(0))
    mean = np.where(weight > 0, total / np.maximum(weight, np.float32(1e-30)), np.float32(np.nan))
    distance: Floats = np.abs(tables.log_price[item] - mean[device])
    return distance


def _lookup(matrix: sparse.csr_array[np.float32, tuple[int, int]], key: npt.NDArray[np.int64], n_items: int) -> Floats:
    """Look up row · n_items + column in a sparse matrix with sorted indices, 0 where there is no entry."""
    row = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    keys = row * n_items + matrix.indices
    place = np.searchsorted(keys, key)
    hit = np.append(keys, -1)[place] == key
    values = np.zeros(len(key), dtype=np.float32)
    values[hit] = matrix.data[place[hit]]
    return values


def _row_mean(matrix: sparse.csr_array[np.float32, tuple[int, int]]) -> Floats:
    """Average the entries of each row, 1 for an empty one."""
    counts = np.diff(matrix.indptr)
    total = np.bincount(np.repeat(np.arange(matrix.shape[0]), counts), matrix.data, matrix.shape[0])
    return np.where(total > 0, total / np.maximum(counts, 1), 1.0).astype(np.float32)
