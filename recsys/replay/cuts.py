"""Cuts: the buckets that the questions of a replay fall into, computed from the log alone, never from answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from data.dataset import Dataset
from data.errors import ModelError
from data.interactions import MICROS_PER_DAY
from recsys.replay.questions import Index, Log

Codes = npt.NDArray[np.int32]

PAST = (0, 1, 2, 3, 5, 10, 20, 50, 100, 200)
"""Buckets of the number of past events begin here."""
CATEGORIES = 30
"""Categories of their own, by events; the rest is `other`."""
PRICE_BANDS = 5
HEAD = 0.5
"""The head: the most popular items that together hold this share of all events before the bundle."""
ITEM_CUTS = ("category", "price", "history", "popularity")
"""Cuts by the item that was wanted: of questions about one item only."""


@dataclass(frozen=True, eq=False)
class Cut:
    """labels: buckets in their order; codes: (q,) int32 bucket of each question, −1 for none."""

    name: str
    labels: tuple[str, ...]
    codes: Codes


@dataclass(frozen=True, eq=False)
class Facts:
    """The facts of a log that cuts need; (n_items,) or (n_users,) int32 codes, −1 where nothing is known."""

    category: tuple[tuple[str, ...], Codes]
    price: tuple[tuple[str, ...], Codes]
    group: tuple[tuple[str, ...], Codes] | None
    had: npt.NDArray[np.bool_]


def facts_of(dataset: Dataset, log: Log, group: str | None) -> Facts:
    """Collect what cuts need: categories, price bands, groups of devices, and what a device had before.

    Categories and prices are of the catalogue, groups of a column of the log.

    Raises ModelError for a group column that the log does not have.
    """
    catalogue = dataset.catalogue
    return Facts(
        category=_encode(catalogue["category"]),
        price=price_bands(catalogue["price"].cast(pl.Float64).to_numpy()),
        group=None if group is None else _groups(dataset, log, group),
        had=had_before(log),
    )


def cut_questions(log: Log, facts: Facts, row: Index, past: Codes, head: npt.NDArray[np.bool_] | None) -> list[Cut]:
    """Cut the questions on `row` (q,) of the log in every way.

    head: is the wanted item popular? None: several are wanted.

    all; day (UTC); hours since the device's first event, doubling; past events; group; and of the wanted item its
    category, price, history (new or repeat: had the device had it before?), and popularity (head or tail).
    """
    events = log.events
    time, user, item = events.time[row], log.user[row], events.item_idx[row]
    cuts = [Cut("all", ("all",), np.zeros(len(row), dtype=np.int32)), _days(time)]
    since = (time - events.time[events.offsets[:-1][user]]) / (MICROS_PER_DAY / 24)
    cuts.append(_doubling("hours", since))
    cuts.append(Cut("past", _ranges(PAST), (np.searchsorted(PAST, past, side="right") - 1).astype(np.int32)))
    if facts.group is not None:
        cuts.append(Cut("group", facts.group[0], facts.group[1][user]))
    if head is not None:
        largest = _largest(*facts.category, item)
        cuts += [
            Cut("category", largest[0], largest[1][item]),
            Cut("price", facts.price[0], facts.price[1][item]),
            Cut("history", ("new", "repeat"), facts.had[row].astype(np.int32)),
            Cut("popularity", ("head", "tail"), np.where(head, 0, 1).astype(np.int32)),
        ]
    return [cut for cut in cuts if (cut.codes >= 0).any()]


def head_items(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Mark the items of the head, (n_items,); counts: (n_items,) events of each.

    An item without events never is.

    >>> head_items(np.array([5.0, 1.0, 3.0, 1.0])).tolist()
    [True, False, False, False]
    """
    order = np.argsort(-counts, kind="stable")
    before = np.concatenate(([0.0], np.cumsum(counts[order])[:-1]))
    head = np.zeros(len(counts), dtype=np.bool_)
    head[order] = before < HEAD * counts.sum()
    return head & (counts > 0)


