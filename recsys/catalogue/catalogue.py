"""The catalogue a device downloads: a bundle in about one byte a coordinate, public, the same bytes for everybody.

One safetensors file, so that a browser reads it with a length, JSON and typed arrays:

    item_embeddings int8 (n_items, dim), scale float32 (n_items,), trend float32 (n_items,),
    gram float32 (taste, taste), of the part TASTE alone; mean_profile float32 (dim,)
    __metadata__: bundle_version, name, format, parts, config, training, items (JSON: item_id, title, category, price,
    available), intent for a table with such a part, mix for a bundle that has one, with its tensors mix_*, and
    clusters: the hash of the bundle's clusters (recsys/catalogue/clusters.py); surfaces with its tensors complement_*,
    placements, and attributes with its tensors attribute_*, for a bundle that has them
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from safetensors import SafetensorError

from data.errors import ModelError, OwnshelfError
from data.vocabulary import Vocabulary
from recsys.catalogue.attribute_columns import decode_attributes, encode_attributes, select_attributes
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.changes import CatalogueChange
from recsys.catalogue.tensor_files import read_tensors, tensor_file
from recsys.lists.placements.placement import NO_PLACEMENTS, Placements
from recsys.lists.placements.placements_file import canonical_json, placements_of
from recsys.lists.placements.shop_items import ShopItems
from recsys.lists.placements.surface_tables import SurfaceTables, read_surface_tables
from recsys.mix.mix_tables import attributes_of
from recsys.mix.model import MixModel, read_mix
from recsys.model.intent import intent_share
from recsys.model.intent_config import IntentConfig, read_intent_config
from recsys.model.items import INTENT, TASTE, ItemTable, columns_of, frozen
from recsys.model.profile_config import ProfileConfig, finite, read_config
from recsys.model.quantization import dequantize, quantize

FORMAT = "1"
SHOWN = {
    "item_id": pl.String,
    "title": pl.String,
    "category": pl.String,
    "price": pl.Float64,
    "available": pl.Boolean,
}
"""Columns of a bundle's catalogue that travel; a missing one is null, and an item is available unless it says no."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The items, embeddings and settings that a device recommends from.

    config: how to serve; training: how a device that takes part in training weighs its history.
    shown: the columns SHOWN, then the attributes that devices hold; row i is item_idx i. exact: the embeddings are the
    bundle's own, not from int8.
    digest: sha256 (hex) of the file that it was read from, None for a bundle at hand.
    intent: how the part INTENT is learned, None for a table without one. mix: None where the plain score ranks.
    clusters_hash: sha256 (hex) of the bundle's clusters, None for a bundle of before they were part of one.
    surfaces: None for a bundle without complements. placements: the shop's, as they are now.
    before: the bundle's own catalogue, where this one has changes since; its items come first, new ones after them.
    """

    bundle_version: str
    name: str
    table: ItemTable
    config: ProfileConfig
    training: ProfileConfig
    shown: pl.DataFrame
    exact: bool
    digest: str | None = None
    before: Catalogue | None = None
    intent: IntentConfig | None = None
    mix: MixModel | None = None
    clusters_hash: str | None = None
    surfaces: SurfaceTables | None = None
    placements: Placements = NO_PLACEMENTS

    @property
    def of_bundle(self) -> Catalogue:
        """The bundle's own items as it has them, without what changed since: what training is about."""
        return self if self.before is None else self.before

    @cached_property
    def items(self) -> Vocabulary:
        """item_id ↔ item_idx."""
        return Vocabulary(self.shown["item_id"])

    @cached_property
    def unavailable(self) -> npt.NDArray[np.int32]:
        """item_idx of the items that must not be shown, ascending int32."""
        return np.flatnonzero(~self.shown["available"].to_numpy()).astype(np.int32)

    @cached_property
    def shop_items(self) -> ShopItems:
        """These items as lists of placements are made of them."""
        base = self.of_bundle.table
        return ShopItems(
            base,
            self.table.item_embeddings[base.n_items :],
            self.config,
            self.shown,
            self.shown["available"].to_numpy(),
            self.items,
            None if self.surfaces is None else self.surfaces.complements,
        )

    def with_rows(self, item_idx: npt.NDArray[np.int32], rows: npt.NDArray[np.float32]) -> Catalogue:
        """Replace the embeddings (n, dim) of some items (n,) by a device's own, at full precision.

        Before changes only, so that both catalogues have them. Raises ModelError after.
        """
        if self.before is not None:
            raise ModelError(f"with_rows: catalogue {self.bundle_version} has changes already, must have none")
        embeddings = self.table.item_embeddings.copy()
        embeddings[item_idx] = rows
        table = _table(embeddings, self.table.trend, self.table.mean_profile, self.table.parts, self.table.gram)
        return replace(self, table=table)

    def with_changes(self, changes: Sequence[CatalogueChange]) -> Catalogue:
        """Apply changes to these items; an item's last change counts, and nothing is changed in place.

        A bundle's item keeps its embedding and trend; a new one comes after all others, with its own row and trend 0,
        and the Gram matrix covers its taste. A deleted item keeps its place, without a title, and is not available; the
        row of a new one is zero then. Raises ModelError for a new item without a row (dim,).
        """
        latest = {change.item_id: change for change in changes}
        if not latest:
            return self
        base, dim, n_before = self.of_bundle, self.table.dim, self.table.n_items
        n_bundle = base.table.n_items
        places = self.items.index_of(list(latest))
        places[places < 0] = n_before + np.arange((places < 0).sum(), dtype=np.int32)
        fresh = np.zeros((max(int(places.max()) + 1, n_before) - n_bundle, dim), dtype=np.float32)
        fresh[: n_before - n_bundle] = self.table.item_embeddings[n_bundle:]
        for place, change in zip(places.tolist(), latest.values(), strict=True):
            if place >= n_bundle:
                fresh[place - n_bundle] = _new_row(change, dim)
        rows = [
            {"item_id": change.item_id, "available": False, **_of_schema(change.fields or {}, self.shown.schema)}
            for change in latest.values()
        ]
        source = np.arange(n_bundle + len(fresh))
        source[places] = n_before + np.arange(len(rows))
        shown = pl.concat([self.shown, pl.DataFrame(rows, schema=self.shown.schema)])[source]
        wide = fresh[:, base.table.part(TASTE)].astype(np.float64)
        table = _table(
            np.concatenate([base.table.item_embeddings, fresh]),
            np.concatenate([base.table.trend, np.zeros(len(fresh), dtype=np.float32)]),
            base.table.mean_profile,
            base.table.parts,
            (base.table.gram + wide.T @ wide).astype(np.float32),
        )
        mix = None if self.mix is None else self.mix.grown(attributes_of(shown))
        return replace(self, table=table, shown=shown, before=base, mix=mix)


