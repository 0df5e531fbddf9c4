"""The files of an index: written once for a bundle version, whole or not at all, and mapped by every process.

    exact.faiss        half-precision rows by category
    approximate.faiss  the same rows in clusters or slabs; only above index_build.APPROXIMATE_FROM items
    index.json         what is in them, their hashes, and the bounds of their rounding

Nothing here is needed to keep: a folder that is damaged, or of another format, is built anew.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import polars as pl

from data.atomic import atomic_folder, file_hash
from recsys.catalogue.bundle import Bundle
from recsys.search.retrieval import ItemIndex

INDEX_FORMAT = 1
EXACT, APPROXIMATE, DESCRIPTION = "exact.faiss", "approximate.faiss", "index.json"


def open_index(bundle: Bundle, folder: Path | None = None) -> ItemIndex:
    """Open the index of a bundle: mapped from `folder`, where it is built if it is not there.

    The folder is a cache, of any number of bundles.

    Processes that come for it at once wait for the first one's. Without a folder it is built in memory. Callable from a
    thread: building takes seconds above 100,000 items and lets other threads run.
    """
    if folder is None:
        return _build(bundle)
    place = folder / f"index-{bundle.version}-{INDEX_FORMAT}"
    index = _read(place, bundle)
    if index is None:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / f".index-{bundle.version}.lock"):
            index = _read(place, bundle)
            if index is None:
                _write(place, _build(bundle))
                index = _read(place, bundle)
    return _build(bundle) if index is None else index


def _build(bundle: Bundle) -> ItemIndex:
    return ItemIndex.build(bundle.table, _categories(bundle), trend_weight=bundle.config.trend_weight)


def _categories(bundle: Bundle) -> pl.Series | None:
    known = "category" in bundle.catalogue.columns
    return bundle.catalogue["category"].cast(pl.String) if known else None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Lock out other processes; the lock goes with the process that holds it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(place: Path, index: ItemIndex) -> None:
    with atomic_folder(place, overwrite=True) as fresh:
        faiss.write_index(index.exact, os.fspath(fresh / EXACT))
        if index.approximate is not None:
            faiss.write_index(index.approximate, os.fspath(fresh / APPROXIMATE))
        description = {
            "format": INDEX_FORMAT,
            "names": index.names,
            "limits": index.limits,
            "probes": index.probes,
            "rounding": index.rounding,
            "longest": index.longest,
            "files": {path.name: file_hash(path) for path in sorted(fresh.iterdir())},
        }
        (fresh / DESCRIPTION).write_text(json.dumps(description, indent=1, allow_nan=False))


def _read(place: Path, bundle: Bundle) -> ItemIndex | None:
    """Read the index in a folder, mapped, or None when there is none that can be used."""
    try:
        description: dict[str, Any] = json.loads((place / DESCRIPTION).read_text())
        files = description["files"]
        if any(file_hash(place / name) != expected for name, expected in files.items()):
            return None
        return ItemIndex(
            table=bundle.table,
            categories=_categories(bundle),
            names=tuple(description["names"]),
            exact=_map(place / EXACT),
            limits=tuple(description["limits"]),
            approximate=_map(place / APPROXIMATE) if APPROXIMATE in files else None,
            probes=tuple((depth, n_probe) for depth, n_probe in description["probes"]),
            rounding=description["rounding"],
            longest=description["longest"],
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):  # RuntimeError: FAISS, of a file it cannot read
        return None


def _map(path: Path) -> Any:
    """Map an index so that processes share its pages. FAISS's other way of mapping is 5-13 × slower to search."""
    return faiss.read_index(os.fspath(path), faiss.IO_FLAG_MMAP_IFC)
