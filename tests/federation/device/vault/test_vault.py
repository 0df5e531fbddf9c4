from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

from data.errors import ServingError
from federation.device.export import open_export, seal_export
from federation.device.vault import Vault, erase_vault
from federation.device.vault.sealed_log import PAGE
from federation.device.vault.vault import VAULT
from federation.device.vault.vault_key import KEY

CONTENT = b'{"item_id": "red-shoes-42"}'


class MemoryKeyring(KeyringBackend):
    """A keyring that works."""

    priority = 5.0

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if self.entries.pop((service, username), None) is None:
            raise PasswordDeleteError(username)


@pytest.fixture
def memory_keyring() -> Iterator[MemoryKeyring]:
    before = keyring.get_keyring()
    backend = MemoryKeyring()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(before)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault.create(tmp_path / "d", CONTENT, "file")


def changed(path: Path, at: int) -> None:
    blob = bytearray(path.read_bytes())
    blob[at] ^= 1
    path.write_bytes(blob)


def test_what_was_written_is_read_by_another_process_of_the_same_shopper(vault: Vault) -> None:
    assert Vault.open(vault.folder).read().snapshot == CONTENT
    vault.write(b"")
    assert Vault.open(vault.folder).read().snapshot == b""


def test_the_file_holds_no_plaintext_and_tells_the_length_only_to_a_page(vault: Vault) -> None:
    blob = (vault.folder / VAULT).read_bytes()
    assert b"red-shoes" not in blob
    assert b"item_id" not in blob
    vault.write(CONTENT * 50)
    assert len((vault.folder / VAULT).read_bytes()) == len(blob)
    vault.write(bytes(PAGE))
    assert len((vault.folder / VAULT).read_bytes()) == len(blob) + PAGE


def test_two_writes_of_the_same_content_differ(vault: Vault) -> None:
    before = (vault.folder / VAULT).read_bytes()
    vault.write(CONTENT)
    assert (vault.folder / VAULT).read_bytes() != before


def test_key_and_vault_are_for_the_owner_only(vault: Vault) -> None:
    for name in (KEY, VAULT):
        assert stat.S_IMODE((vault.folder / name).stat().st_mode) == 0o600


def test_a_key_that_others_can_read_is_refused(vault: Vault) -> None:
    (vault.folder / KEY).chmod(0o640)
    with pytest.raises(ServingError, match=r"mode 640: must be 600"):
        Vault.open(vault.folder)


def test_every_changed_byte_is_noticed(vault: Vault) -> None:
    path = vault.folder / VAULT
    whole = path.read_bytes()
    for at in [*range(64 + 8), 100, len(whole) // 2, len(whole) - 1]:
        changed(path, at)
        with pytest.raises(ServingError):
            Vault.open(vault.folder).read()
        path.write_bytes(whole)
    assert Vault.open(vault.folder).read().snapshot == CONTENT


def test_wrong_key_truncation_and_tampering_each_have_their_own_message(vault: Vault, tmp_path: Path) -> None:
    path = vault.folder / VAULT
    whole = path.read_bytes()
    changed(path, len(whole) - 1)
    with pytest.raises(ServingError, match="tampered with"):
        Vault.open(vault.folder).read()
    for length in (0, 10, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ServingError, match="truncated"):
            Vault.open(vault.folder).read()
    path.write_bytes(b"x" * 200)
    with pytest.raises(ServingError, match="not a vault"):
        Vault.open(vault.folder)
    path.write_bytes(whole)
    other = Vault.create(tmp_path / "other", CONTENT, "file")
    (vault.folder / KEY).write_bytes((other.folder / KEY).read_bytes())
    with pytest.raises(ServingError, match="wrong key"):
        Vault.open(vault.folder)
    (vault.folder / KEY).write_bytes(b"short")
    with pytest.raises(ServingError, match="wrong key"):
        Vault.open(vault.folder)
    (vault.folder / KEY).unlink()
    with pytest.raises(ServingError, match="missing"):
        Vault.open(vault.folder)


def test_a_vault_replaced_under_an_open_one_is_a_wrong_key(vault: Vault, tmp_path: Path) -> None:
    other = Vault.create(tmp_path / "other", CONTENT, "file")
    (vault.folder / VAULT).write_bytes((other.folder / VAULT).read_bytes())
    with pytest.raises(ServingError, match="wrong key"):
        vault.read()


def test_no_vault_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="ownshelf device init"):
        Vault.open(tmp_path)


def test_a_second_vault_never_replaces_the_first(vault: Vault) -> None:
    with pytest.raises(ServingError, match="holds a vault already"):
        Vault.create(vault.folder, b"new", "file")
    assert vault.read().snapshot == CONTENT


def test_the_key_is_in_the_keyring_when_one_works(tmp_path: Path, memory_keyring: MemoryKeyring) -> None:
    vault = Vault.create(tmp_path / "d", CONTENT)
    assert vault.key_store == "keyring"
    assert len(memory_keyring.entries) == 1
    assert not (vault.folder / KEY).exists()
    assert Vault.open(vault.folder).read().snapshot == CONTENT
    erase_vault(vault.folder)
    assert memory_keyring.entries == {}


