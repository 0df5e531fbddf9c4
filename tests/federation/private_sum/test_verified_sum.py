"""Verified reports through both parties: whoever breaks a bound is dropped, the sum of the others is exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from data.errors import BatchTooSmall
from federation.custodian.policy import answer_batch
from federation.device.report import make_report
from federation.private_sum import fixed_point
from federation.private_sum.exchange import Answer, Batch, SealedSeed
from federation.private_sum.in_process import sum_in_process
from federation.private_sum.plan import Part, SumPlan
from federation.private_sum.refusals import BatchRefused, MalformedBatch, TaskRefused
from federation.private_sum.report_share import proof_plan, share_bytes
from federation.private_sum.sealing import Suite
from federation.private_sum.verified import proof as proofs
from federation.protocol.messages import Report, Task
from federation.protocol.report_head import MAX_HEAD_BYTES, check_head, read_head
from federation.service.summing import batch_of, sum_of
from tests.federation.private_sum.a_round import CUSTODIAN, NOW, PARTS, a_draft, a_plan, a_task, a_vector, reports_of

RNG = np.random.default_rng(0)


def liar(task: Task, monkeypatch: pytest.MonkeyPatch, size: float) -> Report:
    """A report that ignores every clip and claims norms that are as large as they may be."""

    def unclipped(part: Part, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return np.asarray(values, dtype=np.float64).ravel() * part.scale

    def once(part: Part, y: npt.NDArray[np.float64], random: object) -> npt.NDArray[np.int32]:
        return np.rint(y).astype(np.int32)

    def claimed(proof: object, whole: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
        return np.ones(sum(proof_plan(task.plan).norm_bits), dtype=np.uint64)

    with monkeypatch.context() as patch:
        patch.setattr(fixed_point, "_clip", unclipped)
        patch.setattr(fixed_point, "_round", once)
        patch.setattr(proofs, "_norm_bits", claimed)
        patch.setattr(proofs, "project_integers", lambda key, checks, whole: np.zeros(checks, dtype=np.int64))
        return make_report(task, 0, a_vector(RNG, size), b"token")


def test_liars_are_dropped_and_the_sum_is_exactly_that_of_the_honest(monkeypatch: pytest.MonkeyPatch) -> None:
    task, opened = a_task(a_plan(min_reports=4), Suite.VERIFIED)
    vectors = [a_vector(RNG) for _ in range(5)]
    honest = reports_of(task, vectors, np.random.default_rng(1))
    liars = [liar(task, monkeypatch, size) for size in (50.0, 1e4)]
    mixed = [liars[0], *honest[:3], liars[1], *honest[3:]]
    _, answer = answer_batch(task, batch_of(task, 0, mixed), opened, CUSTODIAN.public)
    assert set(answer.failed) == {report.report_id for report in liars}
    assert set(answer.counted) == {report.report_id for report in honest}
    assert answer.broken == ()
    shares = {report.report_id: report.service_share for report in mixed}
    np.testing.assert_array_equal(
        sum_of(task, shares, answer), sum_in_process(task.plan, vectors, np.random.default_rng(1))
    )


def test_min_reports_is_counted_after_the_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    task, opened = a_task(a_plan(min_reports=3), Suite.VERIFIED)
    honest = reports_of(task, [a_vector(RNG) for _ in range(2)], RNG)
    batch = batch_of(task, 0, [*honest, liar(task, monkeypatch, 50.0)])
    with pytest.raises(BatchTooSmall, match="reports=2: must be at least min_reports=3"):
        answer_batch(task, batch, opened, CUSTODIAN.public)


@pytest.mark.parametrize("what", ["words", "element", "opened", "commitments", "moved"])
def test_a_report_that_is_changed_on_its_way_is_dropped_alone(what: str) -> None:
    task, opened = a_task(a_plan(min_reports=1), Suite.VERIFIED)
    reports = reports_of(task, [a_vector(RNG) for _ in range(3)], RNG)
    share = reports[1].service_share
    if what == "words":
        reports[1] = replace(reports[1], service_share=bytes([share[0] ^ 1]) + share[1:])
    if what == "element":
        reports[1] = replace(reports[1], service_share=b"\xff" * 5 + share[5:])
    batch = batch_of(task, 0, reports)
    seeds = list(batch.seeds)
    if what == "opened":
        seeds[1] = replace(seeds[1], opened=seeds[0].opened)
    if what == "commitments":  # other challenges than the device had: the seal does not open
        seeds[1] = replace(seeds[1], commitments=bytes(96))
    if what == "moved":
        seeds[1] = replace(seeds[0], report_id=seeds[1].report_id)
    _, answer = answer_batch(task, replace(batch, seeds=tuple(seeds)), opened, CUSTODIAN.public)
    assert answer.counted == (reports[0].report_id, reports[2].report_id)
    left_out_by_the_service = what == "element"
    assert len(batch.seeds) == (2 if left_out_by_the_service else 3)
    assert answer.broken == ((reports[1].report_id,) if what in ("words", "commitments", "moved") else ())
    assert answer.failed == ((reports[1].report_id,) if what == "opened" else ())


@pytest.mark.parametrize("suite", [Suite.X25519, Suite.VERIFIED])
def test_a_batch_of_the_other_kind_is_refused(suite: Suite) -> None:
    task, opened = a_task(a_plan(min_reports=1), suite)
    batch = batch_of(task, 0, reports_of(task, [a_vector(RNG)], RNG))
    with pytest.raises(BatchRefused, match="verified="):
        answer_batch(task, replace(batch, verified=not batch.verified), opened, CUSTODIAN.public)
    _, answer = answer_batch(task, batch, opened, CUSTODIAN.public)
    with pytest.raises(BatchRefused, match="verified="):
        sum_of(task, dict.fromkeys(answer.counted, b""), replace(answer, verified=not answer.verified))


def test_noise_of_both_parties_is_in_a_verified_sum() -> None:
    task, opened = a_task(a_plan(min_reports=1, sigma=2_000), Suite.VERIFIED)
    reports = reports_of(task, [a_vector(RNG, 0.0) for _ in range(2)], RNG)
    draws = []
    for _ in range(60):
        _, answer = answer_batch(task, batch_of(task, 0, reports), opened, CUSTODIAN.public)
        draws.append(sum_of(task, {report.report_id: report.service_share for report in reports}, answer))
    spread = np.concatenate(draws).std() / (np.sqrt(2) * 2_000)
    assert 0.9 < spread < 1.1  # 1,200 draws: ±.02


def test_messages_of_verified_sums_have_one_spelling() -> None:
    task, opened = a_task(a_plan(min_reports=1), Suite.VERIFIED)
    reports = reports_of(task, [a_vector(RNG) for _ in range(2)], RNG)
    assert Task.from_bytes(task.to_bytes()) == task
    data = reports[0].to_bytes()
    assert Report.from_bytes(data, task, NOW) == reports[0]
    head = read_head(data[:MAX_HEAD_BYTES])
    assert head.share_bytes == share_bytes(task.plan, task.suite) == len(reports[0].service_share)
    check_head(head, task)
    batch = batch_of(task, 0, reports)
    assert Batch.from_bytes(batch.to_bytes()) == batch
    assert batch.digest != replace(batch, seeds=(replace(batch.seeds[0], opened=b""), batch.seeds[1])).digest
    _, answer = answer_batch(task, batch, opened, CUSTODIAN.public)
    assert Answer.from_bytes(answer.to_bytes()) == answer
    for whole, kind in ((batch.to_bytes(), Batch), (answer.to_bytes(), Answer)):
        for broken in (whole[:-1], whole + b"\0"):
            with pytest.raises(MalformedBatch):
                kind.from_bytes(broken)
    lame = replace(batch, seeds=(SealedSeed(bytes(16), b"", b"short", b""),))
    with pytest.raises(MalformedBatch, match="commitments length=5"):
        Batch.from_bytes(lame.to_bytes())


def test_a_task_with_steps_too_fine_to_prove_is_refused_by_everybody() -> None:
    fine = tuple(replace(part, scale=part.scale * 2**7) for part in PARTS)
    plan = SumPlan(fine, min_reports=1, max_reports=10, sigma=0)
    assert a_draft(plan).suite is Suite.X25519
    with pytest.raises(TaskRefused, match="take coarser scales"):
        a_draft(plan, Suite.VERIFIED)


def test_what_is_opened_is_in_no_repr() -> None:
    task, _ = a_task(a_plan(), Suite.VERIFIED)
    seed = batch_of(task, 0, reports_of(task, [a_vector(RNG)], RNG)).seeds[0]
    assert repr(seed.opened) not in repr(seed)
    assert repr(seed.commitments) not in repr(seed)
