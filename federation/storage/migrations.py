"""Versions of a database's tables: who opens a store makes it, migrates an older one, or refuses a newer one.

Each schema (rounds, experiments, custodian, state) has its own row in the table `schema_versions`, so that several may
share a database. Tables of before there were versions are version 1.

To change a table: change it in its schema module, and append to `migrations` a function that changes existing
databases alike. tests/federation/storage/test_migrations.py holds both against each other, from a dump of version 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, inspect, select, text
from sqlalchemy.schema import CreateColumn

from data.errors import FederationError
from federation.storage.database import reading

Migration = Callable[[Connection], None]

_LOCK = 0x6F776E7368656C66  # PostgreSQL's advisory lock of whoever makes or migrates tables: "ownshelf"
_VERSIONS = Table(
    "schema_versions",
    MetaData(),
    Column("name", String(32), primary_key=True),
    Column("version", Integer, nullable=False),
)


class NewerStore(FederationError):
    """A newer program has migrated the database: this one must not touch it."""


@dataclass(frozen=True)
class Schema:
    """The tables of one store. migrations: the first leads from version 1 to 2, and so on; none is ever changed."""

    name: str
    metadata: MetaData
    migrations: tuple[Migration, ...] = ()

    @property
    def version(self) -> int:
        """The version that this program reads and writes."""
        return 1 + len(self.migrations)


def prepare(engine: Engine, schema: Schema) -> None:
    """Make the tables that are missing and migrate older ones, in one transaction that one process at a time is in.

    Whoever comes second waits, and has nothing left to do. Raises FederationError for a database that a newer program
    has migrated; it is left as it is.
    """
    with reading(engine) as connection:
        if _stored_version(connection, schema) == schema.version:
            return
    with engine.begin() as connection:  # on SQLite this takes the write lock
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        stored = _stored_version(connection, schema)
        if stored is not None or _has_tables(connection, schema):
            for migrate in schema.migrations[(stored or 1) - 1 :]:
                migrate(connection)
        schema.metadata.create_all(connection)
        _VERSIONS.create(connection, checkfirst=True)
        connection.execute(_VERSIONS.delete().where(_VERSIONS.c.name == schema.name))
        connection.execute(_VERSIONS.insert().values(name=schema.name, version=schema.version))


def check_not_newer(engine: Engine, *schemas: Schema) -> None:
    """Raise NewerStore when a newer program has migrated the database since this one opened it."""
    with reading(engine) as connection:
        for schema in schemas:
            _stored_version(connection, schema)


def add_column(connection: Connection, table: str, column: Column[object]) -> None:
    """Add a column to a table, unless the table does not exist: it is then made whole after the migrations.

    A column that is not nullable needs a server_default, which existing rows get.
    """
    if inspect(connection).has_table(table):
        definition = CreateColumn(column).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {definition}")


def _stored_version(connection: Connection, schema: Schema) -> int | None:
    """Read the version of the database's tables; None where no row says one. Raises FederationError for a newer one."""
    if not inspect(connection).has_table(_VERSIONS.name):
        return None
    query = select(_VERSIONS.c.version).where(_VERSIONS.c.name == schema.name)
    version = connection.execute(query).scalar_one_or_none()
    if version is not None and version > schema.version:
        raise NewerStore(
            f"store: {schema.name} has schema version {version}: must be at most {schema.version} for this program; "
            "run the newer program, or restore a backup made before it was installed"
        )
    return version


def _has_tables(connection: Connection, schema: Schema) -> bool:
    """Tell whether a program of before there were versions made tables of this schema."""
    tables = inspect(connection)
    return any(tables.has_table(name) for name in schema.metadata.tables)
