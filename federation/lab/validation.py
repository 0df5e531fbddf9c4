"""Does a recipe hold? Folds over devices and over time, the gap between trained and new devices, the canary, curves.

Every figure is a mean over devices with a 95 % bootstrap interval that resamples devices. The table is judged without
the repeat counter where that would hide it: in the gap, the canary and the curves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import FederationError
from data.interactions import Interactions
from data.split import iso
from federation.lab.folds import Fold, Folds, digest_of, windows_of
from federation.lab.nested_cv import NestedResult, nested_cross_validation
from federation.lab.questions import Protocol
from federation.lab.recipes import Recipe
from federation.lab.result_cache import ResultCache
from federation.lab.selection import judge
from federation.lab.tuning import Budget
from federation.simulation.strategy import arm_of
from federation.simulation.training import train
from recsys.evaluation.arms import Personalized
from recsys.evaluation.canary import canary
from recsys.evaluation.holdout import HoldOut, basket_ndcg, hold_out_last
from recsys.evaluation.recommender import Recommender
from recsys.evaluation.statistics import PairedDifference, mean_intervals, paired_difference
from recsys.model.profile_config import finite

Floats = npt.NDArray[np.float64]

DEVICE_SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
ROUND_SHARES = (1 / 27, 1 / 9, 1 / 3, 1.0, 2.0)
SECTIONS = ("over_devices", "over_time", "canary", "by_number_of_devices", "by_number_of_rounds", "nested")
_SUBSET = 13
_BATCH = 512


@dataclass(frozen=True, eq=False)
class Validation:
    """The results of a validation; sections: JSON values, as documented in docs/overfitting.md."""

    sections: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Collect the sections as one JSON object."""
        return dict(self.sections)

    def to_frame(self) -> pl.DataFrame:
        """Make a long table: section, at (which fold, how many devices, …), figure, mean, low, high, devices."""
        rows: list[tuple[str, str, str, float, float, float, int]] = []

        def walk(value: Any, section: str, at: str, name: str) -> None:
            if isinstance(value, Mapping):
                if "ci95" in value:
                    rows.append((section, at, name, value["mean"], *value["ci95"], value["devices"]))
                    return
                here = next((str(value[key]) for key in ("fold", "until", "devices", "rounds") if key in value), at)
                for key, inside in value.items():
                    walk(inside, section, here, f"{name}.{key}".strip("."))
            elif isinstance(value, list):
                for inside in value:
                    walk(inside, section, at, name)

        for section, value in self.sections.items():
            walk(value, section, "", "")
        schema = pl.Schema(
            {"section": pl.String(), "at": pl.String(), "figure": pl.String()}
            | {"mean": pl.Float64(), "low": pl.Float64(), "high": pl.Float64(), "devices": pl.Int64()}
        )
        return pl.DataFrame(rows, schema=schema, orient="row")


def validate(
    log: Interactions,
    protocol: Protocol,
    recipe: Recipe,
    *,
    folds: int = 3,
    windows: int = 3,
    search: Budget | None = None,
    seed: int = 0,
    k: int = 20,
    cache: ResultCache | None = None,
    on_section: Callable[[str], None] | None = None,
) -> Validation:
    """Validate a recipe on a log. All of the log is looked at: leave out of it what is to stay unseen.

    folds: parts of the devices, at least 2. windows: moments from which what follows is foretold. search: a budget for
    the nested choice of settings, None leaves it out. memo: keeps each section, so that stopped work goes on.
    on_section: told when a section begins.
    """
    if folds < 2:
        raise FederationError(f"folds={folds}: must be 2 or more")
    cache = ResultCache() if cache is None else cache
    over = Folds(log, protocol, windows_of(log, 1), folds, seed)
    bare = Recipe(recipe.train, recipe.serve.without_repeat())
    judged = _Judge(seed, k)
    work: dict[str, Callable[[], dict[str, Any]]] = {
        "over_devices": partial(judged.over_devices, over, recipe),
        "over_time": partial(judged.over_time, Folds(log, protocol, windows_of(log, windows), 1, seed), recipe),
        "canary": partial(judged.canary, Folds(log, protocol, windows_of(log, 1), 1, seed), bare),
        "by_number_of_devices": partial(judged.by_devices, over, bare),
        "by_number_of_rounds": partial(judged.by_rounds, over, bare),
    }
    if search is not None:
        work["nested"] = partial(judged.nested, over, recipe, search, cache)
    words = {
        "log": digest_of(log), "protocol": protocol, "train": finite(asdict(recipe.train)), "seed": seed, "k": k,
        "serve": finite(asdict(recipe.serve)), "folds": folds, "windows": windows,
    }  # fmt: skip
    sections: dict[str, Any] = {"metric": f"ndcg@{k}", "protocol": protocol, "seed": seed}
    for section in SECTIONS:
        if section not in work:
            sections[section] = None
            continue
        if on_section is not None:
            on_section(section)
        budget = repr(search) if section == "nested" else ""
        sections[section] = cache.get_or_compute({"section": section, "search": budget, **words}, work[section])["of"]
    sections["gap"] = sections["over_devices"].pop("gap")
    return Validation(sections)


