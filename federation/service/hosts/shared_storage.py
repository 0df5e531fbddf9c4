"""Whether all processes of a database share one storage and the same keys: checked when each of them starts.

A report whose share lies in a folder that the summing process does not see is lost, though it was acknowledged. So the
storage holds a marker, and the database its content; a process that finds another marker, or none, does not start.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from sqlalchemy import Column, Engine, MetaData, String, Table, insert, select
from sqlalchemy.exc import IntegrityError

from data.errors import FederationError
from federation.storage.database import reading
from federation.storage.migrations import Schema, prepare
from federation.storage.objects import Objects

MARKER = "storage-id"
_metadata = MetaData()
_identities = Table(
    "shared_storage",
    _metadata,
    Column("name", String(32), primary_key=True),
    Column("identity", String(128), nullable=False),
)
SCHEMA = Schema("storage", _metadata)


class StorageNotShared(FederationError):
    """The processes of one database would not see each other's shares, bundles or keys."""


def identities(engine: Engine) -> dict[str, str]:
    """Read what every process of the database must find: the storage's marker, and its public keys by name."""
    prepare(engine, SCHEMA)
    with reading(engine) as connection:
        return {row.name: row.identity for row in connection.execute(select(_identities))}


def check_shared(engine: Engine, objects: Objects, keys: Mapping[str, str], where: str) -> None:
    """Check that storage and keys are those of the database; those of the first process become so.

    keys: public keys (hex) by the name of their file. where: the storage, in words. Raises StorageNotShared.
    """
    known = identities(engine)
    if MARKER not in known:
        known |= _claim(engine, {MARKER: _marker(objects)})
    if _read_marker(objects) != known[MARKER]:
        raise StorageNotShared(
            f"{where}: is not the storage of this database's other processes (its {MARKER} is another, or missing); "
            "share the folder, or give all hosts the same store.objects, or after a restore run `ownshelf rounds adopt`"
        )
    known |= _claim(engine, {name: key for name, key in keys.items() if name not in known})
    for name, key in keys.items():
        if known[name] != key:
            raise StorageNotShared(
                f"{name}: is not the key of this database's other processes; give all hosts the same file "
                "(store.keys), or after a change of keys run `ownshelf rounds adopt`"
            )


def adopt(engine: Engine, objects: Objects, keys: Mapping[str, str]) -> None:
    """Make this storage and these keys the database's: after a restore, or a change of keys."""
    prepare(engine, SCHEMA)
    with engine.begin() as connection:
        connection.execute(_identities.delete())
    _claim(engine, {MARKER: _marker(objects), **keys})


def _claim(engine: Engine, fresh: Mapping[str, str]) -> dict[str, str]:
    """Store identities, unless another process was first; what counts now."""
    for name, identity in fresh.items():
        try:
            with engine.begin() as connection:
                connection.execute(insert(_identities).values(name=name, identity=identity))
        except IntegrityError:
            continue
    return identities(engine)


def _marker(objects: Objects) -> str:
    objects.put_new(MARKER, secrets.token_hex(16).encode())
    return objects.get(MARKER).decode()


def _read_marker(objects: Objects) -> str | None:
    try:
        return objects.get(MARKER).decode()
    except FileNotFoundError:
        return None
