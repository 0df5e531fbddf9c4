from dataclasses import replace

import numpy as np
import pytest

from federation.custodian.policy import answer_batch
from federation.private_sum.refusals import ForeignTask
from federation.private_sum.signing import SigningKey
from federation.service.summing import batch_of
from tests.federation.private_sum.a_round import CUSTODIAN, a_task, a_vector, reports_of

RNG = np.random.default_rng(0)


def test_task_that_the_custodian_did_not_sign_is_not_answered():
    task, opened = a_task()
    batch = batch_of(task, 0, reports_of(task, [a_vector(RNG)], RNG))
    for unsigned in (task.signed_by(SigningKey.generate()), replace(task, signature=b"")):
        with pytest.raises(ForeignTask, match="is not signed by this custodian"):
            answer_batch(unsigned, batch, opened, CUSTODIAN.public)


def test_task_changed_after_signing_is_not_answered():
    task, opened = a_task()
    weaker = replace(task, deadline=task.deadline + 1)
    batch = batch_of(weaker, 0, reports_of(weaker, [a_vector(RNG)], RNG))
    with pytest.raises(ForeignTask, match="is not signed"):
        answer_batch(weaker, batch, opened, CUSTODIAN.public)


def test_task_of_another_round_is_not_answered_although_it_is_signed():
    task, opened = a_task()
    other, _ = a_task()
    batch = batch_of(task, 0, reports_of(task, [a_vector(RNG)], RNG))
    with pytest.raises(ForeignTask, match="is not the task of this round"):
        answer_batch(other, batch, opened, CUSTODIAN.public)


def test_batch_carries_no_share():
    task, _ = a_task()
    reports = reports_of(task, [a_vector(RNG) for _ in range(3)], RNG)
    batch = batch_of(task, 2, reports)
    assert [(s.report_id, s.sealed_seed) for s in batch.seeds] == [(r.report_id, r.sealed_seed) for r in reports]
    # Of a verified report also hashes of its share under a blind, and its rows at one point, each under a mask.
    # The token was signed blindly, and says no more than which of the app's issuers signed it.
    assert set(vars(batch.seeds[0])) == {"report_id", "sealed_seed", "commitments", "opened", "token"}
    assert all(seed.commitments == seed.opened == b"" for seed in batch.seeds)
