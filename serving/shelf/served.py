"""A bundle made ready to answer: its items as they are now, its files for devices, and what is worth keeping ready."""

from __future__ import annotations

import gzip
import hashlib
import mmap
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from data.errors import ServingError
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.candidates import QuantizedRows
from recsys.catalogue.clusters import Clusters, decode_clusters
from recsys.catalogue.content import LazyContentMap
from recsys.catalogue.index_files import open_index
from recsys.catalogue.live_items import ItemChange, LiveItems, LiveSelection
from recsys.lists.placements.placement import Placements
from recsys.lists.placements.shop_items import ShopItems
from recsys.lists.rules import PreparedRules, Rules, prepare
from recsys.model.scoring import score_without_profile
from recsys.model.scoring import top_k as best
from recsys.search.filters import Filter
from serving.refusal import Refusal
from serving.shelf.item_texts import ItemTexts, text_of
from serving.shelf.shared_files import open_shared

KEPT = 64
"""Filters, and rules, that are kept ready for each state of the items."""

RECALL_SAMPLE = 32
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ServedFile:
    """A file that devices download, and its sha256 (hex)."""

    content: bytes | mmap.mmap
    etag: str

    def read(self) -> bytes:
        """Read the whole content."""
        return bytes(self.content)

    @cached_property
    def packed(self) -> bytes:
        """The content under gzip, the same bytes each time; made when it is first asked for."""
        return gzip.compress(self.read(), 6, mtime=0)

    @staticmethod
    def of(content: bytes) -> ServedFile:
        """Hash content into a file."""
        return ServedFile(content, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, eq=False)
