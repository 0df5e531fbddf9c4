"""The engine of a store: SQLite that syncs every commit, or PostgreSQL by URL. Knows no table."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

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
    if parsed.database and parsed.database != ":memory:":
        pinned = _PinnedFile(Path(parsed.database))
        event.listen(engine, "do_connect", pinned.before_connecting)
        event.listen(engine, "checkout", pinned.check)
    return engine


class StoreReplaced(SQLAlchemyError):
    """The database's file is not the one that this process has opened: what it wrote would be lost."""


class _PinnedFile:
    """The file of an SQLite database, which must stay the one that was opened first.

    SQLite goes on writing into a file that was deleted, and makes an empty one where there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: tuple[int, int] | None = None

    def before_connecting(self, *_: Any) -> None:
        """Make no new file in the place of one that is gone. Raises StoreReplaced."""
        if self._opened is not None:
            self._compare()

    def check(self, *_: Any) -> None:
        """Compare the file at the path with the opened one, each time a connection is used. Raises StoreReplaced."""
        if self._opened is None:
            self._opened = self._at_path()
        self._compare()

    def _compare(self) -> None:
        if self._at_path() != self._opened:
            raise StoreReplaced("store: its file was deleted or replaced; put it back and start again")

    def _at_path(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino


def reason_of(error: BaseException) -> str:
    """Say why a database failed, by names of errors alone: a message may hold what was written, or the password."""
    names = [type(error).__name__]
    cause = getattr(error, "orig", None)
    if cause is not None:
        names.append(getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or "")
        names.append(type(cause).__name__ if type(cause).__name__ != names[0] else "")
    if isinstance(error, StoreReplaced):
        names.append("the file was deleted or replaced")
    if isinstance(error, OSError) and error.errno is not None:
        names.append(errno.errorcode.get(error.errno, str(error.errno)))
    return " ".join(filter(None, names))


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
