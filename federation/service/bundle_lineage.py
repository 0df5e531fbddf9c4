"""Released bundles in the storage: each round's, and what the item step carries from it to the next round."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import FederationError
from federation.learning.item_step import StepState
from federation.service.releases import Release
from federation.storage.bundle_copies import BundleCopies
from federation.storage.objects import FolderObjects, Objects
from recsys.catalogue.bundle import Bundle, save_bundle
from recsys.catalogue.catalogue import encode_catalogue
from recsys.mix.model import MixModel
from recsys.model.items import ItemTable

STEPS = "steps"


class BundleLineage:
    """Bundles and step states of one line of releases. Writing again what a crash left half done is fine."""

    def __init__(self, folder: Path, objects: Objects | None = None) -> None:
        """folder: gets `bundles` and `steps`, one entry a round; the copies of this host, where objects are shared."""
        self._copies = BundleCopies(folder / "bundles", objects)
        self._objects = objects or FolderObjects(folder)
        self._loaded: dict[str, Bundle] = {}
        self._hashes: dict[str, bytes] = {}

    def first(self, folder: Path, version: str) -> str:
        """Copy the bundle that the line begins with, for all hosts; the folder of the copy."""
        return str(self._copies.add(version, folder, version).absolute())

    def bundle(self, release: Release) -> Bundle:
        """Map a release's bundle; opened once. Raises ModelError when it cannot be had."""
        if release.version not in self._loaded:
            self._loaded[release.version] = self._copies.open(_name(release), release.version, Path(release.folder))
        return self._loaded[release.version]

    def catalogue_hash(self, release: Release) -> bytes:
        """Hash the catalogue file of a release by SHA-256, which devices check."""
        if release.version not in self._hashes:
            self._hashes[release.version] = hashlib.sha256(encode_catalogue(self.bundle(release))).digest()
        return self._hashes[release.version]

    def state(self, release: Release) -> StepState:
        """Read what the item step goes on from.

        It is a release's own state, or empty means beside the first bundle's table.
        """
        if release.task_id is not None:
            return self.step_of(release.task_id)
        table = self.bundle(release).table
        rows = table.rows_of(table.trained)
        empty = StepState.start(table.n_items, rows.shape[1], seed=0)
        values = {field.name: getattr(empty, field.name) for field in fields(StepState)}
        return StepState(**values | {"item_embeddings": np.array(rows)})

    def step_of(self, task_id: str) -> StepState:
        """Read the state that a round's item step left. Raises FederationError when it is not readable."""
        name = f"{STEPS}/{task_id}.npz"
        try:
            with np.load(io.BytesIO(self._objects.get(name)), allow_pickle=False) as stored:
                values: dict[str, Any] = {field.name: stored[field.name] for field in fields(StepState)}
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise FederationError(f"{name}: not a readable step state ({type(error).__name__})") from None
        return StepState(**values | {"mass": float(values["mass"]), "steps": int(values["steps"])})

    def keep_step(self, task_id: str, state: StepState) -> None:
        """Write the state after a round's item step, durably."""
        buffer = io.BytesIO()
        values: dict[str, Any] = {field.name: np.asarray(getattr(state, field.name)) for field in fields(StepState)}
        np.savez(buffer, allow_pickle=False, **values)
        self._objects.put(f"{STEPS}/{task_id}.npz", buffer.getvalue())

    def publish(
        self, task_id: str, base: Bundle, privacy: str, training: Mapping[str, Any], mix: MixModel | None = None
    ) -> Release:
        """Write the bundle that follows base by a round, with the table of the step that was kept for it.

        training: added to what base's manifest says. mix: base's by default.
        """
        state = self.step_of(task_id)
        mix = base.mix if mix is None else mix
        trained = base.table.part(base.table.trained)
        embeddings, mean = np.array(base.table.item_embeddings), np.array(base.table.mean_profile)
        embeddings[:, trained] = state.item_embeddings
        if state.mass > 0:
            mean[trained] = state.mean_profile
        folder = self._copies.path(task_id)
        saved = save_bundle(
            folder,
            name=base.name,
            table=ItemTable(embeddings, base.table.trend, mean, base.table.parts),
            catalogue=base.catalogue,
            config=base.config,
            seed=int(base.manifest["seed"]),
            data_hash=f"live:{task_id}",
            privacy=privacy,
            training={**base.manifest["training"], **training},
            mix=mix,
            surfaces=base.surfaces,
            placements=base.placements,
            overwrite=True,
        )
        self._copies.share(task_id)
        return Release(saved.version, str(folder.absolute()), task_id, state.steps)

    def sweep(self, releases: Collection[Release], busy: str | None) -> None:
        """Delete what belongs to no kept release and not to the round in progress. Bundles from elsewhere stay."""
        kept = {_name(release) for release in releases} | ({busy} if busy else set())
        self._copies.forget(self._copies.names() - kept)
        for name in self._objects.sizes(STEPS):
            if Path(name).stem not in kept:
                self._objects.delete(name)
        versions = {release.version for release in releases}
        for version in [version for version in self._loaded if version not in versions]:
            del self._loaded[version]
            self._hashes.pop(version, None)


def _name(release: Release) -> str:
    """Name the folder of a release's bundle: by its round, or by its version if no round made it."""
    return release.task_id or release.version
