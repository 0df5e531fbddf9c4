"""An experiment from YAML or JSON and back: strict, with the place of every mistake, one canonical text, one hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.strict import brief, load_plain, read_strictly
from recsys.experiments.definition.arm import ArmSettings, every_check
from recsys.experiments.definition.definition import Experiment, OutcomeColumn
from recsys.experiments.definition.metric_definitions import Metric

TIMES = ("starts_at", "ends_at")
"""Fields that people write as dates: ISO 8601 with an offset, UTC without one."""

_LATER: dict[type, dict[str, object]] = {
    OutcomeColumn: {"from_day": 0, "to_day": None, "after": ()},
    ArmSettings: {"mix": None, "rules": None},
}
"""Fields that are left out where they are the default: older definitions keep their hash."""


def read_experiment(path: Path) -> Experiment:
    """Read the experiment of a .yaml, .yml or .json file, no key in it twice. Raises DataError for anything else."""
    return experiment_of(load_plain(path))


def experiment_of(raw: object) -> Experiment:
    """Read an experiment from plain values, as JSON and YAML have them. Raises DataError naming field and bound."""
    if isinstance(raw, Mapping):
        raw, wrong = dict(raw), list[str]()
        for key in TIMES:
            try:
                raw |= {key: _seconds(key, raw[key])} if key in raw else {}
            except DataError as error:
                wrong.append(str(error))
        if wrong:  # other dates stand in, so that what else is wrong is told as well
            every_check(
                partial(_refuse, "; ".join(wrong)), partial(experiment_of, raw | dict(zip(TIMES, (0, 1), strict=True)))
            )
        if raw.get("design") == "interleaved":
            raw = {"metrics": [], "outcomes": []} | raw
        metrics: object = raw.get("metrics")
        if isinstance(metrics, list | tuple):
            raw["metrics"] = [{"kind": "mean"} | one if isinstance(one, dict) else one for one in metrics]
    return read_strictly(Experiment, raw, "experiment")


def to_dict(experiment: Experiment) -> dict[str, Any]:
    """Convert every field to plain values; times as ISO 8601 in UTC.

    `experiment_of` makes the same experiment of them.

    Of a parallel design the word itself is left out: definitions of before there was another keep their hash.
    """
    plain = _plain(experiment)
    assert isinstance(plain, dict)
    if not experiment.interleaved:
        del plain["design"]
    return plain | {name: datetime.fromtimestamp(plain[name], UTC).isoformat() for name in TIMES}


def canonical_json(experiment: Experiment) -> str:
    """Write the one text of an experiment. Sorted keys, no spaces, every default but a parallel design written out."""
    return json.dumps(to_dict(experiment), sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_hash(experiment: Experiment) -> bytes:
    """Hash the canonical text by SHA-256 (32 bytes): what a custodian signs for."""
    return hashlib.sha256(canonical_json(experiment).encode()).digest()


def _refuse(message: str) -> None:
    raise DataError(message)


def _seconds(name: str, raw: object) -> object:
    """Convert a date or time to seconds since 1970; anything else is left for _value to refuse."""
    if isinstance(raw, str):
        try:
            raw = datetime.fromisoformat(raw)
        except ValueError:
            raise DataError(f"experiment.{name}={brief(raw)}: must be a date or time as 2026-12-01T00:00:00Z") from None
    if isinstance(raw, date) and not isinstance(raw, datetime):
        raw = datetime(raw.year, raw.month, raw.day)
    if isinstance(raw, datetime):
        return int((raw if raw.tzinfo else raw.replace(tzinfo=UTC)).timestamp())
    return raw


def _plain(value: object) -> object:
    if isinstance(value, Metric):
        return value.to_dict()
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        later = {key for key, default in _LATER.get(type(value), {}).items() if named[key] == default}
        return {key: _plain(part) for key, part in named.items() if key not in later}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, StrEnum) else value
