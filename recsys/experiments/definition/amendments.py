"""What may change about an experiment that has started, and which experiments may run beside each other.

A new version may end later, reach more of its layer, and describe itself otherwise. All else decides who is in which
arm, what is summed, or what a look may conclude: changing it makes another experiment, with another id.

Later ends are sound for both methods: alpha is spent by the share of information at hand, and an always-valid interval
holds at any time; the number of looks, and so the noise and what is spent, stays. A larger range of buckets adds
shoppers in the same proportions and moves nobody. Earlier ends and smaller ranges would drop shoppers who are in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from data.errors import DataError
from recsys.experiments.definition.definition import Experiment, date_of
from recsys.experiments.definition.definition_file import to_dict

AMENDABLE = ("version", "description", "ends_at", "layer")


def fixed_hash(experiment: Experiment) -> bytes:
    """Hash all that no version may change, by SHA-256 (32 bytes).

    Experiments of equal hashes can be summed into one.
    """
    fixed = {key: value for key, value in to_dict(experiment).items() if key not in AMENDABLE}
    text = json.dumps(fixed | {"layer": experiment.layer.name}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def check_amendment(before: Experiment, after: Experiment) -> None:
    """Raise DataError unless `after` may follow a started `before` as its next version."""
    if after.version != before.version + 1:
        raise DataError(f"version={after.version}: must be {before.version + 1}, after version {before.version}")
    old, new = to_dict(before), to_dict(after)
    for name, value in new.items():
        if name not in AMENDABLE and value != old.get(name):
            raise DataError(f"{name}: cannot change once the experiment has started; only {', '.join(AMENDABLE[1:])}")
    if after.ends_at < before.ends_at:
        end, least = date_of(after.ends_at), date_of(before.ends_at)
        raise DataError(f"ends_at={end}: must not be before {least}: shoppers of the end would be lost")
    if after.layer.name != before.layer.name:
        raise DataError(f"layer.name={after.layer.name!r}: must stay {before.layer.name!r}")
    if after.layer.start > before.layer.start or after.layer.stop < before.layer.stop:
        raise DataError(
            f"layer.start={after.layer.start}, stop={after.layer.stop}: must hold {before.layer.start}.."
            f"{before.layer.stop}: shoppers who are in would leave"
        )


def difference(before: object, after: object, place: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield place, old and new value of every field in which two plain values differ; a missing one is None.

    Entries of a list that have a name are compared by it, others by their place.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            yield from difference(before.get(key), after.get(key), f"{place}.{key}".removeprefix("."))
    elif isinstance(before, list) and isinstance(after, list) and before and after:
        old, new = _by_name(before), _by_name(after)
        for key in dict.fromkeys((*old, *new)):
            yield from difference(old.get(key), new.get(key), f"{place}[{key}]")
    elif before != after:
        yield place, before, after


def _by_name(entries: list[Any]) -> dict[str, Any]:
    return {
        str(entry.get("name", at)) if isinstance(entry, dict) else str(at): entry for at, entry in enumerate(entries)
    }


def check_beside(experiment: Experiment, others: Iterable[Experiment]) -> None:
    """Raise DataError if another experiment of the layer has some of the same buckets at the same time.

    One layer has one holdout share: those held out are held out of every experiment in it.
    """
    end = experiment.ends_at
    for other in others:
        if other.id == experiment.id or other.layer.name != experiment.layer.name:
            continue
        if other.starts_at >= end or experiment.starts_at >= other.ends_at:
            continue
        if other.holdout_share != experiment.holdout_share:
            raise DataError(f"holdout_share={experiment.holdout_share}: must be {other.holdout_share}, as {other.id}'s")
        if other.layer.start < experiment.layer.stop and experiment.layer.start < other.layer.stop:
            raise DataError(
                f"layer.start={experiment.layer.start}, stop={experiment.layer.stop}: overlaps {other.id}, which has"
                f" {other.layer.start}..{other.layer.stop} of layer {other.layer.name}"
            )
