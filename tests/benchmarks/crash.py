"""kill -9 of service and custodian at random moments under load: what is lost or doubled, and how fast they are back.

Every published sum is compared, integer by integer, with the reports that were acknowledged; figures are returned only
if all books hold. Restarts come from a process that has everything loaded; `cold_recovery_s` is one from nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.federation.custodian.custodian_keeper import Nursery
from tests.federation.service.killed_rounds import Killings, a_world, cold_recovery, kill_at_random

KILLS = 200


def run(seed: int = 0, kills: int = KILLS, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Kills by party, rounds and reports that went through them, and seconds until each answered again."""
    custodians, services = Nursery(), Nursery("tests.federation.service.killed_service")
    try:
        with tempfile.TemporaryDirectory() as name:
            say(f"{kills} kills at random moments")
            with a_world(_new(Path(name), "random"), custodians, services) as world:
                killings = kill_at_random(world, kills, seed)
            say("restarts from nothing")
            with a_world(_new(Path(name), "cold"), custodians, services) as world:
                world.custodian.start()
                cold = [cold_recovery(world).wall_s for _ in range(3)]
    finally:
        custodians.end()
        services.end()
    return figures(killings) | {"cold_recovery_s": max(cold)}


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
