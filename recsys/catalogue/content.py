"""Content: where an item that nobody has seen yet belongs among the others, from its title, category and price.

A ridge regression from sparse words to the shared item embeddings, learned from the catalogue alone: no shopper is in
it. Not a language model: a word that no known item has says nothing.

Online Retail, a tenth of the items hidden from the map and from every history, asked for 20 among the hidden ones
(`ownshelf bench cold-start`, seeds 0-2): NDCG .23-.29, recall .36-.43; chance .03 and .05; the mean item of the same
kind .13-.18 and .24-.28; embeddings learned from the very purchases that a new item lacks .34-.37 and .49-.52. Among
all items, NDCG@20 .006-.009, learned .015-.029, the mean of the kind .001-.003. Lengths agree to 2 %.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp
from safetensors import SafetensorError
from safetensors.numpy import load, save

from data.atomic import write_atomically
from data.errors import ModelError

COLUMNS = 1 << 15
PRICE_BINS = 24
REGS = (0.3, 1.0, 3.0, 10.0, 30.0)
"""λ that fit chooses among, in units of one item's weight."""

_WORDS = re.compile(r"[^\W_]+")
_HELD_OUT = 0.15
_STEPS, _TOLERANCE = 60, 1e-3

Float = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ContentMap:
    """Maps catalogue rows to embeddings.

    weights: (COLUMNS, dim) float32; offset: (dim,) float32, the mean item; idf: (COLUMNS,) float32; scale makes the
    embeddings of held-out items as long as their learned ones, on average; reg: the λ that held-out items chose;
    prices: (PRICE_BINS − 1,) ascending log prices between the bins.
    """

    weights: Float
    offset: Float
    idf: Float
    prices: Float
    scale: float
    reg: float

    @staticmethod
    def fit(catalogue: pl.DataFrame, item_embeddings: Float, *, reg: float | None = None, seed: int = 0) -> ContentMap:
        """Learn the map from items with a learned embedding: row i of catalogue is row i of item_embeddings.

        λ: `reg`, or the one of REGS that foretells a held-out share of the items best. A second for 4,000 items.
        Raises ModelError for less than two items or another number of rows.
        """
        n_items = len(item_embeddings)
        if catalogue.height != n_items or n_items < 2:
            raise ModelError(f"catalogue: {catalogue.height} rows for {n_items} embeddings; as many, and at least 2")
        prices = _price_edges(catalogue)
        counts = _counts(catalogue, prices)
        length = np.linalg.norm(item_embeddings, axis=1)
        heed = np.minimum(length / max(float(np.median(length)), 1e-12), 2.0).astype(np.float32)
        held_out = np.zeros(n_items, dtype=np.bool_)
        held_out[np.random.default_rng(seed).permutation(n_items)[: max(1, round(_HELD_OUT * n_items))]] = True
        known = _weigh(counts, _rarity(counts[~held_out]))  # a held-out item's own words are unknown, as a new item's
        tried: dict[float, tuple[float, float]] = {}
        for candidate in REGS if reg is None else (reg,):
            offset, weights = _ridge(known[~held_out], item_embeddings[~held_out], heed[~held_out], candidate)
            foretold = offset + known[held_out] @ weights
            true = item_embeddings[held_out]
            error = float((heed[held_out, None] * (true - foretold) ** 2).sum())
            tried[candidate] = (
                error,
                float(length[held_out].mean() / max(np.linalg.norm(foretold, axis=1).mean(), 1e-12)),
            )
        best = min(tried, key=lambda candidate: tried[candidate][0])
        idf = _rarity(counts)
        offset, weights = _ridge(_weigh(counts, idf), item_embeddings, heed, best)
        return ContentMap(weights, offset, idf, prices, tried[best][1], best)

    def embed(self, rows: pl.DataFrame) -> Float:
        """Embed rows with any of title, category and price, each of which may be null: (len(rows), dim) float32.

        A row that says nothing is the mean item.
        """
        X = _weigh(_counts(rows, self.prices), self.idf)
        embeddings: Float = (np.float32(self.scale) * (self.offset + X @ self.weights)).astype(np.float32)
        return embeddings

    def save(self, path: Path) -> None:
        """Write the map as a safetensors file; 4·COLUMNS·(dim + 1) bytes."""
        numbers = np.array([self.scale, self.reg], dtype=np.float64)
        arrays = {"weights": self.weights, "offset": self.offset, "idf": self.idf, "prices": self.prices}
        write_atomically(path, save({**arrays, "numbers": numbers}))

    @staticmethod
    def load(path: Path) -> ContentMap:
        """Read a saved map. Raises ModelError when it is missing or none."""
        try:
            arrays = load(path.read_bytes())
            scale, reg = arrays.pop("numbers").tolist()
            return ContentMap(**_check_map(arrays), scale=scale, reg=reg)
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ModelError(f"{path}: not a content map ({error})") from None


class ContentEmbedder(Protocol):
    """Places items by their content."""

    def embed(self, rows: pl.DataFrame) -> Float:
        """Embed rows, (len(rows), dim) float32."""
        ...


