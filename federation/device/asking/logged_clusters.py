"""Before a device names clusters it may ask that the file of centroids is public: in the custodian's log, for anybody.

A service that makes centroids for one victim then has to show them to everybody, or gets no answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import httpx

from federation.device.asking.client import fetch_clusters_proof
from federation.device.state import DeviceState
from federation.protocol.transparency import SeenHead, clusters_entry
from recsys.catalogue.clusters import Clusters


class LogFollower(Protocol):
    """What of a device remembers how far it has seen the log."""

    @property
    def state(self) -> DeviceState:
        """Everything that is stored."""
        ...

    def change(self, change: Callable[[DeviceState], DeviceState]) -> DeviceState:
        """Replace the state durably."""
        ...


def check_logged(device: LogFollower, client: httpx.Client, clusters: Clusters, custodian_key: bytes) -> None:
    """Check that these clusters are in the log that this device has seen so far; remember the log's new head.

    Raises LogRefused, and ServingError when the service has no proof to give.
    """
    seen = device.state.participation.log_head
    since = 0 if seen is None else seen.size
    proof = fetch_clusters_proof(client, clusters.bundle_version, since)
    entry = clusters_entry(clusters.bundle_version, bytes.fromhex(clusters.content_hash))
    remember_head(device, proof.check(entry, custodian_key, seen))


def remember_head(device: LogFollower, head: SeenHead) -> None:
    """Remember a log's head that was checked, unless a later one is known."""

    def remember(state: DeviceState) -> DeviceState:
        held = state.participation.log_head
        if held is not None and held.size >= head.size:
            return state
        return replace(state, participation=replace(state.participation, log_head=head))

    device.change(remember)
