"""Public item centroids: what a device names instead of its profile, and which items are the candidates of a name.

The centroids are spherical k-means over the directions of the item embeddings. A device computes the nearest ones by
itself from one small file (the same bytes for everybody, as recsys/catalogue/catalogue.py), which has all that it
needs to make its profile from the rows of its own items, so that it need not hold the catalogue:

    centroids float32 (k, dim), gram float32 (dim, dim), mean_profile float32 (dim,)
    __metadata__: bundle_version, name, format, parts, config, n_items, manifest

They are part of their bundle: its version is a hash over theirs, and over that of the rest of its manifest, which the
file says, so that a device can check both. Whoever could serve other centroids could ask where in them a profile lies.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError

from data.errors import ModelError, OwnshelfError
from recsys.catalogue.tensor_files import read_tensors, tensor_file
from recsys.model.intent import in_shares
from recsys.model.items import ItemTable, frozen, gram_of
from recsys.model.profile_config import ProfileConfig, finite, read_config
from recsys.model.scoring import score, top_k

FORMAT = "1"
MAX_CLUSTERS = 256
ITEMS_PER_CLUSTER = 39
"""At least; k-means with fewer points a centroid is noise (FAISS warns there): 256 centroids from 10,000 items on."""
MAX_ASKED = 4
"""Clusters in one question."""
MEAN_MIX = 0.3
"""Share of the population's mean direction in a query for candidates: top-20 recall .962 → .976 (two clusters, 500
candidates, 100,000 items); 0.6 loses again for few candidates."""
PROFILE_LENGTH = 3.0
"""A profile is about so many times as long as the mean of all profiles; only the weight of the trend depends on it."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """The public part of a bundle that fits in a few kilobytes a centroid.

    centroids: (k, dim) float32, each of length 1. n_items: of the bundle. config: how profiles are made.
    gram: (dim, dim) float32, VᵀV of all parts: fold-in needs its block of the part TASTE, mode noised all of it.
    manifest_hash: sha256 (hex) of the rest of the bundle's manifest, None for a bundle that they are no part of.
    digest: sha256 (hex) of the file that it was read from, None when it was computed.
    """

    bundle_version: str
    name: str
    centroids: npt.NDArray[np.float32]
    gram: npt.NDArray[np.float32]
    mean_profile: npt.NDArray[np.float32]
    parts: tuple[tuple[str, int], ...]
    config: ProfileConfig
    n_items: int
    manifest_hash: str | None = None
    digest: str | None = None

    @property
    def content_hash(self) -> str:
        """Sha256 (hex) of everything but what names the bundle: the hash that stands in the bundle's manifest."""
        return hashlib.sha256(encode_content(self)).hexdigest()

    @property
    def dim(self) -> int:
        """Width of an item embedding."""
        return int(self.centroids.shape[1])


