"""Load on an HTTP address by wrk: many different bodies, one process, a fixed number of connections."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.errors import OwnshelfError

CONNECTIONS = 16

_SCRIPT = """
local bodies = {}
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local sent = 0
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
%s
request = function() sent = sent %% #bodies + 1; return wrk.format(nil, nil, nil, bodies[sent]) end
"""

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Load:
    """What to send where: JSON texts of one line each, in turn."""

    url: str
    bodies: Sequence[str]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """Requests a second, how many in all, latency in ms, answers that were no success, and CPU time of one, µs.

    cpu_us: of the answering process, nan where none was named.
    """

    rps: float
    requests: int
    p50_ms: float
    p99_ms: float
    failed: int
    cpu_us: float


def wrk(load: Load, *, seconds: int, pid: int | None = None) -> Measured:
    """Run wrk with 16 connections. pid: whose CPU time is counted. Raises OwnshelfError where wrk is not installed."""
    program = shutil.which("wrk")
    if program is None:
        raise OwnshelfError("wrk: not installed; apt-get install wrk")
    with tempfile.TemporaryDirectory() as name:
        bodies, script = Path(name) / "bodies", Path(name) / "script.lua"
        bodies.write_text("\n".join(load.bodies))
        headers = "\n".join(f'wrk.headers["{key}"] = "{value}"' for key, value in load.headers.items())
        script.write_text(_SCRIPT % (bodies, headers))
        before = cpu_s(pid)
        done = subprocess.run(
            [program, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script), load.url],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    spent = cpu_s(pid) - before
    total = re.search(r"(\d+) requests in", done.stdout)
    assert total is not None, done.stdout
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    lost = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", done.stdout)
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert found is not None, done.stdout
    return Measured(
        rps=float(found[1]),
        requests=int(total[1]),
        p50_ms=_percentile(done.stdout, 50),
        p99_ms=_percentile(done.stdout, 99),
        failed=(int(failed[1]) if failed else 0) + (sum(int(n) for n in lost.groups()) if lost else 0),
        cpu_us=1e6 * spent / int(total[1]),
    )


def cpu_s(pid: int | None) -> float:
    """CPU seconds that a process has used, nan without one."""
    if pid is None:
        return float("nan")
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _percentile(printed: str, which: int) -> float:
    found = re.search(rf"{which}%\s+([\d.]+)(us|ms|s)", printed)
    assert found is not None, printed
    return float(found[1]) * _UNITS[found[2]]


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])
