"""Named bytes that outlive a process: files of a folder, or objects of a store that several hosts share.

Both are durable when a write returns. An object is replaced whole and never changed in place.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from data.atomic import sync, write_atomically
from data.errors import FederationError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az")
"""Of object stores. A file system that hosts share is a folder: the library's own files are not synced."""
ENDPOINT = "AWS_ENDPOINT_URL"
"""Where an S3 of one's own is; in clear on this machine only."""
TIMEOUT = timedelta(seconds=30)
RETRIES = 3


class ObjectsUnavailable(OSError):
    """The object store could not be asked; the same may be tried again later."""


class Objects(Protocol):
    """Objects by name, such as ``steps/training-3.npz``. Safe in threads.

    Every call raises OSError when it may succeed another time.
    """

    def put(self, name: str, content: bytes) -> None:
        """Write an object, durably; one of that name is replaced."""
        ...

    def put_new(self, name: str, content: bytes) -> bool:
        """Write an object unless there is one; whether this call wrote it."""
        ...

    def get(self, name: str) -> bytes:
        """Read an object. Raises FileNotFoundError."""
        ...

    def get_range(self, name: str, start: int, n_bytes: int) -> bytes:
        """Read a part of an object, shorter where it ends. Raises FileNotFoundError."""
        ...

    def sizes(self, prefix: str) -> dict[str, int]:
        """Measure the objects (bytes) whose names begin with the folder `prefix`, by name."""
        ...

    def folders(self, prefix: str) -> set[str]:
        """List the names of the folders right below `prefix`."""
        ...

    def delete(self, prefix: str) -> None:
        """Delete all objects below the folder `prefix`, or the object of that name; again is fine."""
        ...


class FolderObjects:
    """Objects as files of one folder, which hosts may share by mounting it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, content: bytes) -> None:
        """Write a file whole, or leave what was there."""
        write_atomically(self._folder / name, content, 0o600)

    def put_new(self, name: str, content: bytes) -> bool:
        """Write a file unless there is one."""
        path = self._folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}-{os.urandom(4).hex()}")
        write_atomically(fresh, content, 0o600)
        try:
            os.link(fresh, path)
        except FileExistsError:
            return False
        finally:
            fresh.unlink()
        sync(path.parent)
        return True

    def get(self, name: str) -> bytes:
        """Read a file."""
        return (self._folder / name).read_bytes()

    def get_range(self, name: str, start: int, n_bytes: int) -> bytes:
        """Read a part of a file."""
        with (self._folder / name).open("rb") as file:
            file.seek(start)
            return file.read(n_bytes)

    def sizes(self, prefix: str) -> dict[str, int]:
        """Measure the files below a folder."""
        files = [path for path in (self._folder / prefix).rglob("*") if path.is_file()]
        return {str(path.relative_to(self._folder)): path.stat().st_size for path in files}

    def folders(self, prefix: str) -> set[str]:
        """List the folders right below a folder."""
        above = self._folder / prefix
        return {path.name for path in above.iterdir() if path.is_dir()} if above.exists() else set()

    def delete(self, prefix: str) -> None:
        """Delete a folder or a file."""
        path = self._folder / prefix
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
        else:
            return
        sync(path.parent)


class StoreObjects:
    """Objects of a bucket, through obstore. Credentials are the environment's, such as AWS_ACCESS_KEY_ID."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def put(self, name: str, content: bytes) -> None:
        """Write an object: stores answer when it is durable."""
        import obstore

        with _translated():
            obstore.put(self._store, name, content, use_multipart=False)

    def put_new(self, name: str, content: bytes) -> bool:
        """Write an object unless there is one, by the store's own condition."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            with _translated():
                obstore.put(self._store, name, content, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        return True

    def get(self, name: str) -> bytes:
        """Read an object."""
        import obstore

        with _translated():
            return bytes(obstore.get(self._store, name).bytes())

    def get_range(self, name: str, start: int, n_bytes: int) -> bytes:
        """Read a part of an object."""
        import obstore

        with _translated():
            return bytes(obstore.get_range(self._store, name, start=start, length=n_bytes))

    def sizes(self, prefix: str) -> dict[str, int]:
        """Measure the objects below a prefix."""
        import obstore

        with _translated():
            pages: Any = obstore.list(self._store, prefix)
            return {entry["path"]: int(entry["size"]) for page in pages for entry in page}

    def folders(self, prefix: str) -> set[str]:
        """List the prefixes right below a prefix."""
        import obstore

        with _translated():
            found = obstore.list_with_delimiter(self._store, prefix)
            return {str(path).rstrip("/").rpartition("/")[2] for path in found["common_prefixes"]}

    def delete(self, prefix: str) -> None:
        """Delete every object below a prefix, and the one of that name."""
        import obstore

        for name in (*self.sizes(prefix), prefix):
            with suppress(FileNotFoundError), _translated():
                obstore.delete(self._store, name)


def open_objects(url: str) -> StoreObjects:
    """Open the object store of a URL, such as s3://bucket/prefix; nothing is asked yet.

    Raises FederationError for another kind of URL, or without the library.
    """
    if urlsplit(url).scheme not in SCHEMES:
        raise FederationError(
            f"objects: must begin with {', '.join(f'{scheme}://' for scheme in SCHEMES)}; "
            "a file system that all hosts mount is store.folder"
        )
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError:
        raise FederationError("objects: need the package obstore (pip install 'ownshelf[hosts]')") from None
    try:
        return StoreObjects(
            from_url(
                url,
                client_options={"timeout": TIMEOUT, "allow_http": _is_on_this_machine(os.environ.get(ENDPOINT, ""))},
                retry_config={"max_retries": RETRIES, "retry_timeout": TIMEOUT},
            )
        )
    except (BaseError, ValueError) as error:  # its text may hold what the environment holds
        raise FederationError(f"objects: cannot be opened ({type(error).__name__})") from None


def _is_on_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _translated() -> Iterator[None]:
    """Raise the library's errors as the system's; without their words, which may hold a signed address."""
    from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError

    try:
        yield
    except AlreadyExistsError:
        raise
    except (FileNotFoundError, NotFoundError):
        raise FileNotFoundError("object: is not in the store") from None
    except (BaseError, OSError) as error:
        raise ObjectsUnavailable(f"objects: {type(error).__name__}") from None
