"""Keeps a custodian running in a process of its own, however often it is killed; checks its books at every death."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import httpx
import sqlalchemy as sa

from federation.custodian.schema import ANSWERS, COUNTED, LEDGER, LOG, ROUNDS
from federation.learning.privacy_plan import PrivacyPlan
from federation.private_sum.exchange import Answer
from federation.private_sum.sealing import frame_fields
from federation.protocol.messages import Task
from federation.protocol.transparency import task_entry
from federation.service.custodian_client import CustodianClient
from federation.storage.database import open_engine, reading, sqlite_url
from federation.storage.key_files import load_or_make_key
from tests.federation.custodian.a_custodian import SERVICE

ROOT = Path(__file__).parents[3]
START_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Recovery:
    """How long a party took from its death until it answered again.

    wall_s: seconds as they passed, also those in which a busy machine let it wait; to be shown. cpu_s: its own
    processor seconds; to be bounded.
    """

    wall_s: float
    cpu_s: float


class Nursery:
    """A program that forks custodians, or whatever else it was made for."""

    def __init__(self, program: str = "tests.federation.custodian.killed_custodian") -> None:
        command = [sys.executable, "-m", program]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **command: object) -> int:
        """The answer to one command."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self) -> None:
        """No more custodians."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(START_TIMEOUT_S)


class Keeper:
    """Starts a custodian, starts it again when it dies of SIGKILL, and tells what happened.

    deaths: how often it died; its books were checked each time.
    """

    def __init__(self, nursery: Nursery, folder: Path, plan: PrivacyPlan, database: str | None = None) -> None:
        self.nursery = nursery
        self.folder, self.database = folder / "custodian", database
        self.deaths = 0
        self.log = folder / "custodian.log"
        (folder / "plan.json").write_text(plan.to_json())
        self.public = load_or_make_key(self.folder / "signing.key").public
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.arguments = [
            *(str(self.folder), "--plan", str(folder / "plan.json"), "--service-key", SERVICE.public.hex()),
            *("--port", str(self.port)),
            *(() if database is None else ("--database", database)),
        ]
        self._faults: list[BaseException] = []
        self._ended, self._changing, self._process = threading.Event(), threading.Lock(), -1

    def start(self, point: str = "", nth: int = 1) -> None:
        """The first custodian, which kills itself when it reaches the point for the nth time, or never."""
        self._fork(point, nth)
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    def kill(self, how: int = signal.SIGKILL) -> None:
        """Kill it now, if it lives; it is started again. (A process's descriptor never comes to mean another one.)"""
        with self._changing, contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, how)

    def kill_and_wait(self) -> Recovery:
        """Kill it and wait until it answers again."""
        began, before = time.monotonic(), self.deaths
        self.kill()
        while self.deaths == before:
            assert not self._faults, self._faults
            time.sleep(0.005)
        wait_for(self.url)
        return Recovery(time.monotonic() - began, cpu_s(self.pid))

    def client(self) -> CustodianClient:
        """A client that does not give up."""
        return CustodianClient(self.url, SERVICE, self.public, patience_s=START_TIMEOUT_S)

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended.set()
        self.kill(signal.SIGTERM)
        self._watcher.join(START_TIMEOUT_S)
        os.close(self._process)
        if self._faults:
            raise self._faults[0] from error

    def _fork(self, point: str = "", nth: int = 1) -> None:
        with self._changing:
            if self._process >= 0:
                os.close(self._process)
            self.pid = self.nursery.ask(arguments=self.arguments, point=point, nth=nth, log=str(self.log))
            self._process = os.pidfd_open(self.pid)

    def _watch(self) -> None:
        try:
            while self.nursery.ask(wait=self.pid) == -signal.SIGKILL and not self._ended.is_set():
                check_books(self.folder, self.database)
                self._fork()
                self.deaths += 1
        except BaseException as fault:  # noqa: BLE001  # raised again where the test is
            self._faults.append(fault)


def check_books(folder: Path, database: str | None = None) -> None:
    """What must hold whenever it was killed: answer, ledger and counted ids are all there, or none of them."""
    engine = open_engine(sqlite_url(folder / "custodian.sqlite") if database is None else database)
    try:
        with reading(engine) as connection:
            if not sa.inspect(connection).has_table(LEDGER.name):
                return
            answers = connection.execute(sa.select(ANSWERS)).all()
            ledger = {(row.task_hash, row.block): row for row in connection.execute(sa.select(LEDGER))}
            counted = {row.report_id: row.task_hash for row in connection.execute(sa.select(COUNTED))}
            rounds = {row.task_hash: row for row in connection.execute(sa.select(ROUNDS))}
            log = connection.execute(sa.select(LOG.c.position, LOG.c.entry).order_by(LOG.c.position)).all()
    finally:
        engine.dispose()
    ids = [(id_, row.task_hash) for row in answers for id_ in Answer.from_bytes(row.answer).counted]
    assert len(ids) == len(counted) == sum(row.reports for row in ledger.values())
    assert dict(ids) == counted
    assert set(ledger) == {(row.task_hash, row.block) for row in answers}
    signed = [task_entry(Task.from_bytes(row.task)) for row in rounds.values()]
    assert [row.position for row in log] == list(range(len(log)))
    assert set(signed) == {row.entry for row in log if row.entry.startswith(frame_fields(b"task"))}
    for task_hash, row in rounds.items():
        assert row.answered == sum(of == task_hash for of, _ in ledger)
        ended = row.closed_at is not None or row.answered == len(Task.from_bytes(row.task).blocks)
        assert ended or (folder / "round-keys" / task_hash.hex()).exists()  # the key dies with the last answer
    charged = sum(row.answered > 0 for row in rounds.values())
    assert max((row.rounds for row in ledger.values()), default=0) == charged


def wait_for(url: str) -> None:
    """Until the custodian answers."""
    give_up = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up:
        try:
            httpx.get(url + "/healthz", timeout=START_TIMEOUT_S).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"{url}: did not answer within {START_TIMEOUT_S} s")


def waited_s(pid: int) -> float:
    """Seconds that a process's main thread was ready to run and had no processor: load of others, not its own."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has used, all its threads together."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that was free just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
