"""The items of a shop as lists are made of them: one view, on a device and in the service alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.lists.rules import ItemLocator, PreparedRules, Rules, prepare
from recsys.model.items import ItemTable
from recsys.model.profile_config import ProfileConfig
from recsys.model.transitions import Transitions
from recsys.search.filters import Filter

Floats = npt.NDArray[np.float32]
Items = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

KEPT = 64
"""Filters, and rules, that are kept ready."""


@dataclass(frozen=True, eq=False)
class ShopItems:
    """One state of a catalogue: the bundle's items, then those that came after it.

    base: the bundle's table. fresh: (m, dim) float32, the later items' embeddings. frame: (n_items rows) columns of the
    catalogue. available: (n_items,) bool. index: finds item_ids. complements: (n_bundle, n_bundle), what goes with
    what, None in a bundle without such a table.
    """

    base: ItemTable
    fresh: Floats
    config: ProfileConfig
    frame: pl.DataFrame
    available: Mask
    index: ItemLocator
    complements: Transitions | None = None
    _masks: dict[str, Mask] = field(default_factory=dict, repr=False)
    _rules: dict[str, PreparedRules] = field(default_factory=dict, repr=False)

    @property
    def n_items(self) -> int:
        """All items, also those that may not be shown."""
        return len(self.available)

    @cached_property
    def trend(self) -> Floats:
        """(n_items,) float32 in [0, 1]; 0 for what came after the bundle."""
        return np.concatenate((self.base.trend, np.zeros(len(self.fresh), dtype=np.float32)))

    def rows(self, item_idx: npt.NDArray[np.integer[Any]]) -> Floats:
        """Look up embeddings, (len(item_idx), dim)."""
        later = item_idx >= self.base.n_items
        rows = self.base.item_embeddings.take(np.where(later, 0, item_idx), axis=0)
        if later.any():
            rows[later] = self.fresh[item_idx[later] - self.base.n_items]
        return rows

    def scores(self, vector: Floats, trend_weight: float) -> Floats:
        """Score every item by v·q + trend_weight·trend, (n_items,) float32."""
        known = self.base.item_embeddings @ vector + np.float32(trend_weight) * self.base.trend
        return known if not len(self.fresh) else np.concatenate((known, self.fresh @ vector))

    def allowed(self, condition: Filter | None) -> Mask:
        """Mark the available items that a filter lets through, (n_items,) bool, read-only.

        Raises ModelError for a field that there is not, or a value that its column cannot have.
        """
        if condition is None or not condition.leaves:
            return self.available
        if condition.key not in self._masks:
            condition.check(self.frame)
            mask = condition.mask(self.frame) & self.available
            mask.flags.writeable = False
            _keep(self._masks, condition.key, mask)
        return self._masks[condition.key]

    def prepared(self, rules: Rules) -> PreparedRules:
        """Prepare rules for these items. Raises ModelError as `allowed`."""
        if rules.key not in self._rules:
            _keep(self._rules, rules.key, prepare(rules, self.frame, self.index))
        return self._rules[rules.key]

    def places(self, item_ids: list[str]) -> tuple[Items, list[str]]:
        """Find the item_idx of ids that there are, in their order, and list the ids that there are not."""
        item_idx = self.index.index_of(item_ids)
        return item_idx[item_idx >= 0], [name for name, place in zip(item_ids, item_idx, strict=True) if place < 0]

    def column(self, name: str) -> pl.Series | None:
        """Return a column, None where the catalogue does not have it."""
        return self.frame[name] if name in self.frame.columns else None

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """Return a column as (n_items,) float64, nan where there is no number."""
        column = self.column(name)
        if column is None or not (column.dtype.is_numeric() or column.dtype == pl.Null):
            return np.full(self.n_items, np.nan)
        return column.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _keep(cache: dict[str, Any], key: str, value: object) -> None:
    if len(cache) >= KEPT:
        cache.pop(next(iter(cache)))
    cache[key] = value
