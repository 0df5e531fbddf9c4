"""Released bundles on the disk: each round's, and what the item step carries from it to the next round."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from data.atomic import write_atomically
from data.errors import FederationError
from federation.learning.item_step import StepState
from federation.service.releases import Release
from recsys.catalogue.bundle import Bundle, save_bundle
from recsys.catalogue.catalogue import encode_catalogue
from recsys.mix.model import MixModel
from recsys.model.items import ItemTable


class BundleLineage:
    """Bundles and step states of one line of releases. Writing again what a crash left half done is fine."""

    def __init__(self, folder: Path) -> None:
        """folder: gets `bundles` and `steps`, one entry a round."""
        self._bundles, self._steps = folder / "bundles", folder / "steps"
        self._loaded: dict[str, Bundle] = {}
        self._hashes: dict[str, bytes] = {}

    def bundle(self, release: Release) -> Bundle:
        """Map a release's bundle; opened once."""
        if release.version not in self._loaded:
            bundle = Bundle.load(release.folder)
            if bundle.version != release.version:
                raise FederationError(f"{release.folder}: holds bundle {bundle.version}, must be {release.version}")
            self._loaded[release.version] = bundle
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
        path = self._steps / f"{task_id}.npz"
        try:
            with np.load(path, allow_pickle=False) as stored:
                values: dict[str, Any] = {field.name: stored[field.name] for field in fields(StepState)}
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise FederationError(f"{path}: not a readable step state ({type(error).__name__})") from None
        return StepState(**values | {"mass": float(values["mass"]), "steps": int(values["steps"])})

    def keep_step(self, task_id: str, state: StepState) -> None:
        """Write the state after a round's item step, durably."""
        buffer = io.BytesIO()
        values: dict[str, Any] = {field.name: np.asarray(getattr(state, field.name)) for field in fields(StepState)}
        np.savez(buffer, allow_pickle=False, **values)
        write_atomically(self._steps / f"{task_id}.npz", buffer.getvalue())

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
        folder = self._bundles / task_id
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
        return Release(saved.version, str(folder.absolute()), task_id, state.steps)

    def sweep(self, releases: Collection[Release], busy: str | None) -> None:
        """Delete what belongs to no kept release and not to the round in progress. Bundles from elsewhere stay."""
        rounds = {release.task_id for release in releases} | {busy}
        for path in (*_entries(self._bundles), *_entries(self._steps)):
            if path.name.removesuffix(".npz") in rounds:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        versions = {release.version for release in releases}
        for version in [version for version in self._loaded if version not in versions]:
            del self._loaded[version]
            self._hashes.pop(version, None)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []
