"""Two hosts of one service: what either acknowledges is counted, and hosts that share too little do not start."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.service.round_schema import RoundState
from tests.federation.custodian.custodian_keeper import ROOT, Nursery, wait_for
from tests.federation.service.killed_hosts import fail_at_random, failing_hosts
from tests.federation.service.killed_rounds import World, hosts_of_one_store, keep_sending
from tests.object_store import BUCKET, ObjectServer, an_object_store
from tests.postgres import a_cluster


@pytest.fixture(scope="module")
def object_store() -> Iterator[ObjectServer]:
    with an_object_store() as server:
        yield server


@pytest.fixture(scope="module")
def nurseries(object_store: ObjectServer) -> Iterator[list[Nursery]]:
    opened = [Nursery(), *(Nursery("tests.federation.service.killed_service") for _ in range(2))]
    yield opened
    for nursery in opened:
        nursery.end()


@pytest.fixture
def world(nurseries: list[Nursery], tmp_path: Path, postgres_url: str) -> Iterator[World]:
    store = f'url = "{postgres_url}"\nobjects = "s3://{BUCKET}/{tmp_path.name}"'
    with hosts_of_one_store(tmp_path, nurseries[0], nurseries[1:], store) as world:
        world.custodian.start()
        for host in world.hosts:
            host.start()
            wait_for(host.url)
        yield world


def play(world: World, rounds: int) -> dict[str, int]:
    """Devices send to either host until so many rounds more are published; what the books say."""
    stop, faults, before = threading.Event(), list[BaseException](), world.published()
    streams = [threading.Thread(target=keep_sending, args=(world, stop, faults, seed)) for seed in range(2)]
    for stream in streams:
        stream.start()
    try:
        world.until(lambda store: bool(faults) or store.states().get(RoundState.PUBLISHED, 0) >= before + rounds)
    finally:
        stop.set()
        for stream in streams:
            stream.join()
    assert not faults, faults
    return world.check_books()


def test_every_report_that_either_host_acknowledges_is_counted(world: World, object_store: ObjectServer) -> None:
    books = play(world, 3)
    assert books["rounds"] >= 3
    object_store.broken = 0.3
    try:
        books = play(world, 2)  # an object store that fails now and then costs time alone
    finally:
        object_store.broken = 0.0
    assert object_store.failures > 0
    assert books["rounds"] >= 5
    world.hosts[0].kill_and_wait()
    assert play(world, 2)["rounds"] >= 7
    assert not any((host.folder / "shares").exists() for host in world.hosts)


def started(world: World, number: int) -> subprocess.CompletedProcess[str]:
    """One more process with a host's arguments, which ends at once or is ended."""
    command = [sys.executable, "-m", "serving.cli.main", "serve", *world.hosts[number].arguments[:-1], "0", "--json"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_a_host_with_a_folder_or_key_of_its_own_is_refused_in_one_line(world: World) -> None:
    host = world.hosts[1]
    shared = host.file.read_text()
    host.file.write_text("".join(line for line in shared.splitlines(True) if not line.startswith("objects")))
    refused = started(world, 1)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert "is not the storage of this database's other processes" in refused.stderr
    host.file.write_text(shared)
    key = (host.folder / "ohttp.key").read_text()
    (host.folder / "ohttp.key").unlink()
    assert "ohttp.key: is missing, and this database's other processes have it" in started(world, 1).stderr
    (host.folder / "ohttp.key").write_text(key[::-1].strip() + "\n")
    assert "ohttp.key: is not the key of this database's other processes" in started(world, 1).stderr
    (host.folder / "ohttp.key").write_text(key)


def test_whatever_is_killed_nothing_acknowledged_is_lost_and_nothing_opens(
    nurseries: list[Nursery], object_store: ObjectServer, tmp_path: Path
) -> None:
    with (
        a_cluster() as cluster,
        failing_hosts(tmp_path, nurseries[0], nurseries[1], cluster, object_store) as (world, parent),
    ):
        failures = fail_at_random(world, parent, cluster, object_store, kills=8, seed=3)
    assert sum(failures.kills.values()) == 8
    assert (failures.lost, failures.doubled, failures.silent_openings) == (0, 0, 0)
    assert failures.acknowledged > 0
    assert failures.requests > 0
    assert failures.rounds >= 2
