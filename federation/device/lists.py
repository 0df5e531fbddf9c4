"""Lists made on the device, from what its vault holds and a catalogue: pure functions of both and the time."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from data.errors import ServingError
from federation.device.mixed_list import MixedList, mixed_list
from federation.device.reasons import POPULAR, Reason, mixed_reasons, reasons_for
from federation.device.state import DeviceState, Event, OwnRows, add_event, known_columns
from federation.device.vault.state_additions import Addition
from recsys.catalogue.catalogue import Catalogue
from recsys.evaluation.arm_names import DEVICE_ARMS, DeviceArm
from recsys.evaluation.arms import GlobalProfile, Personalized, TableArm, arm
from recsys.evaluation.baselines import FixedList
from recsys.lists.diversity import diversify, pool_size
from recsys.mix.mixed_arm import Mixed
from recsys.model.items import ItemTable
from recsys.model.profile import Profile, make_profile, repeat_counts, repeat_score
from recsys.model.scoring import score, score_without_profile
from recsys.model.scoring import top_k as best
from recsys.search.filters import Filter

Mode = Literal["device", "profile", "cluster", "noised"]

_NOTHING, _NO_BONUS = np.empty(0, np.int32), np.empty(0, np.float32)

MAX_TOP_K = 1000
SEEN_STEP = 100
"""Of how many items a service is asked for where the own history is left out: it learns that size no closer."""


@dataclass(frozen=True)
class Recommendation:
    """One item of a list; title, category and price are None where the shop gave none, reason where none was asked."""

    item_id: str
    score: float
    title: str | None
    category: str | None
    price: float | None
    reason: Reason | None = None


@dataclass(frozen=True)
class RecommendedRow:
    """One row of a page: a category and its items, best first."""

    category: str
    items: tuple[Recommendation, ...]


@dataclass(frozen=True)
class Recommendations:
    """A list, best first.

    placement: its name, "" for none. source: what it lists, another one than the placement's where that had nothing.
    about: the item that it is about, as of because-you-viewed. rows: of source rows, a page instead of a list.
    unknown_items: of context, cart and pins, those that the catalogue does not have.
    mode: "device" when nothing was sent, "profile" when the service saw the vector for one request, "cluster" when it
    saw cluster ids, "noised" when it saw a noised direction.
    fallback: "trend" when the trend alone ranked, for want of a profile or as asked, else None.
    unknown_exclude: excluded ids that the catalogue does not have.
    """

    items: tuple[Recommendation, ...]
    bundle_version: str
    mode: Mode
    fallback: Literal["trend"] | None
    unknown_exclude: tuple[str, ...]
    unknown_items: tuple[str, ...] = ()
    placement: str = ""
    source: str = ""
    about: str | None = None
    rows: tuple[RecommendedRow, ...] = ()

    @property
    def item_ids(self) -> list[str]:
        """The item_ids, best first."""
        return [item.item_id for item in self.items]


def check_top_k(top_k: int) -> None:
    """Check a list's length. Raises ServingError for another than 1..1000."""
    if not 1 <= top_k <= MAX_TOP_K:
        raise ServingError(f"top_k={top_k}: must be 1..{MAX_TOP_K}")


def without_seen(state: DeviceState, exclude: Sequence[str]) -> list[str]:
    """List the excluded ids and every item of the own history, which without consent is none."""
    events = () if state.consent == "nothing" else state.events
    return list(dict.fromkeys([*exclude, *(event.item_id for event in events)]))


def saying_only(listed: Recommendations, exclude: Sequence[str]) -> Recommendations:
    """Keep of the list's unknown excluded ids those that were given."""
    return replace(listed, unknown_exclude=tuple(item_id for item_id in listed.unknown_exclude if item_id in exclude))


