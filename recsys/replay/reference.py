"""The obvious replay, one event after the other, beside the fast one: for tests and for reading. Never fast.

It keeps every device's own history, forgets what was cancelled when it is cancelled, and makes each list by the public
functions of one profile. What it shares with the fast one is the trainer and whom it draws for a round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.interactions import EventKind, Interactions
from data.split import known_at
from recsys.evaluation.device_settings import own_scores
from recsys.model.items import ItemTable
from recsys.model.profile_config import ProfileConfig
from recsys.model.scoring import top_k
from recsys.model.trend import decayed_popularity, trend_of
from recsys.replay.settings import ReplayConfig
from recsys.replay.trainer import Trainer, draw_cohort

Scores = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Reference:
    """An arm in words: `personalized` with settings, `global` or `popularity`."""

    name: str
    config: ProfileConfig | None = None


def replay_slowly(
    log: Interactions, arms: Sequence[Reference], config: ReplayConfig, trainer: Trainer, *, in_order: bool
) -> list[tuple[int, str, int | None, bool]]:
    """Replay a log by plain loops.

    Returns for each event that stands: its row in the log, the arm, the rank of its item (from 1, None: not listed),
    and whether the item could be listed at all; in order of time, then of the log.

    in_order: whether events of one device at one time follow each other, or know nothing of each other.
    """
    user = log.user_idx
    undone = dict(zip(log.undone_row.tolist(), log.undone_time.tolist(), strict=True))
    state = trainer.start(log.n_items)
    bundle, number = -1, -1
    published: list[Scores] = []
    listable = np.zeros(log.n_items, dtype=np.bool_)
    table = trainer.table(state, np.zeros(log.n_items, dtype=np.float32))
    answers: list[tuple[int, str, int | None, bool]] = []
    for row in np.lexsort((np.arange(log.n_events), log.time)).tolist():
        now = int(log.time[row])
        if now // config.every_us != bundle:
            last, bundle = bundle, now // config.every_us
            at, number = bundle * config.every_us, number + 1
            active = np.unique(user[(log.time >= last * config.every_us) & (log.time < at)]).astype(np.int64)
            known = known_at(log, at)
            cohort = draw_cohort(active, config.cohort_size, number, config.seed)
            if len(cohort):
                state = trainer.round(state, known.users(cohort), at, number)
            table = trainer.table(state, trend_of(decayed_popularity(known, at)))
            published = [decayed_popularity(known, at), decayed_popularity(known, at, np.inf)]
            listable[known.item_idx] = True
        if log.kind[row] == EventKind.DISLIKE or row in undone:
            continue
        history = [
            other
            for other in range(log.n_events)
            if user[other] == user[row]
            and (log.time[other] < now or (in_order and log.time[other] == now and other < row))
            and undone.get(other, now) >= now
        ]
        for arm in arms:
            scores = _scores(arm, table, log, history, now, published).astype(np.float32)
            order = top_k(scores, log.n_items, exclude=np.flatnonzero(~listable).astype(np.int32))[0].tolist()
            item = int(log.item_idx[row])
            place = order.index(item) + 1 if item in order else None
            answers.append((row, arm.name, place, bool(listable[item])))
    return answers


def _scores(
    arm: Reference, table: ItemTable, log: Interactions, history: list[int], now: int, published: list[Scores]
) -> Scores:
    if arm.config is None:
        return published[0 if arm.name == "global" else 1]
    return own_scores(table, log.item_idx[history], log.kind[history], log.time[history], now, arm.config)
