"""The clusters file on a device: fetched once a bundle, checked against its hash whenever it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx

from data.atomic import write_atomically
from federation.device.asking.client import fetch_clusters
from recsys.catalogue.clusters import Clusters, check_part_of_bundle, decode_clusters

NAME = "clusters-{}.safetensors"


def held_clusters(folder: Path, digest: str | None) -> Clusters | None:
    """Read the file that the vault names by its sha256 (hex).

    None when it is missing, changed, or of before clusters were part of a bundle, and must be fetched.
    """
    if digest is None:
        return None
    path = folder / NAME.format(digest[:16])
    if not path.is_file():
        return None
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        return None
    clusters = decode_clusters(content)
    return None if clusters.manifest_hash is None else clusters


def fetch_current(
    folder: Path, digest: str | None, client: httpx.Client, accept: Callable[[Clusters], object]
) -> Clusters | None:
    """Fetch the service's current file unless it is the one held; None without another one.

    accept: raises for a file that must not be taken, before anything is written.
    """
    held = None if held_clusters(folder, digest) is None else digest
    content = fetch_clusters(client, held)
    if content is None:
        return None
    clusters = decode_clusters(content)
    check_part_of_bundle(clusters)
    accept(clusters)
    name = NAME.format(str(clusters.digest)[:16])
    write_atomically(folder / name, content)
    for path in folder.glob(NAME.format("*")):
        if path.name != name:
            path.unlink(missing_ok=True)
    return clusters
