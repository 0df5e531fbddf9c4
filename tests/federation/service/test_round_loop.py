from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from federation.service.round_loop import RoundLoop
from recsys.catalogue.bundle import Bundle
from tests.federation.service.a_lineage import Line, a_line, stop

GIVE_UP_S = 30.0


def until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + GIVE_UP_S
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def fill_now(line: Line) -> None:
    until(lambda: line.coordinator.task() is not None)
    task = line.coordinator.task()
    assert task is not None
    line.fill(task, 4, int(time.time()))


def test_rounds_follow_each_other_and_each_bundle_is_served(tmp_path: Path) -> None:
    line, served = a_line(tmp_path, now=int(time.time()), pause_s=0), list[str]()

    def serve(bundles: Sequence[Bundle]) -> None:
        if not served or served[-1] != bundles[0].version:
            served.append(bundles[0].version)

    loop = RoundLoop(line.coordinator, serve, idle_s=0.02)
    loop.start()
    for n in range(2, 4):
        fill_now(line)
        until(lambda n=n: len(served) == n)
    loop.stop()
    releases = [one.version for one in line.coordinator.store.releases.all()]
    assert served[-2:] == releases[::-1][-2:]
    assert len(set(served)) == 3
    stop(line)


def test_what_fails_is_tried_again_and_logged_by_type_and_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.ERROR)
    line, failures = a_line(tmp_path, now=int(time.time())), [3]
    real = line.coordinator.advance

    def flaky(now: int) -> bool:
        if failures[0]:
            failures[0] -= 1
            raise ValueError("a secret of a report")
        return real(now)

    monkeypatch.setattr(line.coordinator, "advance", flaky)
    loop = RoundLoop(line.coordinator, lambda _: None, idle_s=0.01)
    loop.start()
    until(lambda: line.coordinator.task() is not None)
    loop.stop()
    assert caplog.text.count("ValueError at ") == 3
    assert "secret" not in caplog.text
    stop(line)


def test_a_follower_serves_what_another_process_published_and_advances_nothing(tmp_path: Path) -> None:
    line, served = a_line(tmp_path, now=int(time.time()), pause_s=10_000), list[str]()
    loop = RoundLoop(line.coordinator, lambda bundles: served.append(bundles[0].version), advances=False, idle_s=0.01)
    loop.start()
    time.sleep(0.2)
    assert line.coordinator.store.newest() is None
    now = int(time.time())
    line.open(now)
    line.fill(line.open(now), 4, now)
    line.settle(now)
    active = line.coordinator.store.releases.active()
    assert active is not None
    until(lambda: served[-1] == active.version)
    assert served[0] != active.version
    loop.stop()
    stop(line)
