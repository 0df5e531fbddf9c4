"""A set-up: what an evaluation is made of, declared piece by piece so that guards can look at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from data.errors import ModelError
from data.interactions import Interactions
from data.leakage import CoreFilter
from data.split import Split
from recsys.evaluation.recommender import Recommender
from recsys.leakage.behaviour import ScoringProtocol
from recsys.leakage.learned import Features, FittedStatistics, PropertyJoin


@dataclass(frozen=True, eq=False)
class Setup:
    """What is declared is inspected, what is left None is not; an Inspection says which.

    train, test: on the same axes. at: the cut in µs since 1970 UTC, None where every user has one of their own.
    log: the whole log both come from; it tells a row used twice from a shopper who did the same twice in one moment.
    histories: what models are handed, train by default. asked: (n_users,) int64 µs, when each user is asked; by default
        all at the cut.
    scope: whether a model learns from all users' train or, as a device that never federates, from one user's own.
    train_session, test_session: (n_events,) int64, a number of each event's session.
    item_known_from: (n_items,) int64 µs, when each item came into being; by default its first event in the log.
    core: the cold filter the data went through. joins: properties joined to events. fitted: statistics and
        vocabularies. features: columns beside a target.
    popularity: (n_items,) what the popularity or trend arm scores. candidates: (n_items,) bool what may be listed, or
        (n_rows, m) int64 item_idx sampled for the users candidate_users (n_rows,).
    training_negatives: (n, 2) int64, user and item of the negatives that a model was trained on.
    tuned_on: the events that settings were chosen by.
    fit: from a whole log and the cut to a model, as the analyst does it; the guard changes the log's future.
    trained_until: µs, for a model that came ready made (a bundle): it learned from events before this moment.
    protocol: how a model is scored; the guard gives it models that know nothing.
    """

    train: Interactions
    test: Interactions
    at: int | None
    log: Interactions | None = None
    histories: Interactions | None = None
    asked: npt.NDArray[np.int64] | None = None
    scope: Literal["all users", "one user"] = "all users"
    train_session: npt.NDArray[np.int64] | None = None
    test_session: npt.NDArray[np.int64] | None = None
    item_known_from: npt.NDArray[np.int64] | None = None
    core: CoreFilter | None = None
    joins: tuple[PropertyJoin, ...] = ()
    fitted: tuple[FittedStatistics, ...] = ()
    features: tuple[Features, ...] = ()
    popularity: npt.NDArray[np.floating] | None = None
    candidates: npt.NDArray[np.bool_] | npt.NDArray[np.int64] | None = None
    candidate_users: npt.NDArray[np.int64] | None = None
    training_negatives: npt.NDArray[np.int64] | None = None
    tuned_on: Interactions | None = None
    fit: Callable[[Interactions, int], Recommender] | None = None
    trained_until: int | None = None
    protocol: ScoringProtocol | None = None

    def __post_init__(self) -> None:
        axes = (self.train.n_users, self.train.n_items)
        for name in ("test", "log", "histories", "tuned_on"):
            part: Interactions | None = getattr(self, name)
            if part is not None and (part.n_users, part.n_items) != axes:
                raise ModelError(
                    f"{name}: {part.n_users} users × {part.n_items} items, train has {axes[0]} × {axes[1]}"
                )
        for name, part in (("train", self.train), ("test", self.test)):
            numbers = getattr(self, f"{name}_session")
            if numbers is not None and len(numbers) != part.n_events:
                raise ModelError(f"{name}_session: {len(numbers)} rows, {name} has {part.n_events} events")
        if self.candidates is not None and self.candidates.ndim == 2 and self.candidate_users is None:
            raise ModelError("candidate_users=None: must name the user of each row of candidates")

    @classmethod
    def of(cls, split: Split, *, log: Interactions | None = None, histories: Interactions | None = None) -> Setup:
        """Set up a split as `evaluate` uses it.

        Users whose histories differ from train are asked at their first test event.
        """
        moments = None
        if histories is not None and histories is not split.train:
            moments = first_moments(split.test)
        return cls(split.train, split.test, split.at, log=log, histories=histories, asked=moments)


def first_moments(test: Interactions) -> npt.NDArray[np.int64]:
    """Find each user's first test event, (n_users,) int64 µs. Users without one have the largest int64."""
    first = np.full(test.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first, test.user_idx, test.time)
    return first
