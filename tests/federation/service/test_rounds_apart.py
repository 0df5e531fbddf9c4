"""An error of one round never stops, fails or delays another: of this app, of another app, or of training."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from federation.custodian.custodian import Custodian
from federation.device.report import make_report
from federation.learning.experiment_sum import PART
from federation.private_sum.exchange import Answer, Batch
from federation.protocol.messages import Task
from federation.protocol.report_head import MAX_HEAD_BYTES, read_head
from federation.service import bundle_lineage, coordinator
from federation.service.custodian_client import CustodianClient
from federation.service.experiment_store import ExperimentStore
from federation.service.experiment_windows import ExperimentRounds
from federation.service.intake.share_files import ShareFolder
from federation.service.round_loop import RoundLoop
from federation.service.round_machine import SUM_WITHIN_S
from federation.service.round_schema import RoundState
from federation.service.round_store import CoordinatorStore
from federation.service.tokens.issuer import Issuer
from federation.storage.database import open_engine, sqlite_url
from recsys.experiments.analysis.layout import layout_of
from serving.http.custodian import custodian_app
from tests.federation.custodian.a_custodian import SERVICE, in_process
from tests.federation.service.a_lineage import NOW, PLAN, Line, a_line, a_token, an_issuer, stop
from tests.federation.service.test_experiment_windows import DAY, EXPERIMENT, TERMS, VALUES
from tests.recsys.experiments.an_experiment import START

HOUR = 3_600
APPS = ("shop", "other")


class Timeout:
    """An answer that never comes."""


@dataclass
class Faulty(httpx.BaseTransport):
    """The line to a custodian, on which batches of some tasks are answered with a fault. asked: batches, by task."""

    custodian: httpx.BaseTransport
    fault: httpx.Response | Timeout | None = None
    tasks: set[bytes] = field(default_factory=set)
    asked: dict[bytes, int] = field(default_factory=dict)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        if request.url.path == "/v1/batches":
            task_hash = body[4:36]
            self.asked[task_hash] = self.asked.get(task_hash, 0) + 1
            if task_hash in self.tasks:
                if isinstance(self.fault, Timeout):
                    raise httpx.ReadTimeout("no answer")
                if self.fault is not None:
                    return httpx.Response(self.fault.status_code, content=self.fault.content, request=request)
        return self.custodian.handle_request(request)


@dataclass
class Shops:
    """Two apps, each with one experiment, on one service; the custodian is asked over signed HTTP."""

    rounds: ExperimentRounds
    line: Faulty
    clock: SimpleNamespace
    issuer: Issuer

    def at(self, moment: float) -> None:
        """Make every transition that is due."""
        self.clock.now = int(moment)
        while self.rounds.advance(int(moment)):
            pass

    def task(self, app: str) -> Task:
        task = self.rounds.task(app, EXPERIMENT.id)
        assert task is not None
        return task

    def fill(self, app: str, n: int = 4) -> None:
        task, layout = self.task(app), layout_of(EXPERIMENT)
        risen = layout.risen(VALUES, np.full((2, len(layout.slots)), 0.5))
        vector = {PART: layout.contribution("personal", 0, risen).astype(np.float64)}
        for _ in range(n):
            content = make_report(task, 0, vector, a_token(self.issuer, task, app)).to_bytes()
            head = read_head(content[:MAX_HEAD_BYTES])
            right = self.rounds.intake.screen(head, self.clock.now)
            assert self.rounds.intake.take(head, content, right).result() == "accepted"

    def state(self, app: str) -> RoundState:
        return self.rounds.store.windows.of(app, EXPERIMENT.id)[0].state

    def closed(self) -> int:
        """Open the first window of both apps, fill it, let its time pass; the moment after."""
        self.at(START + DAY)
        for app in APPS:
            self.fill(app)
        return self.task("shop").deadline + 1


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    clock = SimpleNamespace(now=START)
    monkeypatch.setattr(custodian_app, "time", SimpleNamespace(time=lambda: clock.now))
    custodian = Custodian.open(tmp_path / "custodian", PLAN, START, None, TERMS)
    line = Faulty(in_process(custodian))
    client = CustodianClient(
        "http://localhost", SERVICE, custodian.key.public, line, patience_s=0.0, clock=lambda: clock.now
    )
    store = ExperimentStore(open_engine(sqlite_url(tmp_path / "rounds.sqlite")))
    for app in APPS:
        store.put(app, EXPERIMENT, START)
        store.start(app, EXPERIMENT.id, START)
    key = custodian.key.public
    issuer = an_issuer(CoordinatorStore(store.engine).engine, client)
    rounds = ExperimentRounds(store, client, ShareFolder(tmp_path / "shares"), issuer, custodian_key=key)
    made = Shops(rounds, line, clock, issuer)
    yield made
    made.rounds.stop()
    store.engine.dispose()
    client.shut()
    custodian.shut()


FAULTS = {
    "500": httpx.Response(500),
    "413": httpx.Response(413),
    "no answer at all": httpx.Response(200, content=b"OSA1 and nothing more"),
    "time-out": Timeout(),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_batch_without_an_answer_fails_its_own_window_and_no_other(
    shops: Shops, fault: httpx.Response | Timeout
) -> None:
    late = shops.closed()
    faulty = shops.task("other").hash
    shops.line.fault, shops.line.tasks = fault, {faulty}
    shops.at(late)
    assert (shops.state("shop"), shops.state("other")) == (RoundState.SUMMED, RoundState.CLOSED)
    for moment in range(late, late + SUM_WITHIN_S + HOUR, HOUR):
        shops.at(moment)
    failed = shops.rounds.store.windows.of("other", EXPERIMENT.id)[0]
    assert (failed.state, failed.failure) == (RoundState.FAILED, "was not summed in time")
    assert shops.rounds.store.windows.failed_numbers("shop") == {}
    assert 10 < shops.line.asked[faulty] < 60
    shops.fill("shop")  # the next window is open for both
    shops.fill("other")


def test_a_window_is_summed_as_soon_as_its_batch_is_answered(shops: Shops) -> None:
    late = shops.closed()
    shops.line.fault, shops.line.tasks = httpx.Response(500), {shops.task("other").hash}
    for moment in range(late, late + 100):
        shops.at(moment)
    (n,) = [shops.line.asked[task_hash] for task_hash in shops.line.tasks]
    assert n == 7  # after 0, 1, 3, 7, 15, 31 and 63 seconds
    shops.line.tasks = set()
    shops.at(late + 126)
    assert shops.state("other") is RoundState.CLOSED
    shops.at(late + 127)
    window = shops.rounds.store.windows.of("other", EXPERIMENT.id)[0]
    assert (window.state, window.counted) == (RoundState.SUMMED, 4)


def test_a_full_disk_at_one_window_stops_no_other(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    late, windows = shops.closed(), shops.rounds.store.windows
    full, keep_sum = shops.task("other").task_id, windows.keep_sum

    def keep(task_id: str, *rest: object) -> None:
        if task_id == full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        keep_sum(task_id, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(windows, "keep_sum", keep)
    shops.at(late)
    assert (shops.state("shop"), shops.state("other")) == (RoundState.SUMMED, RoundState.CLOSED)
    monkeypatch.setattr(windows, "keep_sum", keep_sum)
    shops.at(late + 1)
    assert shops.state("other") is RoundState.SUMMED


def test_a_custodian_that_signs_nothing_for_one_app_opens_the_window_of_the_other(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, signed = shops.rounds.machine.custodian, list[str]()
    sign = client.open_round

    def refuse_the_first(draft: Task) -> Task:
        if not signed or signed == [draft.task_id]:
            signed[:] = [draft.task_id]
            raise httpx.ReadTimeout("no answer")
        return sign(draft)

    monkeypatch.setattr(client, "open_round", refuse_the_first)
    shops.at(START + DAY)
    states = sorted(shops.state(app) for app in APPS)
    assert states == [RoundState.DRAFTED, RoundState.OPEN]


def test_shares_that_cannot_be_destroyed_stop_no_window(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    late, folder = shops.closed(), shops.rounds.machine._shares

    def fails(task_id: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(folder, "destroy", fails)
    for moment in range(late, late + 3):
        shops.at(moment)
    assert [shops.state(app) for app in APPS] == [RoundState.SUMMED] * 2
    assert len(folder.rounds()) == 2
    monkeypatch.undo()
    shops.at(late + 100)
    assert folder.rounds() == set()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ESTALE])
def test_a_share_that_cannot_be_read_now_is_read_later(
    shops: Shops, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    late, failures, pread = shops.closed(), [2], os.pread

    def fails_twice(*place: int) -> bytes:
        if failures[0]:
            failures[0] -= 1
            raise OSError(number, os.strerror(number))
        return pread(*place)

    monkeypatch.setattr(os, "pread", fails_twice)
    shops.at(late)
    assert [shops.state(app) for app in APPS] == [RoundState.CLOSED] * 2
    shops.at(late + 1)
    windows = [shops.rounds.store.windows.of(app, EXPERIMENT.id)[0] for app in APPS]
    assert [(window.state, window.counted) for window in windows] == [(RoundState.SUMMED, 4)] * 2


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = a_line(tmp_path / "training")
    yield made
    stop(made)


def test_a_block_without_an_answer_costs_no_other_block(line: Line) -> None:
    task = line.open()
    line.fill(task, 4)
    answer = line.custodian.answer

    class Answers:
        open_round, close = line.custodian.open_round, line.custodian.close
        log_proof, log_clusters = line.custodian.log_proof, line.custodian.log_clusters
        no_answer = line.custodian.no_answer

        def answer(self, batch: Batch) -> Answer:
            if batch.block == 0:
                raise httpx.ReadTimeout("no answer")
            return answer(batch)

    line.coordinator.machine.custodian = Answers()
    for moment in range(NOW, NOW + 9):
        line.settle(moment)
    assert list(line.coordinator.store.sums(task.task_id)) == [1]
    line.custodian.now = task.deadline + SUM_WITHIN_S
    line.settle(task.deadline + SUM_WITHIN_S + 1)
    newest = line.coordinator.store.newest()
    assert newest is not None
    assert (newest.state, newest.counted, newest.record["blocks"]) == (RoundState.PUBLISHED, 4, 1)


def fails_with(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("point", ["item_step", "save_bundle"])
def test_a_training_round_that_cannot_be_finished_waits_and_is_finished_later(
    line: Line, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    module = coordinator if point == "item_step" else bundle_lineage
    with monkeypatch.context() as patch:
        patch.setattr(module, point, fails_with(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
        line.fill(line.open(), 4)
        for moment in range(NOW, NOW + 3 * SUM_WITHIN_S, HOUR):
            line.settle(moment)
        states = [round_.state for round_ in line.coordinator.store.rounds(9)]
        assert states == [RoundState.SUMMED if point == "item_step" else RoundState.STEPPED]  # and no second round
    line.settle(NOW + 3 * SUM_WITHIN_S)
    assert line.coordinator.store.states()[RoundState.PUBLISHED] == 1


@dataclass
class Counted:
    """Windows, counting how often they are advanced; told when that was twice."""

    fails: bool = False
    n: int = 0
    twice: threading.Event = field(default_factory=threading.Event)

    def refresh(self) -> None:
        pass

    def busy(self) -> bool:
        return False

    def advance(self, now: int) -> bool:
        self.n += 1
        if self.n == 2:
            self.twice.set()
        if self.fails:
            raise ValueError("these windows cannot be advanced")
        return False


def test_experiments_go_on_beside_training_that_fails(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a round of it fails or all of it."""
    for failing in (
        lambda: monkeypatch.setattr(coordinator, "item_step", fails_with(ValueError("not of these shapes"))),
        lambda: monkeypatch.setattr(line.coordinator, "advance", fails_with(ValueError("not at all"))),
        lambda: monkeypatch.setattr(line.coordinator, "refresh", fails_with(ValueError("nor this"))),
    ):
        if line.coordinator.store.newest() is None:
            line.fill(line.open(), 4)
        failing()
        windows = Counted()
        loop = RoundLoop(line.coordinator, lambda _: None, idle_s=0.01, experiments=windows)  # type: ignore[arg-type]
        loop.start()
        assert windows.twice.wait(60)
        loop.stop()


def test_training_goes_on_beside_experiments_that_fail(tmp_path: Path) -> None:
    line = a_line(tmp_path, now=int(time.time()))
    opened, windows = threading.Event(), Counted(fails=True)

    def serve(_: object) -> None:
        if line.coordinator.task() is not None:
            opened.set()
        raise OSError(errno.EIO, "a bundle that cannot be read")

    loop = RoundLoop(line.coordinator, serve, idle_s=0.01, experiments=windows)  # type: ignore[arg-type]
    loop.start()
    assert opened.wait(60)
    loop.stop()
    stop(line)
