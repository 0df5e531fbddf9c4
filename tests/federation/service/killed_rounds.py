"""Live rounds whose service and custodian are processes that get killed, and the books that must hold all the same."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import httpx
import numpy as np
import sqlalchemy as sa

from data.errors import FederationError
from federation.custodian.schema import ROUNDS
from federation.device.report import make_report
from federation.learning.privacy_plan import PrivacyPlan
from federation.private_sum.fixed_point import encode, to_signed
from federation.private_sum.randomness import seeded_bytes
from federation.protocol.messages import Task
from federation.service.custodian_client import CustodianClient
from federation.service.round_schema import RoundState, reports
from federation.service.round_store import CoordinatorStore
from federation.service.tokens.issuer import Issuer
from federation.storage.database import open_engine, reading, sqlite_url
from serving.process.federation_file import GATEWAY_KEY, SERVICE_KEY, FederationFile, gateway_key
from tests.federation.custodian.a_custodian import SERVICE
from tests.federation.custodian.custodian_keeper import (
    ROOT,
    Keeper,
    Nursery,
    Recovery,
    cpu_s,
    free_port,
    wait_for,
    waited_s,
)
from tests.federation.service.a_lineage import CLIPS, a_token, a_vector
from tests.shop import make_bundle

PLAN = PrivacyPlan.off(CLIPS, max_participations=5, min_reports=3, max_reports=1_000, max_rounds=100_000)
SETTINGS = {
    "rounds": 100_000,
    "block_items": 25,
    "goal_reports": 8,
    "window_s": 3_600,
    "pause_s": 0,
    "keep_sums": 1_000,
}
OCTETS = {"content-type": "application/octet-stream"}
GIVE_UP_S = 600.0

Found = TypeVar("Found")


@dataclass(frozen=True)
class Sent:
    """One device's report, and what became of it: acknowledged, or refused for good."""

    task_id: str
    report_id: bytes
    block: int
    words: np.ndarray
    acknowledged: bool


@dataclass(frozen=True)
class Killings:
    """How often each party was killed, how it recovered each time, and what was done meanwhile."""

    kills: dict[str, int]
    recoveries: dict[str, list[Recovery]]
    rounds: int
    acknowledged: int


class ServiceKeeper(Keeper):
    """The same care for a service: started, and started again when it is killed."""

    def __init__(
        self,
        nursery: Nursery,
        folder: Path,
        custodian: Keeper,
        rounds: dict[str, int],
        store: str = "",
        name: str = "service",
    ) -> None:
        """store: more lines of the federation file's store. name: of this host, and of its folder."""
        self.nursery, self.folder, self.database, self.deaths = nursery, folder / name, None, 0
        self.log, self.port = folder / f"{name}.log", free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._faults: list[BaseException] = []
        self._ended, self._changing, self._process = threading.Event(), threading.Lock(), -1
        self.folder.mkdir()
        (self.folder / SERVICE_KEY).write_text(SERVICE.private.hex())
        gateway_key(folder)
        shutil.copy(folder / GATEWAY_KEY, self.folder / GATEWAY_KEY)
        self.file = folder / f"{name}.toml"
        self.file.write_text(
            f'custodian = {{url = "{custodian.url}", public_key = "{custodian.public.hex()}"}}\n'
            f'privacy = {{plan = "plan.json"}}\n[store]\nfolder = "{name}"\n{store}\n[rounds]\n'
            + "".join(f"{name} = {value}\n" for name, value in rounds.items())
        )
        if not (folder / "first").exists():
            make_bundle(folder / "first")
        self.arguments = [
            *(str(folder / "first"), "--federation", str(self.file)),
            *("--port", str(self.port)),
        ]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process >= 0:
            super().__exit__(kind, error, at)

    def start_cold(self) -> subprocess.Popen[bytes]:
        """A process from nothing, interpreter and imports included, which nobody starts again."""
        command = [sys.executable, "-m", "serving.cli.main", "serve", *self.arguments]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


class AnyHost(httpx.HTTPTransport):
    """A balancer that knows nothing of its hosts: each request goes to one of them, dead or alive."""

    def __init__(self, hosts: Sequence[ServiceKeeper]) -> None:
        super().__init__()
        self._ports = [host.port for host in hosts]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(port=random.choice(self._ports))
        return super().handle_request(request)


