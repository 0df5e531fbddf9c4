"""The lists of a device: for a page, for a placement, with a service's help, and a shop's own lists re-ordered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import httpx

from data.errors import ServingError
from federation.device.asking.ask_coarse import CandidateRequest, Mode, ask_coarsely, chosen_mode
from federation.device.asking.ask_profile import ask_with_profile
from federation.device.asking.client import service_client
from federation.device.cluster_ledger import ClusterPolicy
from federation.device.lists import (
    Recommendations,
    Selection,
    check_top_k,
    own_arm,
    rank,
    saying_only,
    with_own_settings,
    without_seen,
)
from federation.device.noise_ledger import NoisePolicy
from federation.device.state import DeviceState
from federation.device.surfaces.placement_list import PlacementRequest, list_placement
from federation.device.surfaces.ranked_items import HeldSignals, RankedItems, rank_items
from federation.device.timestamps import micros
from recsys.catalogue.catalogue import Catalogue
from recsys.evaluation.arm_names import DeviceArm
from recsys.lists.rank_items import Impact, Surface
from recsys.search.filters import parse_filter


class ListingDevice(ABC):
    """A device as far as it lists: whoever stores what lists are made of completes it."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The device's own folder."""

    @property
    @abstractmethod
    def state(self) -> DeviceState:
        """Everything that is stored, as it is now."""

    @property
    @abstractmethod
    def catalogue(self) -> Catalogue | None:
        """The items at hand as they are now."""

    @property
    @abstractmethod
    def catalogue_hash(self) -> bytes | None:
        """SHA-256 (32 bytes) of the catalogue's file."""

    @abstractmethod
    def change(self, change: Callable[[DeviceState], DeviceState]) -> DeviceState:
        """Replace the state durably, nobody else writing meanwhile."""

    @abstractmethod
    def refresh(self, service: str | httpx.Client) -> bool:
        """Fetch what is new; whether the catalogue is another one."""

    @abstractmethod
    def refresh_clusters(self, service: str | httpx.Client) -> str:
        """Fetch the clusters file; the bundle's version."""

    _held_signals: HeldSignals | None = None

    @abstractmethod
    def _need(self, state: DeviceState) -> Catalogue:
        """Return the catalogue at hand. Raises ServingError without one."""

    def recommend(
        self,
        placement: str | int | None = None,
        *,
        top_k: int | None = None,
        context: str | None = None,
        cart: Sequence[str] = (),
        rules: object | None = None,
        exclude: Sequence[str] = (),
        unseen: bool | None = None,
        repeat: bool = True,
        own_settings: bool = False,
        filter: object | None = None,  # noqa: A002  # the word of the HTTP API
        diversity: float | None = None,
        reasons: bool = False,
        arm: DeviceArm = "personalized",
        now: datetime | int | None = None,
    ) -> Recommendations:
        """Make a list on this device from the catalogue at hand; nothing is sent.

        placement: a surface of the shop by its name (docs/placements.md), whose settings hold where nothing else is
        given here; a number is the length of a list of no placement, as `top_k` is. context: the item of a product
        page; cart: items in the cart; neither is ever in the list. filter: a JSON value of the filter language
        (recsys/search/filters.py) on the fields that the catalogue holds. rules: pin, boost, bury, cap
        (recsys/lists/rules.py), beside the placement's own. exclude: ids that must not be in it. unseen: leave out
        every item of the own history. repeat: join own purchases, of arm `personalized`. diversity: 0..1, less alike
        the higher. Without a placement, context, cart and rules: arm: what it lists by
        (recsys/evaluation/arm_names.py); reasons: why each item is there; own_settings: half-life and λ that foretell
        its own last baskets better, not the bundle's. Ids that the catalogue does not know are named in the answer;
        unavailable items never appear.
        """
        name = placement if isinstance(placement, str) else None
        length = placement if isinstance(placement, int) else top_k
        if length is not None:
            check_top_k(length)
        only = None if filter is None else parse_filter(filter)
        state = self.state
        catalogue = self._need(state)
        if own_settings:
            catalogue = with_own_settings(state, catalogue)
        if name is not None or context is not None or cart or rules is not None:
            if reasons or arm != "personalized":
                raise ServingError("reasons, arm: are of lists without a placement, context, cart and rules")
            asked = PlacementRequest(length, context, cart, filter, rules, exclude, diversity, unseen, repeat)
            return list_placement(
                state, catalogue, name or "", catalogue.placements.named(name or "for-you"), asked, micros(now)
            )
        length = 10 if length is None else length
        selection = Selection(only, diversity or 0.0, reasons)
        left_out = without_seen(state, exclude) if unseen else exclude
        by = own_arm(catalogue, repeat, arm)
        listed = rank(state, catalogue, micros(now), length, left_out, by, selection, bool(unseen))
        return saying_only(listed, exclude)

    def rank(
        self,
        items: Sequence[str],
        *,
        base: Sequence[float] | None = None,
        impact: Impact = "medium",
        surface: Surface = "search",
        now: datetime | int | None = None,
    ) -> RankedItems:
        """Re-order the shop's own list for this shopper, here; nothing is sent, added or left out.

        items: item_ids in the shop's order, at most 1,000; ids that the catalogue does not have stay about where they
        are. base: the shop's scores of them, the higher the better, None where only the order is known. impact: low
        moves no item by more than three places, high gives the shop's order no weight. surface: of what the list is.
        """
        state = self.state
        catalogue = self._need(state)
        ranked, self._held_signals = rank_items(
            state, catalogue, items, base, impact, surface, micros(now), self._held_signals
        )
        return ranked

    def recommend_from(
        self,
        service: str | httpx.Client,
        top_k: int = 10,
        *,
        mode: Mode | None = None,
        clusters: int = 1,
        candidates: int | None = None,
        noise: NoisePolicy | None = None,
        naming: ClusterPolicy | None = None,
        exclude: Sequence[str] = (),
        unseen: bool = False,
        repeat: bool = True,
        now: datetime | int | None = None,
    ) -> Recommendations:
        """Make a list with the service's help. What the service sees, by mode:

        device: nothing; the list is made of the catalogue here, which is fetched where none is held. cluster: the ids
        of the 1 to 4 (`clusters`) nearest of the public centroids, chosen as often as `naming` allows and repeated ever
        after; where nothing may be named the list is the trend. noised: one noised direction under `noise`, the same
        bytes for a whole period. In these two, `candidates` (1 to 2000) come back and are ranked here; no catalogue is
        needed. profile: the profile vector, for the length of one request: whoever wants that says so.

        mode: None takes `device` where a catalogue is held, or the shop's has at most 100,000 items; else `cluster`.

        Neither the excluded ids nor the repeat counter are sent: the device asks for top_k + len(exclude) items,
        which must be at most 1000, and does both itself. When the service no longer has the bundle, its current
        catalogue is fetched, the profile made anew, and the service asked once more.

        unseen: leave out every item of the own history too; in mode profile the number of items that is asked for then
        goes up in steps of 100, to 1000 at most, and a list may be shorter where the history is longer than that.
        """
        check_top_k(top_k)
        with service_client(service) as client:
            mode = self.mode_for(client, mode)
            if mode == "device":
                return self.recommend(top_k, exclude=exclude, unseen=unseen, repeat=repeat, now=now)
            if mode == "profile":
                return ask_with_profile(self, client, top_k, exclude, unseen, repeat, micros(now))
            coarse = CandidateRequest(mode, clusters, candidates, noise or NoisePolicy(), naming or ClusterPolicy())
            left_out = without_seen(self.state, exclude) if unseen else exclude
            return saying_only(ask_coarsely(self, client, coarse, top_k, left_out, repeat, micros(now)), exclude)

    def mode_for(self, client: httpx.Client, mode: str | None) -> Mode:
        """Choose the mode of recommend_from and get its catalogue for mode device. Raises ServingError for no mode."""
        return chosen_mode(self, client, mode)
