"""What a device's vault holds after an item, or everything, was forgotten, and how a whole device is erased.

Forgetting is not erasing: the account of what was said stays.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from federation.device.asking import catalogue_file, clusters_file
from federation.device.state import DeviceState
from federation.device.unknown_fields import without_naming
from federation.device.vault import erase_vault


def without_item(state: DeviceState, item_id: str) -> DeviceState:
    """Remove the item's events and notes, notes that may be of it, and reports not yet sent.

    The state itself when it has nothing of the item.
    """
    remaining = tuple(event for event in state.events if event.item_id != item_id)
    unknown = without_naming(state.unknown, item_id)
    if len(remaining) == len(state.events) and not state.experiments.names(item_id) and unknown == state.unknown:
        return state
    experiments = state.experiments.without_item(item_id)
    return without_reports(replace(state, events=remaining, experiments=experiments, unknown=unknown))


def without_shopper(state: DeviceState) -> DeviceState:
    """Remove all that the shopper did, and what was made of it.

    What stays: the choice of consent, the device's own random draws, and what was said to whom at which cost, so that
    no budget begins anew. Of what a newer program added, that is what it added to those accounts.
    """
    charged = {entry.task_hash for entry in state.participation.experiments}
    return replace(
        state,
        events=(),
        own_rows=None,
        participation=state.participation.without_report(),
        noise=replace(state.noise, draws=()),
        named=state.named.without_shopper(),
        experiments=state.experiments.without_shopper(charged),
        unknown={},
    )


def without_reports(state: DeviceState) -> DeviceState:
    """Remove reports that were made and not acknowledged; what they cost stays."""
    return replace(
        state, participation=state.participation.without_report(), experiments=state.experiments.without_reports()
    )


def erase_device(folder: str | Path) -> None:
    """Erase a device, even one whose vault cannot be opened any more. Raises ServingError when there is none."""
    folder = Path(folder)
    erase_vault(folder)
    for name in (catalogue_file.NAME, catalogue_file.CHANGES_NAME, clusters_file.NAME):
        for path in (*folder.glob(name.format("*")), *folder.glob(f".{name.format('*')}-*")):
            path.unlink()
