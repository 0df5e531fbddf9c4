"""Each test runs on SQLite and on PostgreSQL: the custodian's promises must not depend on which database keeps them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from data.errors import BatchTooSmall, BudgetExhausted, OwnshelfError, ServingError
from federation.custodian.custodian import GRACE_S, MAX_OPEN_S, Custodian
from federation.custodian.rows import TaskConflict
from federation.custodian.schema import ANSWERS, COUNTED, LEDGER
from federation.learning.privacy_plan import PrivacyPlan
from federation.private_sum.exchange import Answer, Batch, SealedSeed
from federation.private_sum.in_process import sum_in_process
from federation.private_sum.refusals import AlreadyCounted, BatchRefused, ForeignTask, MalformedBatch, TaskRefused
from federation.private_sum.sealing import Suite
from federation.private_sum.signing import SigningKey
from federation.protocol.messages import Task
from federation.service.summing import batch_of, sum_of
from federation.storage import crash_points as write_points
from tests.federation.custodian.a_custodian import (
    MIN_REPORTS,
    a_batch,
    a_custodian,
    a_promise,
    batch_bytes,
    draft,
    now,
    some_reports,
    with_issuer,
    with_tokens,
)
from tests.federation.private_sum.a_round import a_vector, reports_of

OFF = a_promise(0.0)
Make = Callable[..., Custodian]


@pytest.fixture(params=["sqlite", "postgresql"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Opens the custodian of this test's folder and database, after shutting the one opened before."""
    database = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened: list[Custodian] = []

    def fresh(plan: PrivacyPlan | None = None, at: int | None = None) -> Custodian:
        while opened:
            opened.pop().shut()
        opened.append(with_issuer(Custodian.open(tmp_path / "custodian", plan or a_promise(), at or now(), database)))
        return opened[0]

    yield fresh
    while opened:
        opened.pop().shut()


def open_task(custodian: Custodian, task_id: str = "training-7") -> Task:
    return Task.from_bytes(custodian.open_round(draft(custodian.plan, task_id).draft_bytes(), now()))


def ledger(custodian: Custodian) -> list[sa.RowMapping]:
    with custodian.engine.connect() as connection:
        return list(connection.execute(sa.select(LEDGER).order_by(LEDGER.c.at, LEDGER.c.rounds)).mappings())


def counted(custodian: Custodian) -> set[bytes]:
    with custodian.engine.connect() as connection:
        return set(connection.execute(sa.select(COUNTED.c.report_id)).scalars())


@pytest.mark.parametrize("suite", list(Suite))
def test_the_sum_of_a_round_is_exact_without_noise(make: Make, suite: Suite) -> None:
    custodian = make(OFF)
    task = Task.from_bytes(custodian.open_round(draft(OFF, suite=suite).draft_bytes(), now()))
    vectors = [a_vector(np.random.default_rng(device), plan=task.plan) for device in range(6)]
    reports = with_tokens(task, reports_of(task, vectors, np.random.default_rng(9)))
    answer = Answer.from_bytes(custodian.answer(batch_bytes(task, reports), now()))
    shares = {report.report_id: report.service_share for report in reports}
    expected = sum_in_process(task.plan, vectors, np.random.default_rng(9))
    assert np.array_equal(sum_of(task, shares, answer), expected)
    assert set(answer.counted) == set(shares) == counted(custodian)


def test_every_field_of_the_task_is_the_drafts_and_signed(make: Make) -> None:
    custodian, asked = make(), draft()
    task = Task.from_bytes(custodian.open_round(asked.draft_bytes(), now()))
    assert task.draft_bytes() == asked.draft_bytes()
    assert task.is_signed_by(custodian.key.public)
    assert len(task.round_public_key) == task.suite.public_bytes


def test_the_same_draft_gives_the_same_task_and_another_is_a_conflict(make: Make) -> None:
    custodian = make()
    task = open_task(custodian)
    assert custodian.open_round(task.draft_bytes(), now()) == task.to_bytes()
    with pytest.raises(TaskConflict, match="training-7"):
        custodian.open_round(replace(task, round=8).draft_bytes(), now())
    assert make().open_round(task.draft_bytes(), now()) == task.to_bytes()


def test_a_draft_is_signed_once_even_after_its_deadline(make: Make) -> None:
    custodian = make()
    task = open_task(custodian)
    assert custodian.open_round(task.draft_bytes(), task.deadline + 1_000) == task.to_bytes()


