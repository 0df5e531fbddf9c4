"""A bundle: one shipped version of the shared model, as a folder.

    tensors.safetensors   item_embeddings, trend, mean_profile
    catalogue.parquet     item_id, title, category, price, available, …; row i is item_idx i
    clusters.safetensors  what mode cluster needs: recsys/catalogue/clusters.py. Not every old bundle has one
    mix.safetensors       transitions and trends of the mix; its weights are in the manifest. Not every bundle has one
    surfaces.safetensors  complements; with intervals in the manifest. Not every bundle has one
    manifest.json         name, version, config, seed, hashes of data and files, code version, privacy, placements

Written atomically, read mapped and read-only, refused when a byte differs from its manifest. Nothing in it is
private to a shopper: it is what everyone may download.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from data.atomic import atomic_folder, check_replaceable, file_hash, write_atomically
from data.errors import DataError, ModelError
from data.values.numbers import strict_numbers
from data.vocabulary import Vocabulary
from recsys.catalogue.clusters import Clusters, decode_clusters, encode_content, make_clusters, version_of
from recsys.lists.placements.placement import NO_PLACEMENTS, Placements
from recsys.lists.placements.placements_file import check_against, content_hash, placements_of, to_dict
from recsys.lists.placements.surface_tables import SurfaceTables, read_surface_tables
from recsys.mix.mix_tables import attributes_of
from recsys.mix.model import MixModel, read_mix
from recsys.model.intent import intent_share
from recsys.model.items import ItemTable
from recsys.model.profile_config import ProfileConfig, finite, read_config

FORMAT = 1
TENSORS, CATALOGUE, MANIFEST = "tensors.safetensors", "catalogue.parquet", "manifest.json"
CLUSTERS, MIX, SURFACES = "clusters.safetensors", "mix.safetensors", "surfaces.safetensors"
BUNDLE_FILES = (TENSORS, CATALOGUE, CLUSTERS, MIX, SURFACES, MANIFEST)
OPTIONAL = {"mix": MIX, "surfaces": SURFACES}
"""Entry of a manifest → the file that then belongs to the bundle."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """One version of the shared model.

    version: 16 hex digits of the content's hash; name: the table's name, the same over its versions. folder: where it
    was read from. made_at: seconds since 1970-01-01 UTC, of the manifest's file: not part of the content. mix: None
    for a bundle that serves the plain score. surfaces: None for a bundle without such tables. placements: the shop's
    own, as the bundle was made with.
    """

    version: str
    name: str
    table: ItemTable
    catalogue: pl.DataFrame
    config: ProfileConfig
    manifest: Mapping[str, Any]
    folder: Path
    made_at: int
    mix: MixModel | None = None
    surfaces: SurfaceTables | None = None
    placements: Placements = NO_PLACEMENTS

    @cached_property
    def items(self) -> Vocabulary:
        """item_id ↔ item_idx."""
        return Vocabulary(self.catalogue["item_id"])

    @property
    def clusters_hash(self) -> str | None:
        """Sha256 (hex) of the clusters that are part of this bundle; None for a bundle of before they were."""
        found = self.manifest["files"].get(CLUSTERS)
        return None if found is None else str(found)

    @cached_property
    def clusters(self) -> Clusters:
        """The clusters; an old bundle's are computed, and no device believes that they are its own."""
        if self.clusters_hash is None:
            return replace(make_clusters(self.table, self.name, self.config), bundle_version=self.version)
        stored = decode_clusters((self.folder / CLUSTERS).read_bytes())
        return replace(stored, bundle_version=self.version, manifest_hash=_rest_hash(self.manifest), digest=None)

    @staticmethod
    def load(folder: str | Path) -> Bundle:
        """Open a bundle, mapped read-only. Raises ModelError when it is missing, tampered with or too new."""
        folder = Path(folder)
        manifest = _read_manifest(folder)
        for name, expected in manifest["files"].items():
            path = folder / name
            if not path.is_file():
                raise ModelError(f"{path}: missing; the bundle is incomplete")
            if (actual := file_hash(path)) != expected:
                raise ModelError(
                    f"{path}: sha256 is {actual[:12]}…, the manifest says {expected[:12]}…; tampered or torn"
                )
        if (actual := _version(manifest)) != manifest["version"]:
            raise ModelError(f"{folder / MANIFEST}: content hashes to {actual}, not to version={manifest['version']}")
        table = _read_table(folder / TENSORS, manifest)
        config = _read_config(folder / MANIFEST, manifest)
        intent_share(table.parts, config)
        catalogue = _read_catalogue(folder / CATALOGUE, table)
        bundle = Bundle(
            version=manifest["version"],
            name=manifest["name"],
            table=table,
            catalogue=catalogue,
            config=config,
            manifest=manifest,
            folder=folder,
            made_at=int((folder / MANIFEST).stat().st_mtime),
            mix=_read_mix(folder, manifest, catalogue),
            surfaces=_read_surfaces(folder, manifest, table.n_items),
            placements=_read_placements(folder, manifest),
        )
        if bundle.clusters_hash is not None and bundle.clusters.parts != table.parts:  # read now: a folder may go
            raise ModelError(f"{folder / CLUSTERS}: parts={bundle.clusters.parts}: must be {table.parts}")
        return bundle


