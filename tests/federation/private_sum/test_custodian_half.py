import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2

from data.errors import BatchTooSmall
from federation.private_sum.custodian_half import answer, close
from federation.private_sum.exchange import Batch, SealedSeed
from federation.private_sum.refusals import AlreadyCounted, BatchRefused, ForeignTask
from federation.service.summing import batch_of
from tests.federation.private_sum.a_round import a_plan, a_task, a_vector, reports_of

RNG = np.random.default_rng(0)


def asked(n=4, *, sigma=0, min_reports=3, max_reports=10):
    """A task, its round, n reports to block 0 and the batch of them."""
    task, opened = a_task(a_plan(sigma=sigma, min_reports=min_reports, max_reports=max_reports))
    reports = reports_of(task, [a_vector(RNG) for _ in range(n)], RNG)
    return task, opened, reports, batch_of(task, 0, reports)


def test_answer_counts_every_report_and_the_next_round_remembers_them():
    _, opened, reports, batch = asked()
    after, given = answer(batch, opened)
    assert given.counted == tuple(report.report_id for report in reports)
    assert given.broken == ()
    assert after.counted == set(given.counted)
    assert opened.answers == ()


def test_asked_again_the_custodian_replays_its_answer_with_the_same_noise():
    _, opened, _, batch = asked(sigma=1000)
    after, first = answer(batch, opened)
    again, second = answer(batch, after)
    assert second is first
    assert again is after


def test_noise_is_fresh_if_the_answer_was_never_stored():
    _, opened, _, batch = asked(sigma=1000)
    assert answer(batch, opened)[1].half != answer(batch, opened)[1].half


def test_custodians_half_carries_its_full_sigma_and_nothing_else():
    _, opened, _, batch = asked(sigma=5000)
    quiet = replace(opened, plan=replace(opened.plan, sigma=0))
    exact = answer(batch, quiet)[1].words
    draws = np.concatenate([(answer(batch, opened)[1].words - exact).view(np.int32) for _ in range(200)]).astype(float)

    def p(sigma):
        tail = chi2.cdf((draws**2).sum() / sigma**2, df=len(draws))
        return 2 * min(tail, 1 - tail)

    assert p(5000) > 1e-6
    assert p(5000 * 2 / 3) < 1e-6
    assert p(5000 * 3 / 2) < 1e-6


def test_batch_below_min_reports_is_refused():
    _, opened, _, batch = asked(2)
    with pytest.raises(BatchTooSmall, match="reports=2: must be at least min_reports=3"):
        answer(batch, opened)


def test_batch_that_falls_below_min_reports_once_broken_seals_are_left_out_is_refused():
    _, opened, _, batch = asked(3)
    broken = SealedSeed(batch.seeds[0].report_id, bytes(80))
    with pytest.raises(BatchTooSmall, match="reports=2"):
        answer(replace(batch, seeds=(broken, *batch.seeds[1:])), opened)


def test_broken_seal_is_left_out_and_named_and_the_others_count():
    _, opened, _, batch = asked(4)
    broken = SealedSeed(batch.seeds[1].report_id, bytes(80))
    tampered = replace(batch, seeds=(batch.seeds[0], broken, *batch.seeds[2:]))
    _, given = answer(tampered, opened)
    assert given.broken == (broken.report_id,)
    assert given.counted == tuple(batch.seeds[i].report_id for i in (0, 2, 3))


def test_batch_above_max_reports_is_refused():
    _, opened, _, batch = asked(5, max_reports=4)
    with pytest.raises(BatchRefused, match="reports=5: must be at most max_reports=4"):
        answer(batch, opened)


def test_report_twice_in_a_batch_is_refused():
    _, opened, _, batch = asked(4)
    with pytest.raises(AlreadyCounted, match="1 report ids occur twice"):
        answer(replace(batch, seeds=(*batch.seeds, batch.seeds[0])), opened)


def test_report_counted_in_another_block_or_round_is_refused():
    _, opened, _, batch = asked(4)
    after, _ = answer(batch, opened)
    with pytest.raises(AlreadyCounted, match="4 reports were counted before"):
        answer(replace(batch, block=1), after)
    with pytest.raises(AlreadyCounted, match="1 reports were counted before"):
        answer(batch, opened, counted_before={batch.seeds[2].report_id})


def test_seeds_sealed_for_one_block_do_not_count_in_another():
    _, opened, _, batch = asked(4)
    with pytest.raises(BatchTooSmall, match="reports=0"):
        answer(replace(batch, block=1), opened)


def test_second_batch_for_an_answered_block_is_refused():
    task, opened, _, batch = asked(4)
    after, _ = answer(batch, opened)
    more = batch_of(task, 0, reports_of(task, [a_vector(RNG) for _ in range(4)], RNG))
    for other in (more, replace(batch, seeds=batch.seeds[:3]), replace(batch, seeds=batch.seeds[::-1])):
        with pytest.raises(BatchRefused, match="was answered for another batch"):
            answer(other, after)


def test_block_that_does_not_exist_is_refused():
    _, opened, _, batch = asked()
    for block in (-1, 3):
        with pytest.raises(BatchRefused, match=r"must be 0\.\.2"):
            answer(replace(batch, block=block), opened)


def test_task_of_another_round_is_refused():
    _, opened, _, _ = asked()
    _, _, _, foreign = asked()
    with pytest.raises(ForeignTask):
        answer(foreign, opened)


def test_closed_round_answers_nothing_new_but_replays():
    _, opened, _, batch = asked()
    with pytest.raises(ForeignTask, match="closed"):
        answer(batch, close(opened))
    after, given = answer(batch, opened)
    assert close(after).key is None
    assert answer(batch, close(after))[1] is given


def test_digest_tells_batches_apart():
    batch = Batch(bytes(32), 0, (SealedSeed(bytes(16), b"ab"), SealedSeed(bytes(16), b"c")))
    others = [
        replace(batch, block=1),
        replace(batch, task_hash=b"\1" * 32),
        replace(batch, seeds=batch.seeds[:1]),
        replace(batch, seeds=(SealedSeed(bytes(16), b"a"), SealedSeed(bytes(16), b"bc"))),
    ]
    assert len({b.digest for b in [batch, *others]}) == 5


def test_nothing_secret_is_printed():
    _, opened, _, batch = asked()
    after, given = answer(batch, opened)
    text = repr((opened, after, given, batch))
    assert repr(opened.key.private) not in text
    assert repr(given.half) not in text
    assert repr(batch.seeds[0].sealed_seed) not in text


def test_custodian_starts_without_torch():
    code = "import sys, federation.custodian.policy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