def _of_schema(fields: Mapping[str, Any], schema: pl.Schema) -> dict[str, Any]:
    """Keep the fields that a device holds, a value of another type as none: a shop may change a column's type."""
    kept = {}
    for name, value in fields.items():
        kind = schema.get(name)
        fits = (
            (kind == pl.String and isinstance(value, str))
            or (kind == pl.Boolean and isinstance(value, bool))
            or (kind == pl.Float64 and isinstance(value, (int, float)) and not isinstance(value, bool))
        )
        if kind is not None:
            kept[name] = value if fits else None
    return kept


def _new_row(change: CatalogueChange, dim: int) -> npt.NDArray[np.float32]:
    if change.fields is None:
        return np.zeros(dim, dtype=np.float32)
    if change.row is None or change.row.shape != (dim,):
        shape = None if change.row is None else change.row.shape
        raise ModelError(f"changes: row {shape} of a new item, must be ({dim},)")
    return change.row


def catalogue_of(bundle: Bundle) -> Catalogue:
    """Convert a bundle to a catalogue at full precision."""
    training = training_config(bundle)
    shown, intent = _held_columns(bundle), intent_config(bundle)
    return Catalogue(
        bundle.version, bundle.name, bundle.table, bundle.config, training, shown, exact=True, intent=intent,
        mix=None if bundle.mix is None else bundle.mix.grown(attributes_of(shown)), clusters_hash=bundle.clusters_hash,
        surfaces=bundle.surfaces, placements=bundle.placements,
    )  # fmt: skip


def training_config(bundle: Bundle) -> ProfileConfig:
    """Read how a bundle's table is trained.

    That is with a longer memory than it is served with, where its manifest says so.
    """
    trained = bundle.manifest["training"].get("config", {}).get("profile")
    return bundle.config if trained is None else read_config(trained)


def intent_config(bundle: Bundle) -> IntentConfig | None:
    """Read how a bundle's part INTENT is learned, as its manifest says, else by default.

    None for a bundle without one.
    """
    if bundle.table.trained != INTENT:
        return None
    learned = bundle.manifest["training"].get("config", {}).get("intent")
    return IntentConfig() if learned is None else read_intent_config(learned)


