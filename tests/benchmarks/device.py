"""What recording one event costs a device, by the length of its history: CPU time in milliseconds.

An open device that has downloaded its catalogue, as an app has one. Each figure is a mean over EVENTS events in a row,
compactions of the vault's log included; `opening_ms` is what a program pays that opens the device anew.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data.interactions import EventKind
from federation.device.device import Device
from federation.device.state import Event
from tests.shop import make_bundle, service

LENGTHS = (100, 1_000, 10_000)
EVENTS = 500
N_ITEMS = 2_000
START = 1_700_000_000_000_000


def run(seed: int = 0, lengths: tuple[int, ...] = LENGTHS, events: int = EVENTS) -> dict[str, Any]:
    """observe_ms and opening_ms, by the number of events before."""
    observe_ms, opening_ms = {}, {}
    with tempfile.TemporaryDirectory() as name:
        client = service(make_bundle(Path(name) / "bundle", n_items=N_ITEMS, dim=64))
        for length in lengths:
            device = _a_device(Path(name) / str(length), length, seed)
            device.refresh(client)
            device.observe("sku-0", "view", START + length)  # whatever is done once is done
            began = time.process_time()
            for number in range(events):
                device.observe(f"sku-{number % N_ITEMS}", "view", START + length + 1 + number)
            observe_ms[str(length)] = (time.process_time() - began) / events * 1e3
            began = time.process_time()
            assert len(Device.open(device.folder).state.events) == length + 1 + events
            opening_ms[str(length)] = (time.process_time() - began) * 1e3
        client.close()
    return {"observe_ms": observe_ms, "opening_ms": opening_ms}


def _a_device(folder: Path, length: int, seed: int) -> Device:
    device = Device.create(folder, consent="observe", key_store="file")
    items = np.random.default_rng(seed).integers(0, N_ITEMS, length).tolist()
    history = tuple(Event(START + n, f"sku-{item}", EventKind.VIEW) for n, item in enumerate(items))
    device.change(lambda state: replace(state, events=history))
    return device
