"""Simulated shoppers of a log live through the running experiments: they see lists, answer, and their devices report.

The devices are real. Simulated is what a shopper does: some days they come, want what their own later events in the log
are about, look at what the list has of it, and buy some of that, and some of it without any list. So a list that holds
more of what is wanted sells more: the effect is made here, by the lists alone, and says nothing of a real shop.
"""

from __future__ import annotations

import hashlib
import random
import time as clock
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np

from data.errors import FederationError, OwnshelfError
from federation.device.device import Device
from federation.device.lists import Recommendations
from federation.device.report import DevicePolicy
from federation.device.reporting import DeviceRandomness
from federation.device.state import DeviceState
from federation.device.tokens.issuing import TokenIssuer
from federation.protocol.transport import check_address, pinned_context
from federation.simulation.fleet import Fleet, FleetConfig
from recsys.catalogue.catalogue import Catalogue
from recsys.experiments.definition.definition import DAY_S, Experiment
from recsys.experiments.device.outcomes import MICROS

_VISITS, _LEAVES = 21, 22


@dataclass(frozen=True)
class ShopperModel:
    """What simulated shoppers do. visits_a_day: chance to come on a day. top_k: length of a list, None as saved.

    buys_listed: chance to buy each wanted item that the list has; buys_anyway: chance, a visit, to buy one wanted item
    that it does not.
    """

    visits_a_day: float = 0.3
    top_k: int | None = None
    buys_listed: float = 0.3
    buys_anyway: float = 0.1

    def __post_init__(self) -> None:
        for name in ("visits_a_day", "buys_listed", "buys_anyway"):
            if not 0 <= getattr(self, name) <= 1:
                raise FederationError(f"{name}={getattr(self, name)}: must be 0..1")


@dataclass(frozen=True)
class ExperimentPlay:
    """What became of a fleet in the running experiments. statuses: by experiment, of the reports' outcomes."""

    devices: int
    visits: int
    statuses: dict[str, dict[str, int]]
    refusals: dict[str, int]
    seconds: float

    def to_dict(self) -> dict[str, object]:
        """Count for a report; nothing of a single device is in it."""
        return {
            "devices": self.devices,
            "visits": self.visits,
            "statuses": self.statuses,
            "refusals": self.refusals,
            "seconds": self.seconds,
        }


def play_experiments(
    fleet: Fleet,
    wanted: Sequence[Sequence[str]],
    service: str,
    policy: DevicePolicy,
    issuer: TokenIssuer,
    config: FleetConfig,
    *,
    catalogue: Catalogue | None = None,
    key: str | None = None,
    ca: Path | None = None,
    shoppers: ShopperModel | None = None,
    on_device: Callable[[], None] = lambda: None,
    now: Callable[[], float] = clock.time,
) -> ExperimentPlay:
    """Let every device of a fleet live until now, and report to each experiment's open window.

    wanted: of each device, the item_ids that its shopper would like to find. A device that lived before goes on from
    where it stopped. config.dropout: share of devices that do not report this time. now: seconds since 1970 UTC.
    """
    if len(wanted) != fleet.n_devices:
        raise FederationError(f"wanted: of {len(wanted)} devices: must be of all {fleet.n_devices}")
    started, model = clock.perf_counter(), shoppers or ShopperModel()
    limits = httpx.Limits(max_connections=config.workers, max_keepalive_connections=config.workers)
    transport = httpx.HTTPTransport(verify=pinned_context(ca), limits=limits)
    address = check_address(service)
    outcomes: list[tuple[str, str, str]] = []

    def live(number: int) -> int:
        device = fleet.device(number, catalogue)
        device.change(lambda state: _with_secret(state, config.seed, number))
        client = httpx.Client(transport=_SharedLine(transport), base_url=address, trust_env=False, timeout=30.0)
        visits = 0
        with client:
            try:
                device.experiments.refresh(client, key=key, now=int(now() * MICROS))
                visits = visit(device, wanted[number], model, config.seed, number, int(now() * MICROS))
                if np.random.default_rng((config.seed, _LEAVES, number)).random() >= config.dropout:
                    reports = device.experiments.report(
                        client,
                        policy,
                        issuer,
                        key=key,
                        draws=DeviceRandomness(waiting=random.Random(f"{config.seed} {number}")),  # nosec B311
                        retry=config.retry,
                        clock=now,
                    )
                    outcomes.extend((name, one.status, one.detail) for name, one in reports.items())
            except OwnshelfError as error:
                outcomes.append(("", "refused", str(error)))
        on_device()
        return visits

    with transport, ThreadPoolExecutor(config.workers) as pool:
        visits = sum(pool.map(live, range(fleet.n_devices)))
    statuses: dict[str, Counter[str]] = {}
    for name, status, _ in outcomes:
        statuses.setdefault(name, Counter())[status] += 1
    refusals = Counter(detail for _, status, detail in outcomes if status in ("rejected", "refused", "unsent"))
    return ExperimentPlay(
        fleet.n_devices,
        visits,
        {name: dict(counts) for name, counts in sorted(statuses.items())},
        dict(refusals),
        clock.perf_counter() - started,
    )


def visit(device: Device, wanted: Sequence[str], model: ShopperModel, seed: int, number: int, now: int) -> int:
    """Live the days of the running experiments until `now` (µs since 1970 UTC), each once; how many visits there were.

    Everything is drawn by seed, device and day, so that a life is the same in one call and in many.
    """
    running = device.state.experiments.definitions
    if not running:
        return 0
    lived = max((note.time for note in device.state.experiments.notes), default=-1)
    day, visits = DAY_S * MICROS, 0
    for number_of_day in range(min(entry.starts_at for entry in running) // DAY_S, now // day + 1):
        rng = np.random.default_rng((seed, _VISITS, number, number_of_day))
        comes, at = rng.random() < model.visits_a_day, number_of_day * day + int(rng.random() * (day - 1800 * MICROS))
        if comes and lived < at and at + 1800 * MICROS <= now and at >= min(_starts(running)):
            for surface in sorted({entry.exposure.surface or "" for entry in running if _starts((entry,))[0] <= at}):
                listed = device.recommend(surface or None, top_k=model.top_k, now=at)
                device.mark_shown(listed, at)
                _answer(device, listed, wanted, model, rng, at)
            visits += 1
    return visits


def _answer(
    device: Device,
    listed: Recommendations,
    wanted: Sequence[str],
    model: ShopperModel,
    rng: np.random.Generator,
    at: int,
) -> None:
    """Look at what the list has of what is wanted, and buy."""
    second = at
    for item_id in listed.item_ids:
        if item_id in wanted:
            second += MICROS
            device.observe(item_id, "view", second)
            if rng.random() < model.buys_listed:
                device.observe(item_id, "purchase", second + 1)
    others = [item_id for item_id in wanted if item_id not in listed.item_ids]
    if others and rng.random() < model.buys_anyway:
        device.observe(others[int(rng.integers(len(others)))], "purchase", second + MICROS)


def _starts(running: Sequence[Experiment]) -> list[int]:
    return [entry.starts_at * MICROS for entry in running]


def _with_secret(state: DeviceState, seed: int, number: int) -> DeviceState:
    """Give a simulated device the secret of its seed, which a shopper's own must not be."""
    if state.experiments.secret:
        return state
    secret = hashlib.sha256(f"ownshelf/simulated/{seed}/{number}".encode()).digest()
    return replace(state, experiments=replace(state.experiments, secret=secret))


class _SharedLine(httpx.BaseTransport):
    """A device's line over the fleet's shared connections, which it leaves open."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._transport.handle_request(request)