def cluster_count(n_items: int) -> int:
    """Decide how many centroids a table of n_items has: one per 39 items, 1 to 256."""
    return min(max(n_items // ITEMS_PER_CLUSTER, 1), MAX_CLUSTERS)


def centroids_of(table: ItemTable, seed: int = 0) -> npt.NDArray[np.float32]:
    """Cluster a table into (k, dim) float32 centroids of length 1, k by `cluster_count`.

    They are the same for the same table and seed, on any thread count.
    """
    import faiss  # here: a device reads centroids and makes none

    length = np.linalg.norm(table.item_embeddings, axis=1, keepdims=True)
    rows = table.item_embeddings[length[:, 0] > 0]
    if len(rows) == 0:
        return np.eye(1, table.dim, dtype=np.float32)
    rows = np.ascontiguousarray(rows / length[length[:, 0] > 0])
    k = min(cluster_count(table.n_items), len(rows))
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # more of them add up in another order
    try:
        means = faiss.Kmeans(
            table.dim, k, niter=12, seed=seed, spherical=True, min_points_per_centroid=1, max_points_per_centroid=128
        )
        means.train(rows)
    finally:
        faiss.omp_set_num_threads(threads)
    return np.array(means.centroids, dtype=np.float32)


def make_clusters(table: ItemTable, name: str, config: ProfileConfig) -> Clusters:
    """Compute the clusters of a table, which no bundle is named for yet: a second or two at 100,000 items."""
    centroids, gram = frozen(centroids_of(table)), gram_of(table.item_embeddings)
    return Clusters("", name, centroids, gram, table.mean_profile, table.parts, config, table.n_items)


def version_of(manifest_hash: str, content_hash: str) -> str:
    """Compute a bundle's version (16 hex digits) of the hashes (hex) of its manifest without, and of its clusters."""
    return hashlib.sha256(f"ownshelf/bundle/v1:{manifest_hash}:{content_hash}".encode()).hexdigest()[:16]


def check_part_of_bundle(clusters: Clusters) -> None:
    """Check what a device is about to be asked by. Raises ModelError.

    The version must be a hash over these very clusters, centroids directions, and no more of them than n_items allow.
    """
    version = clusters.bundle_version
    if clusters.manifest_hash is None:
        raise ModelError(f"clusters: are no part of bundle {version}; a bundle of now is needed, or mode device")
    if version_of(clusters.manifest_hash, clusters.content_hash) != version:
        raise ModelError(f"clusters: are not those of bundle {version}")
    k, most = len(clusters.centroids), cluster_count(clusters.n_items)
    if k > most:
        raise ModelError(f"clusters: {k} centroids of {clusters.n_items} items, must be at most {most}")
    if not np.allclose(np.linalg.norm(clusters.centroids, axis=1), 1.0, atol=1e-3):
        raise ModelError("clusters: centroids must be of length 1")


def nearest(centroids: npt.NDArray[np.float32], vector: npt.NDArray[np.float32], n: int) -> list[int]:
    """Find the n centroids of highest cosine to a profile (dim,).

    They are ascending ids: their order says nothing more.

    Raises ModelError for n outside 1..4 or above k, and for a vector of another width.
    """
    most = min(MAX_ASKED, len(centroids))
    if not 1 <= n <= most:
        raise ModelError(f"clusters={n}: must be 1..{most}")
    if vector.shape != centroids.shape[1:]:
        raise ModelError(f"vector: shape {vector.shape}, must be {centroids.shape[1:]}")
    return sorted(np.argsort(-(centroids @ vector), kind="stable")[:n].tolist())


def cluster_queries(clusters: Clusters, ids: Sequence[int]) -> npt.NDArray[np.float32]:
    """Make one query (dim,) for each named cluster: (n, dim) float32, to be searched like profiles.

    Raises ModelError for none, more than 4, one named twice, or one that there is not.
    """
    k = len(clusters.centroids)
    if not 1 <= len(ids) <= MAX_ASKED or len(set(ids)) < len(ids):
        raise ModelError(
            f"clusters: {len(ids)} ids, {len(set(ids))} of them distinct: must be 1..{MAX_ASKED}, distinct"
        )
    if not all(0 <= cluster < k for cluster in ids):
        raise ModelError(f"clusters: an id is not one of 0..{k - 1}")
    mean = in_shares(clusters.mean_profile, clusters.parts, clusters.config)
    return direction_queries(clusters.centroids[list(ids)], mean)


def direction_queries(
    directions: npt.NDArray[np.float32], mean_profile: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Make queries for candidates (n, dim) float32 from directions (n, dim).

    Directions are of any length, such as a noised vector (1, dim).

    A direction says nothing of the population, whose mean is public: it is mixed in.
    """
    if directions.ndim != 2 or directions.shape[1:] != mean_profile.shape:
        raise ModelError(f"directions: shape {directions.shape}, must be (n, {len(mean_profile)})")
    if not np.isfinite(directions).all():
        raise ModelError("directions: has values that are not finite")
    length = float(np.linalg.norm(mean_profile))
    mean = mean_profile / length if length > 0 else mean_profile
    mixed = _unit(directions) + np.float32(MEAN_MIX) * mean
    return np.ascontiguousarray(_unit(mixed) * np.float32(PROFILE_LENGTH * length or 1.0), dtype=np.float32)


def interleave(lists: npt.NDArray[np.int32], most: int) -> npt.NDArray[np.int32]:
    """Take the best of each list (n, k) in turn, each item once, until there are `most`: (≤ most,) int32.

    Each list must be as long as `most`, or hold everything that may be shown, for the result to be as long.
    """
    if most < 1:
        raise ModelError(f"candidates={most}: must be 1 or more")
    dealt = lists.T.ravel()
    _, first = np.unique(dealt, return_index=True)
    return dealt[np.sort(first)][:most]


def cluster_candidates(
    table: ItemTable,
    clusters: Clusters,
    ids: Sequence[int],
    most: int,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int32]:
    """Find the candidates of some clusters by a scan of the whole table.

    It is what any index in its place must answer.

    allowed: (n_items,) bool, None allows every item. Returns (≤ most,) int32, best first.
    """
    return scan_candidates(table, cluster_queries(clusters, ids), clusters.config.trend_weight, most, allowed)


def scan_candidates(
    table: ItemTable,
    queries: npt.NDArray[np.float32],
    trend_weight: float,
    most: int,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int32]:
    """Find the candidates of queries (n, dim) by a scan of the whole table; the rest as cluster_candidates."""
    hidden = None if allowed is None else np.flatnonzero(~allowed).astype(np.int32)
    lists = [top_k(row, most, hidden)[0] for row in score(table, queries, trend_weight)]
    return interleave(np.stack(lists), most)


def encode_clusters(clusters: Clusters) -> bytes:
    """Write the file for devices; the same bytes for the same bundle."""
    naming = {"bundle_version": clusters.bundle_version}
    if clusters.manifest_hash is not None:
        naming["manifest"] = clusters.manifest_hash
    return _file(clusters, naming)


def encode_content(clusters: Clusters) -> bytes:
    """Write the file without what names the bundle: what a bundle's folder holds."""
    return _file(clusters, {})


def _file(clusters: Clusters, naming: dict[str, str]) -> bytes:
    tensors = {
        "centroids": clusters.centroids,
        "gram": clusters.gram,
        "mean_profile": clusters.mean_profile,
    }
    metadata = {
        "config": json.dumps(finite(asdict(clusters.config)), allow_nan=False),
        "format": FORMAT,
        "n_items": str(clusters.n_items),
        "name": clusters.name,
        "parts": json.dumps(clusters.parts, allow_nan=False),
    }
    return tensor_file(tensors, naming | metadata)


def decode_clusters(content: bytes) -> Clusters:
    """Read the clusters of a file, with or without what names the bundle.

    Raises ModelError when it is not one, or not a consistent one.
    """
    try:
        tensors, metadata = read_tensors(content)
        if metadata["format"] != FORMAT:
            raise ModelError(f"format={metadata['format']}: this version reads format {FORMAT}")
        centroids, gram, mean = (_check_tensors(tensors[name], name) for name in ("centroids", "gram", "mean_profile"))
        if centroids.ndim != 2 or not 1 <= len(centroids) <= MAX_CLUSTERS:
            raise ModelError(f"centroids: shape {centroids.shape}, must be (1..{MAX_CLUSTERS}, dim)")
        dim = centroids.shape[1]
        if gram.shape != (dim, dim) or mean.shape != (dim,):
            raise ModelError(f"gram {gram.shape}, mean_profile {mean.shape}: must be ({dim}, {dim}) and ({dim},)")
        parts = tuple((str(part), int(width)) for part, width in json.loads(metadata["parts"]))
        n_items = int(metadata["n_items"])
        if sum(width for _, width in parts) != dim or n_items < 1:
            raise ModelError(f"parts={parts}, n_items={n_items}: widths must add up to {dim}, n_items be 1 or more")
        config = read_config(json.loads(metadata["config"]))
        digest = hashlib.sha256(content).hexdigest()
        version, name = str(metadata.get("bundle_version", "")), str(metadata["name"])
        manifest_hash = metadata.get("manifest")
        return Clusters(version, name, centroids, gram, mean, parts, config, n_items, manifest_hash, digest)
    except OwnshelfError as error:
        raise ModelError(f"clusters: {error}") from None
    except (SafetensorError, struct.error, ValueError, KeyError, IndexError, TypeError) as error:
        raise ModelError(f"clusters: not a clusters file ({type(error).__name__})") from None


def _check_tensors(tensor: npt.NDArray[np.float32], name: str) -> npt.NDArray[np.float32]:
    if tensor.dtype != np.float32 or not np.isfinite(tensor).all():
        raise ModelError(f"{name}: is {tensor.dtype}, must be float32 and finite")
    return frozen(tensor)


def _unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, length, out=np.zeros_like(rows), where=length > 0), dtype=np.float32)
