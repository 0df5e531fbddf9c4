"""How many reports of half a megabyte a service takes a second over HTTP, each durable before it is answered.

The load comes from threads of this process over loopback, so both share the machine. Beside the figure stands what the
disk alone can do: the same bytes synced one by one and in groups, with no service around them.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np

from federation.protocol.messages import Report, Task
from federation.service.round_store import CoordinatorStore
from federation.storage.database import sqlite_url
from tests.benchmarks.intake_service import DATABASE
from tests.federation.service.a_lineage import CustodianHere, a_token, an_issuer

ROOT = Path(__file__).parents[2]
CONNECTIONS = 24


def run(reports: int = 2_000) -> dict[str, Any]:
    """Reports a second, their latency, the service's memory over time, and the disk's limits."""
    with tempfile.TemporaryDirectory(dir=ROOT / "out" if (ROOT / "out").exists() else None) as name:
        folder = Path(name)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.intake_service", name],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            address = json.loads(process.stdout.readline())
            figures = measure(folder, address, process.pid, reports)
        finally:
            process.terminate()
            process.wait()
        return figures | {"disk": disk_limits(folder, figures["report_bytes"])}


def measure(folder: Path, address: dict[str, Any], pid: int, reports: int) -> dict[str, Any]:
    url = f"http://{address['host']}:{address['port']}"
    task = Task.from_bytes(httpx.get(f"{url}/v1/federation/task", timeout=60).content)
    share = np.random.default_rng(0).bytes(4 * task.plan.length)
    store = CoordinatorStore.open(sqlite_url(folder / DATABASE))
    issuer = an_issuer(store.engine, cast(CustodianHere, None))  # its key is made and logged by the service
    tokens = [a_token(issuer, task) for _ in range(reports)]
    heads: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for token in tokens:
        whole = Report(task.task_id, os.urandom(16), 0, b"", os.urandom(task.suite.sealed_bytes), token).to_bytes()
        heads.put(whole[:-4] + len(share).to_bytes(4, "little"))
    latencies: list[float] = []
    memory = Memory(pid)
    memory.start()
    before = cpu_s(pid)
    start = time.perf_counter()
    threads = [
        threading.Thread(target=send, args=((address["host"], address["port"]), heads, share, latencies))
        for _ in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - start
    memory.stop()
    accepted = f'ownshelf_reports_total{{app="shop",outcome="accepted"}} {reports}'
    assert accepted in httpx.get(f"{url}/metrics", timeout=60).text
    return {
        "reports_per_s": reports / elapsed,
        "report_bytes": len(share),
        "latency_ms": {f"p{p}": float(np.percentile(latencies, p) * 1e3) for p in (50, 99)},
        "service_cpu_ms": (cpu_s(pid) - before) * 1e3 / reports,
        "service_memory_mb": memory.figures(),
        "connections": CONNECTIONS,
    }


def send(address: tuple[str, int], heads: queue.SimpleQueue[bytes], share: bytes, latencies: list[float]) -> None:
    """Post reports over one connection until none is left."""
    with socket.create_connection(address) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                head = heads.get_nowait()
            except queue.Empty:
                return
            start = time.perf_counter()
            fields = (
                "POST /v1/federation/reports HTTP/1.1",
                "host: bench",
                "content-type: application/octet-stream",
                f"content-length: {len(head) + len(share)}",
            )
            line.sendall("\r\n".join((*fields, "", "")).encode() + head)
            line.sendall(share)
            answer = b""
            while b'"status"' not in answer:
                piece = line.recv(4096)
                assert piece, answer
                answer += piece
                assert b" 201 " in answer[:20], answer
            latencies.append(time.perf_counter() - start)


class Memory(threading.Thread):
    """Resident memory of a process, four times a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._done, self._samples = pid, threading.Event(), list[float]()

    def run(self) -> None:
        while not self._done.wait(0.25):
            pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
            self._samples.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    def stop(self) -> None:
        self._done.set()
        self.join()

    def figures(self) -> dict[str, float]:
        """Largest figure of each quarter: flat when the last is not above the second."""
        quarters = np.array_split(np.array(self._samples), 4)
        return {f"quarter_{place}": float(quarter.max()) for place, quarter in enumerate(quarters, 1) if len(quarter)}


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def disk_limits(folder: Path, n_bytes: int) -> dict[str, float]:
    """Reports a second that the disk takes with nothing around it; syncs a second of four kilobytes."""
    share = os.urandom(n_bytes)
    return {
        "syncs_per_s_4kb": _synced(folder, os.urandom(4096), 300, 1),
        "reports_per_s_synced_one_by_one": _synced(folder, share, 200, 1),
        "reports_per_s_synced_by_16": _synced(folder, share, 640, 16),
    }


def _synced(folder: Path, content: bytes, n: int, group: int) -> float:
    path = folder / "disk"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    start = time.perf_counter()
    for _ in range(0, n, group):
        for _ in range(group):
            os.write(descriptor, content)
        os.fdatasync(descriptor)
    elapsed = time.perf_counter() - start
    os.close(descriptor)
    path.unlink()
    return n / elapsed
