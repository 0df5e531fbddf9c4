"""One process advances rounds; whoever is killed has let go at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from federation.service.hosts.round_lock import RoundLock, SessionLock, round_lock
from federation.storage.database import open_engine, sqlite_url

HOLDER = """
import sys, time
from federation.service.hosts.round_lock import round_lock
from federation.storage.database import open_engine
lock = round_lock(open_engine(sys.argv[1]))
print(lock.hold(), flush=True)
time.sleep(600)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "s.sqlite") if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = open_engine(url)
    yield made
    made.dispose()


def take(lock: RoundLock) -> None:
    """Take a lock as soon as whoever had it is gone."""
    while not lock.hold():
        pass


def test_one_holds_it_and_the_other_gets_it_when_it_is_dropped(engine: Engine) -> None:
    first, second = round_lock(engine), round_lock(engine)
    assert first.hold()
    assert first.hold()
    assert not second.hold()
    first.drop()
    assert second.hold()
    assert not first.hold()
    second.drop()
    second.drop()


def test_it_dies_with_a_process_that_is_killed(url: str, engine: Engine) -> None:
    lock = round_lock(engine)
    with subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        assert not lock.hold()
        child.kill()
    take(lock)
    lock.drop()


def test_stores_do_not_share_a_lock(tmp_path: Path) -> None:
    engines = [open_engine(sqlite_url(tmp_path / name)) for name in ("a.sqlite", "b.sqlite")]
    locks = [round_lock(engine) for engine in engines]
    assert [lock.hold() for lock in locks] == [True, True]
    for lock, engine in zip(locks, engines, strict=True):
        lock.drop()
        engine.dispose()


def test_a_session_that_the_server_ended_is_noticed(postgres_url: str) -> None:
    """The database was restarted: the lock is gone, another process may have it."""
    engine = open_engine(postgres_url)
    first, second = SessionLock(engine), SessionLock(engine)
    assert first.hold()
    with engine.connect() as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        connection.execute(text(f"{others} AND pid <> pg_backend_pid()"))
    take(second)
    assert not first.hold()
    second.drop()
    assert first.hold()
    first.drop()
    engine.dispose()


def test_an_unreachable_database_is_an_error_and_not_a_lock(postgres_url: str) -> None:
    engine = open_engine(postgres_url.replace("host=", "host=/nowhere"))
    with pytest.raises(SQLAlchemyError):
        SessionLock(engine).hold()
