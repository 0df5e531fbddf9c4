"""`placements.yaml` as placements and back: strict, every mistake with its place, one canonical text, one hash."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import ModelError, OwnshelfError
from data.strict import brief, load_plain, read_strictly
from recsys.lists.placements.placement import Placement, Placements
from recsys.lists.rules import prepare
from recsys.search.filters import field_of

_TOP = ("placements", "attributes")
_PLACE = re.compile(r"(^|; )placement(?=[.=:\[])")


def read_placements(path: Path) -> Placements:
    """Read a .yaml, .yml or .json file, no key in it twice. Raises DataError or ModelError for anything else."""
    return placements_of(load_plain(path))


def placements_of(raw: object) -> Placements:
    """Read placements from plain values. Raises ModelError that names every mistake and its place."""
    if not isinstance(raw, Mapping):
        raise ModelError(f"placements: {brief(raw)}: must be an object with placements, and attributes if any")
    wrong = [f"{brief(name)}: is unknown, must be one of {', '.join(_TOP)}" for name in raw if name not in _TOP]
    named = raw.get("placements", {})
    if not isinstance(named, Mapping):
        wrong.append(f"placements={brief(named)}: must be an object of names")
        named = {}
    attributes = raw.get("attributes", [])
    if not isinstance(attributes, list) or not all(isinstance(name, str) for name in attributes):
        wrong.append(f"attributes={brief(attributes)}: must be a list of names of columns")
        attributes = []
    made: dict[str, Placement] = {}
    for name, settings in named.items():
        try:
            made[str(name)] = read_strictly(Placement, settings, "placement", error=ModelError)
        except OwnshelfError as mistake:
            wrong.append(_placed(mistake, str(name)))
    if wrong:
        raise ModelError("; ".join(wrong))
    return Placements(made, tuple(attributes))


def check_against(placements: Placements, catalogue: pl.DataFrame) -> None:
    """Check every filter and rule against a catalogue's columns.

    Raises ModelError that names every place at which a field is missing, or a value does not fit its column.
    """
    wrong = []
    for name, placement in placements.placements.items():
        try:
            if placement.condition is not None:
                placement.condition.check(catalogue)
            prepare(placement.parsed_rules, catalogue, _NoItems())
        except ModelError as mistake:
            wrong.append(_placed(mistake, name))
    for place, name in enumerate(placements.attributes):
        if field_of(f"attributes.{name}") not in catalogue.columns:
            wrong.append(f"attributes[{place}]={brief(name)}: the catalogue has no such column")
    if wrong:
        raise ModelError("; ".join(wrong))


def to_dict(placements: Placements) -> dict[str, Any]:
    """Convert to plain values, what is by default left out; `placements_of` makes the same of them."""
    return {
        "placements": {name: _plain(placement) for name, placement in placements.placements.items()},
        "attributes": list(placements.attributes),
    }


def canonical_json(placements: Placements) -> str:
    """Write the one text: sorted keys, no spaces, no defaults."""
    return json.dumps(to_dict(placements), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(placements: Placements) -> str:
    """Hash the canonical text: sha256, hex."""
    return hashlib.sha256(canonical_json(placements).encode()).hexdigest()


def _placed(mistake: OwnshelfError, name: str) -> str:
    """Say a placement's mistakes with the placement's own name."""
    return _PLACE.sub(lambda found: f"{found[1]}placements.{name:.64}", str(mistake))


def _plain(placement: Placement) -> dict[str, Any]:
    usual, given = asdict(Placement(placement.source)), asdict(placement)
    return {part.name: given[part.name] for part in fields(placement) if given[part.name] != usual[part.name]} | {
        "source": placement.source
    }


class _NoItems:
    """Knows no item: pins are not looked for while columns are checked."""

    def index_of(self, item_ids: Sequence[str], /) -> npt.NDArray[np.int32]:
        """Find nothing."""
        return np.full(len(item_ids), -1, dtype=np.int32)
