"""Who takes part in which round. All draws are functions of (seed, purpose, round), so a run can resume anywhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.errors import FederationError

Devices = npt.NDArray[np.int64]

_COHORT, _DROPOUT, _BLOCK, _HOLDOUT = 1, 2, 3, 4


def cohort_size(n_devices: int, rounds: int, at_most: int, max_participations: int) -> int:
    """Compute the largest cohort up to at_most with which no device is asked more than max_participations times."""
    passes = -(-rounds // max_participations)
    size = min(at_most, n_devices // passes) if rounds else at_most
    if size < 1:
        raise FederationError(
            f"devices={n_devices}: too few for rounds={rounds} with max_participations={max_participations}; "
            f"at least {passes} are needed, or at most {n_devices * max_participations} rounds"
        )
    return size


def cohort(n_devices: int, size: int, round_: int, seed: int) -> Devices:
    """Draw the devices of one round, (size,) int64.

    They are consecutive slices of a new shuffle for every pass over all devices.
    """
    per_pass = n_devices // size
    order = np.random.default_rng([seed, _COHORT, round_ // per_pass]).permutation(n_devices)
    start = (round_ % per_pass) * size
    return np.sort(order[start : start + size])


def survivors(devices: Devices, dropout: float, round_: int, seed: int) -> Devices:
    """Draw the devices that do report: each vanishes with probability dropout."""
    stays = np.random.default_rng([seed, _DROPOUT, round_]).random(len(devices)) >= dropout
    return devices[stays]


def draw_blocks(n: int, blocks: int, round_: int, seed: int) -> npt.NDArray[np.int32]:
    """Draw the block of items that each of n devices reports on, (n,) int32, without a look at its history."""
    return np.random.default_rng([seed, _BLOCK, round_]).integers(0, blocks, n, dtype=np.int32)


def holdout_devices(n_devices: int, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Draw devices that never train and only measure, (n_devices,) bool: each device's own coin."""
    return np.random.default_rng([seed, _HOLDOUT]).random(n_devices) < share
