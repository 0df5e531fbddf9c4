"""Building the two FAISS indexes of an item table: the exact one, and above a size one that looks at a part only.

Both hold rows in half precision, dim + 1 coordinates padded (recsys/model/scoring.py). The exact one keeps a list of
its own
for each category of useful size: it is the sub-index of each and, over all lists, the scan of everything, as fast as a
flat index (505 µs against 518 at 100k × 64, 50 lists) and in one file. FAISS lets go of the interpreter's lock while it
works.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import ModelError
from recsys.model.items import ItemTable
from recsys.model.scoring import columns, keys, queries
from recsys.search.selection import look_at

APPROXIMATE_FROM = 50_000
"""Items from which the approximate index is built; below, a scan costs less than 250 µs."""

MIN_LIST = 2_000
"""Items from which a category has a list of its own; below, its items are scored one by one (selection.FEW)."""

MAX_LISTS = 256
DEPTHS = (32, 64, 100, 400)
"""Lengths of list up to which the approximate index is asked, each with the number of lists it looks at."""

LISTED = 24
"""Length of the lists that build_exact's limits are chosen for."""

RECALL, TAIL_RECALL = 0.99, 0.9
SLABS = 128
WORTH = 0.6
"""Rows, as a share of all, from which on looking at a part is no quicker than looking at everything."""

REACH = 2.0
"""How many radii of a list its order of being looked at counts."""

SAMPLE = 128
CHUNK = 1 << 16
_FP16_MAX = 65_504.0
_POINTS_PER_LIST = 64
_ITERATIONS = 8


def list_names(categories: pl.Series | None) -> tuple[str, ...]:
    """Name the categories with a list of their own, the largest first, equal ones by name."""
    if categories is None:
        return ()
    counted = categories.drop_nulls().cast(pl.String).alias("name").to_frame().group_by("name").len()
    large = counted.filter(pl.col("len") >= MIN_LIST).sort(["len", "name"], descending=[True, False])
    return tuple(large["name"].head(MAX_LISTS))


