from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from federation.service.hosts.shared_storage import MARKER, StorageNotShared, adopt, check_shared
from federation.storage.database import open_engine, sqlite_url
from federation.storage.objects import FolderObjects

KEYS = {"service.key": "aa", "ohttp.key": "bb"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(sqlite_url(tmp_path / "rounds.sqlite"))
    yield engine
    engine.dispose()


def test_the_first_process_says_what_all_others_must_share(engine: Engine, tmp_path: Path) -> None:
    ours, theirs = FolderObjects(tmp_path / "ours"), FolderObjects(tmp_path / "theirs")
    check_shared(engine, ours, KEYS, "ours")
    check_shared(engine, ours, KEYS, "ours")
    with pytest.raises(StorageNotShared, match="theirs: is not the storage"):
        check_shared(engine, theirs, KEYS, "theirs")
    assert not (tmp_path / "theirs" / MARKER).exists()  # a refused host leaves no marker of its own
    for name in KEYS:
        with pytest.raises(StorageNotShared, match=f"{name}: is not the key") as refused:
            check_shared(engine, ours, KEYS | {name: "cc"}, "ours")
        assert "\n" not in str(refused.value)


def test_a_storage_that_was_emptied_is_refused_and_a_copied_one_is_not(engine: Engine, tmp_path: Path) -> None:
    check_shared(engine, FolderObjects(tmp_path / "first"), KEYS, "first")
    shutil.copytree(tmp_path / "first", tmp_path / "moved")
    check_shared(engine, FolderObjects(tmp_path / "moved"), KEYS, "moved")
    shutil.rmtree(tmp_path / "first")
    with pytest.raises(StorageNotShared, match="another, or missing"):
        check_shared(engine, FolderObjects(tmp_path / "first"), KEYS, "first")


def test_what_is_adopted_counts_from_then_on(engine: Engine, tmp_path: Path) -> None:
    first, second = FolderObjects(tmp_path / "first"), FolderObjects(tmp_path / "second")
    check_shared(engine, first, KEYS, "first")
    adopt(engine, second, {"service.key": "aa", "ohttp.key": "new"})
    check_shared(engine, second, {"service.key": "aa", "ohttp.key": "new"}, "second")
    with pytest.raises(StorageNotShared):
        check_shared(engine, first, KEYS, "first")