@dataclass
class World:
    """Both parties, and devices that send until they are answered. sent: everything that was.

    hosts: of the service; a request goes to any of them.
    """

    folder: Path
    custodian: Keeper
    hosts: list[ServiceKeeper]
    sent: list[Sent] = field(default_factory=list)
    _serials: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        line = CustodianClient(self.custodian.url, SERVICE, self.custodian.public, patience_s=GIVE_UP_S)
        engine = self.store.engine
        self.issuer, self._opened = Issuer(engine, line), (line.shut, engine.dispose)

    def shut(self) -> None:
        """Let go of what signs tokens here."""
        for let_go in self._opened:
            let_go()

    @property
    def service(self) -> ServiceKeeper:
        """The first host."""
        return self.hosts[0]

    @property
    def store(self) -> CoordinatorStore:
        return FederationFile.read(self.service.file).store()

    def task(self, http: httpx.Client) -> Task:
        """The open round's task, as soon as there is one."""

        def ask() -> Task | None:
            answer = http.get("/v1/federation/task")
            return Task.from_bytes(answer.content) if answer.status_code == 200 else None

        return patiently(ask)

    def send(self, http: httpx.Client, task: Task, block: int) -> Sent:
        """One device: the same bytes until they are acknowledged, or refused for good."""
        serial = next(self._serials)
        vector = a_vector(task, serial)
        token = patiently(lambda: self.token(task))
        report = make_report(task, block, vector, token, np.random.default_rng(serial))
        content = report.to_bytes()

        def post() -> bool | None:
            answer = http.post("/v1/federation/reports", content=content, headers=OCTETS)
            assert answer.status_code in (200, 201, 409, 410, 503), answer.text
            return None if answer.status_code == 503 else answer.status_code < 300

        acknowledged = patiently(post)
        words = encode(task.plan, vector, seeded_bytes(np.random.default_rng(serial)))
        sent = Sent(task.task_id, report.report_id, block, to_signed(words), acknowledged)
        self.sent.append(sent)
        return sent

    def token(self, task: Task) -> bytes | None:
        """A fresh token; None while the database does not answer."""
        try:
            return a_token(self.issuer, task)
        except sa.exc.SQLAlchemyError:
            return None

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.service.url, timeout=GIVE_UP_S, transport=AnyHost(self.hosts))

    def until(self, holds: Callable[[CoordinatorStore], bool]) -> None:
        """Wait until something holds of the store."""
        store = self.store
        patiently(lambda: holds(store) or None)
        store.engine.dispose()

    def published(self) -> int:
        """Rounds published so far."""
        store = self.store
        n = store.states().get(RoundState.PUBLISHED, 0)
        store.engine.dispose()
        return n

    def check_books(self) -> dict[str, int]:
        """No acknowledged report lost, none counted twice, none counted that was refused, no sum without its entry."""
        store = self.store
        kept: dict[str, dict[bytes, int]] = defaultdict(dict)
        with reading(store.engine) as connection:
            for row in connection.execute(sa.select(reports.c.task_id, reports.c.report_id, reports.c.block)):
                kept[row.task_id][row.report_id] = row.block
        known = {one.report_id: one for one in self.sent}
        for one in self.sent:
            assert (one.report_id in kept[one.task_id]) == one.acknowledged, one
        answered = answered_blocks(self.custodian.folder)
        summed = 0
        for round_ in store.rounds(1_000_000):
            sums = store.sums(round_.task_id)
            assert round_.failure in (None, ""), round_.failure
            if round_.state not in (RoundState.SUMMED, RoundState.STEPPED, RoundState.PUBLISHED):
                continue
            assert answered[round_.task_id] >= round_.summed_blocks
            for block, found in sums.items():
                ids = [report_id for report_id, of in kept[round_.task_id].items() if of == block]
                assert (found.counted, found.broken) == (len(ids), 0)
                assert found.words is not None
                expected = np.sum([known[report_id].words for report_id in ids], axis=0, dtype=np.int64)
                np.testing.assert_array_equal(found.words, expected)
            summed += 1
        store.engine.dispose()
        return {"rounds": summed, "acknowledged": sum(one.acknowledged for one in self.sent)}