def had_before(log: Log) -> npt.NDArray[np.bool_]:
    """Mark rows (n_events,) whose item the device knew from an event before the row's moment.

    Undone events do not count.
    """
    events = log.events
    key = log.user.astype(np.int64) * events.n_items + events.item_idx
    order = np.argsort(key, kind="stable")
    begins = np.flatnonzero(np.diff(key[order], prepend=-1))
    counts = np.diff(np.append(begins, len(order)))
    first = np.empty(len(key), dtype=np.int64)
    first[order] = np.repeat(order[begins], counts)
    had: npt.NDArray[np.bool_] = first < log.moment
    undone = dict(zip(events.undone_row.tolist(), events.undone_time.tolist(), strict=True))
    for touched in np.unique(key[events.undone_row]).tolist():
        start = int(np.searchsorted(key, touched, sorter=order))
        rows = order[start : int(np.searchsorted(key, touched, side="right", sorter=order))].tolist()
        for row in rows:
            moment, now = int(log.moment[row]), int(events.time[row])
            had[row] = any(other < moment and undone.get(other, now) >= now for other in rows)
    return had


def price_bands(price: npt.NDArray[np.float64]) -> tuple[tuple[str, ...], Codes]:
    """Sort items into price bands of as many items each as ties allow.

    Returns labels, and (n_items,) codes; −1 without a price.
    """
    known = ~np.isnan(price)
    if not known.any():
        return (), np.full(len(price), -1, dtype=np.int32)
    edges = np.unique(np.quantile(price[known], np.linspace(0, 1, PRICE_BANDS + 1)[1:-1]))
    code = np.where(known, np.searchsorted(edges, np.nan_to_num(price), side="left"), -1).astype(np.int32)
    names = [f"up to {edges[0]:g}", *(f"{a:g}-{b:g}" for a, b in pairwise(edges.tolist()))]
    return (*names, f"above {edges[-1]:g}"), code


def _encode(words: pl.Series) -> tuple[tuple[str, ...], Codes]:
    text = words.cast(pl.String)
    names = text.drop_nulls().unique().sort()
    codes = text.replace_strict(names, np.arange(len(names)), default=-1, return_dtype=pl.Int32) if len(names) else None
    return tuple(names), np.full(len(text), -1, dtype=np.int32) if codes is None else codes.fill_null(-1).to_numpy()


def _groups(dataset: Dataset, log: Log, group: str) -> tuple[tuple[str, ...], Codes]:
    if group not in dataset.log.columns:
        raise ModelError(f"group={group!r}: must be a column of the log: {', '.join(dataset.log.columns)}")
    active = np.flatnonzero(log.events.counts > 0)
    names, codes = _encode(dataset.log[group].gather(log.events.offsets[:-1][active]))
    of_user = np.full(log.events.n_users, -1, dtype=np.int32)
    of_user[active] = codes
    return names, of_user


def _largest(names: tuple[str, ...], codes: Codes, item: npt.NDArray[np.int32]) -> tuple[tuple[str, ...], Codes]:
    """Keep the CATEGORIES with the most questions, in order of name. The others become one under a label of its own."""
    if len(names) <= CATEGORIES:
        return names, codes
    counts = np.bincount(codes[item] + 1, minlength=len(names) + 1)[1:]
    largest = np.sort(np.argsort(-counts, kind="stable")[:CATEGORIES])
    new = np.full(len(names) + 1, CATEGORIES, dtype=np.int32)
    new[largest] = np.arange(CATEGORIES)
    new[-1] = -1
    labels = [names[place] for place in largest]
    return (*labels, "all others" if "other" in labels else "other"), new[codes]


def _days(time: Index) -> Cut:
    day = time // MICROS_PER_DAY
    present, code = np.unique(day, return_inverse=True)
    start = datetime(1970, 1, 1, tzinfo=UTC)
    labels = tuple((start + timedelta(days=int(ordinal))).date().isoformat() for ordinal in present)
    return Cut("day", labels, code.astype(np.int32))


def _doubling(name: str, value: npt.NDArray[np.float64]) -> Cut:
    """Sort whole numbers into buckets 0, 1, 2-3, 4-7, …"""
    whole = np.floor(value).astype(np.int64)
    code = np.where(whole > 0, np.floor(np.log2(np.maximum(whole, 1))).astype(np.int32) + 1, 0).astype(np.int32)
    starts = (0, *(2**power for power in range(int(code.max(initial=0)) + 1)))
    return Cut(name, _ranges(starts)[:-1], code)


def _ranges(starts: tuple[int, ...]) -> tuple[str, ...]:
    """Name the buckets that begin at `starts`.

    >>> _ranges((0, 1, 2, 5))
    ('0', '1', '2-4', '5+')
    """
    closed = [str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in pairwise(starts)]
    return (*closed, f"{starts[-1]}+")
