"""A vault whose writer is killed, kill -9, at a chosen moment of a change. Run as a program, as killed_device.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from data.interactions import EventKind
from federation.device.erasure import without_item
from federation.device.state import DeviceState, Event
from federation.device.vault import Vault, stored_state
from federation.device.vault.state_additions import Addition
from federation.device.vault.stored_state import StoredState
from tests.federation.device.killed_device import Killer
from tests.federation.forking import answer_each

NEW = Event(50, "new", EventKind.VIEW)

CHANGES: dict[str, Callable[[DeviceState], DeviceState | Addition]] = {
    "append": lambda _: Addition(NEW),
    "compact": lambda _: Addition(NEW),
    "replace": lambda state: replace(state, consent="observe", events=(*state.events, NEW)),
    "forget": lambda state: without_item(state, "old"),
}


def run(said: Mapping[str, Any]) -> dict[str, Any]:
    stored = StoredState(Vault.open(Path(said["folder"])))
    stored.state()
    if said["change"] == "compact":
        stored_state.LOG_BYTES, stored_state.LOG_SHARE = 0, 0.0
    killer = Killer(said["kill_at"])
    for name in ("fsync", "replace", "ftruncate", "write", "fchmod"):
        killer.around(os, name)
    stored.change(CHANGES[said["change"]])
    return {"moments": killer.count}


if __name__ == "__main__":
    answer_each(run)
