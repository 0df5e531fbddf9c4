"""The server as a process: one or several workers, stopped gracefully, killed, and told of keys by the state alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
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
def serving(
    folder: Path, *options: str, command: tuple[str, ...] = ("-m", "serving.cli.main", "serve")
) -> Iterator[Running]:
    make_bundle(folder / "b")
    (folder / "tmp").mkdir(exist_ok=True)
    log = folder / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, *command, str(folder / "b"), "--port=0", "--json", *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp")},
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


def until(done: Callable[[], bool], within_s: float = 300.0) -> float:
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

        # A key made through one worker comes to hold at every other, and so does its end.
        made = httpx.post(f"{running.url}/v1/keys", json={"scopes": ["device"]}, headers=admin, timeout=30.0).json()
        until(lambda: {answers(running.url, made["key"]) for _ in range(10)} == {307})
        key_id = made["key"].split("_")[1]
        ended = httpx.delete(f"{running.url}/v1/keys/{key_id}", headers=admin, timeout=30.0)
        assert ended.status_code == 204
        until(lambda: {answers(running.url, made["key"]) for _ in range(20)} == {401})
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
import serving.process.workers
from serving.process.workers import DrainingServer, Listener, run_here

class Early(DrainingServer):
    def run(self, sockets=None):
        signal.raise_signal(signal.SIGTERM)  # before uvicorn listens to signals
        super().run(sockets)

serving.process.workers.DrainingServer = Early
async def app(scope, receive, send): pass
bound = socket.socket()
bound.bind(("127.0.0.1", 0))
run_here(Listener(uvicorn.Config(app, lifespan="off", log_config=None), bound))
print("ended")
"""


def test_a_signal_before_the_server_listens_to_signals_ends_it() -> None:
    done = subprocess.run([sys.executable, "-c", ENDED_EARLY], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "ended\n", done.stderr


def test_workers_end_when_the_process_above_them_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers=2") as running:
        until(lambda: answers(running.url) == 307)
        until(lambda: len(running.children()) == 2)
        workers = running.children()
        running.process.kill()
        running.process.wait()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        with socket.socket() as again:  # the port is free
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", running.port))


def ask_until_told_to_close(url: str, stop: threading.Event, faults: list[str]) -> None:
    """A connection that is used again and again, as a proxy's are, until an answer says that it ends."""
    with httpx.Client(base_url=url, timeout=30.0) as http:
        while not stop.is_set():
            try:
                answer = http.get("/healthz")
            except httpx.TransportError as error:
                faults.append(repr(error))
                return
            if answer.headers.get("connection") == "close":
                return


@pytest.mark.parametrize("workers", [1, 2])
def test_on_sigterm_it_says_so_first_and_no_busy_connection_is_reset(tmp_path: Path, workers: int) -> None:
    stop, faults = threading.Event(), list[str]()
    with serving(tmp_path, f"--workers={workers}", "--drain-s=4") as running:
        until(lambda: answers(running.url) == 307)
        busy = [threading.Thread(target=ask_until_told_to_close, args=(running.url, stop, faults)) for _ in range(16)]
        for thread in busy:
            thread.start()
        assert httpx.get(f"{running.url}/readyz", timeout=30.0).status_code == 200
        running.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{running.url}/readyz", timeout=30.0).status_code == 503)
        assert httpx.get(f"{running.url}/readyz", timeout=30.0).json()["error"]["details"] == {"reason": "stopping"}
        assert answers(running.url) == 307  # it answers what still comes
        for thread in busy:
            thread.join(60)
        stop.set()
        assert running.process.wait(timeout=60) == 0
    assert faults == []


SLOW_START = """
import time
import serving.process.supervisor as supervisor
import serving.process.workers as workers
from serving.cli.serve import serve_command
import typer

real = workers.started_worker

def slow(job):
    end = time.process_time() + 1.0
    while time.process_time() < end:
        pass
    return real(job)

if __name__ == "__main__":
    supervisor.LEAST_START_S = 0.5  # what a worker takes is longer: measured, it counts
    workers.started_worker = slow
    typer.run(serve_command)
"""


def test_sighup_replaces_all_workers_however_long_their_start_takes(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(SLOW_START)
    with serving(tmp_path, "--workers=2", command=(str(program),)) as running:
        until(lambda: answers(running.url) == 307)
        until(lambda: len(running.children()) == 2)
        time.sleep(3.0)  # until both are known to be ready
        before = running.children()
        stop, faults = threading.Event(), list[str]()
        asking = threading.Thread(target=keep_asking, args=(running.url, stop, faults))
        asking.start()
        running.process.send_signal(signal.SIGHUP)
        until(lambda: len(running.children()) == 2 and not before & running.children())
        stop.set()
        asking.join()
        assert answers(running.url) == 307
    assert faults == []
    assert "was not ready in time" not in running.log.read_text()


def keep_asking(url: str, stop: threading.Event, faults: list[str]) -> None:
    """New connections one after the other, none of which may fail."""
    while not stop.is_set():
        try:
            httpx.get(f"{url}/healthz", timeout=30.0).raise_for_status()
        except httpx.HTTPError as error:
            faults.append(repr(error))


@pytest.mark.parametrize("with_state", [False, True])
def test_a_bundle_that_is_overwritten_while_it_is_served_changes_nothing(tmp_path: Path, with_state: bool) -> None:
    options = (f"--state={tmp_path / 'state'}",) if with_state else ()
    with serving(tmp_path, "--workers=2", *options) as running:
        until(lambda: answers(running.url) == 307)
        until(lambda: len(running.children()) == 2)
        workers = running.children()
        current = httpx.get(f"{running.url}/v1/catalogue/current", timeout=30.0, follow_redirects=True)
        for path in (tmp_path / "b").iterdir():
            path.write_bytes(b"")  # in place, as `cp` and rsync --inplace do: what is mapped would shrink
        asked = {"mode": "profile", "bundle_version": current.url.path.split("/")[-1], "profile": [0.1] * 8}
        for _ in range(20):
            answer = httpx.post(f"{running.url}/v1/recommendations", json=asked, timeout=30.0)
            assert (answer.status_code, len(answer.json().get("recommendations", ()))) == (200, 10), answer.text
        assert httpx.get(current.url, timeout=30.0).content == current.content
        assert running.children() == workers  # none has died of SIGBUS
    assert not list((tmp_path / "tmp").glob("ownshelf-bundles-*"))
