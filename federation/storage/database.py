"""The engine of a store: SQLite that syncs every commit, or PostgreSQL by URL. Knows no table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from data.errors import FederationError

BUSY_TIMEOUT_MS = 30_000
KINDS = ("sqlite", "postgresql")


def sqlite_url(file: Path) -> str:
    """Write the URL of an SQLite file."""
    return f"sqlite:///{file.absolute()}"


def open_engine(url: str) -> Engine:
    """Open an engine whose commits are on the disk when they return.

    Raises FederationError for another kind of URL.

    SQLite: write-ahead log, synchronous=FULL, deleted content overwritten with zeros; a transaction takes the write
    lock when it begins, so it never fails half way for somebody else's.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise FederationError("store: must be a URL such as sqlite:///rounds.sqlite") from None
    if parsed.get_backend_name() not in KINDS:
        raise FederationError(f"store={parsed.get_backend_name()}: must be one of {', '.join(KINDS)}")
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a connection whose transaction writes nothing, and so waits for nobody."""
    with engine.connect().execution_options(read_only=True) as connection:
        yield connection


class Commits:
    """A watch on commits: may anybody, in any process, have committed since it was last asked? For one thread.

    SQLite files tell it for a hundredth of the price of a query, by `PRAGMA data_version` of a connection that never
    writes; of any other database the answer is always yes.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tells = engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:")
        self._connection: Any = None
        self._version: int | None = None

    def new(self) -> bool:
        """Check if anything was committed since the last call; yes the first time. Raises what the database raises."""
        if not self._tells:
            return True
        if self._connection is None:
            self._connection = self._engine.raw_connection()
        before = self._version
        self._version = self._connection.driver_connection.execute("PRAGMA data_version").fetchone()[0]
        return self._version != before

    def close(self) -> None:
        """Let go of the connection; `new` opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = self._version = None


def truncate_log(engine: Engine) -> None:
    """Drop SQLite's write-ahead log, in which deleted content stays readable; other databases have none here."""
    if engine.dialect.name == "sqlite":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _configure(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours, not the driver's
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "secure_delete=ON",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN" if options.get("read_only") else "BEGIN IMMEDIATE")