class LazyContentMap:
    """The map of a catalogue, learned when the first new item comes: most bundles never see one."""

    def __init__(self, catalogue: pl.DataFrame, item_embeddings: Float, folder: Path | None = None) -> None:
        """folder: where the map is kept for other processes."""
        self._catalogue, self._embeddings = catalogue, item_embeddings
        self._path = None if folder is None else folder / "content.safetensors"

    @cached_property
    def map(self) -> ContentMap:
        """The map; seconds the first time."""
        if self._path is not None and self._path.exists():
            return ContentMap.load(self._path)
        fitted = ContentMap.fit(self._catalogue, self._embeddings)
        if self._path is not None:
            fitted.save(self._path)
        return fitted

    def embed(self, rows: pl.DataFrame) -> Float:
        """Embed as ContentMap.embed does."""
        return self.map.embed(rows)


def _check_map(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Float]:
    dim = arrays["offset"].shape[0]
    shapes = {"weights": (COLUMNS, dim), "offset": (dim,), "idf": (COLUMNS,), "prices": (PRICE_BINS - 1,)}
    for name, shape in shapes.items():
        if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name}: shape {arrays[name].shape}, must be finite and {shape}")
    return {name: arrays[name].astype(np.float32, copy=False) for name in shapes}


def _price_edges(catalogue: pl.DataFrame) -> Float:
    """Compute quantiles of the log prices; zeros where no price is known."""
    if "price" not in catalogue.columns:
        return np.zeros(PRICE_BINS - 1, dtype=np.float32)
    known = catalogue["price"].cast(pl.Float64).drop_nulls().to_numpy()
    logs = np.log(known[np.isfinite(known) & (known > 0)])
    if not len(logs):
        return np.zeros(PRICE_BINS - 1, dtype=np.float32)
    edges: Float = np.quantile(logs, np.arange(1, PRICE_BINS) / PRICE_BINS).astype(np.float32)
    return edges


def _counts(rows: pl.DataFrame, prices: Float) -> sp.csr_matrix[np.float32]:
    """Hash the words of each row, each once, into (len(rows), COLUMNS)."""
    columns = {
        name: rows[name].to_list() if name in rows.columns else [None] * rows.height
        for name in ("title", "category", "price")
    }
    seen: dict[str, int] = {}
    indices: list[int] = []
    ends = [0]
    for title, category, price in zip(*columns.values(), strict=True):
        words = [f"t {word}" for word in _WORDS.findall(str(title).lower())] if title is not None else []
        words += [f"{first} {second}" for first, second in pairwise(words)]
        if category is not None:
            words.append(f"c {category}")
        if price is not None and 0 < price < np.inf:
            place = int(np.searchsorted(prices, np.log(price)))
            words += [f"p {place}", f"p {place + 1}"]  # neighbours share one
        for word in dict.fromkeys(words):
            if word not in seen:
                seen[word] = int.from_bytes(blake2b(word.encode(), digest_size=4).digest(), "little") % COLUMNS
            indices.append(seen[word])
        ends.append(len(indices))
    ones = np.ones(len(indices), dtype=np.float32)
    counted = sp.csr_matrix((ones, np.array(indices, dtype=np.int32), np.array(ends)), (rows.height, COLUMNS))
    counted.sum_duplicates()
    return counted


def _rarity(counts: sp.csr_matrix[np.float32]) -> Float:
    """Compute the logarithm of how rare a word is, (COLUMNS,); 0 where no row has it."""
    rows_with = np.bincount(counts.indices, minlength=COLUMNS)
    rarity: Float = (np.log((1 + counts.shape[0]) / (1 + rows_with)) * (rows_with > 0)).astype(np.float32)
    return rarity


def _weigh(counts: sp.csr_matrix[np.float32], idf: Float) -> sp.csr_matrix[np.float32]:
    """Weight rows by tf × idf, each of length 1 (or zero)."""
    X = sp.csr_matrix((counts.data * idf[counts.indices], counts.indices, counts.indptr), counts.shape)
    length = np.sqrt(np.asarray(X.multiply(X).sum(axis=1))).ravel()
    each = np.repeat(1 / np.maximum(length, 1e-12), np.diff(X.indptr))
    return sp.csr_matrix(((X.data * each).astype(np.float32), X.indices, X.indptr), X.shape)


def _ridge(X: sp.csr_matrix[np.float32], V: Float, heed: Float, reg: float) -> tuple[Float, Float]:
    """Solve for the W (COLUMNS, dim) that minimises Σ heed·‖v − offset − xW‖² + reg·‖W‖².

    The offset (dim,) is the mean.

    Conjugate gradients, one per dimension side by side (Hestenes and Stiefel 1952).
    """
    offset = (np.average(V, axis=0, weights=heed) if heed.any() else V.mean(axis=0)).astype(np.float32)
    H = sp.csr_matrix(X.multiply(heed[:, None]))
    T = sp.csr_matrix(H.T)
    residual = np.asarray(T @ (V - offset), dtype=np.float32)
    W = np.zeros_like(residual)
    direction = residual.copy()
    square = (residual**2).sum(axis=0)
    goal = _TOLERANCE**2 * square
    for _ in range(_STEPS):
        if (square <= goal).all():
            break
        image = np.asarray(T @ (X @ direction)) + np.float32(reg) * direction
        step = square / np.maximum((direction * image).sum(axis=0), 1e-30)
        W += step * direction
        residual -= step * image
        previous, square = square, (residual**2).sum(axis=0)
        direction = residual + square / np.maximum(previous, 1e-30) * direction
    return offset, W
