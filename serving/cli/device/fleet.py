"""N devices of a log take part in a live service's rounds, and some vanish: what `ownshelf device --simulate` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from data.dataset import Dataset
from data.errors import FederationError, ServingError
from data.split import known_at, parse_time
from federation.device.asking.client import fetch_catalogue
from federation.device.report import DevicePolicy
from federation.device.tokens.issuing import ShopIssuer
from federation.simulation.cohort import cohort
from federation.simulation.fleet import Fleet, FleetConfig, next_task, play_round
from recsys.catalogue.catalogue import Catalogue, decode_catalogue
from serving.cli.device.device_key import keyed_client
from serving.cli.output import progress


@dataclass(frozen=True)
class Simulation:
    """Whom a fleet speaks to, and how long. cohort: devices asked in each round. wait_s: for a next round, or for the
    devices to be back. sleep: for tests."""

    service: str
    ca: Path | None
    policy: DevicePolicy
    api_key: str
    rounds: int
    cohort: int
    wait_s: float
    key: str | None = None
    sleep: Callable[[float], None] = time.sleep


def simulate(fleet: Fleet, config: FleetConfig, told: Simulation) -> list[dict[str, Any]]:
    """Play rounds as the service opens them; what became of each. Devices come no sooner than they were told to."""
    played: list[dict[str, Any]] = []
    back: dict[int, int] = {}
    seen: str | None = None
    with keyed_client(told.service, told.key, told.ca) as client, progress("devices", told.rounds * told.cohort) as bar:
        issuer = ShopIssuer(client, told.api_key)
        for play in range(told.rounds):
            task = next_task(client, seen, told.wait_s)
            if task is None:
                raise ServingError(f"service: opened no round within {told.wait_s:.0f} s")
            seen = task.task_id
            devices = cohort(fleet.n_devices, told.cohort, play, config.seed).tolist()
            told.sleep(waiting_s([back.get(device, 0) for device in devices], time.time(), told.wait_s))
            result = play_round(
                fleet,
                devices,
                told.service,
                told.policy,
                issuer,
                config,
                play=play,
                catalogue=_catalogue(client),
                ca=told.ca,
                on_device=lambda _: bar.advance(bar.task_ids[0]),
            )
            back |= {fate.device: fate.come_back_at for fate in result.fates}
            played.append({"round": task.round, "bundle_version": task.bundle_version} | result.to_dict())
    return played


def waiting_s(come_back_at: Sequence[int], now: float, most_s: float) -> float:
    """Compute the seconds until the last of some devices comes back, at most so many; times are seconds since 1970."""
    return min(max(max(come_back_at, default=0) - now, 0.0), most_s)


def create_fleet(folder: Path, dataset: str, until: str | None, n: int, seed: int) -> tuple[Fleet, int]:
    """Create devices of n users of the log that have a history, and the moment as of which they weigh it (µs)."""
    opened = Dataset.open(dataset)
    log = opened.interactions()
    at = parse_time(until) if until else int(log.time.max()) + 1
    known = known_at(log, at)
    users = np.flatnonzero(known.counts > 0)
    if n > len(users):
        raise FederationError(f"N={n}: must be at most {len(users)}, the users of {opened.name} with a history")
    chosen = users[cohort(len(users), n, 0, seed)]
    with progress("vaults", n) as bar:
        return Fleet.create(folder, known, opened.items, chosen, lambda: bar.advance(bar.task_ids[0])), at


def _catalogue(client: httpx.Client) -> Catalogue:
    """Fetch the catalogue once for all devices of this machine."""
    content = fetch_catalogue(client, None)
    assert content is not None
    return decode_catalogue(content)
