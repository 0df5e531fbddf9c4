from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data.errors import ServingError
from federation.custodian.round_keys import RoundKeys
from federation.storage.key_files import load_or_make_key, read_public_key

A, B, C = (bytes([n]) * 32 for n in (1, 2, 3))


def test_a_signing_key_is_made_once_and_read_by_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "signing.key"
    key = load_or_make_key(file)
    assert load_or_make_key(file) == key
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_public_key(str(tmp_path / "deep" / "signing.key.pub")) == key.public
    assert read_public_key(key.public.hex().upper()) == key.public


def test_the_public_file_comes_back_if_a_crash_left_it_out(tmp_path: Path) -> None:
    key = load_or_make_key(tmp_path / "k")
    (tmp_path / "k.pub").unlink()
    load_or_make_key(tmp_path / "k")
    assert read_public_key(str(tmp_path / "k.pub")) == key.public


@pytest.mark.parametrize("content", [b"", b"12", b"zz" * 32, b"\xff" * 64, b"00" * 33])
def test_what_is_no_key_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "k").write_bytes(content)
    for read in (lambda: load_or_make_key(tmp_path / "k"), lambda: read_public_key(str(tmp_path / "k"))):
        with pytest.raises(ServingError, match="key"):
            read()
    assert (tmp_path / "k").read_bytes() == content


def test_a_public_key_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="FileNotFoundError"):
        read_public_key(str(tmp_path / "none"))


@pytest.fixture
def keys(tmp_path: Path) -> RoundKeys:
    return RoundKeys.open(tmp_path / "round-keys")


def test_a_round_key_is_in_one_file_until_it_is_destroyed(keys: RoundKeys) -> None:
    keys.write(A, b"private")
    assert keys.read(A) == b"private"
    assert (keys.folder / A.hex()).stat().st_mode & 0o777 == 0o600
    keys.destroy(A)
    keys.destroy(A)
    assert keys.read(A) is None
    assert b"private" not in b"".join(path.read_bytes() for path in keys.folder.iterdir())
    keys.release()


def test_a_destroyed_key_is_overwritten_before_it_is_unlinked(keys: RoundKeys, tmp_path: Path) -> None:
    keys.write(A, b"private")
    other_name = tmp_path / "link"
    other_name.hardlink_to(keys.folder / A.hex())
    keys.destroy(A)
    assert other_name.read_bytes() == bytes(len(b"private"))
    keys.release()


def test_what_a_crash_left_behind_is_destroyed(keys: RoundKeys) -> None:
    for task_hash in (A, B, C):
        keys.write(task_hash, b"private")
    (keys.folder / f".{A.hex()}-x1").write_bytes(b"half a private key")
    keys.destroy_all_but([B])
    assert [keys.read(task_hash) for task_hash in (A, B, C)] == [None, b"private", None]
    assert sorted(path.name for path in keys.folder.iterdir()) == [".lock", B.hex()]
    keys.release()


def test_one_process_holds_the_folder_at_a_time(keys: RoundKeys) -> None:
    with pytest.raises(ServingError, match="another custodian"):
        RoundKeys.open(keys.folder)
    keys.release()
    RoundKeys.open(keys.folder).release()


@pytest.mark.parametrize("attempt", range(10))
def test_of_several_who_make_a_key_at_once_all_have_the_same(tmp_path: Path, attempt: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        keys = list(pool.map(lambda _: load_or_make_key(tmp_path / "k").private, range(4)))
    assert len(set(keys)) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["k", "k.pub"]