def test_each_round_has_a_key_of_its_own(make: Make) -> None:
    custodian = make()
    first = open_task(custodian, "a")
    assert custodian.round_keys.read(first.hash) is not None
    custodian.close("a", now())
    second = open_task(custodian, "b")
    assert first.round_public_key != second.round_public_key
    assert [path.name for path in custodian.round_keys.folder.glob("[!.]*")] == [second.hash.hex()]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda task: replace(task, deadline=now() - 1), "deadline"),
        (lambda task: replace(task, deadline=now() + MAX_OPEN_S + 100), "deadline"),
        (lambda task: replace(task, plan=replace(task.plan, sigma=task.plan.sigma - 1)), "noise_multiplier"),
        (lambda task: replace(task, plan=replace(task.plan, sigma=0)), "noise_multiplier"),
        (lambda task: replace(task, plan=replace(task.plan, min_reports=MIN_REPORTS - 1)), "min_reports"),
    ],
)
def test_a_draft_weaker_than_the_plan_is_not_signed(make: Make, change: Callable[[Task], Task], named: str) -> None:
    custodian = make()
    with pytest.raises(TaskRefused, match=named):
        custodian.open_round(change(draft()).draft_bytes(), now())
    assert custodian.totals().rounds_open == 0
    assert not list(custodian.round_keys.folder.glob("[!.]*"))


def test_the_same_batch_gives_the_same_bytes_for_ever(make: Make) -> None:
    """Fresh noise for the same batch would average away."""
    custodian = make()
    task = open_task(custodian)
    asked = a_batch(task).to_bytes()
    first = custodian.answer(asked, now())
    assert custodian.answer(asked, now()) == first
    custodian.close(task.task_id, now())
    assert custodian.answer(asked, now()) == first
    assert make().answer(asked, now()) == first
    assert len(ledger(make())) == 1


def test_each_refusal_leaves_no_trace(make: Make) -> None:
    custodian = make()
    task = open_task(custodian)
    reports = some_reports(task)
    custodian.answer(batch_bytes(task, reports), now())
    foreign = replace(a_batch(task, block=1), task_hash=bytes(32))
    too_few = batch_of(task, 1, some_reports(task, MIN_REPORTS - 1, block=1))
    twice = batch_of(task, 1, [*some_reports(task, 3, block=1)] * 2)
    again = batch_of(task, 1, [*some_reports(task, 5, block=1), reports[0]])
    other = batch_of(task, 0, some_reports(task, 5))
    nowhere = replace(a_batch(task), block=len(task.blocks))
    before = (custodian.totals(), ledger(custodian), counted(custodian))
    for batch, refusal in [
        (foreign, ForeignTask),
        (too_few, BatchTooSmall),
        (twice, AlreadyCounted),
        (again, AlreadyCounted),
        (other, BatchRefused),
        (nowhere, BatchRefused),
    ]:
        with pytest.raises(refusal):
            custodian.answer(batch.to_bytes(), now())
    with pytest.raises(MalformedBatch):
        custodian.answer(b"OSB1", now())
    assert (custodian.totals(), ledger(custodian), counted(custodian)) == before


def test_a_report_is_counted_once_across_rounds(make: Make) -> None:
    custodian = make()
    first = open_task(custodian, "a")
    reports = some_reports(first)
    custodian.answer(batch_bytes(first, reports), now())
    custodian.close("a", now())
    second = open_task(custodian, "b")
    fresh = some_reports(second)
    replayed = replace(fresh[0], report_id=reports[2].report_id)
    with pytest.raises(AlreadyCounted, match="1 reports"):
        make().answer(batch_bytes(second, [*fresh[1:], replayed]), now())


def test_a_unique_index_stands_behind_the_check_of_report_ids(make: Make) -> None:
    """Even a process that forgot to look cannot count twice."""
    custodian = make()
    task = open_task(custodian)
    reports = some_reports(task)
    custodian.answer(batch_bytes(task, reports), now())
    row = {"report_id": reports[0].report_id, "task_hash": task.hash}
    with pytest.raises(sa.exc.IntegrityError), custodian.engine.begin() as connection:
        connection.execute(COUNTED.insert(), row)


def test_what_another_process_counted_meanwhile_is_not_counted_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check and the commit somebody else commits one of the ids: nothing of ours is stored."""
    custodian = make()
    task = open_task(custodian)
    reports = some_reports(task)

    def meanwhile(point: str) -> None:
        if point == "custodian: answer computed":
            with custodian.engine.begin() as connection:
                connection.execute(COUNTED.insert(), {"report_id": reports[0].report_id, "task_hash": task.hash})

    monkeypatch.setattr(write_points, "react", meanwhile)
    with pytest.raises(AlreadyCounted, match="meanwhile"):
        custodian.answer(batch_bytes(task, reports), now())
    assert counted(custodian) == {reports[0].report_id}
    assert ledger(custodian) == []


def test_what_another_process_answered_meanwhile_is_the_answer(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our noise for the same batch is thrown away: two noises for one sum never leave the custodian."""
    custodian = make()
    task = open_task(custodian)
    asked = a_batch(task).to_bytes()
    theirs: list[bytes] = []

    def meanwhile(point: str) -> None:
        if point == "custodian: answer computed" and not theirs:
            theirs.append(b"")
            other = replace(custodian, _lock=threading.Lock())
            theirs[0] = other.answer(asked, now())

    monkeypatch.setattr(write_points, "react", meanwhile)
    assert custodian.answer(asked, now()) == theirs[0]
    assert len(ledger(custodian)) == 1


