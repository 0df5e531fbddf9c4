"""N devices of a log take part in a live service's rounds, and some vanish: what `ownshelf device --simulate` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from federation.simulation.experiment_shopping import ShopperModel, play_experiments
from federation.simulation.fleet import Fleet, FleetConfig, next_task, play_round
from recsys.catalogue.catalogue import Catalogue, decode_catalogue
from recsys.experiments.definition.definition_file import experiment_of
from recsys.experiments.device.outcomes import MICROS
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


@dataclass(frozen=True, eq=False)
class CreatedFleet:
    """Devices of a log. at: the moment as of which they weigh their histories, µs since 1970 UTC. wanted: by device,
    the items of its shopper's later events, each once."""

    fleet: Fleet
    at: int
    wanted: tuple[tuple[str, ...], ...]


def create_fleet(
    folder: Path, dataset: str, until: str | None, n: int, seed: int, lives_from: int | None = None
) -> CreatedFleet:
    """Create devices of n users of the log that have a history before `until`, None for the log's end.

    lives_from: the moment (µs since 1970 UTC) that `until` is moved to, histories with it; None leaves them as logged.
    """
    opened = Dataset.open(dataset)
    log = opened.interactions()
    at = parse_time(until) if until else int(log.time.max()) + 1
    known = known_at(log, at)
    users = np.flatnonzero(known.counts > 0)
    if n > len(users):
        raise FederationError(f"N={n}: must be at most {len(users)}, the users of {opened.name} with a history")
    chosen = users[cohort(len(users), n, 0, seed)]
    wanted = []
    for user in chosen.tolist():
        rows = log.of(user)
        later = log.item_idx[rows][log.time[rows] >= at]
        wanted.append(tuple(dict.fromkeys(opened.items.ids.gather(later).to_list())))
    if lives_from is not None:
        known, at = replace(known, time=known.time + (lives_from - at)), lives_from
    with progress("vaults", n) as bar:
        fleet = Fleet.create(folder, known, opened.items, chosen, lambda: bar.advance(bar.task_ids[0]))
    return CreatedFleet(fleet, at, tuple(wanted))


def first_start(told: Simulation) -> int:
    """Ask when the first of the running experiments began, µs since 1970 UTC. Raises ServingError where none runs."""
    with keyed_client(told.service, told.key, told.ca) as client:
        try:
            answer = client.get("/v1/experiments").raise_for_status().json()["experiments"]
            starts = [experiment_of(one["definition"]).starts_at for one in answer if one["state"] == "running"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise ServingError(f"service: has no experiments to give ({type(error).__name__})") from None
    if not starts:
        raise ServingError("service: no experiment is running")
    return min(starts) * MICROS


def simulate_experiments(
    created: CreatedFleet, config: FleetConfig, told: Simulation, shoppers: ShopperModel
) -> dict[str, Any]:
    """Let all devices live through the running experiments until now, and report; what became of them."""
    n = created.fleet.n_devices
    with keyed_client(told.service, told.key, told.ca) as client, progress("devices", n) as bar:
        play = play_experiments(
            created.fleet,
            created.wanted,
            told.service,
            told.policy,
            ShopIssuer(client, told.api_key),
            config,
            catalogue=_catalogue(client),
            key=told.key,
            ca=told.ca,
            shoppers=shoppers,
            on_device=lambda: bar.advance(bar.task_ids[0]),
        )
    return play.to_dict()


def _catalogue(client: httpx.Client) -> Catalogue:
    """Fetch the catalogue once for all devices of this machine."""
    content = fetch_catalogue(client, None)
    assert content is not None
    return decode_catalogue(content)
