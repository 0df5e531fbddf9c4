from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

from federation.service import lease
from federation.service.lease import Lease, gone
from federation.service.round_schema import SCHEMA, leases
from federation.storage.database import open_engine, sqlite_url
from federation.storage.migrations import prepare


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = sqlite_url(tmp_path / "s.sqlite") if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = open_engine(url)
    prepare(made, SCHEMA)
    yield made
    made.dispose()


def until(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(leases.c.until)).scalar_one()


def wait_for(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_one_holds_it_and_the_other_gets_it_when_it_is_dropped(engine: Engine) -> None:
    one, other = Lease(engine), Lease(engine)
    assert one.hold()
    assert one.hold()
    assert not other.hold()
    one.drop()
    assert other.hold()
    other.drop()


def test_it_is_prolonged_while_it_is_held(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    one = Lease(engine)
    assert one.hold()
    with engine.begin() as connection:
        connection.execute(update(leases).values(until=5))
    wait_for(lambda: until(engine) > 5)
    one.drop()


def test_who_lost_it_stops_and_may_get_it_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    one = Lease(engine)
    assert one.hold()
    with engine.begin() as connection:
        connection.execute(update(leases).values(holder="elsewhere|x|1:1/a", until=int(time.time()) + 1_000))
    wait_for(lambda: not one._held.is_set())
    assert not one.hold()
    with engine.begin() as connection:
        connection.execute(update(leases).values(until=0))
    wait_for(one.hold)  # its own thread may be taking it back at this very moment
    one.drop()


def test_of_a_process_that_was_killed_here_it_is_taken_at_once(engine: Engine) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    holder = f"{lease._process(child.pid)}/a"
    one = Lease(engine)
    with engine.begin() as connection:
        connection.execute(leases.insert().values(name=lease.ADVANCES, holder=holder, until=int(time.time()) + 1_000))
    assert not gone(holder)
    assert not one.hold()
    child.kill()
    child.wait()
    assert gone(holder)
    assert one.hold()
    one.drop()


def test_of_another_machine_nobody_can_say_that_it_is_gone() -> None:
    assert not gone("other-boot|pid:[1]|1:100/a")
    assert not gone("nonsense")
