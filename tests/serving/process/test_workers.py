"""The server as a process: one or several workers, stopped gracefully, killed, and told of keys by the state alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from serving.state.key_book import open_book
from serving.state.state_url import url_of
from tests.shop import make_bundle

ROOT = Path(__file__).parents[3]
NOW = 1_800_000_000


@dataclass
class Running:
    process: subprocess.Popen[str]
    url: str
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def children(self) -> set[int]:
        """Its worker processes."""
        found = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
                command = (stat.parent / "cmdline").read_bytes()
            except OSError:
                continue
            if int(fields[1]) == self.process.pid and b"spawn_main" in command:
                found.add(int(stat.parent.name))
        return found


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Running]:
    make_bundle(folder / "b")
    log = folder / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.cli.main", "serve", str(folder / "b"), "--port=0", "--json", *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
        )
    with process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said, log.read_text()
            yield Running(process, json.loads(said)["url"], log)
        finally:
            process.terminate()
            process.wait(timeout=60)


def until(done: Callable[[], bool], within_s: float = 60.0) -> float:
    begun = time.monotonic()
    while not done():
        assert time.monotonic() - begun < within_s
        time.sleep(0.02)
    return time.monotonic() - begun


def answers(url: str, key: str = "") -> int:
    """A request on a connection of its own, so that any worker may take it."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        return httpx.get(f"{url}/v1/catalogue/current", headers=headers, timeout=30.0).status_code
    except httpx.TransportError:  # of a worker that was killed just then
        return 0


def ask_slowly(port: int, key: str = "") -> socket.socket:
    """Half a request, whose other half is still to come."""
    body = b'{"mode": "profile", "bundle_version": "0123456789abcdef", "profile": null}'
    head = (
        f"POST /v1/recommendations HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nauthorization: Bearer {key}\r\n\r\n"
    )
    half = socket.create_connection(("127.0.0.1", port), timeout=30)
    half.sendall(head.encode() + body[:20])
    return half


REST = b'{"mode": "profile", "bundle_version": "0123456789abcdef", "profile": null}'[20:]


@pytest.mark.parametrize("workers", [1, 2])
def test_on_sigterm_requests_in_progress_are_finished_and_the_exit_is_clean(tmp_path: Path, workers: int) -> None:
    with serving(tmp_path, f"--workers={workers}", "--open") as running:
        assert answers(running.url) == 307
        with ask_slowly(running.port) as half:
            time.sleep(0.5)
            running.process.send_signal(signal.SIGTERM)
            time.sleep(1.5)
            assert running.process.poll() is None
            half.sendall(REST)
            assert half.recv(4_096).startswith(b"HTTP/1.1 409")
        assert running.process.wait(timeout=30) == 0
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", running.port), timeout=5)
    assert "Traceback" not in running.log.read_text()


def test_ctrl_c_is_a_clean_end_too(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        assert answers(running.url) == 307
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(timeout=30) == 0


def test_two_workers_share_the_port_the_keys_and_the_figures(tmp_path: Path) -> None:
    book = open_book(url_of(str(tmp_path / "state")))
    key = book.keys.create("shop", ["app"], NOW)
    figures = {"authorization": f"Bearer {book.keys.create('shop', ['analyst'], NOW)}"}
    admin = {"authorization": f"Bearer {book.keys.create('shop', ['admin'], NOW)}"}
    with serving(tmp_path, "--workers=2", f"--state={tmp_path / 'state'}") as running:
        until(lambda: len(running.children()) == 2)
        assert answers(running.url) == 401
        assert {answers(running.url, key) for _ in range(40)} == {307}

        # One killed worker is replaced, and nobody notices for long.
        victim = min(running.children())
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in running.children() and len(running.children()) == 2)
        until(lambda: {answers(running.url, key) for _ in range(20)} == {307})

        # Whichever worker is asked, it has the figures of both, and of the dead one.
        def counted() -> float:
            text = httpx.get(f"{running.url}/metrics", headers=figures, timeout=30.0).text
            lines = [line for line in text.splitlines() if line.startswith("ownshelf_requests_total")]
            return sum(float(line.rsplit(" ", 1)[1]) for line in lines if "catalogue" in line and "307" in line)

        assert len({counted() for _ in range(10)}) == 1
        assert counted() >= 60

        # A key made through one worker holds at every other within a second, and so does its end.
        made = httpx.post(f"{running.url}/v1/keys", json={"scopes": ["device"]}, headers=admin, timeout=30.0).json()
        assert until(lambda: {answers(running.url, made["key"]) for _ in range(10)} == {307}) < 5.0
        key_id = made["key"].split("_")[1]
        ended = httpx.delete(f"{running.url}/v1/keys/{key_id}", headers=admin, timeout=30.0)
        assert ended.status_code == 204
        time.sleep(1.0)
        assert {answers(running.url, made["key"]) for _ in range(20)} == {401}
        running.process.terminate()
        assert running.process.wait(timeout=30) == 0
    book.close()
    assert "Traceback" not in running.log.read_text()


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "serving.cli.main", "serve", str(tmp_path / "b")]
        done = subprocess.run(
            [*command, f"--port={taken.getsockname()[1]}"], capture_output=True, text=True, cwd=ROOT, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: port=")
    assert done.stderr.count("\n") == 1


ENDED_EARLY = """
import signal, socket, uvicorn
from serving.process.workers import Listener, run_here

class Early(uvicorn.Server):
    def run(self, sockets=None):
        signal.raise_signal(signal.SIGTERM)  # before uvicorn listens to signals
        super().run(sockets)

uvicorn.Server = Early
async def app(scope, receive, send): pass
bound = socket.socket()
bound.bind(("127.0.0.1", 0))
run_here(Listener(uvicorn.Config(app, lifespan="off", log_config=None), bound))
print("ended")
"""


def test_a_signal_before_the_server_listens_to_signals_ends_it() -> None:
    done = subprocess.run([sys.executable, "-c", ENDED_EARLY], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "ended\n", done.stderr
