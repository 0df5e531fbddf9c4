"""kill -9 at every write and at random moments: no answer lost, nothing counted twice, no noise without its entry."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from federation.private_sum.exchange import Answer, Batch
from federation.private_sum.in_process import sum_in_process
from federation.protocol.messages import Task
from federation.service.custodian_client import CustodianClient
from federation.service.summing import batch_of, sum_of
from tests.federation.custodian.a_custodian import ISSUER, a_promise, draft, with_tokens
from tests.federation.custodian.custodian_keeper import ROOT, Keeper, Nursery, Recovery, check_books, cpu_s, wait_for
from tests.federation.private_sum.a_round import a_vector, reports_of

PLAN = a_promise(0.0, max_rounds=1_000)
BLOCKS = 2
DEVICES = 6
RECOVERY_CPU_S = 5.0

POINTS = {
    "custodian: round key written": 1,
    "custodian: round stored": 1,
    "custodian: round committed": 1,
    "custodian: answer computed": BLOCKS,
    "custodian: ids stored": BLOCKS,
    "custodian: ledger stored": BLOCKS,
    "custodian: answer stored": BLOCKS,
    "custodian: answer committed": BLOCKS,
    "custodian: answer marked": BLOCKS,
    "custodian: close stored": 1,
    "custodian: close committed": 1,
    "custodian: round key destroyed": 1,
}
"""Every write point that has a name, and how often a round passes it."""

COMMITS = 1 + 1 + 1 + BLOCKS + 1
"""Tables made, key logged, round opened, blocks answered, round closed. Were one of them two, a kill would show it."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    opened = Nursery()
    yield opened
    opened.end()


def test_the_points_are_all_there_are() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "federation" / "custodian").glob("*.py"))
    assert set(re.findall(r'crash_point\("([^"]+)"\)', source)) == set(POINTS)


def play(client: CustodianClient, task_id: str) -> dict[str, object]:
    """One round over both blocks; everything acknowledged on the way, and the sums."""
    client.add_issuer_key(ISSUER.key(0))
    task = client.open_round(draft(PLAN, task_id))
    asked: list[tuple[Batch, Answer]] = []
    for block in range(BLOCKS):
        vectors = [a_vector(np.random.default_rng([block, device]), plan=task.plan) for device in range(DEVICES)]
        reports = with_tokens(task, reports_of(task, vectors, np.random.default_rng(block), block))
        batch = batch_of(task, block, reports)
        answer = client.answer(batch)
        asked.append((batch, answer))
        total = sum_of(task, {report.report_id: report.service_share for report in reports}, answer)
        assert np.array_equal(total, sum_in_process(task.plan, vectors, np.random.default_rng(block)))
    client.close(task_id)
    return {"task": task, "asked": asked}


def check_still_there(client: CustodianClient, played: dict[str, object]) -> None:
    """Whatever was acknowledged is answered again in the same bytes."""
    task, asked = played["task"], played["asked"]
    assert isinstance(task, Task)
    assert isinstance(asked, list)
    assert client.open_round(task) == task
    for batch, answer in asked:
        assert client.answer(batch) == answer


@pytest.mark.parametrize(
    ("point", "nth"),
    [(point, nth + 1) for point, n in {**POINTS, "database: committed": COMMITS}.items() for nth in range(n)],
)
def test_killed_at_a_write_it_goes_on_as_if_nothing_had_been(
    nursery: Nursery, tmp_path: Path, point: str, nth: int
) -> None:
    with Keeper(nursery, tmp_path, PLAN) as keeper:
        keeper.start(point, nth)
        client = keeper.client()
        played = play(client, "round-1")
        check_still_there(client, played)
        play(client, "round-2")
        client.shut()
        assert keeper.deaths == 1
        assert not list((keeper.folder / "round-keys").glob("[!.]*"))
    check_books(keeper.folder)


def test_killed_while_it_starts_it_starts(nursery: Nursery, tmp_path: Path) -> None:
    with Keeper(nursery, tmp_path, PLAN) as keeper:
        keeper.start()
        for wait_ms in (0, 1, 5, 20, 60):
            time.sleep(wait_ms / 1_000)
            keeper.kill()
        while keeper.deaths == 0:
            time.sleep(0.01)
        client = keeper.client()
        play(client, "round-1")
        client.shut()
    check_books(keeper.folder)


def test_killed_at_twenty_random_moments_it_loses_and_doubles_nothing(nursery: Nursery, tmp_path: Path) -> None:
    kill_at_random(nursery, tmp_path, deaths=20, seed=7)


def test_killed_at_random_on_postgresql_too(nursery: Nursery, tmp_path: Path, postgres_url: str) -> None:
    kill_at_random(nursery, tmp_path, deaths=5, seed=8, database=postgres_url)


def kill_at_random(nursery: Nursery, folder: Path, deaths: int, seed: int, database: str | None = None) -> None:
    """Rounds go on while the custodian is killed so many times, a moment after each start."""
    rng = random.Random(seed)
    with Keeper(nursery, folder, PLAN, database) as keeper:
        keeper.start()
        wait_for(keeper.url)

        recoveries: list[Recovery] = []

        def kill() -> None:
            while len(recoveries) < deaths:
                time.sleep(rng.uniform(0.0, 0.2))
                recoveries.append(keeper.kill_and_wait())

        client, played = keeper.client(), list[dict[str, object]]()
        killer = threading.Thread(target=kill)
        killer.start()
        while killer.is_alive() or not played:
            played.append(play(client, f"round-{len(played)}"))
        for one in played:
            check_still_there(client, one)
        client.shut()
        assert len(recoveries) == deaths <= keeper.deaths
        assert max(recovery.cpu_s for recovery in recoveries) <= RECOVERY_CPU_S
    check_books(keeper.folder, database)


def test_a_cold_start_after_a_kill_takes_less_than_five_processor_seconds(nursery: Nursery, tmp_path: Path) -> None:
    """A process of its own from nothing, interpreter and imports included, on a store with a round in the middle."""
    with Keeper(nursery, tmp_path, PLAN) as keeper:
        keeper.start()
        client = keeper.client()
        task = client.open_round(draft(PLAN, "half-way"))
        client.shut()
    process = subprocess.Popen(
        [sys.executable, "-m", "serving.cli.custodian", *keeper.arguments], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        wait_for(keeper.url)
        assert cpu_s(process.pid) <= RECOVERY_CPU_S
        client = keeper.client()
        assert client.open_round(task) == task
        client.shut()
    finally:
        process.terminate()
        process.wait()
