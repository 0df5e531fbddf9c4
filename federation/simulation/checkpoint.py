"""The checkpoint of a training run: its states and records in one file, written whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from data.atomic import write_atomically
from data.errors import FederationError
from federation.learning.item_step import StepState
from federation.simulation.learning_curve import RoundRecord


def save_checkpoint(path: Path, identity: str, states: Mapping[str, StepState], records: Sequence[RoundRecord]) -> None:
    """Write a checkpoint. identity: whatever must be equal for a run to go on from here. states: by names."""
    arrays = {
        f"{which}_{name}": value for which, state in states.items() for name, value in state_arrays(state).items()
    }
    buffer = io.BytesIO()
    text = json.dumps({"identity": identity, "records": [asdict(record) for record in records]})
    np.savez(buffer, text=np.array(text), allow_pickle=False, **arrays)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path, identity: str) -> tuple[dict[str, StepState], tuple[RoundRecord, ...]]:
    """Load the states by name, and the records.

    Raises FederationError when the file is damaged, or of another log, seed or setting.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        text: dict[str, Any] = json.loads(str(arrays["text"]))
        records = tuple(RoundRecord(**record) for record in text["records"])
        names = {"state"} | {name.partition("_")[0] for name in arrays if "_" in name}
        states = {name: state_of(arrays, f"{name}_") for name in names}
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise FederationError(f"{path}: not a readable checkpoint ({error}); remove it to start again") from None
    if text["identity"] != identity:
        raise FederationError(f"{path}: is of a run with another log, seed or setting; remove it to start again")
    return states, records


def state_arrays(state: StepState) -> dict[str, npt.NDArray[np.generic]]:
    """Convert a state to named arrays."""
    return {field.name: np.asarray(getattr(state, field.name)) for field in fields(StepState)}


def state_of(arrays: Mapping[str, npt.NDArray[np.generic]], prefix: str = "") -> StepState:
    """Read a state from arrays whose names begin with prefix. Raises KeyError where one is missing."""
    values: dict[str, Any] = {field.name: arrays[prefix + field.name] for field in fields(StepState)}
    return StepState(**values | {"mass": float(values["mass"]), "steps": int(values["steps"])})
