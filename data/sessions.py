"""Sessions as anonymous devices never seen in training: what is known after the first clicks, and what follows."""

from __future__ import annotations

import numpy as np

from data.errors import DataError
from data.interactions import Interactions
from data.split import Split, iso


def split_sessions(log: Interactions, at_us: int, given: float = 0.5) -> tuple[Split, Interactions]:
    """Train on users whose first event is before at_us (µs), ask about those who begin later.

    given: share of a later session's events that is known, rounded up, at least one and at most all but one.
    Returns a Split (train: the earlier users' events before at_us; test: the later users' remaining events) and the
    later users' known first events; all on the same axes. A later session of one event is asked nothing. Events that an
    earlier user adds after at_us are dropped: they are neither of a new session nor known in time.
    """
    if not 0 < given < 1:
        raise DataError(f"given={given}: must be between 0 and 1")
    first = np.full(log.n_users, np.iinfo(np.int64).max)
    active = log.counts > 0
    first[active] = log.time[log.offsets[:-1][active]]
    later = (first >= at_us)[log.user_idx]
    counts = log.counts
    known_counts = np.clip(np.ceil(counts * given).astype(np.int64), 1, np.maximum(counts - 1, 1))
    position = np.arange(log.n_events) - np.repeat(log.offsets[:-1], counts)
    known = later & (position < known_counts[log.user_idx])
    train = log.where(~later & (log.time < at_us))
    test = log.where(later & ~known)
    for side, part in (("train", train), ("test", test)):
        if part.n_events == 0:
            raise DataError(
                f"at={iso(at_us)}: {side} has no sessions; where users come back, try the protocol temporal"
            )
    return Split(train, test, f"sessions, first {given:g} given", at_us), log.where(known)
