"""What lists were like, and how soon they followed a change of taste: tables from what every period left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.evaluation.metrics import coverage, gini
from recsys.replay.answering import LIST_FIGURES
from recsys.replay.figures import user_means
from recsys.replay.taste_changes import SPAN, Changes

LIST_ROWS = pl.Schema(
    {
        "arm": pl.String(),
        "bundle": pl.Int32(),
        "time": pl.Datetime("us", "UTC"),
        "metric": pl.String(),
        "value": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "users": pl.Int64(),
        "lists": pl.Int64(),
    }
)
ADAPTATION_ROWS = pl.Schema(
    {
        "arm": pl.String(),
        "since": pl.Int32(),
        "value": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "users": pl.Int64(),
        "looks": pl.Int64(),
    }
)


@dataclass(frozen=True, eq=False)
class BundleLists:
    """The lists of one bundle, one a device. begin: µs; user: (lists,); figures: name → (lists, arms); exposure:
    (n_items, arms) how often each item was listed; candidates: (n_items,) bool."""

    number: int
    begin: int
    user: npt.NDArray[np.int64]
    figures: Mapping[str, npt.NDArray[np.float64]]
    exposure: npt.NDArray[np.int64]
    candidates: npt.NDArray[np.bool_]


def list_table(
    shelves: Sequence[BundleLists], arms: Sequence[str], k: int, *, resamples: int, seed: int
) -> pl.DataFrame:
    """Make the rows of LIST_ROWS: each bundle's, and those over all bundles.

    Over all of them (bundle and time null) each device is one vote.

    coverage@k and gini@k of a bundle's lists are no means over users and have no interval; over all bundles they are of
    all lists together, out of the items that could be listed at the last.
    """
    rows: list[tuple[object, ...]] = []
    for shelf in shelves:
        rows += _rows(shelf.number, shelf.begin, shelf, arms, k, resamples, seed)
    if shelves:
        whole = BundleLists(
            -1,
            0,
            np.concatenate([shelf.user for shelf in shelves]),
            {name: np.concatenate([shelf.figures[name] for shelf in shelves]) for name in LIST_FIGURES},
            np.sum([shelf.exposure for shelf in shelves], axis=0),
            shelves[-1].candidates,
        )
        rows = _rows(None, None, whole, arms, k, resamples, seed) + rows
    frame = pl.DataFrame(rows, schema={**LIST_ROWS, "time": pl.Int64()}, orient="row")
    return frame.with_columns(pl.col("time").cast(LIST_ROWS["time"]))


def _rows(
    number: int | None, begin: int | None, shelf: BundleLists, arms: Sequence[str], k: int, resamples: int, seed: int
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    n = len(shelf.user)
    for place, arm in enumerate(arms):
        exposed = shelf.exposure[shelf.candidates, place]
        for name, value in (("coverage", coverage(exposed) if len(exposed) else np.nan), ("gini", gini(exposed))):
            if not np.isnan(value):
                rows.append((arm, number, begin, f"{name}@{k}", value, None, None, len(np.unique(shelf.user)), n))
        figures = np.stack([shelf.figures[name][:, place] for name in LIST_FIGURES], axis=1)
        for name, figure in zip(
            LIST_FIGURES, user_means(shelf.user, figures, resamples=resamples, seed=seed), strict=True
        ):
            if figure[3]:
                rows.append((arm, number, begin, f"{name}@{k}", *figure, n))
    return rows


def adaptation_table(
    changes: Changes,
    look: npt.NDArray[np.int64],
    user: npt.NDArray[np.int64],
    share: npt.NDArray[np.float64],
    arms: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> pl.DataFrame:
    """Make the rows of ADAPTATION_ROWS: mean share of the list in the new category, by events since the change.

    look: (n,) which of the changes' looks were taken; user: (n,) device; share: (n, arms).
    """
    rows: list[tuple[object, ...]] = []
    for since in range(SPAN + 1):
        at = changes.since[look] == since
        if not at.any():
            continue
        means = user_means(user[at], share[at], resamples=resamples, seed=seed)
        rows += [(arm, since, *figure, int(at.sum())) for arm, figure in zip(arms, means, strict=True) if figure[3]]
    return pl.DataFrame(rows, schema=ADAPTATION_ROWS, orient="row").sort("arm", "since", maintain_order=True)
