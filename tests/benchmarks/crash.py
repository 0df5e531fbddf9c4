"""kill -9 of everything at random moments under load: what is lost, doubled or opened, and how fast it is back.

First service and custodian of one machine; then two hosts, one with workers, on PostgreSQL and an object store whose
answers are errors now and then, where the database, the store and the process above the workers fail too.

Every published sum is compared, integer by integer, with the reports that were acknowledged; figures are returned only
if all books hold. Restarts come from a process that has everything loaded; `cold_recovery_s` is one from nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.federation.custodian.custodian_keeper import Nursery
from tests.federation.service.killed_hosts import Failures, fail_at_random, failing_hosts
from tests.federation.service.killed_rounds import Killings, a_world, cold_recovery, kill_at_random
from tests.object_store import an_object_store
from tests.postgres import a_cluster

KILLS = HOST_KILLS = 200


def run(
    seed: int = 0, kills: int = KILLS, host_kills: int = HOST_KILLS, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Kills by party, rounds and reports that went through them, and seconds until each answered again."""
    custodians, services = Nursery(), Nursery("tests.federation.service.killed_service")
    try:
        with tempfile.TemporaryDirectory() as name:
            say(f"{kills} kills at random moments")
            with a_world(_new(Path(name), "random"), custodians, services) as world:
                killings = kill_at_random(world, kills, seed)
            say(f"{host_kills} kills of everything that two hosts stand on")
            with (
                an_object_store() as store,
                a_cluster() as cluster,
                _hosts() as hosts,
                failing_hosts(_new(Path(name), "hosts"), custodians, hosts, cluster, store) as (world, parent),
            ):
                failures = fail_at_random(world, parent, cluster, store, host_kills, seed)
            say("restarts from nothing")
            with a_world(_new(Path(name), "cold"), custodians, services) as world:
                world.custodian.start()
                cold = [cold_recovery(world).wall_s for _ in range(3)]
    finally:
        custodians.end()
        services.end()
    return figures(killings) | {"cold_recovery_s": max(cold)} | of_hosts(failures)


def of_hosts(failures: Failures) -> dict[str, Any]:
    return {
        "hosts": failures.hosts,
        "host_kills": sum(failures.kills.values()),
        "host_kills_by_part": failures.kills,
        "host_rounds_with_exact_sums": failures.rounds,
        "acknowledged": failures.acknowledged,
        "lost": failures.lost,
        "doubled": failures.doubled,
        "silent_openings": failures.silent_openings,
        "requests_without_key": failures.requests,
        "object_store_errors": failures.object_errors,
    }


@contextmanager
def _hosts() -> Iterator[Nursery]:
    """A nursery that knows where the object store is."""
    nursery = Nursery("tests.federation.service.killed_service")
    try:
        yield nursery
    finally:
        nursery.end()


def figures(killings: Killings) -> dict[str, Any]:
    return {
        "kills": sum(killings.kills.values()),
        "kills_by_party": killings.kills,
        "rounds_with_exact_sums": killings.rounds,  # kill_at_random ends with an error at the first that is not
        "reports_acknowledged": killings.acknowledged,
        "recovery_s": _summary(killings, "wall_s"),
        "recovery_cpu_s": _summary(killings, "cpu_s"),
    }


def _summary(killings: Killings, clock: str) -> dict[str, dict[str, float]]:
    """Median and maximum of one clock of the recoveries, by party."""
    seconds = {
        party: [getattr(recovery, clock) for recovery in recoveries]
        for party, recoveries in killings.recoveries.items()
        if recoveries
    }
    return {party: {"median": float(np.median(times)), "most": max(times)} for party, times in seconds.items()}


def _new(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name
