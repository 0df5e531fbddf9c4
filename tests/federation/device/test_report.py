from dataclasses import replace

import numpy as np
import pytest

from federation.custodian.policy import CustodianPolicy, open_round
from federation.device.report import DevicePolicy, check_task, draw_block, make_report
from federation.private_sum.plan import SumPlan
from federation.private_sum.refusals import PlanRefused, TaskRefused
from federation.private_sum.sealing import Suite
from federation.private_sum.signing import SigningKey
from tests.federation.private_sum.a_round import CUSTODIAN, LOOPBACK, NOW, PARTS, a_draft, a_plan, a_task, a_vector

AGREED = DevicePolicy(CUSTODIAN.public, min_noise_multiplier=1.0, min_reports=20)
SENSITIVITY = a_plan().sensitivity_squared ** 0.5
FAIR = a_plan(min_reports=20, sigma=int(SENSITIVITY) + 1)
RNG = np.random.default_rng(0)


def task_of(plan: SumPlan, **changes):
    return open_round(replace(a_draft(plan), **changes), LOOPBACK, CUSTODIAN)[0]


def test_task_as_agreed_is_accepted_until_its_deadline():
    task = task_of(FAIR)
    check_task(task, AGREED, NOW)
    check_task(task, AGREED, task.deadline)
    with pytest.raises(TaskRefused, match="deadline"):
        check_task(task, AGREED, task.deadline + 1)


@pytest.mark.parametrize(
    ("plan", "changes", "why"),
    [
        (replace(FAIR, min_reports=19), {}, "min_reports=19: must be at least 20"),
        (replace(FAIR, sigma=int(SENSITIVITY)), {}, "sigma"),
        (replace(FAIR, sigma=0), {}, "sigma=0"),
        (FAIR, {"deadline": NOW - 1}, "deadline"),
        (FAIR, {"deadline": NOW + 8 * 86_400}, "deadline"),
    ],
)
def test_task_weaker_than_agreed_is_refused_although_the_custodian_signed_it(plan, changes, why):
    with pytest.raises(TaskRefused, match=why):
        check_task(task_of(plan, **changes), AGREED, NOW)


def test_larger_scale_or_clip_needs_more_noise():
    wider = replace(FAIR, parts=(replace(PARTS[0], scale=PARTS[0].scale * 2), *PARTS[1:]))
    with pytest.raises(TaskRefused, match="sigma"):
        check_task(task_of(wider), AGREED, NOW)


def test_task_of_another_custodian_or_changed_by_the_service_is_refused():
    task = task_of(FAIR)
    for wrong in (
        replace(task, plan=replace(FAIR, max_reports=21)),
        replace(task, round_public_key=bytes(range(32))),
        replace(task, signature=b""),
        task.signed_by(SigningKey.generate()),
    ):
        with pytest.raises(TaskRefused, match="signature"):
            check_task(wrong, AGREED, NOW)


def test_suite_that_the_device_does_not_want_is_refused():
    with pytest.raises(TaskRefused, match="suite"):
        check_task(task_of(FAIR), replace(AGREED, suites=frozenset({Suite.HYBRID})), NOW)


def test_sum_without_noise_needs_a_policy_that_says_so():
    quiet = task_of(replace(FAIR, sigma=0))
    check_task(quiet, replace(AGREED, min_noise_multiplier=0.0), NOW)
    with pytest.raises(TaskRefused):
        check_task(quiet, replace(AGREED, min_noise_multiplier=float("nan")), NOW)


def test_custodian_signs_no_task_weaker_than_its_own_policy():
    policy = CustodianPolicy(min_reports=20, min_noise_multiplier=1.0)
    assert open_round(a_draft(FAIR), policy, CUSTODIAN)[0].is_signed_by(CUSTODIAN.public)
    for weaker in (replace(FAIR, min_reports=19), replace(FAIR, sigma=int(SENSITIVITY))):
        with pytest.raises(TaskRefused):
            open_round(a_draft(weaker), policy, CUSTODIAN)


def test_custodian_replaces_whatever_key_the_draft_brings():
    planted = replace(a_draft(FAIR), round_public_key=bytes(range(32)), signature=bytes(64))
    task, opened = open_round(planted, LOOPBACK, CUSTODIAN)
    assert task.round_public_key == opened.key.public != planted.round_public_key


def test_two_reports_of_one_device_share_nothing():
    task, _ = a_task()
    vector = a_vector(RNG)
    one, other = (make_report(task, 1, vector, b"t", np.random.default_rng(0)) for _ in range(2))
    assert one.report_id != other.report_id
    assert one.service_share != other.service_share
    assert one.sealed_seed != other.sealed_seed


def test_report_without_a_seed_rounds_with_cryptographic_randomness():
    task, _ = a_task()
    assert len(make_report(task, 0, a_vector(RNG), b"").service_share) == 4 * task.plan.length


def test_block_token_or_vector_that_the_task_does_not_have_is_refused():
    task, _ = a_task()
    vector = a_vector(RNG)
    with pytest.raises(TaskRefused, match=r"block=3: must be 0\.\.2"):
        make_report(task, 3, vector, b"")
    with pytest.raises(TaskRefused, match="token of 355 bytes"):
        make_report(task, 0, vector, bytes(355))
    with pytest.raises(PlanRefused, match="parts"):
        make_report(task, 0, {"rows": vector["rows"]}, b"")


def test_block_is_drawn_uniformly():
    task, _ = a_task()
    # 3,000 draws of 3 blocks: 1,000 each, standard deviation 26.
    counts = np.bincount([draw_block(task) for _ in range(3000)], minlength=3)
    assert np.abs(counts - 1000).max() < 6 * 26
