"""A host whose clock is wrong by hours closes no round and takes part in nothing; it says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from federation.private_sum.signing import SigningKey
from federation.service.custodian_client import CustodianClient
from federation.service.hosts.clocks import EVERY_S, Clocks, ClockSkewed
from federation.service.round_loop import RoundLoop
from federation.storage.database import open_engine, sqlite_url
from serving.http.readiness import Readiness
from serving.refusal import Refusal
from serving.shelf.served import Apps, ServedBundles
from tests.federation.service.a_lineage import NOW, Line, a_line, stop
from tests.shop import make_bundle

KEY = SigningKey.generate()


def a_clock(tmp_path: Path, theirs: list[float | None], ours: float = NOW, url: str | None = None) -> Clocks:
    """A clock that shows `ours`, asked each EVERY_S; the custodian's shows the next of `theirs`."""
    engine, steady = open_engine(url or sqlite_url(tmp_path / "x.sqlite")), iter(range(0, 10_000, int(EVERY_S)))
    return Clocks(lambda: theirs.pop(0), engine, clock=lambda: ours, steady=lambda: float(next(steady)))


@pytest.mark.parametrize(
    ("offset", "words"),
    [(7_200, "is 7200 s ahead of the custodian's"), (-600, "is 600 s behind the custodian's")],
)
def test_a_clock_that_is_far_off_says_which_way(tmp_path: Path, offset: float, words: str) -> None:
    clocks = a_clock(tmp_path, [NOW - offset, None, NOW])
    with pytest.raises(ClockSkewed, match=words):
        clocks.measure()
    with pytest.raises(ClockSkewed, match=words):  # a custodian that does not answer proves nothing
        clocks.measure()
    clocks.measure()


def test_a_minute_is_near_enough(tmp_path: Path) -> None:
    a_clock(tmp_path, [NOW + 59.0]).measure()
    with pytest.raises(ClockSkewed):
        a_clock(tmp_path, [NOW + 61.0]).measure()


def test_the_databases_clock_counts_too(tmp_path: Path, postgres_url: str) -> None:
    clocks = a_clock(tmp_path, [NOW], url=postgres_url)
    with pytest.raises(ClockSkewed, match="the database's"):  # PostgreSQL's is the real one
        clocks.measure()
    clocks._engine.dispose()


def test_the_custodians_time_is_that_of_its_answer() -> None:
    def client(headers: dict[str, str]) -> CustodianClient:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=headers))
        return CustodianClient("http://localhost", KEY, KEY.public, transport)

    assert client({"date": "Fri, 15 Jan 2027 08:00:00 GMT"}).time() == NOW + 0.5
    assert [client(headers).time() for headers in ({}, {"date": "yesterday"})] == [None, None]


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = a_line(tmp_path)
    yield line
    stop(line)


def test_a_host_two_hours_ahead_closes_no_round_and_is_not_ready(line: Line, tmp_path: Path) -> None:
    task = line.open()
    line.fill(task, 4)
    clocks = a_clock(tmp_path, [NOW - 7_200, NOW])
    loop = RoundLoop(line.coordinator, lambda _: None, clocks=clocks)
    assert not loop._attempts.run("clocks", NOW, loop._look_at_clocks)
    assert not loop._advance_training()
    newest = line.coordinator.store.newest()
    assert newest is not None
    assert newest.state == "open"
    shelf = ServedBundles([make_bundle(tmp_path / "served")])
    with pytest.raises(Refusal, match="7200 s ahead") as refused:
        asyncio.run(Readiness(Apps({"shop": shelf}), clocks.check).check())
    assert refused.value.details == {"reason": "clock"}
    loop._attempts.run("clocks", NOW + 60, loop._look_at_clocks)
    assert loop._advance_training()
    loop._lock.drop()
