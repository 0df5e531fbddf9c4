"""A device as far as those need it who ask, report or list for it: its state, its catalogue, and how both change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import httpx

from federation.device.state import DeviceState
from recsys.catalogue.catalogue import Catalogue


class HeldDevice(Protocol):
    """The parts of a device that the rooms beside it use."""

    @property
    def folder(self) -> Path:
        """Where its files are."""
        ...

    @property
    def state(self) -> DeviceState:
        """Everything that is stored."""
        ...

    @property
    def catalogue(self) -> Catalogue | None:
        """The catalogue at hand."""
        ...

    @property
    def catalogue_hash(self) -> bytes | None:
        """SHA-256 (32 bytes) of the catalogue's file; None without one."""
        ...

    def refresh(self, service: httpx.Client) -> bool:
        """Fetch the service's current catalogue."""
        ...

    def change(self, change: Callable[[DeviceState], DeviceState]) -> DeviceState:
        """Replace the state durably, nobody else writing meanwhile."""
        ...
