"""The custodian's half of a sum, as pure logic: no HTTP, no SQL, no recommender, no torch.

One Round a task. Its life: open → (one answer a block) → closed, which destroys the key. `answer` takes a round and
returns the next one; whoever stores it commits the new answer, its report ids and the spent budget in ONE transaction
before replying, and replays the stored answer when asked again, since fresh noise would average away.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from data.errors import BatchTooSmall
from federation.private_sum.exchange import Answer, Batch
from federation.private_sum.noise import discrete_gaussian
from federation.private_sum.plan import SumPlan
from federation.private_sum.randomness import secure_bytes
from federation.private_sum.refusals import AlreadyCounted, BatchRefused, ForeignTask, ProofFailed, SealBroken
from federation.private_sum.report_share import proof_plan
from federation.private_sum.sealing import Binding, Opener, RoundKey
from federation.private_sum.shares import WIRE_WORD, sum_of_streams
from federation.private_sum.verified import field
from federation.private_sum.verified.proof import check_report
from federation.private_sum.verified.transcript import Commitments


@dataclass(frozen=True)
class Round:
    """The custodian's state of one task it signed. key is None once the round is closed."""

    task_hash: bytes
    plan: SumPlan
    n_blocks: int
    key: RoundKey | None
    answers: tuple[Answer, ...] = ()

    @property
    def counted(self) -> frozenset[bytes]:
        """Every report id this round has counted."""
        return frozenset(report_id for answer in self.answers for report_id in answer.counted)


def answer(batch: Batch, before: Round, counted_before: Collection[bytes] = frozenset()) -> tuple[Round, Answer]:
    """Answer a batch: return the round after it, and its answer.

    The round is unchanged if the answer is a replay.

    counted_before: report ids of this batch that other rounds counted, as the store knows them. Seeds that do not open,
    and verified reports whose proof fails, are left out and named; everything else that is wrong refuses the batch:
    ForeignTask for an unknown or closed round, BatchRefused for a block that has another answer or does not exist,
    AlreadyCounted for a report seen before or twice, BatchTooSmall below min_reports.
    """
    if batch.task_hash != before.task_hash:
        raise ForeignTask(f"task_hash={batch.task_hash.hex()}: must be {before.task_hash.hex()}")
    for given in before.answers:
        if given.block == batch.block:
            if given.batch_digest != batch.digest:
                raise BatchRefused(f"block={batch.block}: was answered for another batch")
            return before, given
    if before.key is None:
        raise ForeignTask(f"task_hash={batch.task_hash.hex()}: the round is closed and its key destroyed")
    if not 0 <= batch.block < before.n_blocks:
        raise BatchRefused(f"block={batch.block}: must be 0..{before.n_blocks - 1}")
    _check_ids(batch, before, counted_before)
    verified = before.key.suite.verified
    if batch.verified is not verified:
        raise BatchRefused(f"verified={batch.verified}: must be {verified}, as the task's suite")
    plan = before.plan
    seeds, broken = _open_all(batch, plan, before.key)
    add_up = _sum_of_verified if verified else _sum_of_plain
    counted, failed, half = add_up(batch, plan, seeds)
    if len(counted) < plan.min_reports:
        raise BatchTooSmall(f"reports={len(counted)}: must be at least min_reports={plan.min_reports}")
    fresh = Answer(batch.block, batch.digest, counted, broken, half, failed, verified)
    return replace(before, answers=(*before.answers, fresh)), fresh


def close(before: Round) -> Round:
    """Close the round: drop its key. Nothing sealed to it can be opened any more; stored answers can be replayed."""
    return replace(before, key=None)


def _sum_of_plain(
    batch: Batch, plan: SumPlan, seeds: dict[bytes, bytes]
) -> tuple[tuple[bytes, ...], tuple[bytes, ...], bytes]:
    """Ids counted, ids whose proofs fail (none), and the half."""
    if len(seeds) < plan.min_reports:  # before the work; `answer` refuses it
        return tuple(seeds), (), b""
    half = sum_of_streams(seeds.values(), plan.length)
    half += discrete_gaussian(plan.sigma, plan.length, secure_bytes()).astype(np.uint32)
    return tuple(seeds), (), half.astype(WIRE_WORD, copy=False).tobytes()


def _sum_of_verified(
    batch: Batch, plan: SumPlan, seeds: dict[bytes, bytes]
) -> tuple[tuple[bytes, ...], tuple[bytes, ...], bytes]:
    """Ids counted, ids whose proofs fail, and the half."""
    proof, total = proof_plan(plan), np.zeros(plan.length, dtype=np.uint64)
    counted, failed = [], []
    for seed in batch.seeds:
        if seed.report_id not in seeds:
            continue
        context = Binding(batch.task_hash, seed.report_id, batch.block, plan.length).info
        try:
            commitments = Commitments.from_bytes(seed.commitments)
            total += check_report(proof, seeds[seed.report_id], context, commitments, seed.opened)
        except (ProofFailed, ValueError):
            failed.append(seed.report_id)
        else:
            counted.append(seed.report_id)
    noise = discrete_gaussian(plan.sigma, plan.length, secure_bytes())
    return tuple(counted), tuple(failed), field.to_bytes(field.add(total, field.of_integers(noise)))


def _check_ids(batch: Batch, before: Round, counted_before: Collection[bytes]) -> None:
    ids = [seed.report_id for seed in batch.seeds]
    if len(ids) > before.plan.max_reports:
        raise BatchRefused(f"reports={len(ids)}: must be at most max_reports={before.plan.max_reports}")
    if len(ids) < before.plan.min_reports:
        raise BatchTooSmall(f"reports={len(ids)}: must be at least min_reports={before.plan.min_reports}")
    if len(set(ids)) < len(ids):
        raise AlreadyCounted(f"block={batch.block}: {len(ids) - len(set(ids))} report ids occur twice")
    again = before.counted.intersection(ids) | set(ids).intersection(counted_before)
    if again:
        raise AlreadyCounted(f"block={batch.block}: {len(again)} reports were counted before")


def _open_all(batch: Batch, plan: SumPlan, key: RoundKey) -> tuple[dict[bytes, bytes], tuple[bytes, ...]]:
    """Open every seal: the seed of each report id whose seal opens, and the ids whose seal is broken."""
    opener, seeds, broken = Opener.of(key), {}, []
    for seed in batch.seeds:
        try:
            binding = Binding(batch.task_hash, seed.report_id, batch.block, plan.length, seed.commitments)
            seeds[seed.report_id] = opener.open(seed.sealed_seed, binding)
        except SealBroken:
            broken.append(seed.report_id)
    return seeds, tuple(broken)
