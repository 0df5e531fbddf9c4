"""Folds: which devices train, which are asked and at what moment; over devices, over time, or over both at once.

Time folds are rolling origins (Tashman 2000): each window is foretold from what was known when it began. Not a judge
of models: federation/lab/selection.py asks the folds and counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from data.errors import FederationError
from data.interactions import Interactions
from data.split import Split, iso, known_at, leave_last_out
from federation.lab.questions import Protocol, Question, default_cut, question

_FOLD = 5
MEASURED_AT_MOST = 20_000
"""Devices that measure in one fold. The mean of so many NDCGs has a standard error of about 0.002."""

Window = tuple[int, int]
"""From and until when (µs) events are to be foretold."""


@dataclass(frozen=True, eq=False)
class Fold:
    """One fold. measured, trains: (n_users,) bool, the devices that answer question.split.test, and those whose
    train side the model may see. A log of one fold is made on demand and kept as long as the fold."""

    name: str
    question: Question
    measured: npt.NDArray[np.bool_]
    trains: npt.NDArray[np.bool_]

    @cached_property
    def training(self) -> Interactions:
        """The events that the model learns from."""
        train = self.question.split.train
        return train if self.trains.all() else train.where(self.trains[train.user_idx])

    @property
    def split(self) -> Split:
        """The question as `evaluate` reads it: items of the training devices are ranked."""
        return replace(self.question.split, train=self.training, name=self.name)

    @property
    def users(self) -> npt.NDArray[np.int64]:
        """The measured devices, ascending."""
        return np.flatnonzero(self.measured)

    @property
    def new_devices(self) -> bool:
        """True when no measured device has trained."""
        return not (self.measured & self.trains).any()

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of all that a figure of this fold depends on."""
        marks = f"{self.question.now} {np.packbits(self.measured).tobytes()!r} {np.packbits(self.trains).tobytes()!r}"
        logs = digest_of(self.question.split.train, self.question.split.test, self.question.histories)
        return hashlib.sha256(f"{logs} {marks}".encode()).hexdigest()


def digest_of(*logs: Interactions) -> str:
    """Hash all that is in some logs by sha256 (hex)."""
    known = hashlib.sha256()
    for log in logs:
        known.update(f"{log.n_items} {log.n_users} {log.n_events};".encode())
        for column in (log.offsets, log.item_idx, log.kind, log.time, log.undone_row, log.undone_time):
            known.update(np.ascontiguousarray(column).data)
    return known.hexdigest()


@dataclass(frozen=True, eq=False)
class Folds:
    """The folds of a log: for each window in time, `devices` parts of which one is asked and the others train.

    windows: in order of time, windows_of(log, 1) by default. devices: parts; with 1 every device trains and is asked.
    at_most: devices asked in a fold, drawn by the seed. Folds are made one after the other, so that memory holds one
    window's logs at a time. Raises FederationError where there would be a single fold in which nothing is held out.
    """

    log: Interactions
    protocol: Protocol
    windows: tuple[Window, ...] = ()
    devices: int = 3
    seed: int = 0
    given: float = 0.5
    at_most: int = MEASURED_AT_MOST

    def __post_init__(self) -> None:
        if self.devices < 1 or self.at_most < 1:
            raise FederationError(f"folds={self.devices}, at_most={self.at_most}: both must be 1 or more")
        if not self.windows:
            object.__setattr__(self, "windows", windows_of(self.log, 1))

    def __len__(self) -> int:
        return len(self.windows) * self.devices

    def __iter__(self) -> Iterator[Fold]:
        n_users = self.log.n_users
        part = np.random.default_rng([self.seed, _FOLD]).integers(0, self.devices, n_users)
        order = np.random.default_rng([self.seed, _FOLD, 1]).random(n_users)
        for start, end in self.windows:
            fold_question = question(known_at(self.log, end), self.protocol, start, self.given)
            answers = fold_question.split.test.counts > 0
            for number in range(self.devices):
                measured = (part == number) & answers
                if np.count_nonzero(measured) > self.at_most:
                    measured &= order <= np.partition(order[measured], self.at_most - 1)[self.at_most - 1]
                trains = part != number if self.devices > 1 else np.ones(n_users, dtype=np.bool_)
                when = f"{iso(start)[:10]} to {iso(end - 1)[:10]}"
                yield Fold(f"devices {number + 1}/{self.devices}, {when}", fold_question, measured, trains)


def windows_of(log: Interactions, n: int) -> tuple[Window, ...]:
    """Cut n windows of about equally many events.

    They cover the last fifth of a log, or for n > 1 up to its last half.

    Each begins with an event. Fewer where events of one moment are so many that two windows would begin with them.
    """
    if n < 1:
        raise FederationError(f"windows={n}: must be 1 or more")
    if log.n_events == 0:
        raise FederationError("log: has no events to split")
    shares = np.linspace(max(0.5, 1 - 0.2 * n), 1.0, n + 1)
    edges = np.quantile(log.time, shares, method="higher").astype(np.int64)
    edges[-1] += 1
    edges = np.unique(edges)
    return tuple(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def set_apart(log: Interactions, protocol: str, at: int | None = None) -> tuple[Interactions, int]:
    """Set apart what a search may look at, and until when (µs).

    It is nothing that `evaluate` asks about afterwards.

    at: the moment of the split to come (µs), default_cut by default, as there. With leave-last-out it is every user's
    last event that is left out, whenever it was.
    """
    if protocol == "leave-last-out":
        train = leave_last_out(log).train
        return train, int(train.time.max()) + 1
    at = default_cut(log) if at is None else at
    known = known_at(log, at)
    if not known.n_events:
        raise FederationError(f"until={iso(at)}: no event is before it")
    if log.time.max() < at:
        raise FederationError(f"until={iso(at)}: must be before the last event, for else nothing stays unseen")
    return known, at
