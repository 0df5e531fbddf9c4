"""A live round of verified reports: liars cost nobody the round, and nobody's words but the honest are in the sum."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from federation.private_sum.fixed_point import decode
from federation.private_sum.report_share import share_bytes
from federation.private_sum.sealing import Suite
from federation.private_sum.verified import field
from federation.protocol.no_answer import NoAnswer, no_answers_from_bytes
from federation.service.round_schema import RoundState
from tests.federation.service.a_lineage import NOW, SETTINGS, Line, a_line, stop


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return a_line(tmp_path, settings=replace(SETTINGS, suite=Suite.VERIFIED))


def test_two_liars_with_random_words_are_dropped_and_the_round_is_published(line: Line) -> None:
    task = line.open()
    assert task.suite is Suite.VERIFIED
    line.fill(task, per_block=5)
    rng = np.random.default_rng(0)
    for block in range(len(task.blocks)):
        honest = line.report(task, block)
        n = len(honest.service_share)
        assert n == share_bytes(task.plan, task.suite)
        words = field.to_bytes(rng.integers(0, field.MODULUS, (n - 64) // 5, dtype=np.uint64)) + rng.bytes(64)
        no_elements = b"\xff" * n
        for lie in (words, no_elements):
            liar = replace(line.report(task, block), service_share=lie)
            assert line.coordinator.accept(liar.to_bytes(), NOW) == "accepted"
    line.settle(task.deadline + 1)
    stored = line.coordinator.store.rounds(5)
    done = next(round_ for round_ in stored if round_.task_id == task.task_id)
    assert done.state is RoundState.PUBLISHED
    sums = line.coordinator.store.sums(task.task_id)
    for block in range(len(task.blocks)):
        assert (sums[block].counted, sums[block].broken) == (5, 2)
        words = sums[block].words
        assert words is not None
        assert decode(task.plan, words)["one"].round(2) == 5.0
    stop(line)


def test_two_liars_in_each_of_four_rounds_do_not_end_the_training(tmp_path: Path) -> None:
    line, now = a_line(tmp_path, settings=replace(SETTINGS, suite=Suite.VERIFIED)), NOW
    rng = np.random.default_rng(1)
    for number in range(4):
        line.custodian.now = now
        task = line.open(now)
        line.fill(task, per_block=4, now=now)
        for _ in range(2):
            liar = line.report(task, 0)
            elements = (len(liar.service_share) - 64) // 5
            loud = field.to_bytes(rng.integers(0, field.MODULUS, elements, dtype=np.uint64)) + rng.bytes(64)
            assert line.coordinator.accept(replace(liar, service_share=loud).to_bytes(), now) == "accepted"
        now = line.custodian.now = task.deadline + 1
        line.settle(now)
        done = line.coordinator.store.of_task(task.task_id)
        assert done is not None
        assert (done.number, done.state, done.failure) == (number, RoundState.PUBLISHED, None)
        assert done.record["discarded_blocks"] == 0
        assert done.record["reports"] == 4 * len(task.blocks)
        assert line.coordinator.store.sums(task.task_id)[0].broken == 2
        now += SETTINGS.pause_s + 1
    active = line.coordinator.store.releases.active()
    assert active is not None
    assert active.steps == 4
    stop(line)


def test_below_min_reports_after_the_drops_a_block_is_not_summed(line: Line) -> None:
    task = line.open()
    honest = [line.report(task, 0, seed=n) for n in range(2)]
    liars = [replace(report, service_share=bytes(len(report.service_share))) for report in (line.report(task, 0),) * 1]
    for report in (*honest, *liars):
        assert line.coordinator.accept(report.to_bytes(), NOW) == "accepted"
    line.settle(task.deadline + 1)
    done = next(round_ for round_ in line.coordinator.store.rounds(5) if round_.task_id == task.task_id)
    assert done.state is RoundState.FAILED
    assert "min_reports=3" in str(done.failure)
    # Devices get back what their reports cost: no block was answered, and no key is left to answer one.
    (statement,) = no_answers_from_bytes(line.coordinator.no_answers())
    statement.check(line.custodian.custodian.key.public)
    assert (statement.task_hash, statement.blocks) == (task.hash, tuple(range(len(task.blocks))))
    stop(line)


def test_a_custodian_that_denies_its_own_answers_is_not_believed(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    task, custodian = line.open(), line.custodian.custodian
    line.fill(task, per_block=4)

    def deny(task_id: str) -> bytes:
        return NoAnswer(task.hash, tuple(range(len(task.blocks))), NOW).signed_by(custodian.key).to_bytes()

    line.custodian.no_answer = deny  # type: ignore[method-assign]
    line.settle(task.deadline + 1)
    assert no_answers_from_bytes(line.coordinator.no_answers()) == []
    assert "the custodian denies its answers to blocks [0" in caplog.text
    stop(line)
