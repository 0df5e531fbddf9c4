"""The leakage guards over a replay: over its log, over what it calls known, and over arms of somebody else's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from data.dataset import Dataset
from data.errors import ModelError
from data.interactions import Interactions
from data.split import known_at, temporal
from recsys.leakage import Inspection, Setup, inspect, reads_future
from recsys.model.trend import trend_of
from recsys.replay.replay_arms import Arm, Publication, TimedRecommender, answers_of, scores_of
from recsys.replay.settings import ReplayConfig
from recsys.replay.timeline import ItemPopularity
from recsys.replay.trainer import Trainer


def inspect_replay(
    dataset: Dataset,
    arms: Sequence[Arm | TimedRecommender] = (),
    config: ReplayConfig | None = None,
    trainer: Trainer | None = None,
) -> Inspection:
    """Look for leaks at one publication in the middle of the log, with the log after it also changed.

    Inspected are the log itself (duplicates, aliases, shifted clocks, items before their time), the popularity and
    the candidates of that publication, and of each arm whether its scores move when only the future does. Of an object
    with `scores` alone nothing can be seen: until when it learned is for its owner to say.
    """
    log, config = dataset.interactions(), config or ReplayConfig()
    at = _middle(log, config.every_us)
    if at is None:
        raise ModelError(
            "inspection: the log is of one bundle only, there is nothing before a publication to look at; "
            "a shorter time between bundles makes more of them"
        )
    split = temporal(log, at)
    levels = _levels(log, at)
    inspection = inspect(replace(Setup.of(split, log=log), popularity=levels.recent, candidates=levels.seen))
    moved = [reads_future(_Fit(arm, trainer, config), log, at, seed=config.seed) for arm in arms]
    named = [
        replace(leak, where=f"arm {getattr(arm, 'name', type(arm).__name__)}")
        for arm, leak in zip(arms, moved, strict=True)
        if leak is not None
    ]
    if not arms:
        return inspection
    kind = "model_reads_future"
    return Inspection(
        (*named, *inspection.leaks),
        (*inspection.checked, kind),
        tuple(name for name in inspection.not_checked if name != kind),
    )


def _middle(log: Interactions, every_us: int) -> int | None:
    """Find the publication nearest before the median event that has events on both sides."""
    if not log.n_events:
        return None
    at = int(np.median(log.time)) // every_us * every_us
    at = at if at > log.time.min() else at + every_us
    return at if log.time.min() < at <= log.time.max() else None


def _levels(log: Interactions, at: int) -> ItemPopularity:
    return ItemPopularity.start(log.n_items).after(log, np.flatnonzero(log.time < at), at)


@dataclass(frozen=True, eq=False)
class _Fit:
    """From a log and a moment to an arm's recommender, as the replay makes it; one round of devices known by then."""

    arm: Arm | TimedRecommender
    trainer: Trainer | None
    config: ReplayConfig

    def __call__(self, log: Interactions, at: int) -> _RecordedAnswers:
        levels = _levels(log, at)
        trend = trend_of(levels.recent)
        table = None
        if self.trainer is not None:
            known = known_at(log, at)
            cohort = np.flatnonzero(known.counts)[: self.config.cohort_size]
            state = self.trainer.round(self.trainer.start(log.n_items), known.users(cohort), at, 0)
            table = self.trainer.table(state, trend)
        published = Publication(
            number=0,
            now=at,
            table=table,
            trend=trend,
            counts=levels.counts,
            recent=levels.recent,
            candidates=levels.seen,
            known=lambda: known_at(log, at),
        )
        return _RecordedAnswers(answers_of(self.arm, published))


@dataclass(frozen=True, eq=False)
class _RecordedAnswers:
    """Answers as a Recommender of recsys.evaluation.evaluation."""

    answers: TimedRecommender
    name: str = "arm"

    def scores(
        self, histories: Interactions, users: npt.NDArray[np.int64], now: int | npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        moments = np.broadcast_to(np.asarray(now, dtype=np.int64), (len(users),))
        return scores_of(self.answers, histories.users(users), moments, histories.n_items)
