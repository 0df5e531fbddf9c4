"""A device's state in its vault: read once, then only what is new; changed in one durable step at a time.

Two programs may share a vault: each reads what the other has appended or written since, before it changes anything.
"""

from __future__ import annotations

from collections.abc import Callable

from federation.device.state import DeviceState
from federation.device.vault.sealed_log import Position
from federation.device.vault.state_additions import Addition, add_all, added_notes
from federation.device.vault.vault import Vault

Change = Callable[[DeviceState], DeviceState | Addition]

LOG_BYTES = 65_536
LOG_SHARE = 0.5
"""A log above LOG_BYTES and this share of the snapshot is compacted: a snapshot is written for so many events at once,
and a program that opens the device reads at most half as much again than the snapshot."""


class StoredState:
    """The state, and how far its vault was read. Safe in threads and processes: a change holds the vault's lock."""

    __slots__ = ("_read", "vault")

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self._read: tuple[Position, DeviceState] | None = None

    def state(self) -> DeviceState:
        """Read the state as it is now. Raises ServingError for a vault that is missing, changed, or newer."""
        return self._reading()[1]

    def change(self, change: Change) -> DeviceState:
        """Replace the state, or add to it, nobody else writing meanwhile; durable when it returns the new one."""
        with self.vault.locked():
            position, before = self._reading()
            changed = change(before)
            if changed is before:
                return before
            addition = changed if isinstance(changed, Addition) else added_notes(before, changed)
            after = add_all(before, (changed,)) if isinstance(changed, Addition) else changed
            if addition is not None and position.appendable and not _is_long(position):
                position = self.vault.append(addition.encode(), position)
            else:
                position = self.vault.write(after.encode())
            self._read = position, after
        return after

    def _reading(self) -> tuple[Position, DeviceState]:
        known = self._read
        reading = self.vault.read(None if known is None else known[0])
        if reading.snapshot is not None:
            state = DeviceState.decode(reading.snapshot)
        else:
            assert known is not None
            state = known[1]
        if reading.records:
            state = add_all(state, [Addition.decode(record) for record in reading.records])
        self._read = reading.position, state
        return self._read


def _is_long(position: Position) -> bool:
    return position.log_bytes > max(LOG_BYTES, LOG_SHARE * position.snapshot_bytes)
