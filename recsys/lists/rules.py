"""Business rules: pin, boost, bury and cap, for one list. Pure functions of scores, of which nothing is written into.

    {"pin":   [{"item_id": "85123A", "position": 1}],        to this place, if it may be shown at all
     "boost": [{"filter": {"category": "tea"}, "by": 0.5}],  half a deviation of the request's scores, before ranking
     "bury":  [{"filter": {"price": {"max": 1}}, "by": 2}],  the same, down
     "cap":   [{"by": "category", "most": 3}]}               at most three of a category in the list

Order of doing: `apply_lifts`, then diversity if any, then `arrange`: caps, then pins. A list of k is the beginning of
every longer list of the same request, so pages are slices and do not overlap. Errors name the place, never a value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Annotated, Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import ModelError
from data.limits import MAX_ID_CHARS
from data.strict import convert_unquoted
from recsys.model.scoring import top_k as best
from recsys.search.filters import Filter, RawFilter, check_text, column_kind, field_of, fields_of, parse_filter

MAX_POSITION = 1000
MAX_BY = 100.0

Scores = npt.NDArray[np.float32]
Items = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


class ItemLocator(Protocol):
    """Tells where items are in a catalogue."""

    def index_of(self, item_ids: Sequence[str], /) -> npt.NDArray[np.int32]:
        """Find item_idx of each, −1 where unknown."""
        ...


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An item at a position, from 1."""

    item_id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARS)]
    position: Annotated[int, msgspec.Meta(ge=1, le=MAX_POSITION)]


class Lift(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By how many deviations of the scores what matches a filter goes up or down."""

    filter: RawFilter
    by: Annotated[float, msgspec.Meta(gt=0, le=MAX_BY)]


class CapBy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many items of one value of a field (category or attributes.NAME) a list has at most."""

    by: Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARS)]
    most: Annotated[int, msgspec.Meta(ge=1, le=MAX_POSITION)]


class RuleSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """pin to a place; boost and bury by deviations of the scores; cap how many of one value."""

    pin: Annotated[tuple[Pin, ...], msgspec.Meta(max_length=100)] = ()
    boost: Annotated[tuple[Lift, ...], msgspec.Meta(max_length=20)] = ()
    bury: Annotated[tuple[Lift, ...], msgspec.Meta(max_length=20)] = ()
    cap: Annotated[tuple[CapBy, ...], msgspec.Meta(max_length=5)] = ()


@dataclass(frozen=True)
class Boost:
    """`by` standard deviations, of the request's scores among the items that may be shown, on what matches; by > 0."""

    filter: Filter
    by: float


@dataclass(frozen=True)
class Bury:
    """`by` standard deviations, as in Boost, taken off what matches; by > 0."""

    filter: Filter
    by: float


@dataclass(frozen=True)
class Cap:
    """At most `most` items of one value of a field in a list; an item without a value is not counted."""

    field: str
    most: int
    where: str


@dataclass(frozen=True)
class Rules:
    """Parsed rules. key: canonical JSON, for caches."""

    pins: tuple[Pin, ...] = ()
    boosts: tuple[Boost, ...] = ()
    buries: tuple[Bury, ...] = ()
    caps: tuple[Cap, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, part.name) for part in fields(self))

    @property
    def lifts(self) -> list[tuple[Filter, float]]:
        """Boosts, and buries with their sign."""
        return [(rule.filter, rule.by) for rule in self.boosts] + [(rule.filter, -rule.by) for rule in self.buries]

    @cached_property
    def key(self) -> str:
        """Equal for rules that do the same to every list."""
        lifts = [[condition.key, by] for condition, by in self.lifts]
        pins = [[pin.item_id, pin.position] for pin in self.pins]
        caps = [[cap.field, cap.most] for cap in self.caps]
        return json.dumps([sorted(pins), sorted(lifts), sorted(caps)], separators=(",", ":"))


