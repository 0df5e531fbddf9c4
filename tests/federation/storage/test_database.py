from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from data.errors import FederationError
from federation.storage.database import Commits, open_engine, sqlite_url


def test_a_commit_of_anybody_is_noticed_once_and_silence_is_silence(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "one.sqlite"))
    commits = Commits(engine)
    assert commits.new()
    assert not commits.new()
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
    assert commits.new()
    assert not commits.new()
    elsewhere = sqlite3.connect(tmp_path / "one.sqlite")
    elsewhere.execute("INSERT INTO t VALUES (1)")
    assert not commits.new()  # not committed yet
    elsewhere.commit()
    assert commits.new()
    elsewhere.execute("SELECT * FROM t").fetchall()
    elsewhere.close()
    assert not commits.new()
    commits.close()
    assert commits.new()  # nobody knows what came in between
    commits.close()
    engine.dispose()


def test_where_a_database_cannot_tell_it_is_always_looked_at() -> None:
    for engine in (create_engine("sqlite://"), open_engine("postgresql://nobody@127.0.0.1:1/none")):
        commits = Commits(engine)
        assert commits.new()
        assert commits.new()
        commits.close()
        engine.dispose()


@pytest.mark.parametrize("url", ["mysql://x/y", "not a url"])
def test_another_kind_of_store_is_refused(url: str) -> None:
    with pytest.raises(FederationError, match="must be"):
        open_engine(url)