def build_exact(
    table: ItemTable, categories: pl.Series | None, names: tuple[str, ...], trend_weight: float, seed: int
) -> tuple[Any, tuple[float, ...]]:
    """Build the exact index, and the length ‖v‖ up to which rows of a group stand apart.

    Group g is category names[g], the last one everything else. List 2g holds the long rows of group g and list 2g + 1
    the others, none of which scores more than ‖q‖·limit: where the long ones give a list above that, it is complete,
    and the others need not be looked at. The limit is so chosen that nine in ten of a sample's queries end there; 0
    where that would not be half of the work.
    """
    n_groups = len(names) + 1
    member = np.full(table.n_items, len(names), dtype=np.int64)
    if names and categories is not None:
        place = dict(zip(names, range(len(names)), strict=True))
        groups = categories.cast(pl.String).replace_strict(place, default=len(names), return_dtype=pl.Int64)
        member = groups.fill_null(len(names)).to_numpy()
    length = lengths(table)
    wanted = queries(sample_queries(table, SAMPLE // 2, seed), trend_weight)
    limits = tuple(_limit(table, length, np.flatnonzero(member == group), wanted) for group in range(n_groups))
    lists = 2 * member + (length <= np.array(limits, dtype=np.float32)[member])
    centroids = np.zeros((2 * n_groups, columns(table.dim)), dtype=np.float32)
    return _fill_lists(table, centroids, ((rows, lists[rows]) for rows in chunks(table.n_items))), limits


def lengths(table: ItemTable) -> npt.NDArray[np.float32]:
    """Compute the length ‖v‖ of the items' keys, (n_items,) float32."""
    return np.concatenate([np.linalg.norm(keys(table, rows), axis=1) for rows in chunks(table.n_items)])


def _limit(
    table: ItemTable,
    length: npt.NDArray[np.float32],
    items: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.float32],
) -> float:
    """Choose build_exact's length for a group of items, from the score of each query's last listed one."""
    if len(items) < MIN_LIST:
        return 0.0
    best = np.empty((len(wanted), 0), dtype=np.float32)
    for rows in chunks(len(items)):
        chosen = items[rows]
        scores = wanted[:, : table.dim] @ table.item_embeddings.take(chosen, axis=0).T
        scores += wanted[:, table.dim, None] * table.trend.take(chosen)
        best = np.concatenate([best, scores], axis=1)
        if best.shape[1] > LISTED:
            best = np.partition(best, best.shape[1] - LISTED, axis=1)[:, -LISTED:]
    need = best.min(axis=1) / np.maximum(np.linalg.norm(wanted, axis=1), 1e-30)
    limit = float(np.quantile(need, 0.1))
    return limit if limit > 0 and np.count_nonzero(length[items] > limit) <= len(items) / 2 else 0.0


def rounding(table: ItemTable) -> tuple[float, float]:
    """Bound what half precision can cost a score.

    Returns the largest ‖v − half(v)‖ and the largest ‖v‖ over the items' keys.

    |q·v − q·half(v)| ≤ ‖q‖·‖v − half(v)‖, whatever the query.
    """
    worst = longest = 0.0
    for rows in chunks(table.n_items):
        exact = keys(table, rows)
        if np.abs(exact).max() > _FP16_MAX:
            raise ModelError(
                f"item_embeddings: |{np.abs(exact).max():.3g}| is above {_FP16_MAX:g}, half precision's end"
            )
        lost = exact - exact.astype(np.float16)
        worst = max(worst, float(np.einsum("ij,ij->i", lost, lost).max()))
        longest = max(longest, float(np.einsum("ij,ij->i", exact, exact).max()))
    return worst**0.5, longest**0.5


def build_approximate(table: ItemTable, trend_weight: float, seed: int) -> tuple[Any, tuple[tuple[int, int], ...]]:
    """Build the approximate index, and choose how many of its lists to look at.

    They are given for lists of each depth: ((depth, n_probe), …).

    Its lists are clusters by distance, or slabs of rows of like length, whichever finds the answers of a seeded sample
    in fewer rows: in a table whose lengths differ much, the longest 5 % of the rows hold 95 % of all top lists, and
    clusters by direction, FAISS's way for inner products, find .43 where these find .99. Lists are looked at in the
    order of q·centre + 2·‖q‖·radius/√dim; the radius stands in the centre's spare column, and a slab is a ball around
    zero. n_probe is the smallest that is good enough (_good); no depths at all when none is worth it.
    """
    wanted = sample_queries(table, SAMPLE, seed)
    best: tuple[Any, tuple[tuple[int, int], ...]] = (None, ())
    cheapest = np.inf
    for centres, member in (_slabs(table), _clusters(table, seed)):
        index = _fill_lists(table, centres, ((rows, member[rows]) for rows in chunks(table.n_items)))
        probes, cost = _probes(index, table, trend_weight, wanted, np.bincount(member, minlength=len(centres)))
        if cost < cheapest:
            best, cheapest = (index, probes), cost
    return best


def _slabs(table: ItemTable) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Cut SLABS lists of rows by descending length: their centres and each item's list."""
    order = np.argsort(-lengths(table), kind="stable")
    member = np.empty(table.n_items, dtype=np.int64)
    member[order] = np.arange(table.n_items) * SLABS // table.n_items
    centres = np.zeros((SLABS, columns(table.dim)), dtype=np.float32)
    centres[:, table.dim + 1] = np.arange(SLABS, 0, -1)
    return centres, member


def _clusters(table: ItemTable, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Cluster items by distance to 2·√n_items centres (to a power of two): the centres and each item's list."""
    rng = np.random.default_rng([seed, 1])
    n_lists = 1 << round(np.log2(2 * table.n_items**0.5))
    sample = np.sort(rng.choice(table.n_items, min(table.n_items, _POINTS_PER_LIST * n_lists), replace=False))
    points = np.concatenate([keys(table, rows)[_within(sample, rows)] for rows in chunks(table.n_items)])
    settings = {"niter": _ITERATIONS, "seed": seed + 1, "max_points_per_centroid": _POINTS_PER_LIST}
    clusters: Any = faiss.Kmeans(columns(table.dim), n_lists, **settings)
    clusters.train(points)
    member = np.empty(table.n_items, dtype=np.int64)
    squares = np.zeros(n_lists)
    for rows in chunks(table.n_items):
        distance, nearest = clusters.index.search(keys(table, rows), 1)
        member[rows] = nearest[:, 0]
        squares += np.bincount(nearest[:, 0], weights=np.maximum(distance[:, 0], 0), minlength=n_lists)
    centres = clusters.centroids.astype(np.float32, copy=True)
    centres[:, table.dim + 1] = np.sqrt(squares / np.maximum(np.bincount(member, minlength=n_lists), 1))
    return centres, member


def sample_queries(table: ItemTable, n: int, seed: int) -> npt.NDArray[np.float32]:
    """Sample queries (n, dim) float32: half of them items, half random mixtures of two to eight items."""
    rng = np.random.default_rng([seed, 2])
    queries = table.item_embeddings[rng.integers(0, table.n_items, n)].copy()
    for row in range(n // 2):
        mixed = rng.integers(0, table.n_items, rng.integers(2, 9))
        queries[row] = rng.random(len(mixed), dtype=np.float32) @ table.item_embeddings[mixed]
    return queries


def probing(query: npt.NDArray[np.float32], dim: int) -> npt.NDArray[np.float32]:
    """Put 2·‖q‖/√dim of queries (batch, columns) into the spare column that holds the radius of a centre."""
    padded = query.copy()
    padded[:, dim + 1] = REACH * np.linalg.norm(query, axis=1) / dim**0.5
    return padded


def exact_lists(
    table: ItemTable, wanted: npt.NDArray[np.float32], trend_weight: float, k: int
) -> npt.NDArray[np.int64]:
    """Find the best k item_idx of each profile, (batch, k), by float32 scores in chunks, in no order."""
    question = queries(wanted, trend_weight)
    items = np.empty((len(wanted), 0), dtype=np.int64)
    scores = np.empty((len(wanted), 0), dtype=np.float32)
    for rows in chunks(table.n_items):
        chunk_scores = question @ keys(table, rows).T
        scores = np.concatenate([scores, chunk_scores], axis=1)
        items = np.concatenate([items, np.broadcast_to(np.arange(table.n_items)[rows], chunk_scores.shape)], axis=1)
        if scores.shape[1] > k:
            best = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k :]
            scores, items = np.take_along_axis(scores, best, 1), np.take_along_axis(items, best, 1)
    return items


def recalls(truth: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Compute the share of each row of truth that the same row of found has, (batch,)."""
    return np.array([len(np.intersect1d(a, b)) / len(a) for a, b in zip(truth, found, strict=True)])


def chunks(n: int) -> Iterator[slice]:
    """Slice 0..n − 1 into pieces small enough to let other threads run between them."""
    return (slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK))


def _probes(
    index: Any, table: ItemTable, trend_weight: float, wanted: npt.NDArray[np.float32], sizes: npt.NDArray[np.int64]
) -> tuple[tuple[tuple[int, int], ...], float]:
    """Measure n_probe of each depth that has one, and the mean number of rows that the first one looks at.

    The mean is inf without any.
    """
    question = probing(queries(wanted, trend_weight), table.dim)
    measured: list[tuple[int, int]] = []
    cost = np.inf
    n_probe = 4
    for depth in (depth for depth in DEPTHS if depth < table.n_items):
        truth = exact_lists(table, wanted, trend_weight, depth)
        while True:
            _, looked_at = index.quantizer.search(question, n_probe)
            rows = float(sizes[looked_at].sum(axis=1).mean()) + index.nlist
            if rows > WORTH * table.n_items:
                return tuple(measured), cost
            _, items = index.search(question, depth, params=look_at(n_probe))
            if _good(truth, items):
                break
            n_probe = min(max(n_probe + 1, n_probe * 9 // 8), index.nlist)
        measured.append((depth, n_probe))
        cost = min(cost, rows)
    return tuple(measured), cost


def _good(truth: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> bool:
    """Judge recalls: mean ≥ RECALL and, for tastes off the beaten track, 19 of 20 queries ≥ TAIL_RECALL."""
    each = recalls(truth, found)
    return bool(each.mean() >= RECALL and np.quantile(each, 0.05) >= TAIL_RECALL)


def _fill_lists(
    table: ItemTable, centroids: npt.NDArray[np.float32], rows: Iterator[tuple[slice, npt.NDArray[np.int64]]]
) -> Any:
    n_lists, width = centroids.shape
    quantizer: Any = faiss.IndexFlatIP(width)
    quantizer.add(centroids)
    kind = faiss.ScalarQuantizer.QT_fp16
    index: Any = faiss.IndexIVFScalarQuantizer(quantizer, width, n_lists, kind, faiss.METRIC_INNER_PRODUCT, False)
    quantizer.this.disown()
    index.own_fields = True
    index.train(keys(table, slice(0, 1)))  # nothing to learn: half precision has no parameters
    for chosen, member in rows:
        vectors = keys(table, chosen)
        ids, lists = np.arange(chosen.start, chosen.stop, dtype=np.int64), np.ascontiguousarray(member)
        index.add_core(len(ids), *(faiss.swig_ptr(array) for array in (vectors, ids, lists)))
    return index


def _within(ascending: npt.NDArray[np.int64], rows: slice) -> npt.NDArray[np.int64]:
    first, last = np.searchsorted(ascending, [rows.start, rows.stop]).tolist()
    inside: npt.NDArray[np.int64] = ascending[first:last] - rows.start
    return inside
