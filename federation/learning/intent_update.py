"""What one device adds to a round of the current intent: the same named parts, with queries in place of the profile.

At each of its last moments t the device has the query q_t of the events before (recsys/model/intent.py), and knows
which
items came next: item i, k events later, with weight w_ti = κ_t·decay^k·(weight of its kind), κ_t = 1 / √(their number).
With the output rows d_i (Hu, Koren, Volinsky 2008, of moments in place of users):

    rows_i = Σ_t w_ti·(q_t·d_i − 1)·q_t    counts_i = Σ_t w_ti    second = Σ_t κ_t·q_t·q_tᵀ    first = q now    one = 1

So the item step of federation/learning/item_step.py learns D from these sums as it learns V from the others. The
obvious
version, one device at a time; federation/simulation/intent_sums.py computes the same for many and is tested against
this.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.interactions import EventKind
from federation.learning.taste_update import METRICS, Clips, Update, clip_part
from recsys.model.intent import intent_query
from recsys.model.intent_config import IntentConfig
from recsys.model.profile_config import ProfileConfig


def came_next(
    item_idx: npt.NDArray[np.int32], kind: npt.NDArray[np.uint8], profile: ProfileConfig, config: IntentConfig
) -> dict[int, float]:
    """Weigh the items among the events after a moment, oldest first, each by its first one; without κ.

    A dislike and a kind that does not count are no targets.
    """
    weights: dict[int, float] = {}
    for later, (item, event_kind) in enumerate(zip(item_idx[: config.horizon], kind[: config.horizon], strict=True)):
        weight = profile.kind_weights[event_kind]
        if event_kind != EventKind.DISLIKE and weight > 0 and int(item) not in weights:
            weights[int(item)] = weight * config.decay**later
    return weights


def intent_update(
    taste: npt.NDArray[np.float32],
    output: npt.NDArray[np.float32],
    item_idx: npt.NDArray[np.int32],
    kind: npt.NDArray[np.uint8],
    profile: ProfileConfig,
    config: IntentConfig,
    clips: Clips,
    *,
    block: range | None = None,
) -> Update:
    """Update of one device. taste: V (n_items, dim); output: D (n_items, pools·dim); the rest (n,), oldest event first.

    block: item_idx of the device's block, all items by default. An empty history is zeros, `one` too.
    """
    n_items, width = output.shape
    block = range(n_items) if block is None else block
    rows, counts, second = np.zeros((len(block), width)), np.zeros(len(block)), np.zeros((width, width))
    n = len(item_idx)
    for t in range(max(1, n - config.moments), n):
        targets = came_next(item_idx[t:], kind[t:], profile, config)
        if not targets:
            continue
        q = intent_query(taste[item_idx[:t]], kind[:t], profile).astype(np.float64)
        kappa = len(targets) ** -0.5
        second += kappa * np.outer(q, q)
        for item, weight in targets.items():
            if item in block:
                residual = q @ output[item].astype(np.float64) - 1.0
                rows[item - block.start] += kappa * weight * residual * q
                counts[item - block.start] += kappa * weight
    return Update(
        rows=clip_part(rows, clips.rows),
        counts=clip_part(counts, clips.counts),
        second=clip_part(second[np.triu_indices(width)], clips.second),
        first=clip_part(intent_query(taste[item_idx], kind, profile).astype(np.float64), clips.first),
        one=1.0 if n else 0.0,
        metrics=np.zeros(len(METRICS)),
    )
