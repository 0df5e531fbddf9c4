"""Placements as a shop defines them: what a surface lists, how many, by which rules, and what stands in for nothing.

    placements:
      product-page: {source: goes-with, top_k: 6, filter: {price: {max: 50}}}

Public: the same for everybody, with the bundle. Nothing of a shopper is in here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, get_args

from data.errors import ModelError
from recsys.lists.rules import Rules, parse_rules
from recsys.search.filters import FIELDS, Filter, parse_filter

Source = Literal[
    "for-you", "similar", "goes-with", "trending", "new-for-you", "on-sale", "rows",
    "because-you-viewed", "recently-viewed", "buy-again", "back-in-stock", "price-dropped",
]  # fmt: skip
SOURCES: tuple[Source, ...] = get_args(Source)

HISTORY_SOURCES: frozenset[Source] = frozenset(
    {"because-you-viewed", "recently-viewed", "buy-again", "back-in-stock", "price-dropped"}
)
"""Sources that are made of events: only the device has them, in every mode."""

ITEM_SOURCES: frozenset[Source] = frozenset({"similar", "goes-with"})
"""Sources that list what belongs to the item of a page, or to a cart."""

Fallback = Literal["trending", "on-sale", "new-for-you", "none"]
FALLBACKS: tuple[Fallback, ...] = get_args(Fallback)
MAX_TOP_K = 1000
MAX_ROWS = 50
MAX_PLACEMENTS = 100
MAX_ATTRIBUTES = 32
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
_ATTRIBUTE = "attributes."


@dataclass(frozen=True)
class Placement:
    """One surface.

    source: what it lists. top_k: how many items, 1..1000; of `rows`, in each row. rows: of source `rows`, how many.
    filter, rules: as in a request (recsys/search/filters.py, recsys/lists/rules.py). diversity: 0..1.
    unseen: leave out what the own history has. fallback: the source that stands in where this one lists nothing.
    trend_share: 0..1, how much of the order is the trend's, beside the source's own. days: what counts as new, of
    source new-for-you. layer: the layer of experiments in which this surface is compared, "" for none.
    """

    source: Source
    top_k: int = 10
    rows: int = 6
    filter: dict[str, Any] = field(default_factory=dict)
    rules: dict[str, Any] = field(default_factory=dict)
    diversity: float = 0.0
    unseen: bool = False
    fallback: Fallback = "trending"
    trend_share: float = 0.0
    days: float = 30.0
    layer: str = ""

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ModelError(f"placement.source={self.source!r:.40}: must be one of {', '.join(SOURCES)}")
        if self.fallback not in FALLBACKS:
            raise ModelError(f"placement.fallback={self.fallback!r:.40}: must be one of {', '.join(FALLBACKS)}")
        for name, low, high in (
            ("top_k", 1, MAX_TOP_K), ("rows", 1, MAX_ROWS), ("diversity", 0, 1), ("trend_share", 0, 1),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise ModelError(f"placement.{name}={getattr(self, name)}: must be {low}..{high}")
        if not 0 < self.days < 36_500:
            raise ModelError(f"placement.days={self.days}: must be above 0 and below 36500")
        if self.layer and not _NAME.fullmatch(self.layer):
            raise ModelError(f"placement.layer={self.layer!r:.40}: must be a-z, 0-9 and hyphens, at most 64")
        _ = self.condition, self.parsed_rules

    @cached_property
    def condition(self) -> Filter | None:
        """The filter; None for none."""
        return parse_filter(self.filter, "placement.filter") if self.filter else None

    @cached_property
    def parsed_rules(self) -> Rules:
        """The rules, none of them by default."""
        return parse_rules(self.rules, "placement.rules")

    @property
    def needs_history(self) -> bool:
        """Whether only a device can make this list."""
        return self.source in HISTORY_SOURCES

    @property
    def fields(self) -> frozenset[str]:
        """The catalogue's fields that the filter and the rules name, and those that the source reads."""
        leaves = [] if self.condition is None else list(self.condition.leaves)
        leaves += [leaf for condition, _ in self.parsed_rules.lifts for leaf in condition.leaves]
        own = {"on-sale": {"attributes.regular_price"}, "new-for-you": {"attributes.added_at"}}.get(self.source, set())
        return frozenset({leaf.name for leaf in leaves} | {cap.field for cap in self.parsed_rules.caps} | own)


DEFAULTS: Mapping[str, Placement] = MappingProxyType({name: Placement(name) for name in SOURCES})
"""A placement of the name of each source, for shops that define none."""


@dataclass(frozen=True)
class Placements:
    """A shop's placements by name, and the attributes that devices hold beside those which placements name."""

    placements: Mapping[str, Placement] = field(default_factory=dict)
    attributes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.placements) > MAX_PLACEMENTS:
            raise ModelError(f"placements: {len(self.placements)}: must be at most {MAX_PLACEMENTS}")
        for name in self.placements:
            if not _NAME.fullmatch(name):
                raise ModelError(f"placements.{name:.40}: a name must be a-z, 0-9 and hyphens, at most 64")
        if len(set(self.attributes)) < len(self.attributes):
            raise ModelError("attributes: one is there twice")
        for place, name in enumerate(self.attributes):
            if not 1 <= len(name) <= 128 or name in FIELDS:
                raise ModelError(f"attributes[{place}]={name!r:.40}: must be the name of a column that is no field")
        if len(self.carried) > MAX_ATTRIBUTES:
            raise ModelError(f"attributes: devices would hold {len(self.carried)}: must be at most {MAX_ATTRIBUTES}")

    def named(self, name: str) -> Placement:
        """Find a placement. Raises ModelError for a name that there is not, with those that there are."""
        placement = self.placements.get(name) or DEFAULTS.get(name)
        if placement is None:
            known = ", ".join(dict.fromkeys((*self.placements, *DEFAULTS)))
            raise ModelError(f"placement: no such name; must be one of {known}")
        return placement

    @property
    def every(self) -> Mapping[str, Placement]:
        """The shop's own placements first, then the default of each other name."""
        return dict(self.placements) | {name: made for name, made in DEFAULTS.items() if name not in self.placements}

    @property
    def carried(self) -> tuple[str, ...]:
        """Columns of the catalogue, beside the usual ones, that devices need: named by a placement or listed."""
        named = {name for placement in self.every.values() for name in placement.fields}
        attributes = {name.removeprefix(_ATTRIBUTE) for name in named if name.startswith(_ATTRIBUTE)}
        return tuple(sorted(attributes | set(self.attributes)))


NO_PLACEMENTS = Placements()
