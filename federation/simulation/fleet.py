"""Many devices of a log against a live service: each with a vault of its own, some of which vanish.

For trying a deployment out. The devices are real (federation/device/device.py, federation/device/participation.py);
what is simulated
is whose history they hold, when they come, and where they vanish. Blocks, coins and rounding follow from a seed here,
so that a round can be computed again: on a shopper's device they never do.
"""

from __future__ import annotations

import random
import time as clock
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt

from data.errors import FederationError, OwnshelfError
from data.interactions import EventKind, Interactions
from data.vocabulary import Vocabulary
from federation.device.delivery import REPORTS, RetryPolicy, fetch_task
from federation.device.device import Device
from federation.device.participation import take_part
from federation.device.report import DevicePolicy
from federation.device.reporting import JUDGING_SHARE, DeviceRandomness, Outcome, Step
from federation.device.state import DeviceState, Event
from federation.device.tokens.issuing import TokenIssuer
from federation.device.vault import Vault
from federation.protocol.messages import Task
from federation.protocol.transport import check_address, pinned_context
from recsys.catalogue.catalogue import Catalogue

MOMENTS: tuple[str, ...] = ("fetched", "checked", "computed", "stored", "torn", "sent")
"""Where a device may vanish: after a step of participant.py, or with half of its report sent (torn)."""

POLL_S = 0.2
_VANISH, _BLOCK, _ROUNDING, _COIN, _WAIT, _JUDGE = 11, 12, 13, 14, 15, 16


class DeviceVanished(Exception):
    """The device is gone; of no interest to anybody."""


@dataclass(frozen=True)
class FleetConfig:
    """dropout: share of devices that vanish at a random moment of each round. history_at: as of when histories are
    weighed, µs since 1970. holdout_share: devices that only measure. workers: devices at a time.
    """

    history_at: int
    seed: int = 0
    dropout: float = 0.0
    holdout_share: float = 0.1
    workers: int = 4
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(spread_s=0.0))

    def __post_init__(self) -> None:
        for name, low, high in (("dropout", 0.0, 1.0), ("holdout_share", 0.0, 1.0), ("workers", 1, 256)):
            if not low <= getattr(self, name) <= high:
                raise FederationError(f"{name}={getattr(self, name)}: must be {low}..{high}")


@dataclass(frozen=True)
class DeviceOutcome:
    """The outcome of one device in one round. status: an Outcome's, `vanished`, or `refused` with the reason."""

    device: int
    status: str
    detail: str = ""
    report_bytes: int = 0
    come_back_at: int = 0


@dataclass(frozen=True)
class FleetRound:
    """One round of a fleet. seconds: from the first device's start to the last one's end."""

    fates: tuple[DeviceOutcome, ...]
    seconds: float

    def count(self, status: str) -> int:
        """Count devices with this status."""
        return sum(fate.status == status for fate in self.fates)

    def to_dict(self) -> dict[str, object]:
        """Count for a report; nothing of a single device is in it."""
        refusals = Counter(fate.detail for fate in self.fates if fate.status in ("rejected", "refused", "unsent"))
        vanished = Counter(fate.detail for fate in self.fates if fate.status == "vanished")
        accepted = self.count("accepted")
        return {
            "devices": len(self.fates),
            "statuses": dict(Counter(fate.status for fate in self.fates)),
            "refusals": dict(refusals),
            "vanished": {moment: vanished[moment] for moment in MOMENTS if vanished[moment]},
            "report_bytes": max((fate.report_bytes for fate in self.fates), default=0),
            "seconds": self.seconds,
            "reports_per_s": accepted / self.seconds if self.seconds else 0.0,
        }


@dataclass(frozen=True)
class Fleet:
    """Devices 0..n−1 in folders of their own below `folder`."""

    folder: Path
    n_devices: int

    @staticmethod
    def create(
        folder: Path,
        log: Interactions,
        items: Vocabulary,
        users: npt.NDArray[np.int64],
        on_device: Callable[[], None] = lambda: None,
    ) -> Fleet:
        """Create a device that contributes for each of these users of a log."""
        for device, user in enumerate(users.tolist()):
            state = DeviceState(consent="contribute", events=history_of(log, items, user))
            Vault.create(_home(folder, device), state.encode(), "file")
            on_device()
        return Fleet(folder, len(users))

    def device(self, device: int, catalogue: Catalogue | None = None) -> Device:
        """Open one device. catalogue: at hand, where it would fetch its own."""
        return Device(Vault.open(_home(self.folder, device)), catalogue)


def history_of(log: Interactions, items: Vocabulary, user: int) -> tuple[Event, ...]:
    """Convert one user's events to what a device records."""
    rows = log.of(user)
    columns = (log.time[rows], items.ids.gather(log.item_idx[rows]), log.kind[rows], log.quantity[rows])
    return tuple(
        Event(int(time), str(item_id), EventKind(int(kind)), max(float(quantity), 1e-9))
        for time, item_id, kind, quantity in zip(*columns, strict=True)
    )


