"""Vocabulary: item_id or user_id ↔ dense index, with a content hash; it only grows.

An id keeps its index for ever: a new id is appended, so tables trained yesterday still fit today's log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import DataError

_FEW = 1_000


@dataclass(frozen=True, eq=False, init=False)
class Vocabulary:
    """Distinct ids in the order of their indices.

    ids: String column of length n, without nulls; ``ids[3]`` is the id of index 3.
    Two vocabularies are equal when they hold the same ids in the same order.
    """

    ids: pl.Series

    def __init__(self, ids: Sequence[str] | npt.NDArray[np.str_] | pl.Series = ()) -> None:
        column = ids if isinstance(ids, pl.Series) else pl.Series(list(ids), dtype=pl.String)
        column = column.cast(pl.String).alias("id")
        if column.null_count():
            raise DataError(f"ids: {column.null_count()} nulls, an id must be a string")
        if column.n_unique() < len(column):
            twice = column.filter(column.is_duplicated())[0]
            raise DataError(f"ids: {twice!r} occurs twice, ids must be distinct")
        object.__setattr__(self, "ids", column)

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} ids, {self.hash[:12]})"

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) of the ids and their order."""
        digest = hashlib.sha256(self.ids.str.len_bytes().cast(pl.UInt32).to_numpy().astype("<u4").tobytes())
        digest.update(str(self.ids.str.join("").item() if len(self) else "").encode())
        return digest.hexdigest()

    @cached_property
    def _position(self) -> dict[str, int]:
        return {key: index for index, key in enumerate(self.ids)}

    def places(self, ids: Sequence[str]) -> list[int]:
        """Index as index_of does, for a few ids that are strings for certain: half the time."""
        known = self._position.get
        return [known(key, -1) for key in ids]

    def index_of(self, ids: Sequence[str] | npt.NDArray[np.str_] | pl.Series) -> npt.NDArray[np.int32]:
        """(len(ids),) int32, the index of each id; −1 where it is unknown. DataError for a str: no list."""
        if isinstance(ids, str):
            raise DataError(f"ids={ids!r}: must be a list of ids, such as [{ids!r}]")
        if len(ids) <= _FEW and len(self) <= 1_000_000:
            return np.array([self._position.get(str(key), -1) for key in ids], dtype=np.int32)
        wanted = ids if isinstance(ids, pl.Series) else pl.Series(list(ids), dtype=pl.String)
        table = self.ids.to_frame("id").with_row_index("index")
        indexed = wanted.cast(pl.String).to_frame("id").join(table, on="id", how="left", maintain_order="left")
        return indexed["index"].cast(pl.Int32).fill_null(-1).to_numpy()

    def extend(self, new_ids: Sequence[str] | pl.Series) -> Vocabulary:
        """Append the unknown ones of new_ids in the order in which they first appear."""
        wanted = new_ids if isinstance(new_ids, pl.Series) else pl.Series(list(new_ids), dtype=pl.String)
        wanted = wanted.cast(pl.String).unique(maintain_order=True)
        if not len(self):
            return Vocabulary(wanted)
        fresh = wanted.filter(pl.Series(self.index_of(wanted) < 0)) if len(wanted) else wanted
        return Vocabulary(pl.concat([self.ids, fresh.alias("id")])) if len(fresh) else self
