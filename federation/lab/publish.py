"""From a training to the bundle that is shipped."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl

from data.dataset import Dataset
from data.interactions import EventKind, Interactions
from federation.lab.mixing import participations_of
from federation.lab.recipes import Recipe
from federation.simulation.learning_curve import last_rounds, mean_holdout, rounds_of
from federation.simulation.training import Training
from recsys.catalogue.bundle import Bundle, save_bundle
from recsys.catalogue.content import ContentMap
from recsys.lists.placements.placement import NO_PLACEMENTS, Placements
from recsys.lists.placements.surface_tables import SurfaceTables, build_surface_tables
from recsys.mix.model import MixModel
from recsys.model.items import INTENT, TASTE, ItemTable

PRIVACY_OFF = "off: trained by simulation, all updates in one process; no noise, no guarantee"


def privacy_words(training: Training, mix: MixModel | None = None) -> str:
    """Describe what protected the devices of a training, in words, for the manifest."""
    plan = training.config.privacy
    if plan is None or not plan.private:
        return PRIVACY_OFF
    spent = plan.statement(participations_of(training, mix))
    return (
        f"simulated: all updates in one process, sums with the noise of a live round; live it would be "
        f"epsilon={spent['epsilon']:.3g}, delta={spent['delta']:.1g} for an installation"
    )


def shipped_surfaces(log: Interactions, recipe: Recipe, catalogue: pl.DataFrame) -> SurfaceTables | None:
    """Build the tables of surfaces that a bundle of a log ships; None where nothing was bought, or under a plan.

    They are exact counts: pairs of items have no private sum yet, so under a privacy plan there are none.
    """
    plan = recipe.train.privacy
    if (plan is not None and plan.private) or not (log.kind == EventKind.PURCHASE).any():
        return None
    return build_surface_tables(log, catalogue["category"] if "category" in catalogue.columns else None)


def place_unmet(table: ItemTable, dataset: Dataset) -> ItemTable:
    """Give items that no event of the log has the embedding that their content foretells, from those that have some.

    They come from an items file or an earlier dataset, and training never moved them from where they were drawn.
    """
    met = np.zeros(table.n_items, dtype=np.bool_)
    met[dataset.log["item_idx"].to_numpy()] = True
    if met.all() or met.sum() < 2:
        return table
    met_rows = pl.Series(met)
    content = ContentMap.fit(dataset.catalogue.filter(met_rows), table.item_embeddings[met])
    embeddings = table.item_embeddings.copy()
    embeddings[~met] = content.embed(dataset.catalogue.filter(~met_rows))
    return replace(table, item_embeddings=embeddings)


def publish(
    folder: Path,
    dataset: Dataset,
    training: Training,
    recipe: Recipe,
    *,
    now: int,
    mix: MixModel | None = None,
    surfaces: SurfaceTables | None = None,
    placements: Placements = NO_PLACEMENTS,
    selection_participations: int = 0,
    overwrite: bool = False,
) -> Bundle:
    """Save a training as a bundle named after its dataset; the manifest holds its curves, no device's figures."""
    records = training.records
    plan = training.config.privacy
    holdout_ndcg = mean_holdout(last_rounds(records, training.config.smoothing))
    return save_bundle(
        folder,
        name=dataset.name.removeprefix("sample:"),
        table=place_unmet(training.table, dataset),
        catalogue=dataset.catalogue,
        config=recipe.serve,
        seed=training.seed,
        data_hash=dataset.hash,
        privacy=privacy_words(training, mix),
        training={
            "config": {key: value for key, value in asdict(training.config).items() if key not in ("clips", "privacy")},
            "privacy": None if plan is None else plan.statement(participations_of(training, mix)),
            "clips": {
                name: None if np.isinf(bound) else bound for name, bound in asdict(training.config.clips).items()
            },
            "until": now,
            "rounds": rounds_of(records, TASTE),
            "best_round": training.best_round,
            "max_participations": participations_of(training, mix),
            "intent_rounds": rounds_of(records, INTENT),
            "selection_participations": selection_participations,
            "holdout_ndcg": None if np.isnan(holdout_ndcg) else holdout_ndcg,
        },
        mix=mix,
        surfaces=surfaces,
        placements=placements,
        overwrite=overwrite,
    )
