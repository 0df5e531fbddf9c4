"""The figures of a model card, as plain values: from a bundle, a log that goes on after it, and the bundle before it.

Nothing is typed in but the licence, and that only for a log that is not bundled. The pages are made of this in
card_page.py and compute nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from data.dataset import Dataset
from data.samples import LICENCES
from data.split import iso
from federation.lab.release.evidence import Audience, gather_audience, learned_until, spent_privacy
from recsys.catalogue.bundle import Bundle
from recsys.evaluation.arms import PooledLog, arm
from recsys.evaluation.statistics import holm, mean_intervals, paired_difference
from recsys.fairness.exposure import exposure_figures
from recsys.fairness.gate import gap_error, gap_to_rest, interval, two_sided_p
from recsys.fairness.served_lists import Floats, ServedLists, serve_lists

BASELINES = ("global", "popularity")
NOT_STATED = "not stated"
MIN_GROUP = 50
"""Shoppers of a group, and of the rest, below which no figure of it is written."""


def describe_release(
    bundle: Bundle,
    *,
    dataset: Dataset | None = None,
    previous: Bundle | None = None,
    licence: str | None = None,
    attributes: pl.DataFrame | None = None,
    k: int = 20,
    seed: int = 0,
) -> dict[str, Any]:
    """Collect the card of a bundle. dataset: a log that goes on after it was trained; without one nothing is measured.

    licence: of the data it learned from. attributes: a users file. Raises as gather_audience does.
    """
    card: dict[str, Any] = {
        "bundle": _bundle(bundle),
        "data": _data(bundle, dataset, licence),
        "training": _training(bundle),
        "privacy": _privacy(bundle),
        "changes": None if previous is None else _changes(bundle, previous),
        "evaluation": None,
    }
    if dataset is not None:
        bundles = [bundle] if previous is None else [bundle, previous]
        audience = gather_audience(dataset, bundles, attributes=attributes, k=k)
        card["evaluation"] = _evaluation(bundle, previous, audience, seed)
    return card | {"limits": limits_of(card)}


def _bundle(bundle: Bundle) -> dict[str, Any]:
    sizes = {name: (bundle.folder / name).stat().st_size for name in sorted(bundle.manifest["files"])}
    return {
        "name": bundle.name,
        "version": bundle.version,
        "made_at": moment(bundle.made_at * 1_000_000),
        "n_items": bundle.table.n_items,
        "dim": bundle.table.dim,
        "parts": [{"name": name, "width": width} for name, width in bundle.table.parts],
        "mix": bundle.mix is not None,
        "code_version": bundle.manifest["code_version"],
        "seed": bundle.manifest["seed"],
        "bytes": sum(sizes.values()),
        "settings": dict(bundle.manifest["config"]),
    }


def _data(bundle: Bundle, dataset: Dataset | None, licence: str | None) -> dict[str, Any]:
    if licence is None and dataset is not None:
        licence = LICENCES.get(dataset.name.removeprefix("sample:")) if dataset.name.startswith("sample:") else None
    until = learned_until(bundle)
    data: dict[str, Any] = {
        "hash": bundle.manifest["data_hash"],
        "licence": licence or NOT_STATED,
        "learned_until": None if until is None else moment(until),
        "log": None,
    }
    if dataset is not None:
        log = dataset.interactions()
        data["log"] = {
            "name": dataset.name,
            "same_as_trained_on": dataset.hash == bundle.manifest["data_hash"],
            "shoppers": log.n_users,
            "items": log.n_items,
            "events": log.n_events,
            "from": moment(int(log.time.min())) if log.n_events else None,
            "to": moment(int(log.time.max())) if log.n_events else None,
        }
    return data


def _training(bundle: Bundle) -> dict[str, Any]:
    training, live = bundle.manifest["training"], bundle.manifest["training"].get("round")
    names = ("rounds", "intent_rounds", "best_round", "max_participations", "selection_participations", "holdout_ndcg")
    figures = {name: training.get(name) for name in names}
    holdout = figures["holdout_ndcg"]
    if holdout is not None and not 0 <= holdout <= 1:  # of few devices, under noise
        figures["holdout_ndcg"] = None
    kept = ("round", "reports", "blocks", "discarded_blocks", "holdout_ndcg", "train_ndcg")
    return figures | {"live_round": None if live is None else {name: live.get(name) for name in kept}}


def _privacy(bundle: Bundle) -> dict[str, Any]:
    """State what protects a device; ε is computed from noise and participations, not read."""
    statement = bundle.manifest["training"].get("round", {}).get("privacy") or bundle.manifest["training"].get(
        "privacy"
    )
    spent = spent_privacy(bundle)
    terms = ("delta", "noise_multiplier", "unit", "adjacency", "noise_counted", "accountant")
    return {
        "words": bundle.manifest["privacy"],
        "spent": None if spent is None else asdict(spent),
        "terms": None if spent is None else {name: statement.get(name) for name in terms},
    }


def _changes(bundle: Bundle, previous: Bundle) -> dict[str, Any]:
    """Say what is different from the version before."""
    items, before = bundle.catalogue["item_id"], previous.catalogue["item_id"]
    now, then = bundle.manifest["config"], previous.manifest["config"]
    settings = [
        {"name": name, "before": then.get(name), "now": now.get(name)}
        for name in sorted({*now, *then})
        if now.get(name) != then.get(name)
    ]
    shared = items.is_in(before.implode())
    return {
        "version": previous.version,
        "items_added": int((~shared).sum()),
        "items_removed": int((~before.is_in(items.implode())).sum()),
        "settings": settings,
        "mix": {"before": previous.mix is not None, "now": bundle.mix is not None},
        "learned_until": {
            "before": None if (until := learned_until(previous)) is None else moment(until),
            "now": None if (until := learned_until(bundle)) is None else moment(until),
        },
        "epsilon": {
            "before": None if (spent := spent_privacy(previous)) is None else spent.epsilon,
            "now": None if (spent := spent_privacy(bundle)) is None else spent.epsilon,
        },
    }


def _evaluation(bundle: Bundle, previous: Bundle | None, audience: Audience, seed: int) -> dict[str, Any]:
    asked, targets, k = audience.question, audience.targets, audience.k
    train = asked.split.train
    lists = {"personalized": audience.lists_of(bundle)}
    pooled = PooledLog(lambda: train, asked.now)
    for name in BASELINES:
        grown = bundle.table.n_items == train.n_items or name == "popularity"
        if grown:  # the trend of a bundle is of its own items
            model = arm(name, bundle.table, bundle.config, pooled=pooled)
            lists[name] = serve_lists(model, targets, asked.histories, asked.now, k, train.n_items)
    if previous is not None:
        lists["previous"] = audience.lists_of(previous)
    counts = np.bincount(train.item_idx, minlength=train.n_items)
    return {
        "about": audience.about() | {"at": moment(asked.now)},
        "quality": [_quality(name, served, seed) for name, served in lists.items()],
        "differences": _differences(lists, seed),
        "groups": _groups(audience, lists["personalized"].ndcg, seed),
        "exposure": [
            {"model": name} | exposure_figures(served.exposure(), counts, targets.candidates, audience.tail)
            for name, served in lists.items()
        ],
    }


def _quality(name: str, lists: ServedLists, seed: int) -> dict[str, Any]:
    columns = np.stack([lists.ndcg, lists.hit], axis=1)
    (ndcg, hit) = mean_intervals(columns, seed=seed, within=(0, 1)).tolist()
    return {
        "model": name,
        "ndcg": float(lists.ndcg.mean()),
        "ndcg_ci95": ndcg,
        "hit": float(lists.hit.mean()),
        "hit_ci95": hit,
    }


def _differences(lists: Mapping[str, ServedLists], seed: int) -> list[dict[str, Any]]:
    others = [name for name in lists if name != "personalized"]
    paired = [paired_difference(lists["personalized"].ndcg, lists[name].ndcg, seed=seed) for name in others]
    adjusted = holm([difference.p_value for difference in paired])
    return [
        {"to": name, "ndcg": found.difference, "ci95": [found.low, found.high], "p_holm": float(p)}
        for name, found, p in zip(others, paired, adjusted, strict=True)
    ]


def _groups(audience: Audience, ndcg: Floats, seed: int) -> list[dict[str, Any]]:
    """Measure each group against the others of known level; a group too small is named without figures."""
    rows: list[dict[str, Any]] = []
    for grouping in audience.groupings:
        values = ndcg[grouping.known]
        for level, members in grouping.members():
            row: dict[str, Any] = {"grouping": grouping.name, "level": level, "shoppers": None}
            if min(int(members.sum()), int((~members).sum())) >= MIN_GROUP:
                (bounds,) = mean_intervals(values[members][:, None], seed=seed, within=(0, 1)).tolist()
                gap, (error, freedom) = gap_to_rest(values, members), gap_error(values, members)
                row |= {
                    "shoppers": int(members.sum()),
                    "ndcg": float(values[members].mean()),
                    "ndcg_ci95": bounds,
                    "gap": gap,
                    "gap_ci95": list(interval(gap, error, freedom)),
                    "p_holm": two_sided_p(gap, error, freedom),
                }
            rows.append(row)
    measured = [row for row in rows if row["shoppers"] is not None]
    for row, p in zip(measured, holm([row["p_holm"] for row in measured]), strict=True):
        row["p_holm"] = float(p)
    return rows


def moment(micros: int) -> str:
    """Write µs since 1970 UTC for people, to the minute.

    >>> moment(0)
    '1970-01-01 00:00 UTC'
    """
    return f"{iso(micros)[:16].replace('T', ' ')} UTC"


def limits_of(card: Mapping[str, Any]) -> list[str]:
    """Say what the card cannot promise, each sentence only where its figures make it true."""
    return list(_limits(card))


def _limits(card: Mapping[str, Any]) -> Iterable[str]:
    spent, evaluation = card["privacy"]["spent"], card["evaluation"]
    if spent is None:
        yield "No noise protects the devices that it learned from: there is no ε."
    elif spent["participations"] > spent["cap"]:
        yield "Devices took part more often than their plan promised."
    if card["data"]["licence"] == NOT_STATED:
        yield "The licence of the data is not stated."
    if card["data"]["learned_until"] is None:
        yield "Its manifest does not say until when it learned, so no test can be known to be later."
    if evaluation is None:
        yield "Its quality is not measured here: no log that goes on after its training was given."
        return
    if any(row["shoppers"] is None for row in evaluation["groups"]):
        yield "Groups that are too small are named without figures."
    behind = [row["to"] for row in evaluation["differences"] if row["p_holm"] <= 0.05 and row["ndcg"] < 0]
    if behind:
        yield f"It lists worse than {', '.join(behind)}."
    worse = [row for row in evaluation["groups"] if row["shoppers"] and row["gap"] > 0 and row["p_holm"] <= 0.05]
    if worse:
        names = ", ".join(f"{row['grouping']} {row['level']}" for row in worse)
        yield f"It serves some shoppers worse than the others: {names}."
    own = evaluation["exposure"][0]
    if own["tail_share"] < own["tail_share_of_events"]:
        yield "Items of the long tail are listed less often than shoppers choose them."
    yield "Measured on a log: what shoppers would have done with other lists is not known from it."
