"""The learning curve of a training: what each round's sums say of devices that train and of devices that never do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.model.items import TASTE


@dataclass(frozen=True)
class RoundRecord:
    """The figures of a round's sums, and nothing about a device.

    round: 0, 1, … over all parts; reports, vanished: devices; step: η; train_ndcg, holdout_ndcg: mean NDCG@20 of the
    devices' last baskets, nan when nobody measured; holdout_devices: how many measured the second. part: of the table,
    which the round trained; under a profile of all parts that there are by then.
    """

    round: int
    reports: int
    vanished: int
    step: float
    train_ndcg: float
    holdout_ndcg: float
    holdout_devices: int
    part: str = TASTE


def mean_holdout(records: Sequence[RoundRecord]) -> float:
    """Average the hold-out figure of some rounds, weighted by the devices that measured; nan without any."""
    devices = sum(record.holdout_devices for record in records)
    total = sum(record.holdout_ndcg * record.holdout_devices for record in records if record.holdout_devices)
    return total / devices if devices else np.nan


def rounds_of(records: Sequence[RoundRecord], part: str) -> int:
    """Count the rounds that trained a part."""
    return sum(record.part == part for record in records)


def last_rounds(records: Sequence[RoundRecord], n: int) -> Sequence[RoundRecord]:
    """Take the last rounds, at most n, of the part that was trained last: what is said of a finished table."""
    return [record for record in records if record.part == records[-1].part][-n:]