def save_bundle(
    folder: str | Path,
    *,
    name: str,
    table: ItemTable,
    catalogue: pl.DataFrame,
    config: ProfileConfig,
    seed: int,
    data_hash: str,
    privacy: str,
    training: Mapping[str, Any] | None = None,
    mix: MixModel | None = None,
    surfaces: SurfaceTables | None = None,
    placements: Placements = NO_PLACEMENTS,
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle and open it again.

    catalogue: n_items rows, row i describes item_idx i; needs item_id. privacy: what protects the shoppers whose
    updates went into the table, in words; it stands on every artifact. training: figures for the reader.
    mix: learned weights and their tables, over the same items. surfaces: tables of the same items. placements: the
    shop's own; raises ModelError where they name a field that the catalogue does not have.
    """
    catalogue = strict_numbers(catalogue)
    _check_catalogue(catalogue, table, "catalogue")
    check_against(placements, catalogue)
    folder = Path(folder)
    if overwrite:
        check_replaceable(folder, BUNDLE_FILES)
    with atomic_folder(folder, overwrite=overwrite) as fresh:
        tensors = {name: np.array(getattr(table, name)) for name in ("item_embeddings", "trend", "mean_profile")}
        save_file(tensors, fresh / TENSORS)
        (fresh / TENSORS).chmod(0o644)  # safetensors leaves it to its owner; the service may be another user
        catalogue.write_parquet(fresh / CATALOGUE)
        write_atomically(fresh / CLUSTERS, encode_content(make_clusters(table, name, config)))
        written = [TENSORS, CATALOGUE, CLUSTERS]
        for file, model in ((MIX, mix), (SURFACES, surfaces)):
            if model is not None:
                save_file({name: np.ascontiguousarray(tensor) for name, tensor in model.tensors.items()}, fresh / file)
                (fresh / file).chmod(0o644)
                written.append(file)
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "name": name,
            "n_items": table.n_items,
            "dim": table.dim,
            "parts": [list(part) for part in table.parts],
            "config": finite(asdict(config)),
            "seed": seed,
            "data_hash": data_hash,
            "code_version": package_version("ownshelf"),
            "privacy": privacy,
            "training": finite(training or {}),
            "files": {file: file_hash(fresh / file) for file in written},
        }
        if mix is not None:
            manifest["mix"] = mix.settings
        if surfaces is not None:
            manifest["surfaces"] = surfaces.settings
        if placements != NO_PLACEMENTS:
            manifest["placements"] = to_dict(placements)
            manifest["placements_hash"] = content_hash(placements)
        manifest["version"] = _version(manifest)
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False))
    return Bundle.load(folder)


def _version(manifest: Mapping[str, Any]) -> str:
    clusters = manifest["files"].get(CLUSTERS)
    rest = _rest_hash(manifest)
    return rest[:16] if clusters is None else version_of(rest, clusters)


def _rest_hash(manifest: Mapping[str, Any]) -> str:
    """Sha256 (hex) of a manifest without its version and its clusters, which devices are told the hash of apart."""
    files = {file: found for file, found in manifest["files"].items() if file != CLUSTERS}
    content = {key: value for key, value in manifest.items() if key != "version"} | {"files": files}
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise ModelError(f"{folder}: no {MANIFEST} in it; not a bundle (ownshelf train makes one)")
    try:
        manifest = json.loads(path.read_text())
        version, files = manifest["format"], manifest["files"]
        _ = manifest["config"], manifest["version"], manifest["parts"], manifest["name"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: not a bundle's manifest ({error!r})") from None
    if version != FORMAT:
        raise ModelError(f"{path}: format={version}: this version reads format {FORMAT}")
    expected = {TENSORS, CATALOGUE} | {file for entry, file in OPTIONAL.items() if entry in manifest}
    if not isinstance(files, dict) or set(files) - {CLUSTERS} != expected:
        raise ModelError(f"{path}: files={files}: must be the hashes of {' and '.join(sorted(expected))}")
    return dict(manifest)


def _read_mix(folder: Path, manifest: Mapping[str, Any], catalogue: pl.DataFrame) -> MixModel | None:
    if "mix" not in manifest:
        return None
    try:
        return read_mix(manifest["mix"], load_file(folder / MIX), attributes_of(catalogue))
    except (ModelError, SafetensorError) as error:
        raise ModelError(f"{folder / MIX}: {error}") from None


def _read_surfaces(folder: Path, manifest: Mapping[str, Any], n_items: int) -> SurfaceTables | None:
    if "surfaces" not in manifest:
        return None
    try:
        return read_surface_tables(manifest["surfaces"], load_file(folder / SURFACES), n_items)
    except (ModelError, SafetensorError, AttributeError) as error:
        raise ModelError(f"{folder / SURFACES}: {error}") from None


def _read_placements(folder: Path, manifest: Mapping[str, Any]) -> Placements:
    if "placements" not in manifest:
        return NO_PLACEMENTS
    try:
        placements = placements_of(manifest["placements"])
    except ModelError as error:
        raise ModelError(f"{folder / MANIFEST}: {error}") from None
    if content_hash(placements) != manifest.get("placements_hash"):
        raise ModelError(f"{folder / MANIFEST}: placements: not those of placements_hash")
    return placements


def _read_config(path: Path, manifest: Mapping[str, Any]) -> ProfileConfig:
    try:
        return read_config(manifest["config"])
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _check_catalogue(catalogue: pl.DataFrame, table: ItemTable, where: object) -> None:
    if catalogue.height != table.n_items:
        raise ModelError(f"{where}: {catalogue.height} rows, the item table has {table.n_items}")
    if "item_id" not in catalogue.columns:
        raise ModelError(f"{where}: no column item_id among {catalogue.columns}")
    try:
        Vocabulary(catalogue["item_id"])
    except DataError as error:
        raise ModelError(f"{where}: item_id: {error}") from None


def _read_catalogue(path: Path, table: ItemTable) -> pl.DataFrame:
    try:
        catalogue = strict_numbers(pl.read_parquet(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ModelError(f"{path}: not a parquet file ({error})") from None
    _check_catalogue(catalogue, table, path)
    return catalogue


def _read_table(path: Path, manifest: Mapping[str, Any]) -> ItemTable:
    try:
        tensors = _map_tensors(path)
        parts = tuple((part, width) for part, width in manifest["parts"])
        return ItemTable(tensors["item_embeddings"], tensors["trend"], tensors["mean_profile"], parts)
    except (ModelError, SafetensorError, TypeError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: {error}") from None


def _map_tensors(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Map the tensors of a safetensors file: its header is a length, JSON, then raw little-endian data."""
    with safe_open(path, framework="numpy"):
        pass  # checks that the header is one, and that shapes, offsets and the length of the file agree
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    for name in ("item_embeddings", "trend", "mean_profile"):
        entry = header[name]
        if entry["dtype"] != "F32":
            raise ModelError(f"{name} is {entry['dtype']}, must be F32")
        start = 8 + length + entry["data_offsets"][0]
        tensors[name] = np.memmap(path, np.dtype("<f4"), "r", start, tuple(entry["shape"]))
    return tensors