@dataclass(frozen=True)
class _Judge:
    """The sections; each returns {"of": its JSON}."""

    seed: int
    k: int

    @property
    def metric(self) -> str:
        return f"ndcg@{self.k}"

    def over_devices(self, folds: Folds, recipe: Recipe) -> dict[str, Any]:
        """Ask each fold's devices by a table that they did not train; and measure the gap to those that did."""
        bare, last = recipe.serve.without_repeat(), replace(recipe.serve.without_repeat(), trend_weight=0.0)
        rows, pooled, later, baskets, kept_out = [], [], [], [], []
        hold_out: HoldOut | None = None
        users = np.empty(0, dtype=np.int64)
        basket_users = np.empty(0, dtype=np.int64)
        for fold in folds:
            if hold_out is None:
                split = fold.question.split
                hold_out = hold_out_last(split.train)
                users = _some(np.flatnonzero(split.test.counts > 0), folds)
                basket_users = _some(np.flatnonzero(hold_out.basket.counts > 0), folds)
            everybody = np.union1d(users, fold.users)
            training, figures = judge(
                fold, recipe.train, [recipe.serve, bare], seed=self.seed, users=everybody, k=self.k
            )
            of_fold = np.isin(figures.users, fold.users)
            columns = {
                name: figures.column(model, self.metric)[of_fold]
                for name, model in (("personalized", "0"), ("popularity", "popularity"))
            }
            pooled.append(columns)
            rows.append({"fold": fold.name} | {name: self._mean(column) for name, column in columns.items()})
            column = np.full(folds.log.n_users, np.nan)
            column[figures.users] = figures.column("1", self.metric)
            later.append(column)
            kept_out.append(~fold.trains)
            arm = arm_of(recipe.train.strategy, training.table, last, "last")
            baskets.append(_basket_figures(arm, hold_out, basket_users, folds.log.n_users, self.k))
        total = {
            name: self._mean(np.concatenate([figures_of_fold[name] for figures_of_fold in pooled]))
            for name in ("personalized", "popularity")
        }
        gap = {"last_basket": self._gap(np.array(baskets), np.array(kept_out)), "later": None}
        if folds.protocol != "sessions":  # a session that is asked never trained
            gap["later"] = self._gap(np.array(later), np.array(kept_out))
        return {"of": {"folds": rows, **total, "gap": gap}}

    def over_time(self, folds: Folds, recipe: Recipe) -> dict[str, Any]:
        """Foretell what follows each moment from what was known; a device is resampled with all its windows."""
        rows = []
        sums = {name: np.zeros((2, folds.log.n_users)) for name in ("personalized", "popularity")}
        for fold, (start, end) in zip(folds, folds.windows, strict=True):
            figures = judge(fold, recipe.train, [recipe.serve], seed=self.seed, k=self.k)[1]
            row: dict[str, Any] = {"from": iso(start), "until": iso(end)}
            for name, model in (("personalized", "0"), ("popularity", "popularity")):
                column = figures.column(model, self.metric)
                row[name] = self._mean(column)
                measured = ~np.isnan(column)
                sums[name][:, figures.users[measured]] += np.stack([np.ones(measured.sum()), column[measured]])
            rows.append(row)
        total = {}
        for name, (times, values) in sums.items():
            total[name] = self._mean(np.divide(values, times, out=np.full_like(values, np.nan), where=times > 0))
        return {"of": {"folds": rows, **total}}

    def canary(self, folds: Folds, recipe: Recipe) -> dict[str, Any]:
        """Run the canary on the last window, beside the same training on true items."""
        fold = next(iter(folds))

        def fit(log: Interactions) -> Recommender:
            table = train(log, recipe.train, seed=self.seed, now=fold.question.now).table
            return arm_of(recipe.train.strategy, table, recipe.serve, "personalized")

        known, now = fold.question.histories, fold.question.now
        result = canary(fold.split, fit, histories=known, now=now, users=fold.users, k=self.k, seed=self.seed)
        intact = judge(fold, recipe.train, [recipe.serve], seed=self.seed, k=self.k)[1].column("0", self.metric)
        return {
            "of": {
                "intact": self._mean(intact),
                "permuted": self._mean(result.permuted),
                "popularity": self._mean(result.popularity),
                "chance": self._mean(result.chance),
                "excess": {
                    "mean": result.excess.difference,
                    "ci95": list(result.interval),
                    "devices": result.excess.users,
                },
                "alarm": result.alarm,
            }
        }

    def by_devices(self, folds: Folds, recipe: Recipe) -> dict[str, Any]:
        """Train tables of nested random subsets of each fold's training devices, asked by the same devices."""
        rows = []
        for share in DEVICE_SHARES:

            def some(fold: Fold, share: float = share) -> Interactions:
                devices = np.flatnonzero(fold.training.counts > 0)
                order = np.random.default_rng([self.seed, _SUBSET]).permutation(devices)
                keep = np.zeros(fold.training.n_users, dtype=np.bool_)
                keep[order[: max(1, round(share * len(devices)))]] = True
                return fold.training if share == 1 else fold.training.where(keep[fold.training.user_idx])

            if (row := self._point(folds, recipe, some)) is not None:
                rows.append(row)
        return {"of": rows}

    def by_rounds(self, folds: Folds, recipe: Recipe) -> dict[str, Any]:
        """Train anew with fewer and with more rounds, each with its whole schedule of steps."""
        rows = []
        for rounds in dict.fromkeys(max(1, round(share * recipe.train.rounds)) for share in ROUND_SHARES):
            other = replace(recipe, train=replace(recipe.train, rounds=rounds))
            if (row := self._point(folds, other, lambda fold: fold.training)) is not None:
                rows.append({"rounds": rounds} | {key: value for key, value in row.items() if key != "devices"})
        return {"of": rows}

    def nested(self, folds: Folds, recipe: Recipe, search: Budget, cache: ResultCache) -> dict[str, Any]:
        """Measure the nested figure beside the naive one."""
        result: NestedResult = nested_cross_validation(folds, recipe, search, seed=self.seed, k=self.k, cache=cache)
        return {
            "of": {
                "start": self._mean(result.start),
                "naive": self._mean(result.naive),
                "nested": self._mean(result.nested),
                "optimism": _difference(result.optimism),
                "gain": _difference(result.gain),
                "trials": search.trials,
            }
        }

    def _point(self, folds: Folds, recipe: Recipe, log_of: Callable[[Fold], Interactions]) -> dict[str, Any] | None:
        """Measure one point of a curve; None where so few devices cannot fill the rounds."""
        columns: dict[str, list[Floats]] = {"0": [], "popularity": []}
        devices = 0.0
        for fold in folds:
            log = log_of(fold)
            try:
                figures = judge(fold, recipe.train, [recipe.serve], seed=self.seed, k=self.k, log=log)[1]
            except FederationError:
                return None
            devices += np.count_nonzero(log.counts) / len(folds)
            for model, values in columns.items():
                values.append(figures.column(model, self.metric))
        return {
            "devices": round(devices),
            "personalized": self._mean(np.concatenate(columns["0"])),
            "popularity": self._mean(np.concatenate(columns["popularity"])),
        }

    def _mean(self, values: Floats) -> dict[str, Any]:
        measured = ~np.isnan(values)
        if not measured.any():
            raise FederationError("folds: no device could measure; there are too few users with later events")
        low, high = mean_intervals(values[:, None], seed=self.seed, within=(0, 1))[0]
        return {"mean": float(np.nanmean(values)), "ci95": [float(low), float(high)], "devices": int(measured.sum())}

    def _gap(self, figures: Floats, held_out: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Compare each device's figure from tables that it trained with the one it did not; both (folds, n_users)."""
        complete = ~np.isnan(figures).any(axis=0)
        figures, held_out = figures[:, complete], held_out[:, complete]
        out = np.where(held_out, figures, 0.0).sum(axis=0)
        trained = np.where(held_out, 0.0, figures).sum(axis=0) / (len(figures) - 1)
        difference = paired_difference(trained, out, seed=self.seed)
        return {"trained": self._mean(trained), "held_out": self._mean(out), "difference": _difference(difference)}


def _basket_figures(arm: Any, hold_out: HoldOut, users: npt.NDArray[np.int64], n_users: int, k: int) -> Floats:
    """Measure NDCG@k of each user's last basket from what it did before, (n_users,) float64; else nan."""
    figures = np.full(n_users, np.nan)
    for start in range(0, len(users), _BATCH):
        batch = users[start : start + _BATCH]
        moments: Any = hold_out.moments[batch] if isinstance(arm, Personalized) else 0
        figures[batch] = basket_ndcg(arm.scores(hold_out.before, batch, moments), hold_out.basket.users(batch), k)
    return figures


def _some(users: npt.NDArray[np.int64], folds: Folds) -> npt.NDArray[np.int64]:
    """Draw at most folds.at_most of the users, ascending."""
    if len(users) <= folds.at_most:
        return users
    return np.sort(np.random.default_rng([folds.seed, _SUBSET, 1]).permutation(users)[: folds.at_most])


def _difference(difference: PairedDifference) -> dict[str, Any]:
    return {
        "mean": difference.difference,
        "ci95": [difference.low, difference.high],
        "devices": difference.users,
        "p_value": difference.p_value,
    }