def test_a_vault_whose_keyring_entry_is_gone_can_still_be_erased(tmp_path: Path, memory_keyring: MemoryKeyring) -> None:
    vault = Vault.create(tmp_path / "d", CONTENT, "keyring")
    memory_keyring.entries.clear()
    with pytest.raises(ServingError, match="the vault's key is not in it"):
        Vault.open(vault.folder)
    erase_vault(vault.folder)
    assert list(vault.folder.iterdir()) == []


def test_without_a_working_keyring_the_key_is_a_file_or_the_wish_is_refused(
    tmp_path: Path, memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryKeyring, "priority", 0.0)
    assert Vault.create(tmp_path / "a", CONTENT).key_store == "file"
    with pytest.raises(ServingError, match="no working keyring"):
        Vault.create(tmp_path / "b", CONTENT, "keyring")


def test_erasing_leaves_nothing_of_a_damaged_vault(vault: Vault) -> None:
    (vault.folder / VAULT).write_bytes(b"junk")
    erase_vault(vault.folder)
    assert list(vault.folder.iterdir()) == []


def test_repr_shows_no_key(vault: Vault) -> None:
    key = (vault.folder / KEY).read_bytes()
    assert key.hex() not in repr(vault)
    assert repr(key) not in repr(vault)


WRITER = """
import sys
from pathlib import Path
from federation.device.vault import Vault
vault = Vault.open(sys.argv[1])
for n in range(10_000_000):
    with vault.locked():
        count = int(vault.read().snapshot[:12])
        vault.write(b"%012d" % (count + 1) + bytes(300_000))
    print(count + 1, flush=True)
"""


def test_kill_9_between_writes_leaves_the_old_or_the_new_content(tmp_path: Path) -> None:
    vault = Vault.create(tmp_path / "d", b"%012d" % 0 + bytes(300_000), "file")
    acknowledged = 0
    for attempt in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(vault.folder)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for _ in range(3):
                acknowledged = int(writer.stdout.readline())
            time.sleep(0.003 * attempt)  # somewhere else within the next write
            writer.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *(int(line) for line in writer.stdout.read().split())])
        found = int(Vault.open(vault.folder).read().snapshot[:12])
        assert found in (acknowledged, acknowledged + 1)
    with vault.locked():
        assert sorted(path.name for path in vault.folder.iterdir()) == [VAULT, KEY, "vault.lock"]


def test_writers_wait_for_each_other(vault: Vault) -> None:
    with vault.locked():
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(vault.folder)], stdout=subprocess.PIPE)
        vault.write(b"%012d" % 7)
        assert vault.read().snapshot == b"%012d" % 7
    assert child.stdout is not None
    assert int(child.stdout.readline()) == 8
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()


def test_an_export_opens_with_its_passphrase_only() -> None:
    blob = seal_export(CONTENT, "correct horse")
    assert b"red-shoes" not in blob
    assert open_export(blob, "correct horse") == CONTENT
    with pytest.raises(ServingError, match="wrong passphrase"):
        open_export(blob, "correct horsf")


def test_a_changed_or_foreign_export_is_refused() -> None:
    blob = bytearray(seal_export(CONTENT, "correct horse"))
    with pytest.raises(ServingError, match="not a device export"):
        open_export(b"hello", "correct horse")
    blob[40] ^= 1
    with pytest.raises(ServingError, match="or the export was changed"):
        open_export(bytes(blob), "correct horse")
    blob[8] = 9
    with pytest.raises(ServingError, match="format=9"):
        open_export(bytes(blob), "correct horse")


def test_a_short_passphrase_is_refused_without_being_quoted() -> None:
    with pytest.raises(ServingError, match="7 characters, must be at least 8") as refused:
        seal_export(CONTENT, "hunter2")
    assert "hunter2" not in str(refused.value)


def test_the_same_passphrase_typed_on_another_keyboard_opens() -> None:
    composed, decomposed = "caf\u00e9-caf\u00e9", "cafe\u0301-cafe\u0301"
    assert open_export(seal_export(CONTENT, composed), decomposed) == CONTENT


def test_a_missing_key_says_that_only_erasing_remains(vault: Vault) -> None:
    (vault.folder / KEY).unlink()
    with pytest.raises(ServingError, match="without its key the vault cannot be opened, only erased"):
        Vault.open(vault.folder)


@pytest.mark.parametrize("attempt", range(10))
def test_of_two_who_create_at_once_one_is_refused_and_the_other_can_read(tmp_path: Path, attempt: int) -> None:
    together, made, refused = threading.Barrier(2), [], []

    def create(content: bytes) -> None:
        together.wait()
        try:
            made.append((Vault.create(tmp_path, content, "file"), content))
        except ServingError as error:
            refused.append(error)

    threads = [threading.Thread(target=create, args=(content,)) for content in (b"one", b"two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == len(refused) == 1
    assert Vault.open(tmp_path).read().snapshot == made[0][1]
