"""A training round has one plan: what follows from the privacy plan and the shape of the table, and no other.

A service that could choose clips, scales or shares, or a catalogue of one item, would have all of a report's
sensitivity on the one question that it wants answered of one shopper.
"""

from __future__ import annotations

from federation.learning.mix_sum import MixSum, mix_sum_of, n_features_of
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.training_sum import ROWS
from federation.private_sum.refusals import PlanRefused, TaskRefused
from federation.protocol.messages import Block, Task, blocks_of

NO_ITEMS = Block(0, 0)
"""The one block of a sum that is not about items."""


def check_round_plan(task: Task, promise: PrivacyPlan) -> None:
    """Raise TaskRefused unless a training task's plan and blocks are those of the promise for a table of its shape.

    A round of the mix is about no items: its plan is that of the promise for its features.
    """
    mix_sum = mix_sum_of([part.name for part in task.plan.parts])
    if mix_sum is not None:
        _check_mix_plan(task, mix_sum, promise)
    else:
        _check_table_plan(task, promise)


def _check_table_plan(task: Task, promise: PrivacyPlan) -> None:
    rows = {part.name: part.length for part in task.plan.parts}
    trained = next((trained for trained, name in ROWS.items() if name in rows), None)
    n_block = task.blocks[0].stop - task.blocks[0].start
    n_items = task.blocks[-1].stop
    if trained is None or n_block < 1 or rows[ROWS[trained]] % n_block:
        raise TaskRefused(f"parts={sorted(rows)}: must be those of a training round over blocks of {n_block} items")
    if task.blocks != blocks_of(n_items, n_block):
        raise TaskRefused(f"blocks: must cut {n_items} rows into blocks of {n_block}, in order")
    dim = rows[ROWS[trained]] // n_block
    for name, value, least in (("items", n_items, promise.min_items), ("dim", dim, promise.min_dim)):
        if value < least:
            raise TaskRefused(f"{name}={value}: must be at least min_{name}={least} of the privacy plan")
    try:
        agreed = promise.sum_plan(n_block, dim, trained, verified=task.suite.verified)
    except PlanRefused as error:
        raise TaskRefused(f"blocks of {n_block} items, dim={dim}: {error}") from None
    if task.plan != agreed:
        raise TaskRefused(f"plan: must be the privacy plan's own for blocks of {n_block} items and dim={dim}")


def _check_mix_plan(task: Task, mix_sum: MixSum, promise: PrivacyPlan) -> None:
    n_features = n_features_of(task.plan.parts)
    if task.blocks != (NO_ITEMS,) or n_features < 1:
        raise TaskRefused(f"blocks={task.blocks}, {n_features} features: must be the one block 0..0, and 1 or more")
    try:
        agreed = promise.mix_plan(mix_sum, n_features, verified=task.suite.verified)
    except PlanRefused as error:
        raise TaskRefused(f"plan of the mix, {n_features} features: {error}") from None
    if task.plan != agreed:
        raise TaskRefused(f"plan: must be the privacy plan's own for a {mix_sum} of the mix over {n_features} features")
