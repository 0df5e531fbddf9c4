"""What every process of a service needs of a bundle, written once into a folder and mapped by all: pages are shared.

    shown.arrow      the catalogue's columns      ids.npy, ids_at.npy   CRC-32 of the item_ids, ascending; and whose
    items.json/.npy  each item's JSON, and where  ids.bin, ids_in.npy   the item_ids, and where each begins
    clusters         centroids, for devices       rows.npy, scale.npy   the rows of candidates as they travel
    catalogue-SHA256 the file for devices         ids_from.npy          where the hashes of each beginning begin

Nothing here is needed to keep; a folder is complete when its marker is there.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from data.atomic import write_atomically
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.candidates import QuantizedRows, shown_of
from recsys.catalogue.catalogue import catalogue_of, encode_catalogue
from recsys.catalogue.clusters import encode_clusters
from serving.shelf.item_texts import ItemTexts, map_file

SHOWN, COMPLETE = "shown.arrow", "complete"
IDS, STARTS, HASHES, PLACES, FIRST = "ids.bin", "ids_in.npy", "ids.npy", "ids_at.npy", "ids_from.npy"
CLUSTERS, ROWS, SCALE = "clusters", "rows.npy", "scale.npy"
FORMAT = 4


@dataclass(frozen=True, eq=False)
class SharedIds:
    """item_id → item_idx without a dict of one's own.

    ids: all of them in UTF-8, one after the other; starts: (n_items + 1,) int64. hashes: (n_items + 1,) uint32,
    ascending, the last one an end that no hash is beyond; at: (n_items + 1,) int32, whose. first: (2^b,) int32, the
    first hash whose upper b bits are those of the place, or more; with twice as many places as ids or more it is
    seldom far from there to the hash that is looked for.
    """

    ids: bytes | mmap.mmap
    starts: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint32]
    at: npt.NDArray[np.int32]
    first: npt.NDArray[np.int32]

    @staticmethod
    def of(item_ids: Iterable[str]) -> SharedIds:
        """Hash distinct ids in order of their item_idx."""
        texts = [item_id.encode() for item_id in item_ids]
        starts = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(text) for text in texts], out=starts[1:])
        hashes = np.array([_hash(text) for text in texts], dtype=np.uint32)
        order = np.argsort(hashes, kind="stable").astype(np.int32)
        bits = len(texts).bit_length() + 1
        firsts = hashes[order].searchsorted(np.arange(2**bits, dtype=np.uint32) << np.uint32(32 - bits))
        ascending = np.append(hashes[order], np.uint32(2**32 - 1))
        return SharedIds(b"".join(texts), starts, ascending, np.append(order, np.int32(0)), firsts.astype(np.int32))

    def keep(self, folder: Path) -> None:
        """Write them, for `kept`."""
        write_atomically(folder / IDS, bytes(self.ids))
        for name, array in (
            (STARTS, self.starts),
            (HASHES, self.hashes),
            (PLACES, self.at),
            (FIRST, self.first),
        ):
            np.save(folder / name, array)

    @staticmethod
    def open(folder: Path) -> SharedIds:
        """Map the ids of a folder."""
        arrays = [np.asarray(np.load(folder / name, mmap_mode="r")) for name in (STARTS, HASHES, PLACES, FIRST)]
        return SharedIds(map_file(folder / IDS), *arrays)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def places(self, ids: Sequence[str]) -> list[int]:
        """Find item_idx of each id, −1 where unknown."""
        item_idx: list[int] = self.index_of(ids).tolist()
        return item_idx

    def index_of(self, ids: Sequence[str]) -> npt.NDArray[np.int32]:
        """Find the same as an array (len(ids),) int32."""
        wanted = list(map(str.encode, ids))
        if not wanted:
            return np.empty(0, dtype=np.int32)
        hashed = np.fromiter(map(_hash, wanted), np.uint32, len(wanted))
        entry = self.first.take(hashed >> self._shift)
        while (behind := self.hashes.take(entry) < hashed).any():
            entry += behind
        candidates = self.at.take(entry)
        content, ends = self.ids, self.starts.take(candidates + 1).tolist()
        texts = [content[start:end] for start, end in zip(self.starts.take(candidates).tolist(), ends, strict=True)]
        if texts != wanted:
            for place, (text, other) in enumerate(zip(texts, wanted, strict=True)):
                if text != other:
                    candidates[place] = self._further_on(other, int(hashed[place]))
        return candidates

    @cached_property
    def _shift(self) -> np.uint32:
        return np.uint32(33 - len(self.first).bit_length())

    def _further_on(self, wanted: bytes, hashed: int) -> int:
        """Find item_idx of an id that is not where it is first looked for."""
        entry = int(self.first[hashed >> int(self._shift)])
        while entry < len(self) and int(self.hashes[entry]) <= hashed:
            place = int(self.at[entry])
            if self.ids[int(self.starts[place]) : int(self.starts[place + 1])] == wanted:
                return place
            entry += 1
        return -1


@dataclass(frozen=True, eq=False)
class SharedBundle:
    """A bundle whose catalogue and ids are mapped, its items' texts, the file for devices with its hash, the file of
    clusters, and the rows of candidates."""

    bundle: Bundle
    texts: ItemTexts
    catalogue: bytes | mmap.mmap
    etag: str
    clusters: bytes
    quantized: QuantizedRows


def open_shared(bundle: Bundle, folder: Path | None) -> SharedBundle:
    """Open the folder of that bundle alone, written if it is not there; None keeps everything in this process."""
    if folder is None:
        content = encode_catalogue(bundle)
        texts, etag = ItemTexts.of(catalogue_of(bundle).shown), hashlib.sha256(content).hexdigest()
        return SharedBundle(bundle, texts, content, etag, encode_clusters(bundle.clusters), QuantizedRows.of(bundle))
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / f"{COMPLETE}-{FORMAT}"
    if not marker.exists():
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the process that holds it
            if not marker.exists():
                marker.write_text(_write(bundle, folder))
    etag = marker.read_text()
    frame = pl.read_ipc(folder / SHOWN)  # mapped, but for 16 bytes a text
    ours = replace(bundle, catalogue=frame)
    vars(ours)["items"] = SharedIds.open(folder)
    rows, scale = (np.asarray(np.load(folder / name, mmap_mode="r")) for name in (ROWS, SCALE))
    quantized = QuantizedRows(rows, scale, ours.table.trend, shown_of(ours))
    file = map_file(folder / f"catalogue-{etag}")
    return SharedBundle(ours, ItemTexts.open(folder), file, etag, (folder / CLUSTERS).read_bytes(), quantized)


def _write(bundle: Bundle, folder: Path) -> str:
    content = encode_catalogue(bundle)
    etag = hashlib.sha256(content).hexdigest()
    write_atomically(folder / f"catalogue-{etag}", content)
    bundle.catalogue.rechunk().write_ipc(folder / SHOWN, compression="uncompressed")
    SharedIds.of(bundle.catalogue["item_id"]).keep(folder)
    ItemTexts.of(catalogue_of(bundle).shown).keep(folder)
    write_atomically(folder / CLUSTERS, encode_clusters(bundle.clusters))
    quantized = QuantizedRows.of(bundle)
    np.save(folder / ROWS, quantized.rows)
    np.save(folder / SCALE, quantized.scale)
    return etag


_hash = zlib.crc32
