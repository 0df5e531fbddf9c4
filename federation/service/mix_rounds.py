"""What a round is about: the rows of the item table, or the weights of the mix; and the mix after such a round."""

from __future__ import annotations

from typing import Any

from data.errors import FederationError
from federation.learning.mix_step import advance_mix, next_sum
from federation.learning.mix_sum import mix_sum_of
from federation.learning.privacy_plan import PrivacyPlan
from federation.private_sum.fixed_point import decode
from federation.private_sum.plan import SumPlan
from federation.protocol.messages import Block, Task, blocks_of
from federation.service.round_settings import RoundSettings
from federation.service.round_store import StoredSum
from recsys.catalogue.bundle import Bundle
from recsys.mix.features import N_FEATURES
from recsys.mix.model import MixModel
from recsys.model.items import ItemTable


def table_round(table: ItemTable, plan: PrivacyPlan, settings: RoundSettings) -> tuple[tuple[Block, ...], SumPlan]:
    """Cut a table into the blocks of a training round, and plan their sums."""
    rows, verified = min(settings.block_items, table.n_items), settings.suite.verified
    width = table.rows_of(table.trained).shape[1]
    return blocks_of(table.n_items, rows), plan.sum_plan(rows, width, table.trained, verified=verified)


def mix_round_plan(mix: MixModel | None, plan: PrivacyPlan, *, verified: bool) -> SumPlan:
    """Plan the sum that a mix needs next. Raises FederationError where it needs none."""
    kind = next_sum(mix)
    if kind is None:
        raise FederationError("mix: is learned, or the bundle has none that live rounds could learn")
    return plan.mix_plan(kind, N_FEATURES, verified=verified)


def is_mix_round(task: Task) -> bool:
    """Tell whether a round is about the mix, by the parts of its plan."""
    return mix_sum_of([part.name for part in task.plan.parts]) is not None


def mix_after(base: Bundle, task: Task, stored: StoredSum) -> MixModel:
    """Compute the mix of the bundle that follows base by a round of it: the same from the same sum, as often as asked.

    Raises FederationError for a bundle or a sum without one.
    """
    if base.mix is None or stored.words is None:
        raise FederationError(f"task_id={task.task_id}: has no sum, or its bundle {base.version} no mix")
    return advance_mix(base.mix, decode(task.plan, stored.words), task.plan, stored.counted)


def mix_record(task: Task, mix: MixModel, stored: StoredSum, plan: PrivacyPlan, *, spent: int) -> dict[str, Any]:
    """Record a round of the mix, as JSON takes it, in the words of round_record. spent: as there."""
    kind = mix_sum_of([part.name for part in task.plan.parts])
    return {
        "round": task.round,
        "task_id": task.task_id,
        "from_bundle": task.bundle_version,
        "blocks": 1,
        "discarded_blocks": 0,
        "reports": stored.counted,
        "broken_seals": stored.broken,
        "step": 1.0,
        "train_ndcg": None,
        "holdout_ndcg": None,
        "mix": {"sum": kind, "served": dict(mix.served)},
        "privacy": plan.statement(min(spent, plan.max_participations)),
    }
