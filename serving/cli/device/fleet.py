"""`ownshelf device --simulate N`: N devices of a log take part in a live service's rounds, and some vanish."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer

from data.dataset import Dataset
from data.errors import FederationError, ServingError
from data.split import known_at, parse_time
from federation.device.asking.client import fetch_catalogue
from federation.device.delivery import RetryPolicy
from federation.device.report import DevicePolicy
from federation.simulation.cohort import cohort
from federation.simulation.fleet import Fleet, FleetConfig, next_task, play_round
from federation.simulation.shop_tokens import MAX_COUNT, TokenPurse
from recsys.catalogue.catalogue import Catalogue, decode_catalogue
from serving.cli.device.contribute import Ca, CustodianKey, Plan, read_policy
from serving.cli.device.device_key import Key, keyed_client
from serving.cli.output import print_json, progress


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


def simulate_command(
    n: Annotated[int, typer.Argument(min=1, help="Devices.", metavar="N")],
    dataset: Annotated[str, typer.Option(help="Whose histories: a folder, or sample:NAME.")],
    service: Annotated[str, typer.Option(help="Address of the service.")],
    custodian_key: CustodianKey,
    plan: Plan,
    api_key: Annotated[
        str, typer.Option(envvar="OWNSHELF_API_KEY", help="The shop's API key, to mint tokens.", show_default=False)
    ],
    rounds: Annotated[int, typer.Option(min=1, help="Rounds to take part in.")] = 1,
    cohort_size: Annotated[int | None, typer.Option("--cohort", min=1, help="Devices asked a round; all.")] = None,
    dropout: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share that vanishes at a random moment.")] = 0.0,
    until: Annotated[str | None, typer.Option(help="Histories before this ISO time; the log's end.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Devices at a time.")] = 4,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for a round to open.")] = 600.0,
    home: Annotated[Path | None, typer.Option(help="Keep the devices here; a temporary folder.")] = None,
    ca: Ca = None,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    seed: Annotated[int, typer.Option(help="Who comes, who vanishes, and every draw of the simulated devices.")] = 0,
) -> None:
    """Run N devices of a log against a live service; each has a vault of its own, and draws by the seed."""
    size = n if cohort_size is None else cohort_size
    if size > n:
        raise FederationError(f"cohort={size}: must be at most N={n}")
    policy = read_policy(plan, custodian_key)
    told = Simulation(service, ca, policy, api_key, rounds, size, wait, key)
    with nullcontext(home) if home is not None else tempfile.TemporaryDirectory() as folder:
        fleet, at = _create(Path(folder), dataset, until, n, seed)
        config = FleetConfig(at, seed, dropout, workers=workers, retry=RetryPolicy(spread_s=0.0, attempts=4))
        played = simulate(fleet, config, told)
    result = {"devices": n, "cohort": size, "dropout": dropout, "seed": seed, "rounds": played}
    if as_json:
        print_json(result)
        return
    for one in played:
        counts = ", ".join(f"{count} {status}" for status, count in one["statuses"].items())
        typer.echo(f"round {one['round']}: {counts}; {one['seconds']:.1f} s, {one['report_bytes']} bytes a report")


def simulate(fleet: Fleet, config: FleetConfig, told: Simulation) -> list[dict[str, Any]]:
    """Play rounds as the service opens them; what became of each. Devices come no sooner than they were told to."""
    played: list[dict[str, Any]] = []
    back: dict[int, int] = {}
    seen: str | None = None
    with keyed_client(told.service, told.key, told.ca) as client, progress("devices", told.rounds * told.cohort) as bar:
        purse = TokenPurse(client, told.api_key, min(MAX_COUNT, told.cohort))
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
                purse,
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


def _create(folder: Path, dataset: str, until: str | None, n: int, seed: int) -> tuple[Fleet, int]:
    """Devices of n users of the log that have a history, and the moment as of which they weigh it (µs)."""
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
