"""Bundles as they were added: copied once, so that whoever overwrites a folder changes nothing that is served.

A mapped file that shrinks kills the process that reads it. Hosts that share an object store fetch a bundle from there,
once a host; every file is checked against the manifest by whoever opens it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data.atomic import atomic_folder
from data.errors import ModelError
from federation.storage.objects import Objects
from recsys.catalogue.bundle import BUNDLE_FILES, MANIFEST, Bundle

PREFIX = "bundles"


class BundleCopies:
    """Copies by name, in a folder of this host; and in objects, where there are several hosts."""

    def __init__(self, folder: Path, objects: Objects | None = None) -> None:
        """folder: gets one folder a bundle. objects: None where every process reads this very folder."""
        self.folder, self._objects = folder, objects

    def path(self, name: str) -> Path:
        """Where the copy of that name is, or will be."""
        return self.folder / name

    def add(self, name: str, source: Path, version: str) -> Path:
        """Copy a bundle, for all hosts; its place here. Raises ModelError for another version, or without room."""
        try:
            self._copy(name, source, version)
            self.share(name)
        except OSError as error:
            raise ModelError(f"bundle {version}: cannot be copied ({error.strerror or error})") from None
        return self.path(name)

    def share(self, name: str) -> None:
        """Upload a bundle of this host's folder, its manifest last: what has one is whole. Raises OSError."""
        if self._objects is None:
            return
        with suppress(FileNotFoundError):  # a manifest holds the hashes of all other files
            if self._objects.get(f"{PREFIX}/{name}/{MANIFEST}") == (self.path(name) / MANIFEST).read_bytes():
                return
        for file in BUNDLE_FILES:
            if (self.path(name) / file).exists():
                self._objects.put(f"{PREFIX}/{name}/{file}", (self.path(name) / file).read_bytes())

    def open(self, name: str, version: str, source: Path | None = None) -> Bundle:
        """Map a copy; fetched or copied if it is not here, or not whole.

        source: where the bundle was added from. Raises ModelError when it is nowhere to be had.
        """
        try:
            return _checked(self.path(name), version)
        except ModelError:
            if self._objects is None and source is None:
                raise
        if self._objects is not None:
            try:
                return self._fetch(name, version)
            except FileNotFoundError:
                if source is None:
                    raise ModelError(f"bundle {version}: is not in the object store") from None
            except OSError as error:
                raise ModelError(f"bundle {version}: cannot be fetched now ({error})") from None
        assert source is not None
        self.add(name, source, version)
        return _checked(self.path(name), version)

    def names(self) -> set[str]:
        """List what is kept, here and in the objects."""
        here = {path.name for path in self.folder.iterdir() if path.is_dir()} if self.folder.exists() else set()
        return here if self._objects is None else here | self._objects.folders(PREFIX)

    def forget(self, names: Collection[str]) -> None:
        """Delete copies. A process that has one mapped goes on reading it."""
        for name in names:
            if self._objects is not None:
                self._objects.delete(f"{PREFIX}/{name}")
            shutil.rmtree(self.path(name), ignore_errors=True)

    def _copy(self, name: str, source: Path, version: str) -> None:
        with self._alone():
            if _is_whole(self.path(name), version):
                return
            bundle = _checked(source, version)
            with atomic_folder(self.path(name), overwrite=True) as fresh:
                for file in BUNDLE_FILES:
                    if (source / file).exists():
                        _copy_file(source / file, fresh / file)
                _checked(fresh, bundle.version)  # whoever overwrites the source meanwhile is found out

    def _fetch(self, name: str, version: str) -> Bundle:
        assert self._objects is not None
        with self._alone():
            if not _is_whole(self.path(name), version):
                present = self._objects.sizes(f"{PREFIX}/{name}")
                if f"{PREFIX}/{name}/{MANIFEST}" not in present:
                    raise FileNotFoundError(name)
                with atomic_folder(self.path(name), overwrite=True) as fresh:
                    for file in BUNDLE_FILES:
                        if f"{PREFIX}/{name}/{file}" in present:
                            (fresh / file).write_bytes(self._objects.get(f"{PREFIX}/{name}/{file}"))
                            (fresh / file).chmod(0o444)
                    _checked(fresh, version)
        return _checked(self.path(name), version)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process of this host copy a bundle; the others find it there."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.folder.with_name(f".{self.folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _is_whole(folder: Path, version: str) -> bool:
    try:
        _checked(folder, version)
    except ModelError:
        return False
    return True


def _checked(folder: Path, version: str) -> Bundle:
    bundle = Bundle.load(folder)
    if bundle.version != version:
        raise ModelError(f"{folder}: holds bundle {bundle.version}, must be {version}")
    return bundle


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file, without copying its blocks where the file system shares them; its time stays, for a model's age."""
    with source.open("rb") as reading, target.open("wb") as writing:
        left = os.fstat(reading.fileno()).st_size
        while left > 0:
            try:
                n = os.copy_file_range(reading.fileno(), writing.fileno(), left)
            except OSError:  # another file system, or one that cannot
                shutil.copyfileobj(reading, writing)
                break
            if n == 0:
                break
            left -= n
    shutil.copystat(source, target)
    target.chmod(0o444)
