"""Who and what a log shows first: dense indices by first appearance, from codes that come a batch of rows at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from data.log_reading.numbering import Index
from data.vocabulary import Vocabulary

_NEVER = np.iinfo(np.int64).max
Numbers = npt.NDArray[np.int64]


class FirstSeen:
    """The smallest (time, order, row) that each code was seen at, and how many rows have it.

    It grows with the number of codes, 40 bytes each, and not with the rows. The same as
    `data.log_reading.numbering.indices` finds
    with all rows at hand.
    """

    def __init__(self, n_codes: int) -> None:
        self.time = np.full(n_codes, _NEVER, dtype=np.int64)
        self.order = np.zeros(n_codes, dtype=np.int64)
        self.row = np.zeros(n_codes, dtype=np.int64)
        self.rows = np.zeros(n_codes, dtype=np.int64)
        self._place = np.zeros(n_codes, dtype=np.int64)

    def see(self, codes: npt.NDArray[np.uint32], time: Numbers, order: Numbers, row: Numbers) -> None:
        """Note some rows, all (n,), sorted by time, order, row; rows of later calls have larger row numbers."""
        place = np.arange(len(codes))
        self._place[codes[::-1]] = place[::-1]  # the last write, the first appearance, wins
        first = np.flatnonzero(self._place[codes] == place)
        code, when, then = codes[first], time[first], order[first]
        earlier = (when < self.time[code]) | ((when == self.time[code]) & (then < self.order[code]))
        code, first = code[earlier], first[earlier]
        self.time[code], self.order[code], self.row[code] = time[first], order[first], row[first]
        self.rows += np.bincount(codes, minlength=len(self.rows))

    def numbered(self, names: pl.Series, known: Vocabulary) -> tuple[Vocabulary, Index]:
        """Grow the vocabulary by the names of the codes seen; index each code, (n_codes,), −1 if never seen."""
        seen = np.flatnonzero(self.time != _NEVER)
        seen = seen[np.lexsort((self.row[seen], self.order[seen], self.time[seen]))]
        texts = names.gather(pl.Series(seen))
        vocabulary = known.extend(texts)
        index = np.full(len(self.time), -1, dtype=np.int32)
        index[seen] = vocabulary.index_of(texts) if len(known) else np.arange(len(seen), dtype=np.int32)
        return vocabulary, index
