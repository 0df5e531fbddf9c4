"""Assignment vectors: 100,000 lines by rule, of which the file has the first thousand and the hash of all.

Line i is the JSON list [layer bucket, holdout bucket, arm index] of the secret SHA-256("ownshelf/assignment-vector/i"),
layer "layer-⌊i/1000⌋ mod 7", experiment "experiment-⌊i/1000⌋" and arms weighing 1, 2, …, 2 + i mod 3; the hash is over
the lines, each without spaces and with a line feed. `python -m tests.vectors.assignment` writes the file again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from recsys.experiments.definition.arm import Arm
from recsys.experiments.definition.definition import LAYER_BUCKETS
from recsys.experiments.device.assignment import arm_of, bucket

FILE = Path(__file__).with_name("assignment.json")
LINES, SHOWN = 100_000, 1_000


def lines(n: int, step: int = 1) -> Iterator[list[int]]:
    """The first n lines, or every step-th of them."""
    for i in range(0, n, step):
        secret = hashlib.sha256(f"ownshelf/assignment-vector/{i}".encode()).digest()
        layer = f"layer-{i // 1000 % 7}"
        arms = tuple(Arm(f"a{k}", k) for k in range(1, 3 + i % 3))
        arm = arm_of(secret, f"experiment-{i // 1000}", arms)
        buckets = [bucket(secret, purpose, layer, LAYER_BUCKETS) for purpose in ("layer", "holdout")]
        yield [*buckets, arms.index(arm)]


def made() -> dict[str, object]:
    """The file's content."""
    digest, shown = hashlib.sha256(), []
    for i, line in enumerate(lines(LINES)):
        digest.update(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        if i < SHOWN:
            shown.append(line)
    return {"lines": LINES, "sha256": digest.hexdigest(), "first": shown}


if __name__ == "__main__":
    FILE.write_text(json.dumps(made(), separators=(",", ":")) + "\n")