class VisibleItems:
    """Items that a filter lets through: the selection for searches, and (n_items,) bool for everything else."""

    selection: LiveSelection
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ServedBundle:
    """One bundle with all changes of its items so far. Read-only; nothing of a request is ever put here.

    catalogue, clusters_file: the bundle's own. rows: of its items, as candidates travel. texts: of the bundle's
    items; changed: of the items that were changed since. by_trend: (n_items,) item_idx, best trend first, available or
    not. recall: of the index, when it was opened.
    """

    live: LiveItems
    catalogue: ServedFile
    texts: ItemTexts
    changed: Mapping[int, bytes]
    clusters: Clusters
    clusters_file: ServedFile
    rows: QuantizedRows
    by_trend: npt.NDArray[np.int32]
    recall: float
    _filters: dict[str, VisibleItems] = field(default_factory=dict, repr=False)
    _rules: dict[str, PreparedRules] = field(default_factory=dict, repr=False)
    _of_bundle: dict[str, object] = field(default_factory=dict, repr=False)

    @property
    def bundle(self) -> Bundle:
        """The bundle."""
        return self.live.bundle

    @property
    def version(self) -> str:
        """The bundle's version."""
        return self.live.bundle.version

    @cached_property
    def quantized(self) -> QuantizedRows:
        """Rows as candidates travel, new items included."""
        live = self.live
        if live.sequence < 0:
            return self.rows
        return self.rows.with_changes(live.catalogue, live.embeddings)

    @cached_property
    def shop_items(self) -> ShopItems:
        """These items as lists of placements are made of them, on a device too."""
        bundle, live = self.bundle, self.live
        surfaces = bundle.surfaces
        complements = None if surfaces is None else surfaces.complements
        return ShopItems(
            bundle.table, live.embeddings, bundle.config, live.catalogue, live.available, live, complements
        )

    @cached_property
    def everything(self) -> VisibleItems:
        """Every available item."""
        return VisibleItems(self.live.everything, self.live.available)

    def visible(self, filter_: Filter | None) -> VisibleItems:
        """Select the available items that a filter lets through.

        Raises ModelError for a field or value that cannot be.
        """
        if filter_ is None or not filter_.leaves:
            return self.everything
        if filter_.key not in self._filters:
            filter_.check(self.live.catalogue)
            category = filter_.single_category()
            mask = filter_.mask(self.live.catalogue) & self.live.available
            mask.flags.writeable = False
            columns = self.live.catalogue.columns
            selection = (
                self.live.select(category=category)
                if category is not None and "category" in columns
                else self.live.select(mask)
            )
            _keep(self._filters, filter_.key, VisibleItems(selection, mask))
        return self._filters[filter_.key]

    def prepare(self, rules: Rules) -> PreparedRules:
        """Prepare rules for the items as they are now. Raises ModelError for a field or value that cannot be."""
        if rules.key not in self._rules:
            _keep(self._rules, rules.key, prepare(rules, self.live.catalogue, self.live))
        return self._rules[rules.key]

    def after(self, changes: Sequence[ItemChange]) -> ServedBundle:
        """Apply changes to this bundle. Raises ModelError for one that its catalogue cannot hold."""
        live = self.live.apply(changes)
        if live is self.live:
            return self
        places = live.index_of([change.item_id for change in changes])
        rows = live.catalogue[[int(place) for place in places if place >= 0]]
        texts = {
            int(place): text_of(row) for place, row in zip(places[places >= 0], rows.iter_rows(named=True), strict=True)
        }
        return replace(
            self,
            live=live,
            changed=MappingProxyType({**self.changed, **texts}),
            by_trend=_by_trend(live.trend),
            _filters={},
            _rules={},
        )

    def texts_of(self, item_idx: npt.NDArray[np.int32]) -> list[bytes]:
        """Read each item's JSON up to its score."""
        if not self.changed:
            return self.texts.of_items(item_idx)
        known = self.texts.of_items(np.minimum(item_idx, self.live.n_known - 1))
        return [self.changed.get(item, text) for item, text in zip(item_idx.tolist(), known, strict=True)]

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Make once, for all states of its items, what depends on the bundle alone."""
        if name not in self._of_bundle:
            self._of_bundle[name] = make()
        return self._of_bundle[name]  # type: ignore[return-value]


def _keep(cache: dict[str, T], key: str, value: T) -> None:
    if len(cache) >= KEPT:
        cache.pop(next(iter(cache)))
    cache[key] = value


def _by_trend(trend: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    order, _ = best(trend, len(trend))
    return order


def serve_bundle(bundle: Bundle, folder: Path | None = None) -> ServedBundle:
    """Index a bundle and write its files. Seconds for a large catalogue: done once, before the first request.

    folder: a cache that processes share; None keeps all in memory. Raises ModelError for an index of too little recall.
    """
    place = None if folder is None else folder / f"served-{bundle.version}"
    files = open_shared(bundle, place)
    bundle = files.bundle
    index = open_index(bundle, folder)
    weight = bundle.config.trend_weight
    content = LazyContentMap(bundle.catalogue, bundle.table.item_embeddings, place)
    return ServedBundle(
        live=LiveItems.start(bundle, index, content),
        catalogue=ServedFile(files.catalogue, files.etag),
        texts=files.texts,
        changed=MappingProxyType({}),
        clusters=decode_clusters(files.clusters),
        clusters_file=ServedFile.of(files.clusters),
        rows=files.quantized,
        by_trend=_by_trend(score_without_profile(bundle.table)),
        recall=index.check_recall(RECALL_SAMPLE, trend_weight=weight),
    )


class ServedBundles:
    """The bundles of one app that are answered now. A request in progress keeps the one it has.

    sequence: of the last change of an item or of placements; epoch: which count it is of, "" before there is a store.
    placements: as the shop set them since, None where each bundle's own hold.
    """

    def __init__(self, bundles: Sequence[Bundle], folder: Path | None = None) -> None:
        self._folder = folder
        self._served: dict[str, ServedBundle] = {}
        self._changes: dict[str, ItemChange] = {}
        self._writing = threading.Lock()
        self.sequence = 0
        self.epoch = ""
        self.placements: Placements | None = None
        self.replace(bundles)

    @property
    def current(self) -> ServedBundle:
        """The one to ask for."""
        return next(iter(self._served.values()))

    def get(self, version: str) -> ServedBundle | None:
        """Find a bundle by version."""
        return self._served.get(version)

    def all(self) -> list[ServedBundle]:
        """List every bundle, the current one first."""
        return list(self._served.values())

    def replace(self, bundles: Sequence[Bundle]) -> None:
        """Serve these, the first one as current. Raises ServingError for none or the same one twice."""
        versions = [bundle.version for bundle in bundles]
        if not bundles:
            raise ServingError("bundles: none given, at least one is needed")
        if len(set(versions)) < len(versions):
            raise ServingError(f"bundles: {versions}: one is given twice")
        with self._writing:
            if versions != list(self._served):
                self._served = {bundle.version: self._ready(bundle) for bundle in bundles}

    def apply(self, changes: Sequence[ItemChange]) -> None:
        """Take over changes of items, in every bundle."""
        if not changes:
            return
        with self._writing:
            self._served = {version: item.after(fitting(changes, item.live)) for version, item in self._served.items()}
            self._changes = {**self._changes, **{item.item_id: item for item in changes}}
            self.sequence = max(self.sequence, *(item.sequence for item in changes))

    def placements_of(self, bundle: ServedBundle) -> Placements:
        """Find the placements that hold for a bundle now."""
        return bundle.bundle.placements if self.placements is None else self.placements

    def set_placements(self, placements: Placements | None, sequence: int) -> None:
        """Take over placements as the shop set them, None for each bundle's own."""
        with self._writing:
            self.placements = placements
            self.sequence = max(self.sequence, sequence)

    def changed_since(self, sequence: int) -> list[ItemChange]:
        """List the last change of each item changed after a sequence, in order."""
        return sorted(
            (change for change in self._changes.values() if change.sequence > sequence),
            key=lambda change: change.sequence,
        )

    def _ready(self, bundle: Bundle) -> ServedBundle:
        known = self._served.get(bundle.version)
        if known is not None:
            return known
        fresh = serve_bundle(bundle, self._folder)
        return fresh.after(fitting(list(self._changes.values()), fresh.live))


def fitting(changes: Sequence[ItemChange], live: LiveItems) -> list[ItemChange]:
    """Fit changes to a bundle: a field that its catalogue lacks or has of another type is left out."""
    return [
        change
        if change.fields is None
        else replace(change, fields={name: value for name, value in change.fields.items() if live.fits(name, value)})
        for change in sorted(changes, key=lambda change: change.sequence)
    ]


class Apps:
    """The shelf of each app (tenant)."""

    def __init__(self, shelves: Mapping[str, ServedBundles]) -> None:
        self._shelves = dict(shelves)

    def of(self, app: str) -> ServedBundles:
        """Find an app's bundles. Raises Refusal for one without a bundle."""
        bundles = self._shelves.get(app)
        if bundles is None:
            raise Refusal("unknown_bundle", "app: this key's app serves no bundle yet")
        return bundles

    def names(self) -> list[str]:
        """List every app with bundles."""
        return list(self._shelves)

    def add(self, app: str, shelf: ServedBundles) -> None:
        """Add an app that has its first bundle now."""
        self._shelves = {**self._shelves, app: shelf}