@contextmanager
def a_world(folder: Path, custodians: Nursery, services: Nursery, **rounds: int) -> Iterator[World]:
    """Both parties, not yet started: `.custodian.start()`, `.service.start(point)`."""
    with (
        Keeper(custodians, folder, PLAN) as custodian,
        ServiceKeeper(services, folder, custodian, SETTINGS | rounds) as service,
    ):
        world = World(folder, custodian, [service])
        try:
            yield world
        finally:
            world.shut()


@contextmanager
def hosts_of_one_store(
    folder: Path, custodians: Nursery, services: Sequence[Nursery], store: str, **rounds: int
) -> Iterator[World]:
    """One custodian, and as many hosts of the service as nurseries, each with a folder of its own; not yet started.

    store: the lines of the federation file that name what the hosts share.
    """
    with ExitStack() as opened:
        custodian = opened.enter_context(Keeper(custodians, folder, PLAN))
        hosts = [
            opened.enter_context(ServiceKeeper(nursery, folder, custodian, SETTINGS | rounds, store, f"host-{number}"))
            for number, nursery in enumerate(services)
        ]
        world = World(folder, custodian, hosts)
        opened.callback(world.shut)
        yield world


def cold_recovery(world: World) -> Recovery:
    """Kill a service in the middle of a round, and start another from nothing, which answers and goes on.

    Time in which its main thread was ready to run and the machine busy with others does not count.
    """
    first = world.service.start_cold()
    wait_for(world.service.url)
    with world.client() as http:
        task = world.task(http)
        world.send(http, task, 0)
    first.kill()
    first.wait()
    began = time.monotonic()
    second = world.service.start_cold()
    try:
        wait_for(world.service.url)
        took = Recovery(time.monotonic() - began - waited_s(second.pid), cpu_s(second.pid))
        with world.client() as http:
            assert world.task(http) == task
            world.send(http, task, 1)
    finally:
        second.terminate()
        second.wait()
    world.check_books()
    return took


def keep_sending(world: World, stop: threading.Event, faults: list[BaseException], seed: int) -> None:
    """A stream of devices, one after the other, each to a random block."""
    rng = random.Random(seed)
    try:
        with world.client() as http:
            while not stop.is_set():
                task = world.task(http)
                world.send(http, task, rng.randrange(len(task.blocks)))
    except BaseException as fault:  # noqa: BLE001  # raised again where the test is
        faults.append(fault)


def kill_at_random(world: World, kills: int, seed: int, streams: int = 3) -> Killings:
    """Rounds go on while service and custodian are killed so often, at random moments."""
    rng, stop, faults = random.Random(seed), threading.Event(), list[BaseException]()
    world.custodian.start()
    world.service.start()
    wait_for(world.service.url)
    threads = [threading.Thread(target=keep_sending, args=(world, stop, faults, stream)) for stream in range(streams)]
    for thread in threads:
        thread.start()
    recoveries: dict[str, list[Recovery]] = {"service": [], "custodian": []}
    try:
        for _ in range(kills):
            time.sleep(rng.choice((rng.uniform(0.0, 0.3), rng.uniform(0.3, 1.5))))
            victim = rng.choice(("service", "service", "custodian"))
            recoveries[victim].append(getattr(world, victim).kill_and_wait())
            assert not faults, faults
        before = world.published()
        world.until(lambda store: store.states().get(RoundState.PUBLISHED, 0) > before + 1)
    finally:
        stop.set()
        for thread in threads:
            thread.join(GIVE_UP_S)
    assert not faults, faults
    found = world.check_books()
    return Killings(
        {victim: len(times) for victim, times in recoveries.items()},
        recoveries,
        found["rounds"],
        found["acknowledged"],
    )


def patiently(ask: Callable[[], Found | None]) -> Found:
    """What ask finds, asked again while there is nothing or nobody to ask."""
    give_up = time.monotonic() + GIVE_UP_S
    while time.monotonic() < give_up:
        try:
            found = ask()
        except (httpx.TransportError, FederationError):
            found = None
        if found is not None:
            return found
        time.sleep(0.02)
    raise TimeoutError(f"nothing within {GIVE_UP_S} s")


def answered_blocks(folder: Path) -> dict[str, int]:
    """Blocks that the custodian's ledger has been charged for, by task."""
    engine = open_engine(sqlite_url(folder / "custodian.sqlite"))
    with reading(engine) as connection:
        rows = connection.execute(sa.select(ROUNDS.c.task_id, ROUNDS.c.answered)).all()
    engine.dispose()
    return {row.task_id: row.answered for row in rows}
