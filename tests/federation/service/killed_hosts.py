"""Two hosts of one service on PostgreSQL and an object store, all of whose parts are killed or fail, at random."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import sqlalchemy as sa

from federation.service.round_schema import RoundState, reports
from federation.storage.database import reading
from serving.process.federation_file import FederationFile
from serving.state.api_keys import ApiKeys
from tests.federation.custodian.custodian_keeper import ROOT, Nursery, wait_for
from tests.federation.service.killed_rounds import ServiceKeeper, World, hosts_of_one_store, keep_sending
from tests.object_store import BUCKET, ObjectServer
from tests.postgres import Cluster

VICTIMS = {"service": 8, "custodian": 5, "postgresql": 3, "object store": 3, "workers' parent": 2}
"""How often each is chosen, by weight."""
BROKEN, OUTAGE_S = 0.05, 1.5
"""The share of the object store's answers that are errors all the time; and how long it is down when it is chosen."""


class ParentKeeper:
    """A host with workers of its own, started again by whoever kills the process above them."""

    def __init__(self, host: ServiceKeeper) -> None:
        self._host = host
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, again and again while its port is another's: the workers of the one before are ending."""
        command = [sys.executable, "-m", "serving.cli.main", "serve", *self._host.arguments, "--workers", "2"]
        while True:
            with self._host.log.open("a") as log:
                self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log)
            while self._process.poll() is None:
                with contextlib.suppress(httpx.HTTPError):
                    httpx.get(f"{self._host.url}/readyz", timeout=60.0).raise_for_status()
                    return
                time.sleep(0.1)

    def kill_and_wait(self) -> None:
        """Kill the process above the workers, and start another."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.start()

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()


@dataclass(frozen=True)
class Failures:
    """What was killed how often, and what became of the reports meanwhile.

    lost: acknowledged, and not stored or not in their block's sum. doubled: counted more often than stored.
    silent_openings: requests without a key that were answered. requests: those that asked for it.
    """

    kills: dict[str, int]
    hosts: int
    rounds: int
    acknowledged: int
    lost: int
    doubled: int
    silent_openings: int
    requests: int
    object_errors: int


@contextmanager
def failing_hosts(
    folder: Path, custodians: Nursery, services: Nursery, cluster: Cluster, store: ObjectServer
) -> Iterator[tuple[World, ParentKeeper]]:
    """Two running hosts, one of them with workers; the service has an API key."""
    lines = f'url = "{cluster.new_database()}"\nobjects = "s3://{BUCKET}/{folder.name}"'
    with hosts_of_one_store(folder, custodians, [services, services], lines) as world:
        world.custodian.start()
        keys = ApiKeys(FederationFile.read(world.service.file).store().engine)
        keys.create("shop", ["app"], int(time.time()))
        keys.close()
        world.hosts[0].start()
        wait_for(world.hosts[0].url)
        parent = ParentKeeper(world.hosts[1])
        parent.start()
        try:
            yield world, parent
        finally:
            store.broken = 0.0
            parent.stop()


def fail_at_random(
    world: World, parent: ParentKeeper, cluster: Cluster, store: ObjectServer, kills: int, seed: int, streams: int = 2
) -> Failures:
    """Rounds go on while everything is killed so often, at random moments."""
    rng, stop, faults = random.Random(seed), threading.Event(), list[BaseException]()
    openings: Counter[bool] = Counter()
    threads = [threading.Thread(target=keep_sending, args=(world, stop, faults, stream)) for stream in range(streams)]
    threads.append(threading.Thread(target=_ask_without_key, args=(world, stop, openings)))
    for thread in threads:
        thread.start()
    counts: Counter[str] = Counter()
    store.broken = BROKEN
    try:
        for _ in range(kills):
            time.sleep(rng.uniform(0.0, 1.0))
            (victim,) = rng.choices(list(VICTIMS), list(VICTIMS.values()))
            counts[victim] += 1
            if victim == "service":
                world.hosts[0].kill_and_wait()
            elif victim == "custodian":
                world.custodian.kill_and_wait()
            elif victim == "postgresql":
                cluster.kill()
                time.sleep(rng.uniform(0.0, 1.0))
                cluster.start()
            elif victim == "object store":
                store.broken = 1.0
                time.sleep(rng.uniform(0.0, OUTAGE_S))
                store.broken = BROKEN
            else:
                parent.kill_and_wait()
            assert not faults, faults
        before = world.published()
        world.until(lambda store: store.states().get(RoundState.PUBLISHED, 0) > before + 1)
    finally:
        stop.set()
        store.broken = 0.0
        for thread in threads:
            thread.join()
    assert not faults, faults
    lost, doubled = losses(world)
    books = world.check_books()
    return Failures(
        dict(counts),
        len(world.hosts),
        books["rounds"],
        books["acknowledged"],
        lost,
        doubled,
        openings[True],
        sum(openings.values()),
        store.failures,
    )


def losses(world: World) -> tuple[int, int]:
    """Acknowledged reports that are not stored, or not in the sum of their block; and those that are in it twice."""
    store = world.store
    with reading(store.engine) as connection:
        rows = connection.execute(sa.select(reports.c.task_id, reports.c.report_id, reports.c.block)).all()
    stored = {row.report_id: (row.task_id, row.block) for row in rows}
    lost = sum(sent.acknowledged and sent.report_id not in stored for sent in world.sent)
    doubled = 0
    by_block = Counter(stored.values())
    for round_ in store.rounds(1_000_000):
        if round_.state not in (RoundState.SUMMED, RoundState.STEPPED, RoundState.PUBLISHED, RoundState.FAILED):
            continue
        sums = store.sums(round_.task_id)
        for block in range(len(round_.task.blocks)):
            counted = sums[block].counted if block in sums else 0
            lost += max(by_block[round_.task_id, block] - counted, 0)
            doubled += max(counted - by_block[round_.task_id, block], 0)
    store.engine.dispose()
    return lost, doubled


def _ask_without_key(world: World, stop: threading.Event, openings: Counter[bool]) -> None:
    """Ask for what needs a key, without one; an answer below 400 is an opening."""
    with world.client() as http:
        while not stop.is_set():
            with contextlib.suppress(httpx.TransportError):
                openings[http.get("/v1/catalogue/current").status_code < 400] += 1
            time.sleep(0.05)
