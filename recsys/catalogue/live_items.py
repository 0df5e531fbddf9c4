"""Items as they are now: a bundle, and everything that was changed since, without training anything.

An item that the bundle knows keeps its learned embedding whatever its title or price becomes; a new one gets its own
from its content (content.py). Nothing is changed in place: a request in progress keeps what it began with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import ModelError
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.content import ContentEmbedder
from recsys.model.scoring import top_k
from recsys.search.retrieval import ItemIndex, SearchResult
from recsys.search.selection import Selection

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ItemChange:
    """One item, put or deleted.

    sequence: its place among all changes. number: the place of an item unknown to the bundle among all such items, in
    the order in which they first appeared; the same wherever it is told. fields: new values of columns of the catalogue
    (title, category, price, available, attributes), those not named stay as they are; None: the item is deleted.
    whole: fields are all that was ever put, so that those not named are as the bundle has them; a reader that missed a
    deletion in between ends where all others do.
    """

    item_id: str
    sequence: int
    number: int
    fields: Mapping[str, Any] | None
    whole: bool = False


@dataclass(frozen=True, eq=False)
class LiveSelection:
    """The items that a list may hold; made by LiveItems.select, good for that LiveItems only.

    known: of the bundle's items; fresh: (n,) ascending places among the new ones.
    """

    known: Selection
    fresh: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many items are allowed."""
        return self.known.count + len(self.fresh)


