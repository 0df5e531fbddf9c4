"""kill -9 between any two steps of a device: never the same id with other content, never two reports to one task."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from federation.device.device import Device
from federation.protocol.messages import Report, Task
from tests.federation.service.live_round import NOW, FakeService, training_task
from tests.shop import make_bundle

ROOT = Path(__file__).parents[3]
Run = Callable[..., dict[str, Any]]


class Listening:
    """A FakeService on a socket. bodies: everything that arrived of reports, whole or torn."""

    def __init__(self, service: FakeService) -> None:
        self.service, self.bodies = service, list[bytes]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply(b"")

            def do_POST(self) -> None:
                length, body = int(self.headers["content-length"]), b""
                while len(body) < length and (more := self.rfile.read1(length - len(body))):
                    body += more
                outer.bodies.append(body)
                if len(body) == length:
                    self.reply(body)

            def reply(self, body: bytes) -> None:
                answer = outer.service.answer(httpx.Request(self.command, f"http://x{self.path}", content=body))
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name != "content-length":
                        self.send_header(name, value)
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = False  # closing waits for every request
            block_on_close = True

            def handle_error(self, *_: Any) -> None: ...  # connections of the dead

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.005})
        self.thread.start()

    def close(self) -> None:
        """After this, all that was sent is in bodies."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(scope="module")
def fork() -> Iterator[Run]:
    program = [sys.executable, "-m", "tests.federation.device.killed_device"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def run(**command: Any) -> dict[str, Any]:
            stdin.write(json.dumps({"kill_at": None, "careless": False} | command) + "\n")
            stdin.flush()
            found: dict[str, Any] = json.loads(stdout.readline())
            assert "error" not in found, found["error"]
            return found

        yield run
        stdin.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Task, FakeService]:
    folder = tmp_path_factory.mktemp("killed")
    bundle = make_bundle(folder / "bundle")
    device = Device.create(folder / "pristine", consent="contribute", key_store="file")
    for item in (1, 2, 9):
        device.observe(f"sku-{item}", "purchase", NOW * 1_000_000 - item)
    task, _ = training_task(bundle, noise=0.0, min_reports=1)
    return folder / "pristine", task, FakeService(task, bundle)


def a_life(
    fork: Run, home: tuple[Path, Task, FakeService], tmp_path: Path, kills: list[int], *, careless: bool = False
) -> tuple[list[bytes], Device, list[dict[str, Any]]]:
    """A device killed at the given moments, one after the other, and then left alone: what arrived, and its end."""
    pristine, task, service = home
    folder = tmp_path / "home"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pristine, folder)
    bodies, runs = [], []
    for kill_at in (*kills, None):
        listening = Listening(FakeService(task, service.bundle, kept=dict(service.kept)))
        runs.append(fork(folder=str(folder), url=listening.url, kill_at=kill_at, careless=careless))
        listening.close()
        bodies += listening.bodies
        own = Device.open(folder).state.participation
        if any(bodies) and not careless:
            assert len(own.entries) == 1, "the ledger is behind what was sent"
    return bodies, Device.open(folder), runs


def contents(bodies: list[bytes]) -> set[bytes]:
    """Distinct reports among what arrived: a torn one is none if it is the beginning of a whole one."""
    whole = set(bodies)
    return {body for body in whole if body and not any(other != body and other.startswith(body) for other in whole)}


def moments_of(fork: Run, home: tuple[Path, Task, FakeService], tmp_path: Path) -> int:
    _, _, runs = a_life(fork, home, tmp_path, [])
    assert runs[-1]["status"] == "accepted"
    return int(runs[-1]["moments"])


def assert_one_report(bodies: list[bytes], device: Device, task: Task, how: str) -> None:
    found = contents(bodies)
    assert len(found) == 1, f"{len(found)} contents, {how}"
    Report.from_bytes(next(iter(found)), task, NOW)
    own = device.state.participation
    assert (len(own.entries), own.pending) == (1, None), how


def test_killed_at_every_moment_it_sends_one_report(
    fork: Run, home: tuple[Path, Task, FakeService], tmp_path: Path
) -> None:
    for at in itertools.count():  # a life has a moment more or less by how an answer arrives
        bodies, device, runs = a_life(fork, home, tmp_path, [at])
        if not runs[0]["killed"]:
            assert at >= 40
            break
        assert runs[1]["status"] in ("accepted", "too_early"), f"killed at {at}"
        assert_one_report(bodies, device, home[1], f"killed at {at}")


def test_killed_again_and_again_it_sends_one_report(
    fork: Run, home: tuple[Path, Task, FakeService], tmp_path: Path
) -> None:
    moments = moments_of(fork, home, tmp_path)
    rng = np.random.default_rng(0)
    for _ in range(20):
        kills = rng.integers(0, moments, rng.integers(2, 6)).tolist()
        bodies, device, _ = a_life(fork, home, tmp_path, kills)
        assert_one_report(bodies, device, home[1], f"killed at {kills}")


def test_a_device_that_stores_after_sending_is_found_out(
    fork: Run, home: tuple[Path, Task, FakeService], tmp_path: Path
) -> None:
    moments = moments_of(fork, home, tmp_path)
    lives = (contents(a_life(fork, home, tmp_path, [at], careless=True)[0]) for at in reversed(range(moments)))
    assert any(len(found) > 1 for found in lives)