def encode_catalogue(bundle: Bundle) -> bytes:
    """Encode the file a device downloads; the same bytes for the same bundle."""
    table = bundle.table
    quantized, scale = quantize(table.item_embeddings)
    tensors: dict[str, npt.NDArray[Any]] = {
        "gram": table.gram,
        "mean_profile": table.mean_profile,
        "scale": scale,
        "trend": table.trend,
    }
    if bundle.mix is not None:
        tensors |= bundle.mix.tensors
    if bundle.surfaces is not None:
        tensors |= bundle.surfaces.tensors
    held, attributes = encode_attributes(select_attributes(bundle.catalogue, bundle.placements.carried))
    tensors |= held
    tensors = dict(sorted(tensors.items(), key=lambda entry: -entry[1].dtype.itemsize))  # wide words stay aligned
    tensors["item_embeddings"] = quantized
    metadata = {
        "bundle_version": bundle.version,
        "config": json.dumps(finite(asdict(bundle.config)), allow_nan=False),
        "training": json.dumps(finite(asdict(training_config(bundle))), allow_nan=False),
        "format": FORMAT,
        "items": json.dumps(
            _shown_columns(bundle.catalogue).to_dict(as_series=False), ensure_ascii=False, allow_nan=False
        ),
        "name": bundle.name,
        "parts": json.dumps(table.parts, allow_nan=False),
    }
    intent = intent_config(bundle)
    if intent is not None:
        metadata["intent"] = json.dumps(asdict(intent), allow_nan=False)
    if bundle.mix is not None:
        metadata["mix"] = json.dumps(bundle.mix.settings, allow_nan=False)
    if bundle.clusters_hash is not None:
        metadata["clusters"] = bundle.clusters_hash
    if bundle.surfaces is not None:
        metadata["surfaces"] = json.dumps(bundle.surfaces.settings, ensure_ascii=False, allow_nan=False)
    if bundle.placements != NO_PLACEMENTS:
        metadata["placements"] = canonical_json(bundle.placements)
    if attributes:
        metadata["attributes"] = json.dumps(attributes, ensure_ascii=False, allow_nan=False)
    return tensor_file(tensors, metadata)


def decode_catalogue(content: bytes) -> Catalogue:
    """Decode the catalogue in a downloaded file. Raises ModelError when it is not one, or not a consistent one."""
    try:
        tensors, metadata = read_tensors(content)
        if metadata["format"] != FORMAT:
            raise ModelError(f"format={metadata['format']}: this version reads format {FORMAT}")
        config = read_config(json.loads(metadata["config"]))
        training = read_config(json.loads(metadata["training"]))
        shown = pl.DataFrame(json.loads(metadata["items"]), schema=SHOWN)
        quantized, scale = tensors["item_embeddings"], tensors["scale"]
        if quantized.dtype != np.int8 or scale.shape != quantized.shape[:1] or shown.height != len(scale):
            raise ModelError(f"item_embeddings {quantized.shape}, scale {scale.shape}, items {shown.height}")
        parts = tuple((str(part), int(width)) for part, width in json.loads(metadata["parts"]))
        gram, taste = tensors["gram"], columns_of(parts, TASTE)
        width = taste.stop - taste.start
        if gram.shape != (width, width) or not np.isfinite(gram).all():
            raise ModelError(f"gram: shape {gram.shape}, must be ({width}, {width}) and finite; fetch the file anew")
        rows = dequantize(quantized, scale)
        table = _table(rows, tensors["trend"], tensors["mean_profile"], parts, gram)
        digest = hashlib.sha256(content).hexdigest()
        intent_share(parts, config)
        intent_share(parts, training)
        learned = metadata.get("intent")
        intent = None if learned is None else read_intent_config(json.loads(learned))
        weighed = metadata.get("mix")
        mix = None if weighed is None else read_mix(json.loads(weighed), tensors, attributes_of(shown))
        told, named = metadata.get("surfaces"), metadata.get("placements")
        held = decode_attributes(json.loads(metadata.get("attributes", "[]")), tensors, shown.height)
        return Catalogue(
            metadata["bundle_version"], metadata["name"], table, config, training,
            shown if not held.width else shown.hstack(held), False, digest,
            intent=intent, mix=mix, clusters_hash=metadata.get("clusters"),
            surfaces=None if told is None else read_surface_tables(json.loads(told), tensors, shown.height),
            placements=NO_PLACEMENTS if named is None else placements_of(json.loads(named)),
        )  # fmt: skip
    except OwnshelfError as error:
        raise ModelError(f"catalogue: {error}") from None
    except (
        SafetensorError,
        struct.error,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        pl.exceptions.PolarsError,
    ) as error:
        raise ModelError(f"catalogue: not a catalogue file ({type(error).__name__})") from None


def _table(
    rows: npt.NDArray[np.float32],
    trend: npt.NDArray[np.float32],
    mean_profile: npt.NDArray[np.float32],
    parts: tuple[tuple[str, int], ...],
    gram: npt.NDArray[np.float32],
) -> ItemTable:
    table = ItemTable(rows, trend, mean_profile, parts)
    vars(table)["gram"] = frozen(gram)  # the bundle's own, exact, instead of one from rounded rows
    return table


def _held_columns(bundle: Bundle) -> pl.DataFrame:
    """Select what a device holds of a bundle's catalogue."""
    shown = _shown_columns(bundle.catalogue)
    held = select_attributes(bundle.catalogue, bundle.placements.carried)
    return shown if not held.width else shown.hstack(held)


def _shown_columns(frame: pl.DataFrame) -> pl.DataFrame:
    columns = [
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name) for name, kind in SHOWN.items()
    ]
    return frame.select(columns).with_columns(pl.col("available").fill_null(True), pl.col("price").fill_nan(None))
