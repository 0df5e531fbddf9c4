"""Each item's JSON, written once: one run of bytes and where each item begins, in memory or mapped from files."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data.atomic import write_atomically
from recsys.catalogue.catalogue import SHOWN

TEXTS, STARTS = "items.json", "items.npy"
COLUMNS = tuple(name for name in SHOWN if name != "available")


@dataclass(frozen=True, eq=False)
class ItemTexts:
    """The objects of items up to their score: `{"item_id": …, "score": `. starts: (n_items + 1,) int64."""

    content: bytes | mmap.mmap
    starts: npt.NDArray[np.int64]

    @staticmethod
    def of(shown: pl.DataFrame) -> ItemTexts:
        """Write the texts of a catalogue's frame."""
        texts = list(texts_of(shown))
        starts = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(text) for text in texts], out=starts[1:])
        return ItemTexts(b"".join(texts), starts)

    def keep(self, folder: Path) -> None:
        """Write the texts, for `kept`."""
        write_atomically(folder / TEXTS, bytes(self.content))
        np.save(folder / STARTS, self.starts)

    @staticmethod
    def open(folder: Path) -> ItemTexts:
        """Map the texts of a folder, so that processes share them."""
        starts = np.load(folder / STARTS, mmap_mode="r")
        return ItemTexts(map_file(folder / TEXTS), np.asarray(starts))  # a plain view: a memmap's items are slow

    def of_items(self, item_idx: npt.NDArray[np.int32]) -> list[bytes]:
        """Read the texts of some items."""
        content = self.content
        return [content[start:end] for start, end in self._bounds[item_idx].tolist()]

    @cached_property
    def _bounds(self) -> npt.NDArray[np.int64]:
        """(n_items, 2) int64: where each text begins and ends; no copy."""
        return np.lib.stride_tricks.sliding_window_view(self.starts, 2)


def map_file(path: Path) -> mmap.mmap:
    """Map a file's content, its pages shared by all processes that read it."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def texts_of(shown: pl.DataFrame) -> Iterable[bytes]:
    """Write each row's object up to its score."""
    columns = [
        shown[name].cast(pl.String) if name in ("title", "category") else shown[name]
        for name in COLUMNS
        if name in shown.columns
    ]
    names = [column.name for column in columns]
    for row in zip(*columns, strict=True):
        yield text_of(dict(zip(names, row, strict=True)))


def text_of(row: Mapping[str, Any]) -> bytes:
    """Write one item's object up to its score."""
    whole = {name: row.get(name) for name in COLUMNS}
    return json.dumps(whole, ensure_ascii=False, allow_nan=False)[:-1].encode() + b', "score": '
