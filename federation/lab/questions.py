"""Questions: what a model may learn from, what it knows of each device, and what it is to foretell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import numpy as np

from data.errors import DataError
from data.interactions import EventKind, Interactions
from data.sessions import split_sessions
from data.split import Split, leave_last_out, temporal
from recsys.evaluation.evaluation import moment_of

Protocol = Literal["temporal", "sessions", "leave-last-out"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


@dataclass(frozen=True, eq=False)
class Question:
    """A question to the arms: learn from split.train, know histories, foretell split.test at the moment now (µs).

    protocol, given, target: how it was made (see question), and so how an earlier one of the same kind is made.
    """

    split: Split
    histories: Interactions
    now: int
    protocol: Protocol
    given: float = 0.5
    target: EventKind | None = None

    def earlier(self) -> Question:
        """Ask the same question about the last fifth of what may be learned from: one whose answer is known.

        Raises DataError where the log is too short for it.
        """
        return question(self.split.train, self.protocol, given=self.given, target=self.target)


def default_cut(log: Interactions) -> int:
    """Find the moment (µs) after which the last fifth of the events lie."""
    if log.n_events == 0:
        raise DataError("log: has no events to split")
    return int(np.quantile(log.time, 0.8))


def question(
    log: Interactions, protocol: str, at: int | None = None, given: float = 0.5, target: EventKind | None = None
) -> Question:
    """Hold events out. at: the moment of the split (µs), default_cut by default; given: see split_sessions.

    target: the only kind of event that is to be foretold, such as purchases from views and purchases; all by default.
    """
    at = default_cut(log) if at is None else at
    if protocol == "temporal":
        split, histories = temporal(log, at), None
    elif protocol == "sessions":
        split, histories = split_sessions(log, at, given)
    elif protocol == "leave-last-out":
        split, histories = leave_last_out(log), None
    else:
        raise DataError(f"protocol={protocol!r}: must be one of {', '.join(PROTOCOLS)}")
    histories = split.train if histories is None else histories
    if target is not None:
        test = split.test.where(split.test.kind == target)
        if not test.n_events:
            raise DataError(f"target={target.name.lower()}: the log has no such event after the split")
        split = replace(split, test=test, name=f"{split.name}, {target.name.lower()} only")
    return Question(split, histories, moment_of(split, histories), cast(Protocol, protocol), given, target)
