"""Who is in which arm: a keyed hash of a secret that only the device holds. tests/vectors has what others must match.

Every draw is HMAC-SHA-256 (which a browser's WebCrypto has) under the secret, over the fields domain, purpose, name,
each written as its length in 2 bytes, big-endian, and its UTF-8 bytes. Of the digest the first 4 bytes, big-endian, are
an integer u, and ⌊u·n / 2³²⌋ is one of n buckets; u·n stays below 2⁵³, so a double holds it. Buckets differ by at most
1 in ⌊2³²/n⌋: 3 in a million at n = 10,000.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from itertools import accumulate

from data.errors import DataError
from recsys.experiments.definition.arm import Arm
from recsys.experiments.definition.definition import LAYER_BUCKETS, Experiment

DOMAIN = "ownshelf/assignment/v1"
SECRET_BYTES = 32
MAX_UNIT_BYTES = 256


@dataclass(frozen=True)
class Assignment:
    """arm: its name, None for a shopper who is not in. held_out: kept out of the whole layer."""

    arm: str | None
    held_out: bool = False


def assign(experiment: Experiment, secret: bytes) -> Assignment:
    """Assign an arm by a secret; the same for ever, and for every version that an amendment can make.

    Independent of every other experiment's arms, and, for another layer, of who is in it.
    """
    layer = experiment.layer
    if bucket(secret, "holdout", layer.name, LAYER_BUCKETS) < round(experiment.holdout_share * LAYER_BUCKETS):
        return Assignment(None, held_out=True)
    if not layer.start <= bucket(secret, "layer", layer.name, LAYER_BUCKETS) < layer.stop:
        return Assignment(None)
    return Assignment(arm_of(secret, experiment.id, experiment.arms).name)


def arm_of(secret: bytes, experiment_id: str, arms: tuple[Arm, ...]) -> Arm:
    """Find the arm whose share of the summed weights holds this secret's bucket of the experiment."""
    stops = list(accumulate(arm.weight for arm in arms))
    at = bucket(secret, "arm", experiment_id, stops[-1])
    return next(arm for arm, stop in zip(arms, stops, strict=True) if at < stop)


def bucket(secret: bytes, purpose: str, name: str, n: int) -> int:
    """Hash a secret into one of n buckets, 1 ≤ n ≤ 2²⁰.

    purpose: layer, holdout or arm. name: the layer's or the experiment's.
    """
    if len(secret) != SECRET_BYTES:
        raise DataError(f"secret of {len(secret)} bytes: must be {SECRET_BYTES}")
    if not 1 <= n <= 2**20:
        raise DataError(f"buckets={n}: must be 1..{2**20}")
    message = b"".join(
        len(field).to_bytes(2, "big") + field for field in (text.encode() for text in (DOMAIN, purpose, name))
    )
    digest = hmac.digest(secret, message, hashlib.sha256)
    return int.from_bytes(digest[:4], "big") * n >> 32


def unit_secret(app_key: bytes, unit_id: str) -> bytes:
    """Derive the secret (32 bytes) of a backend's own opaque unit id under its own key.

    It is HMAC-SHA-256 of "unit" and the id.

    For backends that assign themselves; neither is ever sent. app_key: 32 bytes or more, from a random generator.
    """
    unit = unit_id.encode()
    if len(app_key) < SECRET_BYTES:
        raise DataError(f"app_key of {len(app_key)} bytes: must be {SECRET_BYTES} or more")
    if not 1 <= len(unit) <= MAX_UNIT_BYTES:
        raise DataError(f"unit_id of {len(unit)} bytes: must be 1..{MAX_UNIT_BYTES}")
    message = b"".join(len(field).to_bytes(2, "big") + field for field in (DOMAIN.encode(), b"unit", unit))
    return hmac.digest(app_key, message, hashlib.sha256)