def asked_for(top_k: int, left_out: int, most: int) -> int:
    """Decide how many items to ask for where so many may be left out.

    The number goes in steps, so that it does not count a history.
    """
    return min(-(-(top_k + left_out) // SEEN_STEP) * SEEN_STEP, most)


def profile_of(state: DeviceState, catalogue: Catalogue, now: int) -> Profile | None:
    """Make the profile at `now` (µs); None without consent or without an event that the catalogue knows."""
    item_idx, kind, time = _used(state, catalogue)
    if len(item_idx) == 0:
        return None
    version = catalogue.bundle_version
    return make_profile(catalogue.table, item_idx, kind, time, now, catalogue.config, version)


def with_own_settings(state: DeviceState, catalogue: Catalogue) -> Catalogue:
    """Set the half-life and λ that this device's own last baskets speak for. The choice stays here."""
    if state.consent == "nothing":
        return catalogue
    columns = known_columns(state.events, catalogue.items)
    from recsys.evaluation.device_settings import choose_config, neighbours  # torch, which a device need not wait for

    config = choose_config(catalogue.table, *columns, catalogue.config, neighbours(catalogue.config))
    return replace(catalogue, config=config)


def own_arm(catalogue: Catalogue, repeat: bool = True, name: str = "personalized") -> TableArm:
    """Make the arm that a device lists by from its catalogue: one of DEVICE_ARMS, by default with its own profile.

    repeat: whether own purchases count, for `personalized`. Raises ServingError for another name.
    """
    for known in DEVICE_ARMS:
        if known == name:
            chosen: DeviceArm = "personalized_no_repeat" if name == "personalized" and not repeat else known
            return arm(chosen, catalogue.table, catalogue.config, mix=catalogue.mix)
    raise ServingError(f"arm={name!r}: must be one of {', '.join(DEVICE_ARMS)}")


@dataclass(frozen=True)
class Selection:
    """What is asked of a list made here: only: what may be in it; diversity: 0..1; reasons: why."""

    only: Filter | None = None
    diversity: float = 0.0
    reasons: bool = False


def rank(
    state: DeviceState,
    catalogue: Catalogue,
    now: int,
    top_k: int,
    exclude: Sequence[str],
    by: TableArm,
    asked: Selection | None = None,
    new: bool = False,
) -> Recommendations:
    """Rank the best top_k of the whole catalogue by an arm of it; without a profile by the trend.

    new: whether it is a list of new items, whose signals weigh otherwise; exclude then names the own history too.
    """
    asked = asked or Selection()
    hidden, unknown = _hidden(catalogue, exclude)
    if asked.only is not None:
        asked.only.check(catalogue.shown)
        hidden = np.union1d(hidden, np.flatnonzero(~asked.only.mask(catalogue.shown))).astype(np.int32)
    allowed = np.ones(catalogue.table.n_items, dtype=np.bool_)
    allowed[hidden] = False
    personal = personal_scores(state, catalogue, now, by=by, new=new, allowed=allowed)
    every, profile, mixed = personal.scores, personal.profile, personal.mixed
    fallback = profile is None and not isinstance(by, GlobalProfile)
    if asked.diversity == 0:
        items, scores = best(every, top_k, hidden)
    else:
        items, scores = best(every, pool_size(top_k), hidden)
        order = diversify(scores, catalogue.table.item_embeddings[items], top_k, asked.diversity)
        items, scores = items[order], scores[order]
    listed = _make_list(catalogue, items, scores, "device", fallback, unknown)
    if not asked.reasons:
        return listed
    if isinstance(by, Personalized):
        catalogue = replace(catalogue, config=by.config)
    reasons: Sequence[Reason | None] = [POPULAR if fallback else None] * len(items)
    if mixed is not None:
        reasons = mixed_reasons(catalogue, _used(state, catalogue), now, items, mixed)
    elif profile is not None:
        reasons = reasons_for(catalogue, _used(state, catalogue), now, items, personal.repeated, personal.bonus)
    items_with_reasons = (replace(item, reason=reason) for item, reason in zip(listed.items, reasons, strict=True))
    return replace(listed, items=tuple(items_with_reasons))


@dataclass(frozen=True, eq=False, repr=False)
class PersonalScores:
    """What an arm says of every item for one device, (n_items,) float32, and what it was made of.

    profile: None for nobody's. mixed: None for another arm than the mix. bonus: was added at the items `repeated`.
    """

    scores: npt.NDArray[np.float32]
    profile: Profile | None
    mixed: MixedList | None
    repeated: npt.NDArray[np.int32]
    bonus: npt.NDArray[np.float32]


def personal_scores(
    state: DeviceState, catalogue: Catalogue, now: int, *, by: TableArm, new: bool, allowed: npt.NDArray[np.bool_]
) -> PersonalScores:
    """Score all items by an arm for this device; without a profile by the trend.

    allowed: (n_items,) bool, what may be listed. new: as rank.
    """
    if isinstance(by, FixedList | GlobalProfile):
        return PersonalScores(by.item_scores, None, None, _NOTHING, _NO_BONUS)
    config = by.config if isinstance(by, Personalized) else catalogue.config
    profile = profile_of(state, replace(catalogue, config=config), now)
    if profile is None:
        return PersonalScores(score_without_profile(catalogue.table), None, None, _NOTHING, _NO_BONUS)
    if isinstance(by, Mixed):
        mixed = mixed_list(by, _used(state, catalogue), now, "new" if new else "all", allowed)
        return PersonalScores(mixed.scores, profile, mixed, _NOTHING, _NO_BONUS)
    repeated, bonus = _NOTHING, _NO_BONUS
    every = score(catalogue.table, profile.vector[None], config.trend_weight)[0]
    if config.repeat_weight > 0:
        repeated, bonus = _bonus(state, replace(catalogue, config=config), now)
        every[repeated] += bonus
    return PersonalScores(every, profile, None, repeated, bonus)


def join(
    state: DeviceState,
    catalogue: Catalogue,
    now: int,
    candidates: tuple[Sequence[str], npt.NDArray[np.float32]],
    top_k: int,
    exclude: Sequence[str],
    repeat: bool,
    mode: Mode = "profile",
) -> Recommendations:
    """Make the same list from the service's candidates: their item_ids (k,) and scores (k,), best first.

    Exact when k ≥ top_k + len(exclude), since the bonus only ever lifts own items: an item that is not the device's
    own and has fewer than top_k others above it with the bonus had no more above it without.

    Candidates of a coarse question are ranked by the mix where the catalogue has one, own items among them. Those of
    mode profile are few and in the order of the plain score, by which they stay.
    """
    hidden, unknown = _hidden(catalogue, exclude)
    profile = profile_of(state, catalogue, now)
    items, scores = catalogue.items.index_of(list(candidates[0])), candidates[1]
    if (items < 0).any():
        raise ServingError(f"service: lists items that bundle {catalogue.bundle_version} does not have")
    by = own_arm(catalogue, repeat)
    if profile is not None and isinstance(by, Mixed) and mode in ("cluster", "noised"):
        history = _used(state, catalogue)
        allowed = np.zeros(catalogue.table.n_items, dtype=np.bool_)
        allowed[np.concatenate((items, history[0])) if repeat else items] = True
        allowed[hidden] = False
        mixed = mixed_list(by, history, now, "all", allowed)
        chosen, heights = best(mixed.scores, top_k, np.flatnonzero(~allowed).astype(np.int32))
        return _make_list(catalogue, chosen, heights, mode, False, unknown)
    if profile is not None and repeat:
        repeated, bonus = _bonus(state, catalogue, now)
        absent = repeated[~np.isin(repeated, items)]
        if len(absent):
            mine = score(_rows(catalogue.table, absent), profile.vector[None], catalogue.config.trend_weight)[0]
            items, scores = np.concatenate((items, absent)), np.concatenate((scores, mine))
        lift = dict(zip(repeated.tolist(), bonus.tolist(), strict=True))
        scores = scores + np.array([lift.get(item, 0.0) for item in items.tolist()], dtype=np.float32)
    shown = ~np.isin(items, hidden)
    items, scores = items[shown], scores[shown]
    order = np.lexsort((items, -scores))[:top_k]
    return _make_list(catalogue, items[order], scores[order], mode, profile is None, unknown)


def keep_rows(state: DeviceState, exact: Catalogue | None) -> DeviceState:
    """Keep the exact rows of the history's items, for the day when only an int8 catalogue is at hand.

    exact: a full-precision catalogue if there is one now; without, rows of forgotten items are dropped.
    """
    stored, wanted = state.own_rows, sorted({event.item_id for event in state.events})
    if exact is not None:
        item_idx = exact.items.index_of(wanted)
        ids = tuple(item_id for item_id, place in zip(wanted, item_idx, strict=True) if place >= 0)
        if stored is not None and (stored.bundle_version, stored.item_ids) == (exact.bundle_version, ids):
            return state
        rows = exact.table.item_embeddings[item_idx[item_idx >= 0]]
        own_rows = OwnRows(exact.bundle_version, ids, rows)
    elif stored is None or set(stored.item_ids) <= set(wanted):
        return state
    else:
        stays = [place for place, item_id in enumerate(stored.item_ids) if item_id in set(wanted)]
        own_rows = OwnRows(stored.bundle_version, tuple(stored.item_ids[place] for place in stays), stored.rows[stays])
    return replace(state, own_rows=own_rows) if own_rows.item_ids else replace(state, own_rows=None)


def keep_row(state: DeviceState, item_id: str, row: npt.NDArray[np.float32], bundle_version: str) -> DeviceState:
    """Keep one more exact row (dim,), as the item's page had it; rows of another bundle are given up."""
    stored = state.own_rows
    if stored is None or stored.bundle_version != bundle_version:
        return replace(state, own_rows=OwnRows(bundle_version, (item_id,), row[None]))
    others = [place for place, known in enumerate(stored.item_ids) if known != item_id]
    ids = (*(stored.item_ids[place] for place in others), item_id)
    return replace(state, own_rows=OwnRows(bundle_version, ids, np.vstack((stored.rows[others], row[None]))))


def recorded(
    state: DeviceState, event: Event, exact: Catalogue | None, page: tuple[npt.NDArray[np.float32], str] | None
) -> DeviceState | Addition:
    """Record an event, with the exact row of its item where one is at hand: an addition unless a row is replaced.

    Without consent the state itself. exact: a full-precision catalogue if there is one; else page: the item's row
    (dim,) as its page had it, and of which bundle.
    """
    if state.consent == "nothing":
        return state
    row, bundle_version = page or (None, "")
    if exact is not None:
        bundle_version = exact.bundle_version
        place = int(exact.items.index_of([event.item_id])[0])
        row = None if place < 0 else exact.table.item_embeddings[place]
    held = state.own_rows
    if row is None or held is None:
        return Addition(event, None if row is None else OwnRows(bundle_version, (event.item_id,), row[None]))
    if held.bundle_version == bundle_version:
        if event.item_id not in held.item_ids:
            behind = len(held.item_ids) if exact is None else bisect.bisect_left(held.item_ids, event.item_id)
            return Addition(event, OwnRows(bundle_version, (event.item_id,), row[None]), behind)
        if np.array_equal(held.rows[held.item_ids.index(event.item_id)], row):
            return Addition(event)
    after = replace(state, events=add_event(state.events, event))
    return keep_rows(after, exact) if exact is not None else keep_row(after, event.item_id, row, bundle_version)


def with_own_rows(catalogue: Catalogue, own_rows: OwnRows | None) -> Catalogue:
    """Put the device's exact rows in place of the catalogue's int8 ones of the same bundle."""
    if own_rows is None or catalogue.exact or own_rows.bundle_version != catalogue.bundle_version:
        return catalogue
    item_idx = catalogue.items.index_of(own_rows.item_ids)
    known = item_idx >= 0  # a new item's page gave a row of an item that the bundle's file does not have
    return catalogue.with_rows(item_idx[known], own_rows.rows[known])


def _used(
    state: DeviceState, catalogue: Catalogue
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    return known_columns(() if state.consent == "nothing" else state.events, catalogue.items)


def _bonus(state: DeviceState, catalogue: Catalogue, now: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    item_idx, kind, time = _used(state, catalogue)
    repeated, counts = repeat_counts(item_idx, kind, time, now, catalogue.config.repeat_half_life)
    return repeated, np.float32(catalogue.config.repeat_weight) * repeat_score(counts)


def _rows(table: ItemTable, item_idx: npt.NDArray[np.int32]) -> ItemTable:
    return replace(table, item_embeddings=table.item_embeddings[item_idx], trend=table.trend[item_idx])


def _hidden(catalogue: Catalogue, exclude: Sequence[str]) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    item_idx = catalogue.items.index_of(list(exclude))
    unknown = tuple(item_id for item_id, place in zip(exclude, item_idx, strict=True) if place < 0)
    return np.union1d(catalogue.unavailable, item_idx[item_idx >= 0]).astype(np.int32), unknown


def _make_list(
    catalogue: Catalogue,
    items: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32],
    mode: Mode,
    fallback: bool,
    unknown: tuple[str, ...],
) -> Recommendations:
    return Recommendations(
        listed_items(catalogue, items, scores),
        catalogue.bundle_version,
        mode,
        "trend" if fallback else None,
        unknown,
    )


def listed_items(
    catalogue: Catalogue, items: npt.NDArray[np.int32], scores: npt.NDArray[np.float32]
) -> tuple[Recommendation, ...]:
    """Describe listed items (k,) with their scores (k,)."""
    rows = catalogue.shown[items.tolist()].select("item_id", "title", "category", "price").iter_rows()
    return tuple(
        Recommendation(item_id, float(value), title, category, price)
        for (item_id, title, category, price), value in zip(rows, scores, strict=True)
    )
