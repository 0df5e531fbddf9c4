from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from data.errors import ServingError
from federation.storage.change_log import (
    ACTIVATED,
    GATE_NOT_REQUIRED,
    GATE_REQUIRED,
    START,
    Change,
    ChangeLogBroken,
    Reason,
    append_change,
    change_log,
    entry_hash,
    gate_required,
    read_changes,
    with_change_log,
)
from federation.storage.database import open_engine, sqlite_url

CHANGE = Change(7, ACTIVATED, "v1", None, "ann", "first")


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    url = sqlite_url(tmp_path / "log.sqlite")
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    engine = open_engine(url)
    with engine.begin() as connection:
        with_change_log(connection)
        with_change_log(connection)
    yield engine
    engine.dispose()


def append(engine: sa.Engine, change: Change, scope: str = "shop") -> str:
    with engine.begin() as connection:
        return append_change(connection, scope, change).hash


def test_entries_are_chained_within_their_scope(engine: sa.Engine) -> None:
    first = append(engine, CHANGE)
    append(engine, CHANGE, "garden")
    second = append(engine, replace(CHANGE, version="v2", before="v1", evidence="ab" * 32))
    assert first == entry_hash("shop", 1, CHANGE, START)
    with engine.connect() as connection:
        entries = read_changes(connection, "shop")
        assert [(entry.sequence, entry.hash) for entry in entries] == [(1, first), (2, second)]
        assert entries[1].change.before == "v1"
        assert second == entry_hash("shop", 2, entries[1].change, first)
        assert len(read_changes(connection, "garden")) == 1
        assert read_changes(connection, "nobody") == []


@pytest.mark.parametrize("column", ["at", "action", "version", "before", "who", "why", "evidence", "hash"])
def test_no_field_can_be_changed_unnoticed(engine: sa.Engine, column: str) -> None:
    for place in range(3):
        append(engine, replace(CHANGE, version=f"v{place}"))
    with engine.begin() as connection:
        of_second = (change_log.c.scope == "shop") & (change_log.c.sequence == 2)
        connection.execute(sa.update(change_log).where(of_second).values({column: 99 if column == "at" else "x"}))
    with engine.connect() as connection, pytest.raises(ChangeLogBroken, match="entry 2"):
        read_changes(connection, "shop")


def test_no_entry_can_be_dropped_from_the_middle(engine: sa.Engine) -> None:
    for place in range(3):
        append(engine, replace(CHANGE, version=f"v{place}"))
    with engine.begin() as connection:
        connection.execute(change_log.delete().where(change_log.c.sequence == 2))
    with engine.connect() as connection, pytest.raises(ChangeLogBroken):
        read_changes(connection, "shop")


def test_writers_at_once_make_one_chain(engine: sa.Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda place: append(engine, replace(CHANGE, at=place)), range(12)))
    with engine.connect() as connection:
        assert sorted(entry.change.at for entry in read_changes(connection, "shop")) == list(range(12))


def test_the_last_word_on_the_gate_counts(engine: sa.Engine) -> None:
    for action, required in ((None, False), (GATE_REQUIRED, True), (ACTIVATED, True), (GATE_NOT_REQUIRED, False)):
        if action is not None:
            append(engine, replace(CHANGE, action=action))
        with engine.connect() as connection:
            assert gate_required(connection, "shop") is required
            assert not gate_required(connection, "garden")


def test_an_override_says_why_and_texts_are_bounded() -> None:
    with pytest.raises(ServingError, match="why"):
        Reason("ann", "  ", override=True)
    for wrong in ({"who": ""}, {"who": "x" * 65}, {"why": "x" * 501}):
        with pytest.raises(ServingError, match=next(iter(wrong))):
            replace(CHANGE, **wrong)
