"""An audit of a bundle on a log: simulated devices report by a private sum, items are counted in their lists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from federation.lab.release.evidence import Audience
from federation.learning.audit_sum import PART, audit_plan, noise_variance, sums_of
from federation.private_sum.in_process import sum_in_process
from federation.private_sum.plan import SumPlan
from federation.simulation.simulated_noise import both_parties_noise
from recsys.catalogue.bundle import Bundle
from recsys.fairness.audit import MIN_GROUP, group_report
from recsys.fairness.audit_layout import AuditLayout
from recsys.fairness.exposure import (
    exposure_by_band,
    exposure_disparity,
    exposure_figures,
    exposure_relevance,
    ideal_exposure,
    miscalibration,
)
from recsys.fairness.exposure_floor import ExposureFloor, FloorCost, hold_floor, priced_items
from recsys.fairness.groups import THIRDS
from recsys.fairness.served_lists import ServedLists
from recsys.model.trend import trend

Floats = npt.NDArray[np.float64]
POPULARITY_BANDS = ("head", "middle", "tail")
MOST_CATEGORIES = 12


@dataclass(frozen=True, eq=False)
class Audit:
    """A finished audit. sums: (layout.length,) as they were published, in the figures' own unit."""

    layout: AuditLayout
    plan: SumPlan
    sums: Floats
    epsilon: float | None
    delta: float
    items: dict[str, Any]
    about: dict[str, Any]

    def groups(self) -> list[dict[str, Any]]:
        """Report each group and intersection; see group_report."""
        return group_report(self.layout, self.sums, noise_variance(self.plan))

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "about": self.about,
            "privacy": {
                "epsilon": self.epsilon,
                "delta": self.delta,
                "noise_error": float(np.sqrt(noise_variance(self.plan))),
                "min_group": MIN_GROUP,
            },
            "groups": self.groups(),
            "items": self.items,
        }


def audit_release(
    audience: Audience,
    lists: ServedLists,
    catalogue: pl.DataFrame,
    *,
    epsilon: float | None = 4.0,
    delta: float = 1e-6,
    seed: int = 0,
) -> Audit:
    """Audit the lists of an audience. epsilon: of one device for the whole audit; None: exact sums, for tests alone.

    Raises BatchTooSmall for fewer shoppers than a group must have.
    """
    layout = AuditLayout(tuple((grouping.name, grouping.levels) for grouping in audience.groupings))
    n = len(lists.users)
    plan = audit_plan(layout, epsilon=epsilon, delta=delta, min_reports=MIN_GROUP, max_reports=max(n, MIN_GROUP))
    rng = np.random.default_rng(seed)
    words = sum_in_process(plan, ({PART: row} for row in contributions(layout, audience, lists)), rng)
    if plan.private:
        words = words + both_parties_noise(plan, rng)
    items = item_report(audience, lists, catalogue)
    return Audit(layout, plan, sums_of(words), epsilon, delta, items, audience.about())


def contributions(layout: AuditLayout, audience: Audience, lists: ServedLists) -> Iterator[Floats]:
    """Make each device's vector, one after the other, from nothing but what that device knows."""
    tail = lists.share_of(audience.tail)
    for row in range(len(lists.users)):
        levels = [
            grouping.levels[level] if (level := int(grouping.level_of[row])) >= 0 else None
            for grouping in audience.groupings
        ]
        figures = {"ndcg": float(lists.ndcg[row]), "hit": float(lists.hit[row]), "tail": float(tail[row])}
        yield layout.contribution(levels, **figures)


def floor_cost(audience: Audience, bundle: Bundle, control: ExposureFloor, *, seed: int = 0) -> FloorCost:
    """Hold a floor under the tail's exposure over an audience, as a service would from aggregate exposure alone."""
    asked = audience.question
    return hold_floor(
        audience.arm_of(bundle),
        audience.targets,
        asked.histories,
        asked.now,
        tail=audience.tail,
        priced=priced_items(audience.tail, trend(asked.split.train, asked.now)),
        control=control,
        k=audience.k,
        seed=seed,
    )


