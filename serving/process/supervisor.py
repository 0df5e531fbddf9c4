"""The process above several workers: it replaces those that die or hang, and all of them in turn on SIGHUP.

How long a worker may take to start is measured: a bound that fits a small catalogue kills the workers of a large one
for ever. Workers end when this process does, however it ended.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from multiprocessing import parent_process

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Process

from data.errors import ServingError
from serving.process.draining_server import RETIRE, DrainingServer

log = logging.getLogger("ownshelf.serving")

TICK_S = 0.2
FIRST_START_S = 1_800.0
"""For the first workers, before it is known how long they take."""
LEAST_START_S, START_FACTOR = 60.0, 10.0
"""A later worker may take so many times as long as the slowest before it: the machine may be busier then."""
SILENT_S = 60.0
"""A worker whose threads do not run for so long hangs. Busy ones are late by seconds."""
LAST_WAIT_S = 60.0
"""For a worker that was told to end, beyond the time that it was given for that."""
ORPHAN_LOOK_S = 0.5


class Worker(Process):
    """One worker process, as the supervisor sees it; and in itself, the server that it runs."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], drain_s: float) -> None:
        super().__init__(config, sockets)
        self._drain_s = drain_s
        self.started_at = self.heard_at = 0.0
        self.ready_after: float | None = None
        self._asked = False

    @property
    def server(self) -> uvicorn.Server:
        """The server, in the worker's own process."""
        if self._server is None:
            self._server = DrainingServer(self.config, self._drain_s)
        return self._server

    def start(self) -> None:
        """Start the process."""
        super().start()
        self.started_at = self.heard_at = time.monotonic()

    def look(self) -> None:
        """Ask whether it runs and is ready, and hear what it said to the last question; never waits."""
        try:
            if self._asked and self.parent_conn.poll(0):
                started, self._asked = self.parent_conn.recv(), False
                self.heard_at = time.monotonic()
                if started and self.ready_after is None:
                    self.ready_after = self.heard_at - self.started_at
            if not self._asked:
                self.parent_conn.send(b"ping")
                self._asked = True
        except (OSError, EOFError):
            return  # it has died, or is about to

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        if self.process.exitcode is None and self.pid is not None:
            os.kill(self.pid, number)


class Supervisor:
    """Keeps so many workers running until SIGTERM or SIGINT."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], drain_s: float) -> None:
        self._config, self._sockets, self._drain_s = config, sockets, drain_s
        self._workers: list[Worker] = []
        self._successor: Worker | None = None
        self._to_replace: list[Worker] = []
        self._retired: list[Worker] = []
        self._longest_start_s: float | None = None
        self._stopping = threading.Event()
        self._renewing = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        signal.signal(signal.SIGHUP, self._renew)

    def run(self) -> None:
        """Run until told to stop. Raises ServingError when workers cannot start."""
        self._workers = [self._new() for _ in range(self._config.workers)]
        try:
            while not self._stopping.wait(TICK_S):
                self._keep_alive()
                self._replace()
        finally:
            everyone = [*self._workers, *self._retired, *([self._successor] if self._successor else [])]
            for worker in everyone:
                worker.tell(signal.SIGTERM)
            give_up = time.monotonic() + self._drain_s + (self._config.timeout_graceful_shutdown or 0) + LAST_WAIT_S
            for worker in everyone:
                worker.process.join(max(give_up - time.monotonic(), 0.0))
                if worker.process.exitcode is None:  # hangs: nobody waits for ever
                    worker.kill()
                    worker.join()

    def _new(self) -> Worker:
        worker = Worker(self._config, self._sockets, self._drain_s)
        worker.start()
        return worker

    def _renew(self, *_: object) -> None:
        self._renewing = True

    def _start_bound_s(self) -> float:
        if self._longest_start_s is None:
            return FIRST_START_S
        return max(LEAST_START_S, START_FACTOR * self._longest_start_s)

    def _is_lost(self, worker: Worker) -> bool:
        """Look after a worker: whether it has died or hangs. A start may hold all its threads up."""
        worker.look()
        if worker.ready_after is not None:
            self._longest_start_s = max(self._longest_start_s or 0.0, worker.ready_after)
        if worker.process.exitcode is not None:
            return True
        now = time.monotonic()
        if worker.ready_after is None:
            return now - worker.started_at > self._start_bound_s()
        return now - worker.heard_at > SILENT_S

    def _keep_alive(self) -> None:
        for place, worker in enumerate(self._workers):
            if not self._is_lost(worker):
                continue
            worker.kill()
            worker.join()
            if worker.exitcode == STARTUP_FAILURE:
                raise ServingError("workers: cannot start; `ownshelf serve --check` may say why")
            log.warning("worker %s: ended (%s), another takes its place", worker.pid, worker.exitcode)
            self._to_replace = [other for other in self._to_replace if other is not worker]
            self._workers[place] = self._new()
        for worker in [worker for worker in self._retired if worker.process.exitcode is not None]:
            worker.join()
            self._retired.remove(worker)

    def _replace(self) -> None:
        """Go on with replacing all workers: one successor at a time, whose predecessor ends when it is ready."""
        if self._renewing:
            self._renewing = False
            self._to_replace = list(self._workers)
        if self._successor is None and self._to_replace:
            self._successor = self._new()
        if self._successor is None:
            return
        if self._is_lost(self._successor):
            log.error("worker %s: was not ready in time, the others stay as they are", self._successor.pid)
            self._successor.kill()
            self._successor.join()
            self._successor, self._to_replace = None, []
        elif self._successor.ready_after is not None:
            if self._to_replace:
                old = self._to_replace.pop(0)
                self._workers[self._workers.index(old)] = self._successor
                old.tell(RETIRE)
                self._retired.append(old)
            else:  # whom it was for has died, and has been replaced
                self._successor.tell(RETIRE)
                self._retired.append(self._successor)
            self._successor = None


def end_with_parent() -> None:
    """End this worker, as SIGTERM does, when the supervisor is gone: an orphan would hold the port for ever."""
    above = parent_process()
    assert above is not None
    parent = above.pid

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(ORPHAN_LOOK_S)
        log.error("supervisor: is gone, this worker ends")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
