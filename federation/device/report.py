"""A device's decision to take part, and its report. Shares nothing with the two parties but the messages."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.round_plan import check_round_plan
from federation.private_sum.device_part import contribute
from federation.private_sum.exchange import MAX_TOKEN_BYTES
from federation.private_sum.randomness import secure_bytes, seeded_bytes
from federation.private_sum.refusals import TaskRefused
from federation.private_sum.sealing import REPORT_ID_BYTES, Binding, Suite
from federation.protocol.messages import Purpose, Report, Task


@dataclass(frozen=True)
class DevicePolicy:
    """The terms that a device agreed to; a weaker task is refused.

    custodian_key: Ed25519 public key (32 bytes), pinned from outside the service. min_noise_multiplier: one party's
    noise over the sensitivity; 0 takes part without noise, on loopback only. min_reports: in sums of fewer than 50
    a single shopper's history was seen to show. max_wait_s: a deadline further away keeps a round's key alive too long.
    max_participations: reports ever; max_per_period: within any period_s, 0 for no bound of its own. max_epsilon: of
    the device's lifetime, over all sums, at delta; inf to agree to sums without noise. plan: a training task must have
    this plan's own sums and no others; None takes any that are not weaker. follows_log: takes part in nothing that is
    not in the custodian's public log, or whose log does not go on from the one seen last. app: whose device this is; it
    takes no other app's tokens.
    """

    custodian_key: bytes
    min_noise_multiplier: float
    min_reports: int = 50
    max_wait_s: int = 7 * 86_400
    max_participations: int = 6
    max_per_period: int = 0
    period_s: int = 86_400
    max_epsilon: float = 8.0
    delta: float = 1e-6
    suites: frozenset[Suite] = frozenset(Suite)
    plan: PrivacyPlan | None = None
    follows_log: bool = True
    max_returned_per_period: int = 3
    app: str = "shop"


def check_task(task: Task, policy: DevicePolicy, now: int, purpose: Purpose = Purpose.TRAINING) -> None:
    """Refuse, with TaskRefused, a task that is expired, not the pinned custodian's, or weaker or other than agreed.

    now: seconds since 1970-01-01 UTC.
    """
    if task.purpose is not purpose:
        raise TaskRefused(f"purpose={task.purpose.name}: must be {purpose.name}")
    if not task.is_signed_by(policy.custodian_key):
        raise TaskRefused(f"signature of task_id={task.task_id}: must be the pinned custodian's")
    if not now <= task.deadline <= now + policy.max_wait_s:
        raise TaskRefused(f"deadline={task.deadline}: must be {now}..{now + policy.max_wait_s}")
    if task.plan.min_reports < policy.min_reports:
        raise TaskRefused(f"min_reports={task.plan.min_reports}: must be at least {policy.min_reports}")
    # Not noise_multiplier: nan compares as not weaker, and a square root would round in someone's favour.
    wanted = policy.min_noise_multiplier**2 * task.plan.sensitivity_squared
    if not task.plan.sigma**2 >= wanted:
        raise TaskRefused(f"sigma={task.plan.sigma}: must be at least {math.sqrt(wanted):.1f}")
    if policy.plan is not None and purpose is Purpose.TRAINING:
        check_round_plan(task, policy.plan)
    if task.suite not in policy.suites:
        raise TaskRefused(f"suite={task.suite}: must be one of {sorted(policy.suites)}")


def draw_block(task: Task) -> int:
    """Index of the block to report on: uniform and secret, never chosen by what the device holds."""
    return secrets.randbelow(len(task.blocks))


def make_report(
    task: Task,
    block: int,
    vectors: Mapping[str, npt.ArrayLike],
    token: bytes,
    rng: np.random.Generator | None = None,
) -> Report:
    """Make the report of one device, under a fresh random id.

    vectors: for each part of the plan an array of part.length numbers, of any shape. rng: rounding of a reproducible
    simulation; None, on a device, takes cryptographic randomness. Id and seed come from the operating system always.
    To send again, send the same bytes again: a second report of the same vectors is a second participation.
    Raises TaskRefused for a block the task does not have or a token that is too long, PlanRefused for wrong vectors.
    """
    if not 0 <= block < len(task.blocks):
        raise TaskRefused(f"block={block}: must be 0..{len(task.blocks) - 1}")
    if len(token) > MAX_TOKEN_BYTES:
        raise TaskRefused(f"token of {len(token)} bytes: must be at most {MAX_TOKEN_BYTES}")
    report_id = os.urandom(REPORT_ID_BYTES)
    halves = contribute(
        task.plan,
        vectors,
        task.suite,
        task.round_public_key,
        Binding(task.hash, report_id, block, task.plan.length),
        secure_bytes() if rng is None else seeded_bytes(rng),
    )
    return Report(task.task_id, report_id, block, halves.service_share, halves.sealed_seed, token)