def item_report(audience: Audience, lists: ServedLists, catalogue: pl.DataFrame) -> dict[str, Any]:
    """Report exposure, weighted by position, by bands of items, and how it compares with what items earned."""
    asked, targets = audience.question, audience.targets
    n_items, k = asked.split.train.n_items, lists.k
    counts = np.bincount(asked.split.train.item_idx, minlength=n_items)
    exposure = lists.exposure(position_weighted=True)
    ideal = ideal_exposure(targets.offsets, targets.items, k, n_items)
    shoppers = len(lists.users)
    report: dict[str, Any] = exposure_figures(exposure, counts, targets.candidates, audience.tail)
    report |= {
        "ee_d": exposure_disparity(exposure / shoppers),
        "ee_r": exposure_relevance(exposure / shoppers, ideal / shoppers),
        "bands": {
            "popularity": _bands(exposure, ideal, _popularity(counts, audience.tail), POPULARITY_BANDS),
        },
    }
    if "price" in catalogue.columns and catalogue["price"].drop_nulls().n_unique() > len(THIRDS):
        report["bands"]["price"] = _bands(exposure, ideal, _prices(catalogue, n_items), THIRDS)
    if "category" in catalogue.columns and catalogue["category"].drop_nulls().n_unique() > 1:
        names, category_of = _categories(catalogue, n_items)
        report["bands"]["category"] = _bands(exposure, ideal, category_of, names)
        report["miscalibration"] = _miscalibration(audience, lists, category_of, len(names))
    return report


def _bands(
    exposure: Floats, ideal: Floats, band_of: npt.NDArray[np.int64], names: tuple[str, ...]
) -> list[dict[str, Any]]:
    got, earned = (exposure_by_band(values, band_of, len(names)) for values in (exposure, ideal))
    return [
        {
            "band": name,
            "items": int((band_of == place).sum()),
            "exposure": float(got[place]),
            "earned": float(earned[place]),
        }
        for place, name in enumerate(names)
    ]


def _popularity(counts: npt.NDArray[np.int64], tail: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Band the items: the tail, and of the others those with half of their events as head."""
    order = np.argsort(-np.where(tail, -1, counts), kind="stable")
    before = np.cumsum(np.where(tail, 0, counts)[order]) - np.where(tail, 0, counts)[order]
    band = np.full(len(counts), 1, dtype=np.int64)
    band[order[2 * before < counts[~tail].sum()]] = 0
    band[tail] = 2
    return band


def _prices(catalogue: pl.DataFrame, n_items: int) -> npt.NDArray[np.int64]:
    prices = catalogue["price"].cast(pl.Float64).to_numpy()[:n_items].astype(np.float64)
    band = np.full(n_items, -1, dtype=np.int64)
    known = np.isfinite(prices)
    band[: len(prices)][known] = np.searchsorted(np.quantile(prices[known], [1 / 3, 2 / 3]), prices[known])
    return band


def _categories(catalogue: pl.DataFrame, n_items: int) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Name the largest categories, and `others` for the rest; −1 for items without one."""
    column = catalogue["category"].cast(pl.String)[:n_items]
    sizes = column.drop_nulls().value_counts(sort=True)
    names = sizes[column.name].to_list()[:MOST_CATEGORIES]
    place = {name: at for at, name in enumerate(names)}
    band = np.array([-1 if name is None else place.get(name, len(names)) for name in column], dtype=np.int64)
    return (*names, "others"), band


def _miscalibration(
    audience: Audience, lists: ServedLists, category_of: npt.NDArray[np.int64], n_categories: int
) -> float | None:
    """Average the divergence of lists from histories over the shoppers who have both; None of nobody."""
    histories = audience.question.histories.users(lists.users)
    history, listed = np.zeros((len(lists.users), n_categories)), np.zeros((len(lists.users), n_categories))
    of_event = category_of[histories.item_idx]
    np.add.at(history, (histories.user_idx[of_event >= 0], of_event[of_event >= 0]), 1.0)
    weights = 1.0 / np.log2(np.arange(2, lists.k + 2))
    of_place = np.where(lists.items >= 0, category_of[np.maximum(lists.items, 0)], -1)
    rows, places = np.nonzero(of_place >= 0)
    np.add.at(listed, (rows, of_place[rows, places]), weights[places])
    divergence = miscalibration(history, listed)
    return None if np.isnan(divergence).all() else float(np.nanmean(divergence))