@dataclass(frozen=True, eq=False)
class PreparedRules:
    """Rules against one state of a catalogue; may be kept under Rules.key for as long as the catalogue stays the same.

    lift: (n_items,) float32 in deviations, None without boost or bury. pins: (item_idx, position), by position.
    caps: group of each item (n_items,) int32, −1 for none, and how many of a group. unknown: pinned ids the catalogue
    does not have.
    """

    lift: Scores | None
    pins: tuple[tuple[int, int], ...]
    caps: tuple[tuple[Items, int], ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class RankedList:
    """A list: item_idx int32, its scores float32 as they were ranked, and which were put there by a pin; all (k,)."""

    item_idx: Items
    scores: Scores
    pinned: Mask


def parse_rules(value: object, where: str = "rules") -> Rules:
    """Parse rules from a JSON value. Raises ModelError with the place of whatever is wrong."""
    sent: RuleSet = convert_unquoted(RuleSet, _with_integers(value), where, error=ModelError)
    for at, pin in enumerate(sent.pin):
        check_text(pin.item_id, f"{where}.pin[{at}].item_id")
    for name in ("item_id", "position"):
        if len({getattr(pin, name) for pin in sent.pin}) < len(sent.pin):
            raise ModelError(f"{where}.pin: two pins have the same {name}")
    caps = tuple(_cap(rule, f"{where}.cap[{at}].by") for at, rule in enumerate(sent.cap))
    if len({cap.field for cap in caps}) < len(caps):
        raise ModelError(f"{where}.cap: two caps are by the same field")
    boosts, buries = (
        [(parse_filter(lift.filter.value, f"{where}.{name}[{at}].filter"), lift.by) for at, lift in enumerate(lifts)]
        for name, lifts in (("boost", sent.boost), ("bury", sent.bury))
    )
    return Rules(sent.pin, tuple(Boost(*lift) for lift in boosts), tuple(Bury(*lift) for lift in buries), caps)


def prepare(rules: Rules, catalogue: pl.DataFrame, items: ItemLocator) -> PreparedRules:
    """Resolve rules for a catalogue, row i of which is item_idx i of `items`.

    Raises ModelError for a field that the catalogue does not have, or a value that its column cannot have.
    """
    lift = np.zeros(catalogue.height, dtype=np.float32)
    for condition, by in rules.lifts:
        condition.check(catalogue)
        lift[condition.mask(catalogue)] += by
    item_idx = items.index_of([pin.item_id for pin in rules.pins]).tolist()
    placed = list(zip(item_idx, rules.pins, strict=True))
    return PreparedRules(
        lift if rules.lifts else None,
        tuple(sorted(((item, pin.position) for item, pin in placed if item >= 0), key=lambda pin: pin[1])),
        tuple((groups_of(cap, catalogue), cap.most) for cap in rules.caps),
        tuple(pin.item_id for item, pin in placed if item < 0),
    )


def groups_of(cap: Cap, catalogue: pl.DataFrame) -> Items:
    """Assign a group number to each item under a cap, (n_items,) int32.

    Equal numbers for equal values, −1 for a missing one.
    """
    column = field_of(cap.field, cap.where)
    if column not in catalogue.columns:
        if column == "category":
            return np.full(catalogue.height, -1, dtype=np.int32)
        raise ModelError(f"{cap.where}: no such field; must be one of {', '.join(fields_of(catalogue))}")
    values = catalogue[column].alias("value")
    if column_kind(values.dtype) is None:
        raise ModelError(f"{cap.where}: a column of {values.dtype}, which cannot be capped by")
    if values.dtype.is_float():
        values = values.fill_nan(None)
    distinct = values.unique().to_frame().with_row_index("group")
    grouped = values.to_frame().join(distinct, on="value", how="left", maintain_order="left")  # no null equals another
    return grouped["group"].cast(pl.Int32).fill_null(-1).to_numpy()


def apply_lifts(scores: Scores, allowed: Mask, prepared: PreparedRules) -> Scores:
    """Apply boosts and buries to scores (n_items,).

    Returns the given array itself when there are none.

    allowed: (n_items,) bool, what may be shown. One unit of a rule is the standard deviation of the allowed scores.
    """
    if prepared.lift is None:
        return scores
    unit = np.std(scores[allowed], dtype=np.float64) if allowed.any() else 0.0
    return scores + np.float32(unit) * prepared.lift


def arrange(
    scores: Scores,
    allowed: Mask,
    prepared: PreparedRules,
    top_k: int,
    first: npt.NDArray[np.integer[Any]] | None = None,
) -> RankedList:
    """Arrange the list: the best items that may be shown and that caps let through, pinned ones in their places.

    scores: (n_items,) float32, lifted already. allowed: (n_items,) bool: available, not excluded, matching the filter.
    first: item_idx in the order to be walked before all others, such as a diversified pool; the rest follow by score.

    Caps walk the whole ranking as far as needed, so the list is shorter than top_k only when no further allowed item
    fits under them. A pinned item counts for its caps and is never refused by them; it appears at its position and
    nowhere before; where the list ends sooner, at the end. A pin on an item that is not allowed does nothing.
    20 of 100,000 items under two caps: 3 ms of CPU time, 20 ms where whole groups fill one after the other.
    """
    if top_k < 1:
        raise ModelError(f"top_k={top_k}: must be 1 or more")
    pins = [(item, position) for item, position in prepared.pins if allowed[item]]
    left = np.where(allowed, scores, np.float32(-np.inf))
    left[[item for item, _ in pins]] = -np.inf
    inside = sum(position <= top_k for _, position in pins)
    walked = iter(_take_within_caps(left, prepared.caps, [item for item, _ in pins], top_k - inside, first))
    listed, waiting = [], pins[::-1]
    for place in range(1, top_k + 1):
        due = waiting and waiting[-1][1] <= place
        item = waiting.pop()[0] if due else next(walked, -1)
        if item < 0 and waiting:
            item = waiting.pop()[0]
        if item < 0:
            break
        listed.append(item)
    item_idx = np.array(listed, dtype=np.int32)
    return RankedList(item_idx, scores[item_idx], np.isin(item_idx, [item for item, _ in pins]))


def _take_within_caps(
    left: Scores,
    caps: Sequence[tuple[Items, int]],
    pinned: Sequence[int],
    wanted: int,
    first: npt.NDArray[np.integer[Any]] | None,
) -> list[int]:
    """Take the first `wanted` item_idx that the caps let through.

    `left`, −inf where nothing may be taken, is used up.
    """
    rooms = [_room(groups, most, pinned) for groups, most in caps]

    def fits(items: npt.NDArray[np.integer[Any]]) -> Mask:
        fitting = np.ones(len(items), dtype=np.bool_)
        for (groups, _), room in zip(caps, rooms, strict=True):
            fitting &= room[groups[items]] > 0
        return fitting

    taken: list[int] = []
    wide = max(wanted, 1)
    queue = best(left, wide)[0] if first is None else first[np.isfinite(left[first])]
    while len(taken) < wanted:
        left[queue] = -np.inf
        queue = queue[fits(queue)]
        while len(queue) and len(taken) < wanted:  # the first of the queue always fits
            taken.append(int(queue[0]))
            at = [int(groups[queue[0]]) for groups, _ in caps]
            for group, room in zip(at, rooms, strict=True):
                room[group] -= 1
            full = any(room[group] <= 0 for group, room in zip(at, rooms, strict=True))
            queue = queue[1:][fits(queue[1:])] if full else queue[1:]
        if len(taken) < wanted:
            wide *= 4
            left[~fits(np.arange(len(left)))] = -np.inf
            queue = best(left, wide)[0]
            if len(queue) == 0:
                break
    return taken


def _room(groups: Items, most: int, pinned: Sequence[int]) -> npt.NDArray[np.int64]:
    """Count how many more of each group fit; the last entry is that of group −1, which is never full."""
    room = np.full(int(groups.max(initial=-1)) + 2, most, dtype=np.int64)
    np.subtract.at(room, groups[list(pinned)], 1)
    room[-1] = np.iinfo(np.int64).max
    return room


def _with_integers(value: object) -> object:
    """Write 3.0 as 3 in the fields of each rule: JSON has one number type."""
    if not isinstance(value, Mapping):
        return value
    return {
        name: [_integral(rule) for rule in rules] if isinstance(rules, list) else rules for name, rules in value.items()
    }


def _integral(rule: object) -> object:
    if not isinstance(rule, Mapping):
        return rule
    return {name: int(sent) if isinstance(sent, float) and sent.is_integer() else sent for name, sent in rule.items()}


def _cap(rule: CapBy, where: str) -> Cap:
    name = check_text(rule.by, where)
    if name != "category" and not name.startswith("attributes."):
        raise ModelError(f"{where}: must be category or attributes.NAME")
    field_of(name, where)
    return Cap(name, rule.most, where)
