"""A period's tasks: some devices with all their moments, and no more of the log than they need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.evaluation.metrics import self_information
from recsys.replay.answering import CategoryShare, ListMeasurement, Task
from recsys.replay.prefixes import Index, until
from recsys.replay.questions import Log, collect_questions
from recsys.replay.replay_arms import Publication, TimedRecommender
from recsys.replay.settings import ReplayConfig
from recsys.replay.taste_changes import Changes

MOMENTS_PER_TASK = 20_000
"""Part of what a task is, so part of what a seed means where negatives are drawn."""


@dataclass(frozen=True, eq=False)
class Splitter:
    """Makes the tasks of any period of one log. item_category: (n_items,) int32, −1 for none."""

    log: Log
    config: ReplayConfig
    changes: Changes
    item_category: npt.NDArray[np.int32]

    def tasks(
        self,
        at: Publication,
        answers: tuple[TimedRecommender, ...],
        before: tuple[TimedRecommender, ...],
        scored: Index,
        ends: Index,
    ) -> Iterator[Task]:
        """Yield the tasks between `at` and the next publication.

        before: who answered under the bundle before; scored: rows that are asked about, ascending; ends: (n_users,)
        the row after each device's last one of this period, beyond which a task holds nothing.
        """
        log, events = self.log, self.log.events
        moments, moment_of = np.unique(log.moment[scored], return_inverse=True)
        device = log.user[moments].astype(np.int64)
        embeddings = None if at.table is None else _unit_rows(at.table.item_embeddings)
        information = self_information(at.counts.astype(np.int64), max(int(at.counts.sum()), 1))
        for part, (start, stop) in enumerate(_devices_together(device)):
            task_moments = moments[start:stop]
            lines = slice(*np.searchsorted(moment_of, (start, stop)).tolist())
            users, user = np.unique(device[start:stop], return_inverse=True)
            local = until(events, users, ends[users])
            look = share = None
            if self.config.lists:
                look = ListMeasurement(np.unique(user, return_index=True)[1], information, embeddings, before)
                taken = self.looks(task_moments)
                if len(taken):
                    shelf = np.searchsorted(task_moments, self.changes.moment[taken])
                    share = CategoryShare(shelf, self.changes.category[taken], self.item_category)
            yield Task(
                number=at.number,
                part=part,
                arms=answers,
                log=local,
                user=user,
                end=task_moments - events.offsets[users][user] + local.offsets[user],
                time=events.time[task_moments],
                candidates=at.candidates,
                wanted={
                    target: collect_questions(log, target, scored[lines], task_moments, moment_of[lines] - start)
                    for target in self.config.targets
                },
                k=self.config.k,
                negatives=self.config.negatives,
                seed=self.config.seed,
                look=look,
                share=share,
            )

    def looks(self, moments: Index) -> Index:
        """Find which looks at changes of taste fall on these moments, ascending rows of the log."""
        if len(moments) == 0:
            return np.empty(0, dtype=np.int64)
        all_looks = self.changes.moment
        start, stop = np.searchsorted(all_looks, (moments[0], moments[-1] + 1)).tolist()
        place = np.minimum(np.searchsorted(moments, all_looks[start:stop]), len(moments) - 1)
        at_these: Index = np.arange(start, stop)[moments[place] == all_looks[start:stop]]
        return at_these


def _devices_together(device: Index) -> Iterator[tuple[int, int]]:
    """Start and stop of runs of about MOMENTS_PER_TASK moments; device: (n,) ascending, none is cut in two."""
    start = 0
    while start < len(device):
        stop = len(device)
        if start + MOMENTS_PER_TASK < stop:
            edge = device[start + MOMENTS_PER_TASK]
            stop = int(np.searchsorted(device, edge))
            stop = stop if stop > start else int(np.searchsorted(device, edge, side="right"))
        yield start, stop
        start = stop


def _unit_rows(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale rows to length 1; a row of zeros stays."""
    length = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(embeddings / np.maximum(length, 1e-30), dtype=np.float32)
