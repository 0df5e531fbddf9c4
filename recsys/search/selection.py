"""A selection: which items a list may hold, made once for a filter and asked many times. Not the filter language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

_faiss: Any = faiss  # its parameter classes take keywords that their types do not tell

FEW, FEW_SHARE = 2_000, 1 / 40
"""Up to so many allowed items, or that share of all, are scored one by one in float32: at 2,000 × 64 that costs 55 µs,
and a scan of 100,000 half-precision rows behind a bitmap 220 µs, whatever it lets through."""

NEARLY_ALL = 0.9
"""From this share of allowed items on, an approximate search may be asked and what is not allowed be dropped."""


@dataclass(frozen=True, eq=False)
class Selection:
    """The items that a list may hold; made by ItemIndex.select, good for that index only, safe to share and to keep.

    count: how many are allowed. bits: (⌈n_items / 8⌉,) uint8, bit i & 7 of byte i >> 3 is item_idx i; None when all
    are. members: (count,) ascending item_idx when there are few (FEW), else None. scan: FAISS parameters of the exact
    scan, with selectors that are built once. first: the same for the long rows only, and limit: the length of the rest
    (index_build.build_exact); None where no group is cut.
    """

    n_items: int
    count: int
    bits: npt.NDArray[np.uint8] | None
    members: npt.NDArray[np.int32] | None
    scan: Any
    first: Any
    limit: float

    @property
    def nearly_all(self) -> bool:
        """Whether so few are hidden that an unfiltered search finds the allowed ones."""
        return self.count >= NEARLY_ALL * self.n_items

    def allows(self, item_idx: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Mark which items are allowed, (len(item_idx),) bool."""
        if self.bits is None:
            return np.ones(len(item_idx), dtype=np.bool_)
        allowed: npt.NDArray[np.bool_] = (self.bits[item_idx >> 3] >> (item_idx & 7).astype(np.uint8) & 1).view(
            np.bool_
        )
        return allowed

    def mask(self) -> npt.NDArray[np.bool_]:
        """Mark every allowed item, (n_items,) bool."""
        if self.bits is None:
            return np.ones(self.n_items, dtype=np.bool_)
        return np.unpackbits(self.bits, count=self.n_items, bitorder="little").view(np.bool_)


def make_selection(
    n_items: int,
    mask: npt.NDArray[np.bool_] | None,
    groups: npt.NDArray[np.int64],
    whole: bool,
    limits: tuple[float, ...],
) -> Selection:
    """Make a Selection of the items of a mask (n_items,) bool, or of all.

    groups: those of the exact index that hold them all. whole: they are all of these groups, so that no item needs to
    be asked. limits: of every group.
    """
    limit = max(limits[group] for group in groups)
    if mask is None:
        return Selection(n_items, n_items, None, None, *_scans(None, groups, limit), limit)
    count = int(np.count_nonzero(mask))
    bits = np.packbits(mask, bitorder="little")
    bits.flags.writeable = False
    if count <= max(FEW, n_items * FEW_SHARE):
        members = np.flatnonzero(mask).astype(np.int32)
        members.flags.writeable = False
        return Selection(n_items, count, bits, members, None, None, limit)
    return Selection(n_items, count, bits, None, *_scans(None if whole else bits, groups, limit), limit)


def _scans(bits: npt.NDArray[np.uint8] | None, groups: npt.NDArray[np.int64], limit: float) -> tuple[Any, Any]:
    """Make FAISS parameters for an exact scan of some groups, and of their long rows.

    Both are behind a bitmap if there is one.
    """
    long, both = 2 * groups, np.concatenate([2 * groups, 2 * groups + 1])
    behind = {} if bits is None else {"sel": _faiss.IDSelectorBitmap(bits)}

    def scan(lists: npt.NDArray[np.int64]) -> Any:
        only = _faiss.SearchParameters(sel=_faiss.IDSelectorBatch(lists))
        return _faiss.SearchParametersIVF(nprobe=len(lists), quantizer_params=only, **behind)

    return scan(both), scan(long) if limit > 0 else None


def look_at(n_lists: int) -> Any:
    """Make FAISS parameters for looking at the n_lists most promising lists."""
    return _faiss.SearchParametersIVF(nprobe=n_lists)