def play_round(
    fleet: Fleet,
    devices: Sequence[int],
    service: str,
    policy: DevicePolicy,
    issuer: TokenIssuer,
    config: FleetConfig,
    *,
    play: int = 0,
    catalogue: Catalogue | None = None,
    ca: Path | None = None,
    block_of: Callable[[Task, int], int] | None = None,
    on_device: Callable[[DeviceOutcome], None] = lambda _: None,
    now: Callable[[], float] = clock.time,
) -> FleetRound:
    """Let these devices take part in what the service offers now, `config.workers` at a time.

    play: the how manieth this is, for the draws. catalogue: shared by all devices, for speed; None lets each fetch its
    own. block_of: of a task and a device, by the seed unless given.
    """
    started = clock.perf_counter()
    limits = httpx.Limits(max_connections=config.workers, max_keepalive_connections=config.workers)
    transport = httpx.HTTPTransport(verify=pinned_context(ca), limits=limits)
    address = check_address(service)

    def one(device: int) -> DeviceOutcome:
        opened = fleet.device(device, catalogue)
        fate = _play(opened, device, play, transport, address, policy, issuer, config, block_of, now)
        on_device(fate)
        return fate

    with transport, ThreadPoolExecutor(config.workers) as pool:
        fates = tuple(pool.map(one, devices))
    return FleetRound(fates, clock.perf_counter() - started)


def _play(
    opened: Device,
    device: int,
    play: int,
    transport: httpx.BaseTransport,
    address: httpx.URL,
    policy: DevicePolicy,
    issuer: TokenIssuer,
    config: FleetConfig,
    block_of: Callable[[Task, int], int] | None,
    now: Callable[[], float],
) -> DeviceOutcome:
    moment = vanishing_moment(config, device, play)

    def step(name: Step) -> None:
        if name == moment:
            raise DeviceVanished

    def block(task: Task) -> int:
        return block_of(task, device) if block_of else drawn_block(config.seed, task, device)

    draws = DeviceRandomness(
        block=block,
        measures_only=lambda: measuring_coin(config, device),
        judges=lambda: judging_coin(config, device),
        rounding=rounding_of(config.seed, play, device),
        waiting=random.Random(f"{config.seed} {_WAIT} {device} {play}"),  # nosec B311 # a simulation, by its seed
    )
    line = _DeviceTransport(transport, tears=moment == "torn")
    with httpx.Client(transport=line, base_url=address, trust_env=False, timeout=30.0) as client:
        try:
            outcome = take_part(
                opened,
                client,
                policy,
                issuer,
                history_at=config.history_at,
                draws=draws,
                retry=config.retry,
                now=now,
                on_step=step,
            )
        except DeviceVanished:
            return DeviceOutcome(device, "vanished", moment or "")
        except OwnshelfError as error:
            return DeviceOutcome(device, "refused", str(error))
    return _fate(device, outcome)


def next_task(client: httpx.Client, after: str | None, wait_s: float) -> Task | None:
    """Wait for the first task that is not `after`'s (a task_id), unchecked; None when none is offered within wait_s."""
    give_up = clock.monotonic() + wait_s
    while True:
        task = fetch_task(client, RetryPolicy(spread_s=0.0, attempts=4), random.Random())  # nosec B311 # spreads waits
        if isinstance(task, Task) and task.task_id != after:
            return task
        if clock.monotonic() >= give_up:
            return None
        clock.sleep(POLL_S)


def vanishing_moment(config: FleetConfig, device: int, play: int) -> str | None:
    """Draw where a device vanishes in its round, None if it does not. A function of the seed."""
    chance = _rng(config.seed, _VANISH, device, play)
    return MOMENTS[int(chance.integers(len(MOMENTS)))] if chance.random() < config.dropout else None


def measuring_coin(config: FleetConfig, device: int) -> bool:
    """Throw the coin of a device that only measures. A function of the seed."""
    return bool(_rng(config.seed, _COIN, device).random() < config.holdout_share)


def judging_coin(config: FleetConfig, device: int) -> bool:
    """Throw the coin of a device that judges the mix, if it does not only measure. A function of the seed."""
    others = max(JUDGING_SHARE - config.holdout_share, 0.0) / max(1.0 - config.holdout_share, 1e-9)
    return bool(_rng(config.seed, _JUDGE, device).random() < others)


def drawn_block(seed: int, task: Task, device: int) -> int:
    """Draw a simulated device's block. A function of the seed, which a shopper's own must not be."""
    return int(_rng(seed, _BLOCK, task.round, device).integers(len(task.blocks)))


def rounding_of(seed: int, play: int, device: int) -> np.random.Generator:
    """Make what a simulated device rounds its report with."""
    return _rng(seed, _ROUNDING, play, device)


def _rng(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)


def _fate(device: int, outcome: Outcome) -> DeviceOutcome:
    return DeviceOutcome(device, outcome.status, outcome.detail, outcome.report_bytes, outcome.come_back_at)


def _home(folder: Path, device: int) -> Path:
    return folder / f"{device:07d}"


class _DeviceTransport(httpx.BaseTransport):
    """A device's line over the fleet's shared connections; tears: it breaks with half of the report sent."""

    def __init__(self, transport: httpx.BaseTransport, *, tears: bool) -> None:
        self._transport, self._tears = transport, tears

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._tears and request.url.path == REPORTS:
            request = httpx.Request(
                request.method, request.url, headers=request.headers, stream=_BrokenStream(request.read())
            )
        return self._transport.handle_request(request)

    def close(self) -> None:
        """Leave the shared connections open."""


class _BrokenStream(httpx.SyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield self._body[: len(self._body) // 2]
        raise DeviceVanished
