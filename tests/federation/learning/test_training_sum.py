"""A training round through both parties of the private sum equals the batched simulation, up to rounding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from data.errors import FederationError
from federation.custodian.policy import CustodianPolicy, answer_batch, open_round
from federation.device.report import make_report
from federation.learning.item_step import RoundSums
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips, Update, device_update
from federation.learning.training_sum import round_sums, training_plan, vectors_of
from federation.private_sum.in_process import sum_in_process
from federation.private_sum.sealing import Suite
from federation.private_sum.signing import SigningKey
from federation.protocol.messages import Task, blocks_of
from federation.service.summing import batch_of, sum_of
from federation.simulation.taste_sums import sum_updates
from recsys.model.fold_in import fold_in
from recsys.model.histories import merge_histories
from recsys.model.profile import event_targets, event_weights
from recsys.model.solver import Solver
from tests.federation.learning.test_taste_update import CONFIG, NOW, random_log, table

CLIPS = Clips(rows=0.8, counts=3.0, second=0.5, first=0.7)
N_ITEMS, DIM, N_BLOCK = 25, 6, 7
CUSTODIAN = SigningKey.from_private(bytes(range(32)))


def updates_and_expectation(n_devices: int) -> tuple[list[tuple[int, Update]], RoundSums]:
    """Every device's block and update by the reference, and what the simulation sums."""
    log, V = random_log(21, n_users=n_devices), table(22, N_ITEMS, DIM)
    blocks = np.random.default_rng(0).integers(0, 4, n_devices).astype(np.int32)
    gram = V.astype(np.float64).T @ V
    updates = []
    for device in range(n_devices):
        own = log.of(device)
        items = log.item_idx[own]
        weights, targets = (
            event_weights(log.kind[own], log.time[own], NOW, CONFIG),
            event_targets(log.kind[own]),
        )
        profile = fold_in(V[items], gram, weights, targets, n_items=N_ITEMS, alpha=CONFIG.alpha, reg=CONFIG.reg)
        start = int(blocks[device]) * N_BLOCK
        block = range(start, min(start + N_BLOCK, N_ITEMS))
        updates.append((int(blocks[device]), device_update(V, profile, items, weights, targets, CLIPS, block=block)))
    solver = Solver(torch.from_numpy(V).to(torch.float64), alpha=CONFIG.alpha, reg=CONFIG.reg)
    expected = sum_updates(
        solver, merge_histories(log, CONFIG, NOW), np.arange(n_devices), CLIPS, blocks=4, device_block=blocks
    )
    return updates, expected


def assert_close(found: RoundSums, expected: RoundSums, n_devices: int, plan_scale: float) -> None:
    tolerance = 6 * np.sqrt(n_devices) / plan_scale  # rounding adds a variance below 1/4 step² a device
    for name in ("rows", "counts", "second", "first", "reports", "one"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=tolerance, err_msg=name)


@pytest.mark.parametrize("suite", list(Suite))
def test_a_round_through_service_and_custodian_is_the_simulated_round(suite: Suite) -> None:
    n_devices = 24
    updates, expected = updates_and_expectation(n_devices)
    off = PrivacyPlan.off(CLIPS, max_participations=1, min_reports=1, max_reports=100)
    plan = off.sum_plan(N_BLOCK, DIM, verified=suite.verified)
    draft = Task(
        task_id="training-0",
        round=0,
        bundle_version="v0",
        bundle_hash=bytes(32),
        blocks=blocks_of(N_ITEMS, N_BLOCK),
        plan=plan,
        suite=suite,
        round_public_key=b"",
        deadline=2_000_000_000,
        come_back_at=2_000_000_600,
    )
    task, secret = open_round(draft, CustodianPolicy(min_reports=1, min_noise_multiplier=0.0), CUSTODIAN)
    reports = [make_report(task, block, vectors_of(update, N_BLOCK), b"token") for block, update in updates]
    sums: dict[int, npt.NDArray[np.int32]] = {}
    for block in range(4):
        batch = [report for report in reports if report.block == block]
        secret, answer = answer_batch(task, batch_of(task, block, batch), secret, CUSTODIAN.public)
        sums[block] = sum_of(task, {report.report_id: report.service_share for report in batch}, answer)
    found = round_sums(plan, sums, n_items=N_ITEMS, n_block=N_BLOCK, dim=DIM)
    assert_close(found, expected, n_devices, min(part.scale for part in plan.parts))


def test_the_in_process_sum_is_the_same_round() -> None:
    updates, expected = updates_and_expectation(24)
    plan = training_plan(N_BLOCK, DIM, CLIPS, min_reports=1, max_reports=100)
    rng = np.random.default_rng(3)
    sums = {
        block: sum_in_process(plan, [vectors_of(update, N_BLOCK) for b, update in updates if b == block], rng)
        for block in range(4)
    }
    found = round_sums(plan, sums, n_items=N_ITEMS, n_block=N_BLOCK, dim=DIM)
    assert_close(found, expected, 24, min(part.scale for part in plan.parts))


def test_a_block_without_a_batch_has_no_reports() -> None:
    updates, _ = updates_and_expectation(24)
    plan = training_plan(N_BLOCK, DIM, CLIPS, min_reports=1, max_reports=100)
    own = [vectors_of(update, N_BLOCK) for block, update in updates if block == 1]
    sums = {1: sum_in_process(plan, own, np.random.default_rng(0))}
    found = round_sums(plan, sums, n_items=N_ITEMS, n_block=N_BLOCK, dim=DIM)
    assert found.reports[N_BLOCK : 2 * N_BLOCK].min() == pytest.approx(len(own), abs=0.01)
    assert not found.reports[:N_BLOCK].any()
    assert not found.reports[2 * N_BLOCK :].any()


@pytest.mark.parametrize("max_reports", [50, 5_000, 1_000_000])
def test_the_largest_sum_fills_at_most_half_of_the_words(max_reports: int) -> None:
    plan = training_plan(2048, 64, CLIPS, min_reports=50, max_reports=max_reports)
    for part in plan.parts:
        assert max_reports * part.limit * part.scale * (1.0 if part.clamped else part.length**0.5) <= 2**30 * 1.001
        assert part.clip_norm * part.scale >= 60  # a step is at most 2 per cent of the clip, 0.2 of that of rows
    assert plan.parts[0].clip_norm * plan.parts[0].scale >= 500


def test_rows_get_nearly_all_of_the_sensitivity() -> None:
    """Clips that are powers of two, so that scales can follow the shares exactly: 1 + 2/16 + 2/64 + 4/64 = 1.219."""
    clips = Clips(rows=1.0, counts=4.0, second=0.5, first=0.5)
    plan = training_plan(400, 16, clips, min_reports=50, max_reports=5_000)
    rows = plan.parts[0].bound_squared
    assert 1.2 <= plan.sensitivity_squared / rows <= 1.24


def test_an_infinite_clip_is_refused() -> None:
    with pytest.raises(FederationError, match=r"clips\.rows=inf: must be finite"):
        training_plan(7, 6, Clips(), min_reports=1, max_reports=10)
