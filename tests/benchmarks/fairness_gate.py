"""The gate on Online Retail: twenty honest releases, and five that were made worse on purpose, each in its own way."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset import Dataset
from data.split import known_at, parse_time
from federation.lab.publish import publish
from federation.lab.recipes import Recipe, privately, recipe
from federation.lab.release.evidence import gather_audience
from federation.simulation.training import Training, train
from recsys.catalogue.bundle import Bundle
from recsys.fairness.gate import GatePolicy, GateResult, judge_release

SERVED_UNTIL, NEW_UNTIL, STALE_UNTIL = "2011-10-25", "2011-11-09", "2011-08-01"
HONEST, ROUNDS = 20, 20
PROMISED, OVERSPENT = 8.0, 16.0
"""ε that the old release promises, and that the overspending one was trained for."""
SWAMPED, CROWDED = 1.0, 0.5
"""Weights of the trend, .15 by default: one under which it outweighs the profiles of short histories, while the mean of
all shoppers stays; and one under which it crowds the tail out, while nobody's quality suffers."""


@dataclass(frozen=True)
class Worse:
    """A release made worse on purpose, beside what it is judged against."""

    name: str
    new: Bundle
    old: Bundle


class ReleaseMaker:
    """Trains bundles of Online Retail into one folder."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.dataset, self._folder, self._seed = Dataset.open("sample:online-retail"), folder, seed
        base = recipe("purchases")
        self.recipe = replace(base, train=replace(base.train, rounds=ROUNDS, measure_every=0))
        self._made = 0

    def trained(self, until: str, seed: int, chosen: Recipe | None = None) -> Training:
        """Train on what was known at `until`."""
        at, settings = parse_time(until), chosen or self.recipe
        return train(known_at(self.dataset.interactions(), at), settings.train, seed=self._seed + seed, now=at)

    def released(self, training: Training, until: str, chosen: Recipe | None = None) -> Bundle:
        """Write a training's bundle."""
        self._made += 1
        folder = self._folder / str(self._made)
        return publish(folder, self.dataset, training, chosen or self.recipe, now=parse_time(until))

    def honest(self, until: str, seed: int) -> Bundle:
        """Train and write a bundle with nothing wrong."""
        return self.released(self.trained(until, seed), until)

    def spending(self, epsilon: float, until: str, seed: int) -> Bundle:
        """Train with the noise of a lifetime ε, and write the bundle."""
        known = known_at(self.dataset.interactions(), parse_time(until))
        chosen = privately(self.recipe, epsilon=epsilon, delta=1e-6, n_devices=int((known.counts > 0).sum()))
        return self.released(self.trained(until, seed, chosen), until, chosen)

    def worse(self, old: Bundle) -> Iterator[Worse]:
        """Make the five: quality, group, exposure, ε, stale."""
        training = self.trained(NEW_UNTIL, 0)
        rng = np.random.default_rng(self._seed)
        rows = training.table.item_embeddings[rng.permutation(training.table.n_items)]
        misplaced = replace(training, table=replace(training.table, item_embeddings=rows))
        yield Worse("quality", self.released(misplaced, NEW_UNTIL), old)
        for name, weight in (("group", SWAMPED), ("exposure", CROWDED)):
            chosen = replace(self.recipe, serve=replace(self.recipe.serve, trend_weight=weight))
            yield Worse(name, self.released(training, NEW_UNTIL, chosen), old)
        promised, spent = (self.spending(epsilon, NEW_UNTIL, 30) for epsilon in (PROMISED, OVERSPENT))
        yield Worse("epsilon", spent, promised)
        yield Worse("stale", self.honest(STALE_UNTIL, 0), old)


def run_gate(*, seed: int = 0, say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Judge all releases: `{"blocked", "worse", "passed", "honest", "verdicts"}`; about three minutes of CPU time."""
    tell = say or (lambda _: None)
    policy = GatePolicy()
    with tempfile.TemporaryDirectory() as folder:
        make = ReleaseMaker(Path(folder), seed)
        old = make.honest(SERVED_UNTIL, 100)
        audience = gather_audience(make.dataset, [old], at=parse_time(NEW_UNTIL))
        known = {old.version: audience.evidence_of(old)}

        def judged(new: Bundle, against: Bundle) -> GateResult:
            for bundle in (new, against):
                if bundle.version not in known:
                    known[bundle.version] = audience.evidence_of(bundle)
            return judge_release(
                known[new.version], known[against.version], audience.groupings, policy, log_end=audience.log_end
            )

        verdicts: dict[str, dict[str, Any]] = {}
        for worse in make.worse(old):
            verdicts[worse.name] = _verdict(judged(worse.new, worse.old))
            tell(f"{worse.name}: {verdicts[worse.name]}")
        honest = []
        for place in range(HONEST):
            until = NEW_UNTIL if place % 2 else SERVED_UNTIL
            honest.append(_verdict(judged(make.honest(until, 1 + place), old)))
            tell(f"honest {place}: {honest[-1]}")
    return {
        "blocked": sum(not verdict["passed"] for verdict in verdicts.values()),
        "worse": len(verdicts),
        "passed": sum(verdict["passed"] for verdict in honest),
        "honest": len(honest),
        "blocked_by": {name: verdict["failed"] for name, verdict in verdicts.items()},
        "honest_blocked_by": [verdict["failed"] for verdict in honest if not verdict["passed"]],
        "about": audience.about(),
    }


def _verdict(result: GateResult) -> dict[str, Any]:
    return {"passed": result.passed, "failed": [check.name for check in result.checks if not check.passed]} | {
        check.name: None if check.value is None else round(check.value, 4) for check in result.checks
    }
