"""A bundle made ready to answer: its index, its catalogue file, and each item's JSON written once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.errors import ServingError
from recsys.bundle import Bundle
from recsys.catalogue import catalogue_of, encode_catalogue
from recsys.index_files import open_index
from recsys.retrieval import ItemIndex
from recsys.scoring import score
from recsys.scoring import top_k as best
from recsys.selection import Selection

Ranked = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class ServedBundle:
    """Read-only; nothing of a request is ever put here.

    catalogue, etag: the file for devices and its sha256, hex. item_json: each item's object up to its score.
    available: what lists may hold; unavailable: ascending item_idx of the rest. by_trend: available item_idx, best
    trend first.
    inverse_norm: (n_items,) float32, 0 for a zero row.
    """

    bundle: Bundle
    index: ItemIndex
    catalogue: bytes
    etag: str
    item_json: tuple[bytes, ...]
    available: Selection
    unavailable: npt.NDArray[np.int32]
    by_trend: npt.NDArray[np.int32]
    inverse_norm: npt.NDArray[np.float32]

    @property
    def version(self) -> str:
        """The bundle's version."""
        return self.bundle.version

    def search(self, profile: npt.NDArray[np.float32], top_k: int, exclude: npt.NDArray[np.int32]) -> Ranked:
        """The best available items for a profile (1, dim)."""
        weight = self.bundle.config.trend_weight
        return self.index.search(profile[0], top_k, trend_weight=weight, selection=self.available, hidden=exclude)

    def trend(self, top_k: int, exclude: npt.NDArray[np.int32]) -> Ranked:
        """The best available items by trend alone: the list of somebody without a profile."""
        first = self.by_trend[: top_k + len(exclude)]
        items = first[~np.isin(first, exclude)][:top_k]
        return items, self.bundle.table.trend[items]

    def similar(self, item_idx: int, top_k: int) -> Ranked:
        """The available items of highest cosine to one item, itself left out."""
        table = self.bundle.table
        direction = table.item_embeddings[item_idx] * self.inverse_norm[item_idx]
        cosine = score(table, direction[None], 0.0)[0] * self.inverse_norm
        return best(cosine, top_k, np.append(self.unavailable, np.int32(item_idx)))

    def list_json(self, ranked: Ranked) -> bytes:
        """A JSON array of items; scores have the nine digits that identify a float32."""
        items, scores = ranked
        rows = zip(items.tolist(), scores.tolist(), strict=True)
        return b"[" + b",".join(self.item_json[item] + b"%.9g}" % value for item, value in rows) + b"]"


def serve_bundle(bundle: Bundle) -> ServedBundle:
    """Index a bundle and write its files. Seconds for a large catalogue: done once, before the first request."""
    whole = catalogue_of(bundle)
    content = encode_catalogue(bundle)
    norm = np.linalg.norm(bundle.table.item_embeddings, axis=1)
    index = open_index(bundle)
    available = np.ones(bundle.table.n_items, dtype=np.bool_)
    available[whole.unavailable] = False
    order, _ = best(bundle.table.trend, bundle.table.n_items, whole.unavailable)
    return ServedBundle(
        bundle=bundle,
        index=index,
        catalogue=content,
        etag=hashlib.sha256(content).hexdigest(),
        item_json=tuple(
            json.dumps(row, ensure_ascii=False)[:-1].encode() + b', "score": '
            for row in whole.shown.drop("available").iter_rows(named=True)
        ),
        available=index.select(available),
        unavailable=whole.unavailable,
        by_trend=order,
        inverse_norm=np.divide(1.0, norm, out=np.zeros_like(norm), where=norm > 0),
    )


class Shelf:
    """The bundles that are answered now. They are replaced as a whole; a request in progress keeps the one it has."""

    def __init__(self, bundles: Sequence[Bundle]) -> None:
        self._served: dict[str, ServedBundle] = {}
        self.replace(bundles)

    @property
    def current(self) -> ServedBundle:
        """The one to ask for."""
        return next(iter(self._served.values()))

    def get(self, version: str) -> ServedBundle | None:
        """A bundle by version."""
        return self._served.get(version)

    def all(self) -> list[ServedBundle]:
        """Every bundle, the current one first."""
        return list(self._served.values())

    def replace(self, bundles: Sequence[Bundle]) -> None:
        """Serve these, the first one as current. Raises ServingError for none or the same one twice."""
        versions = [bundle.version for bundle in bundles]
        if not bundles:
            raise ServingError("bundles: none given, at least one is needed")
        if len(set(versions)) < len(versions):
            raise ServingError(f"bundles: {versions}: one is given twice")
        if versions != list(self._served):
            self._served = {
                bundle.version: self._served.get(bundle.version) or serve_bundle(bundle) for bundle in bundles
            }