@dataclass(frozen=True, eq=False)
class LiveItems:
    """A bundle with all changes up to `sequence`; the bundle's items keep their item_idx, new ones follow by number.

    catalogue: (n_items rows) the bundle's columns and `available`, as of now; a deleted item keeps its id alone.
    available, deleted: (n_items,) bool. numbers: (n_new,) ascending. embeddings: (n_new, dim) float32, zero where the
    item is deleted. places: item_idx of each new item_id. touched: categories that an item of the bundle has left or
    joined since, so that the index's lists of them are no longer right.
    """

    bundle: Bundle
    index: ItemIndex
    content: ContentEmbedder
    sequence: int
    catalogue: pl.DataFrame
    available: Mask
    deleted: Mask
    numbers: npt.NDArray[np.int64]
    embeddings: npt.NDArray[np.float32]
    places: Mapping[str, int]
    touched: frozenset[str]

    @staticmethod
    def start(bundle: Bundle, index: ItemIndex, content: ContentEmbedder) -> LiveItems:
        """Start from the bundle's items as it has them; apply all changes of the store next."""
        n_items, dim = bundle.table.n_items, bundle.table.dim
        available = _available(bundle.catalogue)
        return LiveItems(
            bundle=bundle,
            index=index,
            content=content,
            sequence=-1,
            catalogue=bundle.catalogue.with_columns(available=pl.Series(available)),
            available=_frozen(available),
            deleted=_frozen(np.zeros(n_items, dtype=np.bool_)),
            numbers=_frozen(np.empty(0, dtype=np.int64)),
            embeddings=_frozen(np.empty((0, dim), dtype=np.float32)),
            places=MappingProxyType({}),
            touched=frozenset(),
        )

    @property
    def n_items(self) -> int:
        """The bundle's items and the new ones, deleted ones included."""
        return len(self.available)

    @property
    def n_known(self) -> int:
        """The bundle's items."""
        return self.bundle.table.n_items

    @property
    def trend(self) -> npt.NDArray[np.float32]:
        """(n_items,) float32: the bundle's trend, and 0 for what nobody had the time to buy."""
        return np.concatenate([self.bundle.table.trend, np.zeros(len(self.numbers), dtype=np.float32)])

    @cached_property
    def everything(self) -> LiveSelection:
        """Every available item."""
        return self.select()

    def index_of(self, item_ids: Sequence[str]) -> npt.NDArray[np.int32]:
        """Find item_idx of each id, (len(item_ids),) int32, −1 where unknown or deleted."""
        item_idx = (
            np.array(self._places(item_ids), dtype=np.int32) if self.places else self.bundle.items.index_of(item_ids)
        )
        if self.sequence >= 0:
            return np.where((item_idx >= 0) & self.deleted[item_idx], np.int32(-1), item_idx)
        return item_idx

    def vectors(self, item_idx: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
        """Look up embeddings, (len(item_idx), dim) float32."""
        fresh = item_idx >= self.n_known
        rows = self.bundle.table.item_embeddings.take(np.where(fresh, 0, item_idx), axis=0)
        rows[fresh] = self.embeddings[item_idx[fresh] - self.n_known]
        return rows

    def select(self, allowed: Mask | None = None, category: str | tuple[str, ...] = ()) -> LiveSelection:
        """Select the available items among the allowed ones, (n_items,) bool.

        They are of that category or one of these, or of any.
        """
        if allowed is not None and (allowed.shape != (self.n_items,) or allowed.dtype != np.bool_):
            raise ModelError(f"allowed: {allowed.dtype}{allowed.shape}, must be bool ({self.n_items},)")
        mask = self.available if allowed is None else self.available & allowed
        wanted = (category,) if isinstance(category, str) else category
        if wanted:
            if "category" not in self.catalogue.columns:
                raise ModelError(f"category={wanted[0]!r}: this catalogue has no categories")
            mask = mask & self.catalogue["category"].is_in(list(wanted)).fill_null(False).to_numpy()
        lists = () if self.touched.intersection(wanted) else wanted
        known = mask[: self.n_known]
        if lists and np.array_equal(known, self._bundle_members(lists)):
            return LiveSelection(self.index.select(None, lists), np.flatnonzero(mask[self.n_known :]))
        return LiveSelection(self.index.select(known, lists), np.flatnonzero(mask[self.n_known :]))

    def search(
        self,
        query: npt.NDArray[np.float32],
        k: int,
        *,
        trend_weight: float,
        selection: LiveSelection | None = None,
        hidden: npt.NDArray[np.integer[Any]] | None = None,
    ) -> SearchResult:
        """Search as ItemIndex.search does, over the items as they are now.

        Only available ones are listed, whatever the selection says.
        """
        chosen = self.everything if selection is None else selection
        old, new = hidden, chosen.fresh
        if hidden is not None and len(hidden) and len(self.numbers):
            if hidden.max() >= self.n_items:
                raise ModelError(f"hidden={hidden.max()}: must be in 0..{self.n_items - 1}")
            old = hidden[hidden < self.n_known]
            new = new[~np.isin(new, hidden - self.n_known)] if len(new) else new
        result = self.index.search(query, k, trend_weight=trend_weight, selection=chosen.known, hidden=old)
        return self._with_new(result, query, k, new) if len(new) else result

    def search_many(
        self,
        queries: npt.NDArray[np.float32],
        k: int,
        *,
        trend_weight: float,
        selection: LiveSelection | None = None,
    ) -> list[SearchResult]:
        """Search as ItemIndex.search_many does, over the items as they are now."""
        chosen = self.everything if selection is None else selection
        results = self.index.search_many(queries, k, trend_weight=trend_weight, selection=chosen.known)
        if not len(chosen.fresh):
            return results
        return [self._with_new(result, query, k, chosen.fresh) for result, query in zip(results, queries, strict=True)]

    def _with_new(
        self, result: SearchResult, query: npt.NDArray[np.float32], k: int, new: npt.NDArray[np.int64]
    ) -> SearchResult:
        """Merge what was found of the bundle's items with some new ones, and keep the best k."""
        scores = np.concatenate([result[1], self.embeddings.take(new, axis=0) @ query])
        items = np.concatenate([result[0], (new + self.n_known).astype(np.int32)])
        tied, best = top_k(
            scores, k
        )  # equal scores come in order of place: the bundle's by item_idx, then the new ones
        return items[tied], best

    def apply(self, changes: Sequence[ItemChange]) -> LiveItems:
        """Apply changes to these items; changes up to `sequence` are known and passed over.

        Raises ModelError for a field that the catalogue does not have or a value that is not of its type, and for a new
        item whose number comes before that of one already here.
        """
        unapplied = (change for change in changes if change.sequence > self.sequence)
        latest = sorted(unapplied, key=lambda change: change.sequence)
        if not latest:
            return self
        grown = self._with_places(latest)
        places = grown._places([change.item_id for change in latest])
        rows: dict[int, dict[str, Any]] = {}
        deleted: dict[int, bool] = {}
        for change, place in zip(latest, places, strict=True):
            gone = deleted.get(place, place >= self.n_items or bool(self.deleted[place]))
            if gone or change.whole:
                before = self.bundle.catalogue.row(place, named=True) if place < self.n_known else {}
            else:
                before = rows[place] if place in rows else self.catalogue.row(place, named=True)
            rows[place] = _change_row(before, change, self.catalogue.schema)
            deleted[place] = change.fields is None
        return grown._with_rows(rows, deleted, latest[-1].sequence)

    def fits(self, name: str, value: Any) -> bool:
        """Check that the catalogue has such a column, and that it can hold the value."""
        if name == "item_id" or name not in self.catalogue.columns:
            return False
        try:
            _convert(name, value, self.catalogue.schema[name])
        except ModelError:
            return False
        return True

    def _places(self, item_ids: Sequence[str]) -> list[int]:
        """Find item_idx of each item, deleted or not; −1 where it was never known."""
        known = self.bundle.items.places(item_ids)
        if not self.places:
            return known
        return [
            place if place >= 0 else self.places.get(item_id, -1)
            for place, item_id in zip(known, item_ids, strict=True)
        ]

    def _with_places(self, changes: Sequence[ItemChange]) -> LiveItems:
        """Add a place for each new item."""
        places = self._places([change.item_id for change in changes])
        new = {change.item_id: change.number for change, place in zip(changes, places, strict=True) if place < 0}
        if not new:
            return self
        ordered = sorted(new.items(), key=lambda pair: pair[1])
        numbers = np.concatenate([self.numbers, [number for _, number in ordered]]).astype(np.int64)
        if (np.diff(numbers) <= 0).any():
            raise ModelError(f"number={ordered[0][1]} of {ordered[0][0]!r}: must be above those of older items")
        more = len(ordered)
        first = self.n_items
        return replace(
            self,
            available=np.concatenate([self.available, np.zeros(more, dtype=np.bool_)]),
            deleted=np.concatenate([self.deleted, np.ones(more, dtype=np.bool_)]),
            numbers=_frozen(numbers),
            embeddings=np.concatenate([self.embeddings, np.zeros((more, self.bundle.table.dim), dtype=np.float32)]),
            places=MappingProxyType(
                {**self.places, **{item_id: first + place for place, (item_id, _) in enumerate(ordered)}}
            ),
        )

    def _with_rows(
        self, rows: Mapping[int, Mapping[str, Any]], deleted: Mapping[int, bool], sequence: int
    ) -> LiveItems:
        """Replace some rows of the catalogue; the items' places are there."""
        places = np.array(list(rows), dtype=np.int64)
        fresh = pl.DataFrame(list(rows.values()), schema=self.catalogue.schema)
        shown = _available(fresh) & ~np.array(list(deleted.values()), dtype=np.bool_)
        fresh = fresh.with_columns(available=pl.Series(shown))
        source = np.arange(self.n_items)
        source[places] = self.catalogue.height + np.arange(len(places))
        catalogue = pl.concat([self.catalogue, fresh])[source]
        available, gone, embeddings = self.available.copy(), self.deleted.copy(), self.embeddings.copy()
        gone[places] = list(deleted.values())
        available[places] = shown
        new = places >= self.n_known
        if new.any():
            embeddings[places[new] - self.n_known] = self.content.embed(fresh.filter(pl.Series(new)))
            embeddings[gone[self.n_known :]] = 0.0
        return replace(
            self,
            sequence=sequence,
            catalogue=catalogue,
            available=_frozen(available),
            deleted=_frozen(gone),
            embeddings=_frozen(embeddings),
            touched=self.touched | self._left_or_joined(places[~new], fresh.filter(pl.Series(~new))),
        )

    def _left_or_joined(self, places: npt.NDArray[np.int64], fresh: pl.DataFrame) -> frozenset[str]:
        if "category" not in fresh.columns:
            return frozenset()
        before = self.bundle.catalogue["category"].gather(places).cast(pl.String)
        now = fresh["category"].cast(pl.String)
        moved = before.ne_missing(now)
        return frozenset([*before.filter(moved).drop_nulls(), *now.filter(moved).drop_nulls()])

    def _bundle_members(self, names: tuple[str, ...]) -> Mask:
        members: Mask = self.bundle.catalogue["category"].is_in(list(names)).fill_null(False).to_numpy()
        return members


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.flags.writeable = False
    return array


def _available(catalogue: pl.DataFrame) -> Mask:
    """Mark the available rows, (rows,) bool; unknown is available."""
    if "available" not in catalogue.columns:
        return np.ones(catalogue.height, dtype=np.bool_)
    return catalogue["available"].fill_null(True).to_numpy().copy()


def _change_row(before: Mapping[str, Any], change: ItemChange, schema: Mapping[str, pl.DataType]) -> dict[str, Any]:
    """Apply one change to a row of the catalogue; a deleted item leaves its id only."""
    row = dict.fromkeys(schema) | {"item_id": change.item_id}
    if change.fields is None:
        return row
    for name in change.fields:
        if name == "item_id" or name not in schema:
            raise ModelError(f"fields: {name!r} of item {change.item_id!r}: must be a column of the catalogue")
    typed = {name: _convert(name, value, schema[name]) for name, value in change.fields.items()}
    return row | dict(before) | typed


def _convert(name: str, value: Any, dtype: pl.DataType) -> Any:
    """Convert a value to what its column holds. Raises ModelError for one of another type, or a number that is none."""
    try:
        column = pl.Series(name, [value], strict=True)
        same = value is None or column.dtype == dtype
        number = dtype.is_numeric() and column.dtype.is_numeric()
        word = column.dtype == pl.String and dtype in (pl.Categorical, pl.Enum)
        if same or number or word:
            found = column.cast(dtype).item()
            if not number or (np.isfinite(found) and (dtype.is_float() or found == value)):
                return found
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{name}={value!r}: must be {dtype} ({type(error).__name__})") from None
    raise ModelError(f"{name}={value!r}: must be {dtype}")
