from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from data.atomic import atomic_folder, file_hash, write_atomically
from data.errors import DataError


def listed(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def fill(folder: Path, text: str) -> None:
    (folder / "a.txt").write_text(text)
    (folder / "deep").mkdir()
    (folder / "deep" / "b.txt").write_text(text)


def save(folder: Path, text: str, *, overwrite: bool = False, error: BaseException | None = None) -> None:
    with atomic_folder(folder, overwrite=overwrite) as fresh:
        fill(fresh, text)
        if error is not None:
            raise error


def test_the_hash_is_the_files_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert file_hash(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()


# files


def test_a_file_is_replaced_whole_with_its_mode(tmp_path):
    path = tmp_path / "new" / "state.json"
    write_atomically(path, b"one")
    assert path.stat().st_mode & 0o777 == 0o644
    write_atomically(path, b"two", mode=0o600)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o600)
    assert listed(path.parent) == ["state.json"]


@pytest.mark.parametrize("step", ["fsync", "replace", "fchmod"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, error):
    path = tmp_path / "state.json"
    path.write_bytes(b"old")

    def fail(*args):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(type(error)):
            write_atomically(path, b"new")
    assert (path.read_bytes(), listed(tmp_path)) == (b"old", ["state.json"])


def test_content_is_durable_before_its_name_is(tmp_path, monkeypatch):
    order = []
    real_sync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("fsync"), real_sync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *names: (order.append("replace"), real_replace(*names)))
    write_atomically(tmp_path / "x", b"1")
    assert order == ["fsync", "replace", "fsync"]  # the file, its name, the folder that holds the name


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "state.json"
    path.write_bytes(b"old")
    code = (
        "import os, sys, pathlib\n"
        "from data.atomic import write_atomically\n"
        "os.replace = lambda *names: os._exit(9)\n"
        "write_atomically(pathlib.Path(sys.argv[1]), b'new')\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == 9
    assert path.read_bytes() == b"old"


# folders


def test_a_folder_appears_whole(tmp_path):
    target = tmp_path / "new" / "bundle"
    with atomic_folder(target) as fresh:
        fill(fresh, "one")
        assert not target.exists()
    assert (target / "deep" / "b.txt").read_text() == "one"
    assert target.stat().st_mode & 0o777 == 0o755
    assert listed(target.parent) == ["bundle"]


@pytest.mark.parametrize("error", [ValueError("half way"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_nothing(tmp_path, error):
    with pytest.raises(type(error)):
        save(tmp_path / "bundle", "half", error=error)
    assert listed(tmp_path) == []


def test_an_existing_folder_is_refused_and_left_alone(tmp_path):
    save(tmp_path / "bundle", "one")
    with pytest.raises(DataError, match=r"bundle: exists already"):
        save(tmp_path / "bundle", "two")
    assert (tmp_path / "bundle" / "a.txt").read_text() == "one"
    assert listed(tmp_path) == ["bundle"]


def test_overwriting_swaps_the_whole_folder(tmp_path):
    target = tmp_path / "bundle"
    save(target, "one")
    (target / "only-in-the-old").write_text("x")
    with (target / "a.txt").open() as reader:
        save(target, "two", overwrite=True)
        assert reader.read() == "one"  # who has the old one open or mapped keeps it
    assert listed(target) == ["a.txt", "deep"]
    assert (target / "a.txt").read_text() == "two"
    assert listed(tmp_path) == ["bundle"]


def test_an_interrupted_overwrite_leaves_the_old_folder(tmp_path):
    target = tmp_path / "bundle"
    save(target, "one")
    with pytest.raises(ValueError, match="half way"):
        save(target, "two", overwrite=True, error=ValueError("half way"))
    assert (target / "deep" / "b.txt").read_text() == "one"
    assert listed(tmp_path) == ["bundle"]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_swap_that_fails_half_way_puts_the_old_folder_back(tmp_path, monkeypatch, failing):
    target = tmp_path / "bundle"
    save(target, "one")
    calls, real = [], os.replace

    def replace(*names):
        calls.append(names)
        if len(calls) == failing:
            raise OSError("no")
        real(*names)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace)
        with pytest.raises(OSError, match="no"):
            save(target, "two", overwrite=True)
    assert (target / "deep" / "b.txt").read_text() == "one"
    assert listed(tmp_path) == ["bundle"]


def test_every_file_is_durable_before_the_folder_has_its_name(tmp_path, monkeypatch):
    order = []
    real = os.replace
    monkeypatch.setattr("data.atomic.sync", lambda path: order.append(path.name))
    monkeypatch.setattr(os, "replace", lambda *names: (order.append("replace"), real(*names)))
    save(tmp_path / "bundle", "one")
    assert sorted(order[: order.index("replace")]) == ["a.txt", "b.txt", "deep"]
    assert order[order.index("replace") + 1 :] == [tmp_path.name]


def test_what_killed_writers_left_is_swept_and_what_others_write_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("data.atomic.STALE_S", 0.0)
    stale, kept, foreign = tmp_path / ".shop-abcd1234", tmp_path / ".shop-abcd1234-old", tmp_path / ".shopping-abcd1234"
    for folder in (stale, kept, foreign):
        folder.mkdir()
        (folder / "half").write_text("written")
    with atomic_folder(tmp_path / "shop", overwrite=True) as first:
        assert not stale.exists()
        (first / "a").write_text("1")
        with atomic_folder(tmp_path / "shop", overwrite=True) as second:
            (second / "a").write_text("2")
        assert first.exists()
    assert (tmp_path / "shop" / "a").read_text() == "1"
    assert kept.exists()
    assert foreign.exists()
