"""Why an item is in a list: the exact share of each past event in its score. On the device only, as the profile is.

The profile is linear in what it was made from, u = Σ_j w_j p_j A⁻¹ v_j, so the score of item i is a sum over the
history, s_i = Σ_j w_j p_j v_iᵀ A⁻¹ v_j, plus the trend and the repeat counter; so is the current intent's part, where a
table has one (recsys/model/intent.py). Nothing here is an approximation or a
story told afterwards: the parts add up to the score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.interactions import EventKind
from recsys.model.fold_in import solve, system
from recsys.model.intent import event_queries, intent_share
from recsys.model.items import INTENT, TASTE, ItemTable
from recsys.model.profile import event_targets, event_weights
from recsys.model.profile_config import ProfileConfig


@dataclass(frozen=True, eq=False, repr=False)
class Contributions:
    """The shares of each item of a history in the scores of some listed items.

    item_idx: (n,) int32, the distinct items of the history, ascending.
    kind: (n,) uint8, what was done with each that weighs most; of equal weights, the later EventKind.
    parts: (k, n) float64; a row sums to u·v of the listed item.
    """

    item_idx: npt.NDArray[np.int32]
    kind: npt.NDArray[np.uint8]
    parts: npt.NDArray[np.float64]


def because(
    table: ItemTable,
    item_idx: npt.NDArray[np.int32],
    kind: npt.NDArray[np.uint8],
    time: npt.NDArray[np.int64],
    now: int,
    config: ProfileConfig,
    listed: npt.NDArray[np.int32],
) -> Contributions:
    """Split the listed items' scores (k,) over the events of one history.

    The history is given as to make_profile: oldest event first, all (n,).

    One dim × dim solve for all listed items together.
    """
    part = table.part(TASTE)
    rows = table.item_embeddings[item_idx, part]
    weights = event_weights(kind, time, now, config)
    A = system(rows, table.gram, weights, n_items=table.n_items, alpha=config.alpha, reg=config.reg)
    wanted = table.item_embeddings[listed, part].astype(np.float64)
    signed = weights.astype(np.float64) * event_targets(kind)
    share = intent_share(table.parts, config)
    events = (1 - share) * (rows.astype(np.float64) @ solve(A, wanted.T, config.reg)) * signed[:, None]
    if share > 0:
        events += share * (event_queries(rows, kind, config) @ table.rows_of(INTENT)[listed].astype(np.float64).T)
    distinct, where = np.unique(item_idx, return_inverse=True)
    parts = np.zeros((len(distinct), len(listed)))
    np.add.at(parts, where, events)
    done = np.zeros((len(distinct), len(EventKind)))
    np.add.at(done, (where, kind), weights)
    most = len(EventKind) - 1 - done[:, ::-1].argmax(axis=1)
    return Contributions(distinct.astype(np.int32), most.astype(np.uint8), parts.T)
