"""What every process of a service needs of a bundle, written once into a folder and mapped by all: pages are shared.

    shown.arrow      the catalogue's columns      ids.npy, ids_at.npy   CRC-32 of the item_ids, ascending; and whose
    items.json/.npy  each item's JSON, and where  catalogue-SHA256      the file for devices

Nothing here is needed to keep; a folder is complete when its marker is there.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from data.atomic import write_atomically
from recsys.bundle import Bundle
from recsys.catalogue import catalogue_of, encode_catalogue
from serving.item_texts import ItemTexts

SHOWN, HASHES, PLACES, COMPLETE = "shown.arrow", "ids.npy", "ids_at.npy", "complete"
FORMAT = 1


@dataclass(frozen=True, eq=False)
class SharedIds:
    """item_id → item_idx without a dict of one's own. ids: (n_items,); hashes: uint32, ascending; at: whose."""

    ids: pl.Series
    hashes: npt.NDArray[np.uint32]
    at: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)

    def places(self, ids: Sequence[str]) -> list[int]:
        """item_idx of each id, −1 where unknown."""
        if not ids:
            return []
        wanted = np.array([_hash(item_id) for item_id in ids], dtype=np.uint32)
        first = np.minimum(self.hashes.searchsorted(wanted), len(self.hashes) - 1)
        found = self.at[first]
        texts = self.ids.gather(found).to_list()
        return [
            place if text == item_id else self._among_equals(item_id, int(start), hashed)
            for place, text, item_id, start, hashed in zip(
                found.tolist(), texts, ids, first.tolist(), wanted.tolist(), strict=True
            )
        ]

    def index_of(self, ids: Sequence[str]) -> npt.NDArray[np.int32]:
        """The same as an array (len(ids),) int32."""
        return np.array(self.places(ids), dtype=np.int32)

    def _among_equals(self, item_id: str, start: int, hashed: int) -> int:
        while start < len(self.hashes) and int(self.hashes[start]) == hashed:
            if self.ids[int(self.at[start])] == item_id:
                return int(self.at[start])
            start += 1
        return -1


@dataclass(frozen=True, eq=False)
class Shared:
    """A bundle whose catalogue and ids are mapped, its items' texts, and the file for devices with its hash."""

    bundle: Bundle
    texts: ItemTexts
    catalogue: bytes | mmap.mmap
    etag: str


def shared(bundle: Bundle, folder: Path | None) -> Shared:
    """From a folder of that bundle alone, written if it is not; None keeps everything in this process."""
    if folder is None:
        content = encode_catalogue(bundle)
        return Shared(bundle, ItemTexts.of(catalogue_of(bundle).shown), content, hashlib.sha256(content).hexdigest())
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / f"{COMPLETE}-{FORMAT}"
    if not marker.exists():
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the process that holds it
            if not marker.exists():
                marker.write_text(_write(bundle, folder))
    etag = marker.read_text()
    frame = pl.read_ipc(folder / SHOWN)  # mapped, but for 16 bytes a text
    mapped = replace(bundle, catalogue=frame)
    arrays = [np.asarray(np.load(folder / name, mmap_mode="r")) for name in (HASHES, PLACES)]
    vars(mapped)["items"] = SharedIds(frame["item_id"], *arrays)
    with (folder / f"catalogue-{etag}").open("rb") as file:
        content_map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return Shared(mapped, ItemTexts.kept(folder), content_map, etag)


def _write(bundle: Bundle, folder: Path) -> str:
    content = encode_catalogue(bundle)
    etag = hashlib.sha256(content).hexdigest()
    write_atomically(folder / f"catalogue-{etag}", content)
    bundle.catalogue.rechunk().write_ipc(folder / SHOWN, compression="uncompressed")
    hashes = np.array([_hash(item_id) for item_id in bundle.catalogue["item_id"].to_list()], dtype=np.uint32)
    order = np.argsort(hashes, kind="stable").astype(np.int32)
    np.save(folder / HASHES, hashes[order])
    np.save(folder / PLACES, order)
    ItemTexts.of(catalogue_of(bundle).shown).keep(folder)
    return etag


def _hash(item_id: str) -> int:
    return zlib.crc32(item_id.encode())
