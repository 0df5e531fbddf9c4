"""kill -9 of the service at every write, and of both parties at random: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.service.round_store import CoordinatorStore
from tests.federation.custodian.custodian_keeper import ROOT, Nursery, wait_for
from tests.federation.service.killed_rounds import World, a_world, cold_recovery, keep_sending, kill_at_random
from tests.federation.service.test_coordinator import POINTS

RECOVERY_CPU_S = 5.0


@pytest.fixture(scope="module")
def custodians() -> Iterator[Nursery]:
    opened = Nursery()
    yield opened
    opened.end()


@pytest.fixture(scope="module")
def services() -> Iterator[Nursery]:
    opened = Nursery("tests.federation.service.killed_service")
    yield opened
    opened.end()


def test_the_points_are_all_there_are() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "federation" / "service").rglob("*.py"))
    assert set(re.findall(r'crash_point\("([^"]+)"\)', source)) == set(POINTS) | {"round failed", "window drafted"}


def play_one_round(world: World) -> None:
    """Devices send until a round is published and the next one is open."""
    stop, faults = threading.Event(), list[BaseException]()
    stream = threading.Thread(target=keep_sending, args=(world, stop, faults, 1))

    def done(store: CoordinatorStore) -> bool:
        states = [one.state for one in store.rounds(2)]
        return bool(faults) or (states[:1] == ["open"] and states[1:] == ["published"] and world.service.deaths > 0)

    stream.start()
    try:
        world.until(done)
    finally:
        stop.set()
        stream.join()
    assert not faults, faults


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_write_it_goes_on_as_if_nothing_had_been(
    custodians: Nursery, services: Nursery, tmp_path: Path, point: str
) -> None:
    with a_world(tmp_path, custodians, services) as world:
        world.custodian.start()
        world.service.start(point)
        wait_for(world.service.url)
        play_one_round(world)
        assert world.service.deaths == 1
        assert world.check_books()["rounds"] >= 1
        assert not [path for path in (world.service.folder / "bundles").iterdir() if path.name.startswith(".")]


def test_both_killed_at_twenty_random_moments_lose_and_double_nothing(
    custodians: Nursery, services: Nursery, tmp_path: Path
) -> None:
    with a_world(tmp_path, custodians, services) as world:
        figures = kill_at_random(world, kills=20, seed=7)
    assert sum(figures.kills.values()) == 20
    assert figures.rounds >= 3
    recoveries = [recovery for party in figures.recoveries.values() for recovery in party]
    assert max(recovery.cpu_s for recovery in recoveries) <= RECOVERY_CPU_S


def test_a_cold_start_after_a_kill_takes_less_than_five_processor_seconds(
    custodians: Nursery, services: Nursery, tmp_path: Path
) -> None:
    with a_world(tmp_path, custodians, services) as world:
        world.custodian.start()
        assert cold_recovery(world).cpu_s <= RECOVERY_CPU_S
