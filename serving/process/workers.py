"""The server: one socket, answered by this process or shared by several; it stops when its last request is answered."""

from __future__ import annotations

import functools
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI

from data.errors import ServingError
from serving.http.metrics import SHARED
from serving.http.wire_protocol import BoundedHttp
from serving.process.draining_server import DrainingServer
from serving.process.log_lines import write_log_lines
from serving.process.running_service import Job, worker_app
from serving.process.settings import Settings
from serving.process.supervisor import Supervisor, end_with_parent


@dataclass(frozen=True)
class Listener:
    """A socket that is listened to already, and what is to answer there."""

    config: uvicorn.Config
    socket: socket.socket
    drain_s: float = 0.0

    @staticmethod
    def open(answers: FastAPI | Job, settings: Settings, tls: dict[str, Any]) -> Listener:
        """Open the listening socket.

        answers: an app, or what each worker is to make its own of. Raises OSError for a port that is taken.
        """
        config = uvicorn.Config(
            answers if isinstance(answers, FastAPI) else functools.partial(started_worker, answers),
            factory=isinstance(answers, Job),
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            http=BoundedHttp,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here goes by an address
            ws="none",
            timeout_graceful_shutdown=settings.stop_timeout_s,
            **tls,
        )
        bound = _bound(settings.host, settings.port)
        bound.listen(config.backlog)  # whoever reads the address may ask at once
        return Listener(config, bound, settings.drain_s)


def run_here(listener: Listener) -> None:
    """Answer until SIGTERM or SIGINT, then finish what is in progress."""
    server = DrainingServer(listener.config, listener.drain_s)
    with _finished_by_signals(server):
        server.run(sockets=[listener.socket])


def run_workers(listener: Listener) -> None:
    """Answer with several processes until SIGTERM or SIGINT; one that dies is replaced, SIGHUP replaces all in turn.

    Raises ServingError when they cannot start.
    """
    with tempfile.TemporaryDirectory(prefix="ownshelf-metrics-") as folder, _environment(SHARED, folder):
        Supervisor(listener.config, [listener.socket], listener.drain_s).run()


def started_worker(job: Job) -> FastAPI:
    """Start the app of a worker process. It dies by SIGTERM only after its last request."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor says when to end
    write_log_lines(job.settings.log_level)
    return worker_app(job)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host.strip("[]"), port))
    except OSError as error:
        bound.close()
        raise ServingError(f"port={port}: cannot be listened to on {host} ({error.strerror or error})") from None
    bound.set_inheritable(True)
    return bound


@contextmanager
def _finished_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let a signal finish the server, also one that comes before uvicorn listens to signals.

    The signal that uvicorn raises again once it has stopped is no reason to die.
    """

    def finish(*_: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, finish) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name) if before is None else os.environ.__setitem__(name, before)
