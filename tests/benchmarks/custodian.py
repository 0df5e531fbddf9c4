"""What a custodian costs as a process: its start, a report's share of a batch over HTTP, a restart after kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.private_sum.exchange import Batch, SealedSeed
from federation.private_sum.sealing import Binding, Suite, seal
from federation.protocol.messages import Task, blocks_of
from federation.service.custodian_client import CustodianClient
from federation.storage.key_files import load_or_make_key
from tests.benchmarks.private_sum import DIM, N_ITEMS
from tests.federation.protocol.tokens.some_issuer import SomeIssuer

STARTS = 7
REPORTS = 1_000


def run(say: Callable[[str], object] = lambda _: None) -> dict[str, Any]:
    """Seconds from exec to the first answer (and without the time other processes had its processor), CPU seconds,
    milliseconds a report of a batch of 1,000 over HTTP with noise and commit, for each suite, and bytes of the answer.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        plan = PrivacyPlan(Clips(1.0, 8.0, 1.0, 1.0), 1.0, 6, 50, 10_000, 1e-6)
        (folder / "plan.json").write_text(plan.to_json())
        key = load_or_make_key(folder / "service.key")
        say(f"{STARTS} cold starts after kill -9")
        starts = [_start(folder, signal.SIGKILL) for _ in range(STARTS)]
        say(f"batches of {REPORTS} reports")
        batches = {suite.value: _batches(folder, key, plan, suite) for suite in Suite if not suite.verified}
    return {
        "start_s": float(np.median([wall for wall, _, _ in starts])),
        "start_alone_s": float(np.median([wall - waited for wall, waited, _ in starts])),
        "start_cpu_s": float(np.median([cpu for _, _, cpu in starts])),
        "reports": REPORTS,
        "words": plan.sum_plan(N_ITEMS, DIM).length,
        "batches": batches,
    }


def _launch(folder: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    command = [sys.executable, "-m", "serving.cli.custodian", str(folder / "custodian"), "--plan"]
    options = [str(folder / "plan.json"), "--service-key", str(folder / "service.key.pub"), "--port", "0", "--json"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def _start(folder: Path, end: signal.Signals) -> tuple[float, float, float]:
    """Wall seconds to the line that says it listens, seconds of them spent waiting for a processor, CPU seconds."""
    began = time.perf_counter()
    process, _ = _launch(folder)
    wall = time.perf_counter() - began
    ran, waited = (int(n) / 1e9 for n in Path(f"/proc/{process.pid}/schedstat").read_text().split()[:2])
    process.send_signal(end)
    process.communicate()
    return wall, waited, ran


def _batches(folder: Path, key: Any, plan: PrivacyPlan, suite: Suite) -> dict[str, float]:
    process, started = _launch(folder)
    client = CustodianClient(started["url"], key, bytes.fromhex(started["public_key"]))
    times, cpu = [], []
    issuer = SomeIssuer(not_before=int(time.time()), not_after=int(time.time()) + 86_400)
    client.add_issuer_key(issuer.key(0))
    for n in range(4):
        task = client.open_round(_draft(plan, suite, f"{suite.name}-{n}"))
        ids = [os.urandom(16) for _ in range(REPORTS)]
        bindings = (Binding(task.hash, report_id, 0, task.plan.length) for report_id in ids)
        seeds = (
            SealedSeed(b.report_id, seal(os.urandom(32), suite, task.round_public_key, b), token=issuer.token(task))
            for b in bindings
        )
        batch = Batch(task.hash, 0, tuple(seeds))
        began, spent = time.perf_counter(), _cpu_s(process.pid)
        answer = client.answer(batch)
        times.append(time.perf_counter() - began)
        cpu.append(_cpu_s(process.pid) - spent)
        client.close(task.task_id)
    client.shut()
    process.terminate()
    process.communicate()
    return {
        "ms_per_report": 1e3 * float(np.median(times[1:])) / REPORTS,
        "cpu_ms_per_report": 1e3 * float(np.median(cpu[1:])) / REPORTS,
        "asked_bytes_per_report": len(batch.to_bytes()) / REPORTS,
        "answer_bytes": len(answer.to_bytes()),
    }


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all threads, to a hundredth."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _draft(plan: PrivacyPlan, suite: Suite, task_id: str) -> Task:
    now = int(time.time())
    blocks, sums = blocks_of(N_ITEMS, N_ITEMS), plan.sum_plan(N_ITEMS, DIM)
    return Task(task_id, 1, "bundle-1", bytes(32), blocks, sums, suite, b"", now + 3_600, now + 7_200)