def test_a_round_closed_while_its_batch_is_summed_gives_no_answer(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    custodian = make()
    task = open_task(custodian)

    def meanwhile(point: str) -> None:
        if point == "custodian: answer computed":
            replace(custodian, _lock=threading.Lock()).close(task.task_id, now())

    monkeypatch.setattr(write_points, "react", meanwhile)
    with pytest.raises(ForeignTask, match="closed"):
        custodian.answer(a_batch(task).to_bytes(), now())
    assert ledger(custodian) == []


def test_threads_that_ask_the_same_get_one_answer(make: Make) -> None:
    custodian = make()
    task = open_task(custodian)
    asked, answers = a_batch(task, 50).to_bytes(), []
    threads = [threading.Thread(target=lambda: answers.append(custodian.answer(asked, now()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len(set(answers)) == 1
    assert len(ledger(custodian)) == 1


def test_broken_seals_are_named_and_not_counted(make: Make) -> None:
    custodian = make()
    task = open_task(custodian)
    batch = a_batch(task, 6)
    bad = SealedSeed(batch.seeds[2].report_id, bytes(80), token=batch.seeds[2].token)
    batch = replace(batch, seeds=(*batch.seeds[:2], bad, *batch.seeds[3:]))
    answer = Answer.from_bytes(custodian.answer(batch.to_bytes(), now()))
    assert answer.broken == (bad.report_id,)
    assert bad.report_id not in counted(custodian)
    assert (ledger(custodian)[0]["reports"], ledger(custodian)[0]["broken"]) == (5, 1)


def test_the_ledger_states_epsilon_after_every_round(make: Make) -> None:
    """Cap 4: the fifth and sixth round cost the installation asked most nothing. Blocks of a round cost one round."""
    custodian = make()
    for n in range(6):
        task = open_task(custodian, f"round-{n}")
        for block in (0, 1):
            custodian.answer(a_batch(task, block=block).to_bytes(), now() + n)
        custodian.close(task.task_id, now())
    rows = ledger(custodian)
    assert [row["rounds"] for row in rows] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    plan = custodian.plan
    assert [row["epsilon"] for row in rows[::2]] == pytest.approx([plan.epsilon_after(min(n, 4)) for n in range(1, 7)])
    assert all(row["noise_multiplier"] >= plan.noise_multiplier for row in rows)
    spent = custodian.totals()
    assert spent.epsilon == plan.epsilon == max(row["epsilon"] for row in rows)
    assert (spent.rounds_answered, spent.batches, spent.reports) == (6, 12, 60)


def test_privacy_off_is_written_into_the_ledger(make: Make) -> None:
    custodian = make(OFF)
    custodian.answer(a_batch(open_task(custodian)).to_bytes(), now())
    assert [(row["epsilon"], row["sigma"]) for row in ledger(custodian)] == [(None, 0)]
    assert custodian.totals().epsilon == float("inf")


def test_rounds_beyond_the_budget_are_refused(make: Make) -> None:
    """An open round may yet be answered, so it is reserved; one closed without an answer cost nothing."""
    plan = a_promise(max_rounds=2)
    custodian = make(plan)
    first = open_task(custodian, "a")
    custodian.answer(a_batch(first).to_bytes(), now())
    custodian.close("a", now())
    second = open_task(custodian, "b")
    with pytest.raises(BudgetExhausted, match="max_rounds=2"):
        open_task(custodian, "c")
    custodian.close("b", now())
    third = open_task(custodian, "c")
    custodian.answer(a_batch(third).to_bytes(), now())
    with pytest.raises(BudgetExhausted):
        open_task(make(plan), "d")
    assert make(plan).open_round(second.draft_bytes(), now()) == second.to_bytes()
    assert [path.name for path in custodian.round_keys.folder.glob("[!.]*")] == [third.hash.hex()]


def test_a_closed_round_opens_nothing_any_more(make: Make) -> None:
    custodian = make()
    task = open_task(custodian)
    custodian.close(task.task_id, now())
    custodian.close(task.task_id, now())
    with pytest.raises(ForeignTask, match="closed"):
        custodian.answer(a_batch(task).to_bytes(), now())
    assert custodian.round_keys.read(task.hash) is None
    with pytest.raises(ForeignTask, match="nobody"):
        custodian.close("nobody", now())


def test_an_abandoned_round_is_closed_in_the_end(make: Make) -> None:
    custodian = make()
    task = open_task(custodian)
    answered = a_batch(task).to_bytes()
    custodian.answer(answered, now())
    late = task.deadline + GRACE_S + 1
    custodian = make(at=late)
    assert custodian.totals().rounds_open == 0
    assert custodian.round_keys.read(task.hash) is None
    custodian.answer(answered, late)
    custodian = make(at=late + GRACE_S + 1)
    with pytest.raises(ForeignTask, match="forgotten"):
        custodian.answer(answered, late)
    assert len(counted(custodian)) == 5
    assert len(ledger(custodian)) == 1


def test_a_stored_plan_that_writes_its_numbers_otherwise_is_the_same_plan(make: Make) -> None:
    custodian = make(OFF)
    text = custodian.plan.to_json()
    older = text.replace('"noise_multiplier": 0.0', '"noise_multiplier": 0')
    assert older != text
    with custodian.engine.begin() as connection:
        connection.execute(sa.text("UPDATE custodian SET plan = :plan"), {"plan": older})
    assert make(OFF).plan == custodian.plan


def test_a_ledger_belongs_to_one_plan_and_one_key(make: Make, tmp_path: Path) -> None:
    make()
    with pytest.raises(ServingError, match="another plan"):
        make(a_promise(2.0))
    (tmp_path / "custodian" / "signing.key").write_text(SigningKey.generate().private.hex())
    with pytest.raises(ServingError, match="another plan or key"):
        make()


def test_two_custodians_cannot_hold_one_folder(tmp_path: Path) -> None:
    first = a_custodian(tmp_path)
    with pytest.raises(ServingError, match="another custodian"):
        a_custodian(tmp_path)
    first.shut()
    a_custodian(tmp_path).shut()


@pytest.mark.parametrize("database", ["mysql://x/y", "not a url", "postgresql://nobody@127.0.0.1:1/none"])
def test_a_database_that_cannot_be_had_is_an_error_of_one_line(tmp_path: Path, database: str) -> None:
    with pytest.raises(OwnshelfError):
        a_custodian(tmp_path, database=database)
    a_custodian(tmp_path).shut()


def test_no_file_of_the_store_holds_a_seed_or_a_private_round_key(make: Make, tmp_path: Path) -> None:
    """Round keys are in files of their own and nowhere else; a seed is nowhere, opened or sealed."""
    custodian = make()
    task = open_task(custodian)
    private = custodian.round_keys.read(task.hash)
    assert private is not None
    batch: Batch = a_batch(task)
    custodian.answer(batch.to_bytes(), now())
    kept = {path: path.read_bytes() for path in (tmp_path / "custodian").rglob("*") if path.is_file()}
    assert [path.parent.name for path, content in kept.items() if private in content] == ["round-keys"]
    assert not any(seed.sealed_seed[:40] in content for seed in batch.seeds for content in kept.values())
    custodian.close(task.task_id, now())
    after = b"".join(path.read_bytes() for path in (tmp_path / "custodian").rglob("*") if path.is_file())
    assert private not in after


def test_an_answer_is_stored_as_it_was_sent(make: Make) -> None:
    custodian = make()
    task = open_task(custodian)
    sent = custodian.answer(a_batch(task).to_bytes(), now())
    with custodian.engine.connect() as connection:
        assert connection.execute(sa.select(ANSWERS.c.answer)).scalar_one() == sent


def test_a_round_left_open_is_not_answered_late_and_its_key_does_not_wait_for_the_next_round(make: Make) -> None:
    custodian = make()
    task = open_task(custodian)
    batch = batch_bytes(task, some_reports(task, MIN_REPORTS))
    late = task.deadline + GRACE_S + 1
    with pytest.raises(ForeignTask):
        custodian.answer(batch, late)
    assert custodian.round_keys.read(task.hash) is None
    assert ledger(custodian) == []


def test_an_idle_custodian_destroys_keys_when_it_is_told_the_time(make: Make) -> None:
    custodian = make()
    task = open_task(custodian)
    custodian.expire(task.deadline + GRACE_S - 1)
    assert custodian.round_keys.read(task.hash) is not None
    custodian.expire(task.deadline + GRACE_S + 1)
    assert custodian.round_keys.read(task.hash) is None
