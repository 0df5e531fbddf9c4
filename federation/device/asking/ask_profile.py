"""Mode profile on the device: the service sees the vector for one request and ranks by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import httpx

from data.errors import ServingError
from federation.device.asking.client import ask
from federation.device.lists import MAX_TOP_K, Recommendations, asked_for, join, profile_of, saying_only, without_seen
from federation.device.state import DeviceState
from recsys.catalogue.catalogue import Catalogue


class RefreshableDevice(Protocol):
    """The parts of a device that mode profile needs."""

    @property
    def state(self) -> DeviceState:
        """Everything that is stored."""
        ...

    @property
    def catalogue(self) -> Catalogue | None:
        """The catalogue at hand."""
        ...

    def refresh(self, service: httpx.Client) -> bool:
        """Fetch the service's current catalogue."""
        ...


def ask_with_profile(
    device: RefreshableDevice,
    client: httpx.Client,
    top_k: int,
    exclude: Sequence[str],
    unseen: bool,
    repeat: bool,
    now: int,
) -> Recommendations:
    """List top_k items at `now` (µs), for which the device asks for top_k + len(exclude) items.

    `unseen`: it asks for more, in steps.

    When the service no longer has the bundle, or lists an item that is newer than this device's last refresh, the
    device is refreshed, the profile made anew, and the service asked once more.
    """
    wanted = top_k + len(set(exclude))
    if wanted > MAX_TOP_K:
        raise ServingError(f"top_k + excluded items = {wanted}: must be at most {MAX_TOP_K}")
    left_out = without_seen(device.state, exclude) if unseen else exclude
    if unseen:
        wanted = asked_for(top_k, len(left_out), MAX_TOP_K)
    if device.catalogue is None:
        device.refresh(client)
    for again in (True, False):
        state, catalogue = device.state, device.catalogue
        if catalogue is None:
            raise ServingError("device: the catalogue that was just fetched is gone")
        profile = profile_of(state, catalogue, now)
        vector = None if profile is None else profile.vector
        listed = ask(client, catalogue.bundle_version, vector, wanted)
        if listed is not None and not (again and (catalogue.items.index_of(listed[0]) < 0).any()):
            return saying_only(join(state, catalogue, now, listed, top_k, left_out, repeat), exclude)
        if again:
            device.refresh(client)
    raise ServingError("service: refuses the bundle that it has just handed out")
