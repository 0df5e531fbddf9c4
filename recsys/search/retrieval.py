"""Retrieval: the best items for a vector, by inner product in dim + 1 coordinates, the last one the trend.

FAISS proposes candidates from half-precision rows; float32 scores decide, so that the list is the one of
recsys.model.scoring.top_k. How far half precision can be off is known, and a list is only given out once no item left
out
could be in it: else more candidates are fetched, and in the end every allowed item is scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import ModelError
from recsys.model.items import ItemTable
from recsys.model.scoring import columns, top_k
from recsys.search.index import (
    APPROXIMATE_FROM,
    LISTED,
    REACH,
    build_approximate,
    build_exact,
    exact_lists,
    list_names,
    recalls,
    rounding,
    sample_queries,
)
from recsys.search.selection import Selection, look_at, make_selection

SearchResult = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]

RECALL_FLOOR = 0.95
RECALL_AT = 20
HALF_WAY = 0.25
_WIDER = 8
_EPSILON = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, eq=False)
class ItemIndex:
    """The index of one item table; safe to share between threads and, mapped, between processes; never changed.

    categories: (n_items,) String of the catalogue, or None. names: the categories that are a group of their own in
    `exact`; limits: see build_exact.
    approximate: None below APPROXIMATE_FROM items; probes: ((depth, lists to look at), …), see build_approximate.
    rounding, longest: bounds of what half precision costs a score, see index_build.rounding.
    """

    table: ItemTable
    categories: pl.Series | None
    names: tuple[str, ...]
    exact: Any
    limits: tuple[float, ...]
    approximate: Any
    probes: tuple[tuple[int, int], ...]
    rounding: float
    longest: float

    @staticmethod
    def build(
        table: ItemTable, categories: pl.Series | None = None, *, trend_weight: float = 0.0, seed: int = 0
    ) -> ItemIndex:
        """Index a table, in memory: 0.1 s for 10,000 items, 2 s for 100,000. Other threads run meanwhile.

        trend_weight: the one that searches will mostly have; the recall of the approximate index is measured with it.
        """
        if categories is not None and len(categories) != table.n_items:
            raise ModelError(f"categories: {len(categories)}, the item table has {table.n_items} items")
        names = list_names(categories)
        lost, longest = rounding(table)
        exact, limits = build_exact(table, categories, names, trend_weight, seed)
        approximate: Any = None
        probes: tuple[tuple[int, int], ...] = ()
        if table.n_items >= APPROXIMATE_FROM:
            approximate, probes = build_approximate(table, trend_weight, seed)
        return ItemIndex(
            table, categories, names, exact, limits, approximate if probes else None, probes, lost, longest
        )

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.table.n_items

    @cached_property
    def everything(self) -> Selection:
        """The selection that hides nothing."""
        return make_selection(self.n_items, None, self._groups, True, self.limits)

    def select(self, allowed: npt.NDArray[np.bool_] | None = None, category: str | tuple[str, ...] = ()) -> Selection:
        """Select the items that are allowed, (n_items,) bool, and of that category, or of one of these.

        None named: of any.

        Milliseconds at 100,000 items: made once for a filter, and kept.
        """
        if allowed is not None and (allowed.shape != (self.n_items,) or allowed.dtype != np.bool_):
            raise ModelError(f"allowed: {allowed.dtype}{allowed.shape}, must be bool ({self.n_items},)")
        wanted = (category,) if isinstance(category, str) else category
        if not wanted:
            whole = allowed is None or bool(allowed.all())
            return self.everything if whole else make_selection(self.n_items, allowed, self._groups, False, self.limits)
        if self.categories is None:
            raise ModelError(f"category={wanted[0]!r}: this index knows no categories")
        members = self.categories.is_in(list(wanted)).fill_null(False).to_numpy()
        mask = members if allowed is None else members & allowed
        listed = [self.names.index(name) for name in dict.fromkeys(wanted) if name in self.names]
        if len(listed) < len(set(wanted)):  # small categories share the last group
            listed.append(len(self.names))
        whole = listed[-1] < len(self.names) and (allowed is None or np.array_equal(mask, members))
        return make_selection(self.n_items, mask, np.array(listed, dtype=np.int64), whole, self.limits)

    def search(
        self,
        query: npt.NDArray[np.float32],
        k: int,
        *,
        trend_weight: float,
        selection: Selection | None = None,
        hidden: npt.NDArray[np.integer[Any]] | None = None,
    ) -> SearchResult:
        """Search the best k selected items for a vector (dim,), best first.

        Returns item_idx (k',) int32 and scores (k',) float32.

        Equal scores come in order of item_idx. hidden: a few item_idx that must not appear. k' < k only when fewer than
        k items are left. Every list is exact but those of the approximate index, which is asked for short lists
        (DEPTHS) when nearly everything is selected; check_recall measures it.
        Raises ModelError for a vector of another width or with values that are not finite, k < 1, an unknown item_idx.
        """
        if query.shape != (self.table.dim,):
            raise ModelError(f"query: shape {query.shape}, must be ({self.table.dim},)")
        padded, lengths = self._questions(query[None], trend_weight, k)
        length = float(lengths[0])
        gone = None if hidden is None or not len(hidden) else self._ascending(hidden)
        chosen = self._selection_or_all(selection)
        if chosen.members is not None:
            return self._each(chosen.members, padded, k, gone)
        slack = self._doubt * length
        spare = _candidates(k)
        several = spare if gone is None else spare + min(len(gone), spare)
        if self.approximate is not None and chosen.nearly_all:
            for wide in (several, spare if gone is None else spare + len(gone)):
                probe = self._probe(wide)
                result = None if probe is None else self._near(probe, wide, padded, length, k, slack, chosen, gone)
                if result is not None:
                    return result
                if gone is None:
                    break
        wide = several
        if chosen.first is not None and wide < chosen.count and wide <= 2 * LISTED and (gone is None or len(gone) < k):
            scores, items = nearest(self.exact, padded, wide, chosen.first)
            result = self._decide(scores[0], items[0], padded, k, slack, gone, None, chosen.limit * length)
            if result is not None:
                return result
        share = chosen.count / self.n_items
        if chosen.bits is not None and share >= HALF_WAY and chosen.scan.nprobe > 2 * len(self.names):
            wide = int(several / share) + 8  # scanning all and dropping is half the price of asking a bitmap each time
            if wide < self.n_items:
                scores, items = nearest(self.exact, padded, wide, self.everything.scan)
                result = self._decide(scores[0], items[0], padded, k, slack, gone, chosen)
                if result is not None:
                    return result
        wide = several
        while wide < chosen.count and wide <= _WIDER * _WIDER * (several + 64):
            scores, items = nearest(self.exact, padded, wide, chosen.scan)
            result = self._decide(scores[0], items[0], padded, k, slack, gone)
            if result is not None:
                return result
            wide = max(_WIDER * wide, spare + (0 if gone is None else len(gone)))
        return self._each(np.flatnonzero(chosen.mask()), padded, k, gone)

    def search_many(
        self,
        queries: npt.NDArray[np.float32],
        k: int,
        *,
        trend_weight: float,
        selection: Selection | None = None,
    ) -> list[SearchResult]:
        """Search for each row of (n, dim) at once, bit for bit as `search` does.

        The approximate index is called once for all.
        """
        if queries.ndim != 2 or queries.shape[1] != self.table.dim:
            raise ModelError(f"queries: shape {queries.shape}, must be (n, {self.table.dim})")
        chosen = self._selection_or_all(selection)
        results: Sequence[SearchResult | None] = [None] * len(queries)
        probe = self._probe(_candidates(k)) if chosen.nearly_all and chosen.members is None else None
        if probe is not None and len(queries) > 1:
            padded, lengths = self._questions(queries, trend_weight, k)
            results = self._near_many(probe, padded, lengths, k, chosen)
        return [
            self.search(query, k, trend_weight=trend_weight, selection=chosen) if result is None else result
            for query, result in zip(queries, results, strict=True)
        ]

    def check_recall(self, sample: int = 64, *, trend_weight: float = 0.0, seed: int = 1) -> float:
        """Measure mean recall@20 of searches against float32 scores of every item, on `sample` seeded queries.

        Raises ModelError below RECALL_FLOOR: such an index must not serve.
        """
        wanted = sample_queries(self.table, sample, seed)
        k = min(RECALL_AT, self.n_items)
        truth = exact_lists(self.table, wanted, trend_weight, k)
        items = [self.search(row, k, trend_weight=trend_weight)[0] for row in wanted]
        recall = float(recalls(truth, np.array(items, dtype=np.int64)).mean())
        if recall < RECALL_FLOOR:
            raise ModelError(f"recall@{k}={recall:.3f}: must be {RECALL_FLOOR} or more for an index to serve")
        return recall

    @cached_property
    def _doubt(self) -> float:
        """By how much a half-precision score and a float32 one may differ in all, per length of the query."""
        return 2 * (self.rounding + self._width * _EPSILON * self.longest)

    @cached_property
    def _width(self) -> int:
        return columns(self.table.dim)

    @cached_property
    def _parameters(self) -> tuple[tuple[int, Any], ...]:
        return tuple((depth, look_at(n_probe)) for depth, n_probe in self.probes)

    def _probe(self, wide: int) -> Any:
        for depth, parameters in self._parameters:
            if wide <= depth:
                return parameters
        return None

    @property
    def _groups(self) -> npt.NDArray[np.int64]:
        return np.arange(len(self.limits))

    def _selection_or_all(self, selection: Selection | None) -> Selection:
        chosen = self.everything if selection is None else selection
        if chosen.n_items != self.n_items:
            raise ModelError(f"selection: of {chosen.n_items} items, the index has {self.n_items}")
        return chosen

    def _questions(
        self, queries: npt.NDArray[np.float32], trend_weight: float, k: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """Pad queries (n, dim) to (n, columns), and compute their lengths (n,)."""
        if k < 1:
            raise ModelError(f"top_k={k}: must be 1 or more")
        dim = self.table.dim
        padded = np.zeros((len(queries), self._width), dtype=np.float32)
        padded[:, :dim] = queries
        padded[:, dim] = trend_weight
        squares = np.vecdot(padded, padded)
        if not (squares < np.inf).all():
            raise ModelError("query: has values that are not finite, or too large to square")
        return padded, np.sqrt(squares, dtype=np.float64)

    def _ascending(self, hidden: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
        gone = np.sort(hidden.astype(np.int64))
        if gone[0] < 0 or gone[-1] >= self.n_items:
            wrong = gone[0] if gone[0] < 0 else gone[-1]
            raise ModelError(f"hidden={wrong}: must be in 0..{self.n_items - 1}")
        return gone

    def _near(
        self,
        probe: Any,
        wide: int,
        padded: npt.NDArray[np.float32],
        length: float,
        k: int,
        slack: float,
        chosen: Selection,
        gone: npt.NDArray[np.int64] | None,
    ) -> SearchResult | None:
        """Search the approximate index. It is never filtered: with a filter it misses what lies further off."""
        dim = self.table.dim
        padded[0, dim + 1] = REACH * length / dim**0.5
        scores, items = nearest(self.approximate, padded, wide, probe)
        padded[0, dim + 1] = 0.0
        return self._decide(scores[0], items[0], padded, k, slack, gone, None if chosen.bits is None else chosen)

    def _near_many(
        self,
        probe: Any,
        padded: npt.NDArray[np.float32],
        lengths: npt.NDArray[np.float64],
        k: int,
        chosen: Selection,
    ) -> list[SearchResult | None]:
        """Do _near and _decide for several queries (n, columns), nothing hidden but what is not selected."""
        dim = self.table.dim
        padded[:, dim + 1] = REACH * lengths / dim**0.5
        rough, items = nearest(self.approximate, padded, _candidates(k), probe)
        padded[:, dim + 1] = 0.0
        slack = self._doubt * lengths
        if chosen.bits is not None or items[:, -1].min() < 0:
            return [
                self._decide(rough[i], items[i], padded[i : i + 1], k, float(slack[i]), None, chosen)
                for i in range(len(padded))
            ]
        table = self.table
        rows = table.item_embeddings.take(items.ravel(), axis=0).reshape(*items.shape, dim)
        scores = (rows @ padded[:, :dim, None])[:, :, 0]
        scores += padded[:, dim, None] * table.trend.take(items)
        order = np.lexsort((items, -scores))[:, :k]
        best = np.take_along_axis(scores, order, axis=1)
        first = np.take_along_axis(items, order, axis=1).astype(np.int32)
        sure = best[:, -1] > rough[:, -1] + slack
        return [(first[i], best[i]) if good else None for i, good in enumerate(sure.tolist())]

    def _decide(
        self,
        rough: npt.NDArray[np.float32],
        items: npt.NDArray[np.int64],
        padded: npt.NDArray[np.float32],
        k: int,
        slack: float,
        gone: npt.NDArray[np.int64] | None,
        chosen: Selection | None = None,
        elsewhere: float = -np.inf,
    ) -> SearchResult | None:
        """Decide the first k of these candidates in float32.

        None when one that is not among them could be in the list.

        rough: descending half-precision scores of items; whatever is not among them has a score ≤ the last one, or
        ≤ elsewhere where it was not looked at, + slack.
        """
        last = max(float(rough[-1]), elsewhere)
        if items[-1] < 0:  # the lists looked at hold fewer
            items = items[items >= 0]
        if chosen is not None:
            items = items[chosen.allows(items)]
        if gone is not None:
            items = items[absent(items, gone)]
        if len(items) < k:
            return None
        scores = self._score(items, padded)
        order = np.lexsort((items, -scores))[:k]
        best = scores[order]
        if not best[-1] > last + slack:
            return None
        return items[order].astype(np.int32), best

    def _each(
        self,
        members: npt.NDArray[np.integer[Any]],
        padded: npt.NDArray[np.float32],
        k: int,
        gone: npt.NDArray[np.int64] | None,
    ) -> SearchResult:
        """Find the first k of some items (ascending), all of them scored."""
        if gone is not None:
            members = members[absent(members, gone)]
        place, scores = top_k(self._score(members, padded), k)
        return members[place].astype(np.int32, copy=False), scores

    def _score(self, items: npt.NDArray[np.integer[Any]], padded: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Score some items as recsys.model.scoring does, (len(items),) float32."""
        table, row = self.table, padded[0]
        dim = table.item_embeddings.shape[1]
        scores: npt.NDArray[np.float32] = table.item_embeddings.take(items, axis=0) @ row[:dim]
        scores += row[dim] * table.trend.take(items)
        return scores


def nearest(
    index: Any, padded: npt.NDArray[np.float32], k: int, parameters: Any
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Search with FAISS for queries (n, columns), past its Python wrapper's checks: (n, k) scores and ids."""
    n = len(padded)
    scores, items = np.empty((n, k), dtype=np.float32), np.empty((n, k), dtype=np.int64)
    pointer = faiss.swig_ptr
    index.search_c(n, pointer(padded), k, pointer(scores), pointer(items), parameters)
    return scores, items


def _candidates(k: int) -> int:
    """Decide how many to ask for in half precision, so that the first k in float32 are nearly always decided."""
    return k + k // 8 + 6


def absent(items: npt.NDArray[np.integer[Any]], gone: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Mark which items are not in gone, ascending and not empty: (len(items),) bool."""
    place = gone.searchsorted(items)
    place[place == len(gone)] = 0
    outside: npt.NDArray[np.bool_] = gone[place] != items
    return outside
