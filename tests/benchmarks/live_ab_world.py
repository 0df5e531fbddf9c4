"""A shop of categories for live A/Bs, whose shoppers want items of one category each, and the truth of its devices."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl

from data.dataset import read_log
from federation.device.device import Device
from recsys.catalogue.bundle import save_bundle
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.definition.definition import DAY_S, Experiment
from recsys.experiments.device.assignment import assign
from recsys.experiments.device.outcomes import MICROS, columns_at
from recsys.model.items import ItemTable
from recsys.model.profile import ProfileConfig

CATEGORIES, EACH = 10, 12
N_ITEMS = CATEGORIES * EACH


def items() -> pl.DataFrame:
    """The catalogue, item i of category i % CATEGORIES."""
    return pl.DataFrame(
        {
            "item_id": [f"sku-{item}" for item in range(N_ITEMS)],
            "title": [f"Thing {item}" for item in range(N_ITEMS)],
            "category": [f"c{item % CATEGORIES}" for item in range(N_ITEMS)],
            "price": [5.0 + item % 7 for item in range(N_ITEMS)],
        }
    )


def make_shop(folder: Path) -> Path:
    """A bundle whose rows tell categories apart, and whose trend knows no shopper."""
    rng = np.random.default_rng(0)
    rows = 0.05 * rng.normal(size=(N_ITEMS, CATEGORIES))
    rows[np.arange(N_ITEMS), np.arange(N_ITEMS) % CATEGORIES] += 1.0
    save_bundle(
        folder,
        name="shop",
        table=ItemTable(
            rows.astype(np.float32), rng.random(N_ITEMS).astype(np.float32), np.zeros(CATEGORIES, dtype=np.float32)
        ),
        catalogue=items().with_columns(available=pl.lit(True)),
        config=ProfileConfig(),
        seed=0,
        data_hash="x",
        privacy="none: made by hand",
    )
    return folder


def make_log(folder: Path, users: int, seed: int) -> Path:
    """A log of 2024: each user buys of one category, six items before April and four from then on."""
    rng = np.random.default_rng(seed)
    lines = ["user_id,item_id,kind,time,price"]
    for user in range(users):
        category = user % CATEGORIES
        chosen = category + CATEGORIES * rng.permutation(EACH)[:10]
        for place, item in enumerate(chosen.tolist()):
            month, day = (1 + place // 2, 3 + place) if place < 6 else (5, place)
            lines.append(f"u{user},sku-{item},purchase,2024-{month:02}-{day:02}T10:00:00Z,{5 + item % 7}")
    file, described = folder.with_suffix(".csv"), folder.with_suffix(".items.csv")
    file.write_text("\n".join(lines) + "\n")
    items().write_csv(described)
    read_log(file, items=described, out=folder)
    return folder


def central_sums(experiment: Experiment, devices: Iterable[Device]) -> dict[str, list[ArmSums]]:
    """What an analyst would compute who could open every vault: each arm's exact sums, by cell."""
    rows: dict[tuple[str, int], dict[str, list[float]]] = {}
    caps = {column.name: column.cap for metric in experiment.metrics for column in metric.parts}
    for device in devices:
        log = device.state.experiments
        enrolment, arm = log.enrolment(experiment), assign(experiment, log.secret).arm
        if enrolment.exposed_at is None or arm is None:
            continue
        end = enrolment.exposed_at + experiment.outcome_days * DAY_S * MICROS
        values = columns_at(experiment, log.notes, enrolment.exposed_at, end)
        row = rows.setdefault((arm, enrolment.cell), {name: [] for name in caps})
        for name, cap in caps.items():
            row[name].append(min(values[name], cap))
    empty: dict[str, list[float]] = {name: [] for name in caps}
    return {
        arm.name: [
            ArmSums.from_rows(rows.get((arm.name, cell), empty), experiment.metrics)
            for cell in range(experiment.n_cells)
        ]
        for arm in experiment.arms
    }
