"""Inspection: all guards over one set-up: what was found, what was looked at, and what was not declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from data.errors import DataError
from data.leakage import (
    REMEDIES,
    Leak,
    cold_filter,
    first_seen,
    future_events,
    future_items,
    per_user_cut,
    time_zone_shift,
)
from data.leakage_twins import aliases, duplicates, near_duplicates, straddling_sessions
from recsys.leakage import behaviour, learned
from recsys.leakage.setup import Setup

Guard = tuple[str, Callable[[], Leak | None]]


@dataclass(frozen=True)
class Inspection:
    """Leaks found, certain ones first; kinds that were looked for, and those that the declared parts do not allow."""

    leaks: tuple[Leak, ...]
    checked: tuple[str, ...]
    not_checked: tuple[str, ...]

    @property
    def certain(self) -> tuple[Leak, ...]:
        """Leaks that no clean set-up shows."""
        return tuple(leak for leak in self.leaks if leak.certain)

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON."""
        leaks = [
            {"kind": leak.kind, "certain": leak.certain, "n": leak.n, "what": leak.what, "where": leak.where}
            | {"remedy": leak.remedy}
            for leak in self.leaks
        ]
        return {"leaks": leaks, "checked": list(self.checked), "not_checked": list(self.not_checked)}


def inspect(setup: Setup) -> Inspection:
    """Look for every kind of leak that the declared parts of a set-up can show. Nothing is written into."""
    leaks: list[Leak] = []
    checked: dict[str, None] = {}
    for kind, guard in _guards(setup):
        checked[kind] = None
        detected = guard()
        if detected is not None:
            leaks.append(detected)
    leaks.sort(key=lambda leak: (not leak.certain, list(REMEDIES).index(leak.kind)))
    return Inspection(tuple(leaks), tuple(checked), tuple(kind for kind in REMEDIES if kind not in checked))


def refuse_leaks(inspection: Inspection, *, despite: bool = False) -> list[str]:
    """Raise DataError for certain leaks unless told to go on despite them; returns what is to be told as warnings."""
    if inspection.certain and not despite:
        raise DataError(f"the set-up leaks: {' | '.join(str(leak) for leak in inspection.certain)}")
    return [f"leak: {leak}" for leak in inspection.leaks]


def _guards(setup: Setup) -> Iterator[Guard]:
    yield from _of_the_cut(setup)
    yield from _of_what_was_learned(setup)
    yield from _of_behaviour(setup)


def _of_the_cut(setup: Setup) -> Iterator[Guard]:
    train, test, at, log = setup.train, setup.test, setup.at, setup.log
    if at is not None:
        yield "future_event", partial(future_events, train, at)
        yield "time_zone_shift", partial(time_zone_shift, train, test, at)
        yield "near_duplicate", partial(near_duplicates, train, test, at)
        yield "session_straddles", partial(straddling_sessions, train, test, setup.train_session, setup.test_session)
    elif setup.scope == "all users":
        yield "per_user_cut", partial(per_user_cut, train, test)
    known_from = setup.item_known_from
    if known_from is None and log is not None:
        known_from = first_seen(log)
    if known_from is not None:
        yield "future_item", partial(future_items, train, known_from)
    if at is not None or log is not None:
        yield "duplicate_across_cut", partial(duplicates, train, test, log)
    yield "user_alias", partial(aliases, train, train if setup.histories is None else setup.histories, test)
    if setup.core is not None:
        yield "cold_filter", partial(cold_filter, train, test, setup.core)


def _of_what_was_learned(setup: Setup) -> Iterator[Guard]:
    train, test, at, log = setup.train, setup.test, setup.at, setup.log
    if setup.histories is not None and setup.histories is not train:
        guard = partial(learned.history_after_asked, setup.histories, test, at, setup.asked, log)
        yield "history_after_asked", guard
    for join in setup.joins:
        yield "stale_property", partial(learned.stale_property, join)
    if setup.popularity is not None and at is not None:
        future = test if log is None else log.where(log.time >= at)
        yield "future_popularity", partial(learned.future_popularity, setup.popularity, train, future, at)
    if setup.training_negatives is not None:
        yield "negatives_know_test", partial(learned.negatives_know_test, setup.training_negatives, train, test)
    if setup.tuned_on is not None:
        yield "tuned_on_test", partial(learned.tuned_on_test, setup.tuned_on, test, at, log)
    for fitted in setup.fitted:
        yield "fitted_on_test", partial(learned.fitted_on_test, fitted)
    for features in setup.features:
        yield "target_in_feature", partial(learned.target_in_feature, features)


def _of_behaviour(setup: Setup) -> Iterator[Guard]:
    train, test, candidates, users = setup.train, setup.test, setup.candidates, setup.candidate_users
    if setup.fit is not None and setup.at is not None and setup.log is not None:
        yield "model_reads_future", partial(behaviour.reads_future, setup.fit, setup.log, setup.at)
    if setup.trained_until is not None:
        yield "model_reads_future", partial(behaviour.trained_on_test, setup.trained_until, test)
    if candidates is not None and candidates.ndim == 1:
        yield "candidates_from_test", partial(behaviour.candidates_from_test, candidates.astype(bool), train, test)
    elif candidates is not None and users is not None:
        yield "positives_left_out", partial(behaviour.positives_left_out, candidates.astype(np.int64), users, test)
    if setup.protocol is not None:
        yield "above_chance", partial(behaviour.above_chance, setup.protocol, train.n_items)
