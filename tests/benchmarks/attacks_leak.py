"""Attackers who hold all of the service's side of a training run and want to know one shopper.

They are given more than the service has today: who reported in which round (blind tokens do not say),
the service's own noise taken off again, and half of all shoppers in the clear to learn from. Three questions:

- which items are in a device's history (`item_features`, `learn`): popularity-matched pairs, so that guessing
  bestsellers scores .5;
- where a device's profile points (`guessed_profiles`), against pointing everyone at the population's mean;
- whether a device whose whole history is known took part at all (`took_part`): likelihood ratio, all rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata

from federation.learning.item_step import RoundSums, StepConfig, StepState, item_step
from federation.learning.taste_update import Clips
from federation.learning.training_sum import round_sums
from federation.private_sum.noise import discrete_gaussian
from federation.private_sum.plan import SumPlan
from federation.private_sum.randomness import seeded_bytes
from federation.simulation.taste_sums import sum_updates
from recsys.model.histories import Histories, batches
from recsys.model.profile import ProfileConfig
from recsys.model.solver import Solver

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class View:
    """What the service holds after a run: bundles, sums, and (given on top) who reported when.

    tables: (rounds, n_items, dim) float32, the table that each round's devices had. counts, row_norms: (rounds,
    n_items) of each round's sums, aligned: (rounds, n_items) inner products of each row with the first moment; first:
    (rounds, dim). sums: the sums themselves, kept only for `took_part`. cohorts: devices of each round. reports: of a
    round.
    """

    tables: npt.NDArray[np.float32]
    counts: Floats
    row_norms: Floats
    aligned: Floats
    first: Floats
    sums: tuple[RoundSums, ...]
    cohorts: tuple[Index, ...]
    reports: int

    def rounds_of(self, device: int) -> list[int]:
        """Rounds in which a device reported."""
        return self._rounds[device]

    @cached_property
    def _rounds(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for round_, cohort in enumerate(self.cohorts):
            for device in cohort.tolist():
                found.setdefault(device, []).append(round_)
        return found

    @cached_property
    def totals(self) -> tuple[tuple[Floats, Floats, Floats], ...]:
        """counts, row_norms, −aligned: each (rounds, n_items), and its sum and sum of squares over rounds."""
        return tuple((seen, seen.sum(0), (seen**2).sum(0)) for seen in (self.counts, self.row_norms, -self.aligned))


def watch(
    histories: Histories,
    config: ProfileConfig,
    members: Index,
    *,
    reports: int,
    participations: int,
    clips: Clips,
    plan: SumPlan | None,
    dim: int,
    seed: int,
) -> View:
    """A training run over `members` as the service sees it, in rounds of `reports` devices.

    plan: of the whole table as one block; its noise is that of the custodian alone, since the service knows its own.
    None: no noise.
    """
    rng = np.random.default_rng([seed, 11])
    random = seeded_bytes(rng)
    n_items = histories.n_items
    state = StepState.start(n_items, dim, seed)
    cohorts: list[Index] = []
    for _ in range(participations):
        order = rng.permutation(members)
        cohorts += [np.sort(order[at : at + reports]) for at in range(0, len(order) - reports + 1, reports)]
    tables, sums = [], []
    step = StepConfig()
    for round_, cohort in enumerate(cohorts):
        V = state.item_embeddings
        found = sum_updates(solver_of(V, config), histories, cohort, clips)
        if plan is not None:
            words = discrete_gaussian(plan.sigma, plan.length, random).astype(np.int32)
            found = found + round_sums(plan, {0: words}, n_items=n_items, n_block=n_items, dim=dim)
        tables.append(V)
        sums.append(found)
        eta = step.step_at(round_, len(cohorts))
        state = item_step(state, found, step, alpha=config.alpha, reg=config.reg, step=eta)
    return _view(tables, sums, cohorts, reports)


def one_by_one(
    histories: Histories, config: ProfileConfig, members: Index, V: npt.NDArray[np.float32], clips: Clips
) -> View:
    """The same as `watch` if devices sent their updates in the clear: every report is a round of its own, no noise."""
    solver = solver_of(V, config)
    cohorts = [np.array([member]) for member in members]
    sums = [sum_updates(solver, histories, cohort, clips) for cohort in cohorts]
    return _view([V] * len(cohorts), sums, cohorts, 1)


def _view(
    tables: Sequence[npt.NDArray[np.float32]], sums: Sequence[RoundSums], cohorts: Sequence[Index], reports: int
) -> View:
    return View(
        tables=np.stack(tables) if reports > 1 else tables[0][None],
        counts=np.stack([one.counts for one in sums]),
        row_norms=np.stack([np.linalg.norm(one.rows, axis=1) for one in sums]),
        aligned=np.stack([one.rows @ one.first for one in sums]),
        first=np.stack([one.first for one in sums]),
        sums=tuple(sums) if reports > 1 else (),
        cohorts=tuple(cohorts),
        reports=reports,
    )


def solver_of(V: npt.NDArray[np.float32], config: ProfileConfig) -> Solver:
    return Solver(torch.from_numpy(np.array(V)), alpha=config.alpha, reg=config.reg)


@dataclass(frozen=True)
class Pairs:
    """Popularity-matched questions: does `device` have `item`? truth: (n,) bool, half of them."""

    device: Index
    item: Index
    truth: npt.NDArray[np.bool_]

    def of(self, devices: Index) -> Pairs:
        """The pairs of some devices."""
        keep = np.isin(self.device, devices)
        return Pairs(self.device[keep], self.item[keep], self.truth[keep])


def matched_pairs(histories: Histories, devices: Index, per_device: int, seed: int) -> Pairs:
    """Up to per_device items of each device, each beside an item of as many owners that is not in its history."""
    rng = np.random.default_rng([seed, 12])
    owners = np.bincount(histories.item_idx, minlength=histories.n_items)
    order = np.argsort(owners + rng.random(len(owners)), kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    found: list[tuple[int, int, bool]] = []
    for device in devices.tolist():
        own = histories.item_idx[histories.offsets[device] : histories.offsets[device + 1]]
        taken = set(own.tolist())
        for item in rng.permutation(own)[:per_device].tolist():
            # Nearest in popularity on either side, at random, so that neither side is systematically favoured.
            for distance in range(1, len(order)):
                sides = [p for p in (place[item] - distance, place[item] + distance) if 0 <= p < len(order)]
                free = [int(order[p]) for p in sides if int(order[p]) not in taken]
                if free:
                    other = free[int(rng.integers(len(free)))]
                    taken.add(other)
                    found += [(device, item, True), (device, other, False)]
                    break
    device, item, truth = (np.array(column) for column in zip(*found, strict=True))
    return Pairs(device.astype(np.int64), item.astype(np.int64), truth.astype(np.bool_))


def item_features(view: View, pairs: Pairs) -> Floats:
    """(pairs, 7): what the rounds with the device show of the item that the rounds without it do not."""
    rows = [
        np.column_stack(_item_evidence(view, view.rounds_of(device), pairs.item[pairs.device == device]))
        for device in _in_order(pairs.device)
    ]
    return np.concatenate(rows)


def _item_evidence(view: View, rounds: list[int], items: Index) -> list[Floats]:
    evidence = []
    elsewhere = len(view.cohorts) - len(rounds)
    for seen, total, squares in view.totals:
        here = seen[np.ix_(rounds, items)]
        usual = (total[items] - here.sum(0)) / elsewhere
        spread = np.sqrt(np.maximum((squares[items] - (here**2).sum(0)) / elsewhere - usual**2, 0.0)) + 1e-9
        evidence.append(np.clip((here - usual) / spread, -20, 20).mean(0))
    counts, norms = view.counts[np.ix_(rounds, items)], view.row_norms[np.ix_(rounds, items)]
    mean = view.totals[0][1][items] / len(view.cohorts)
    return [
        *evidence,
        np.log1p(np.maximum(counts, 0)).min(0),
        np.log1p(norms.min(0)),
        (counts > 1e-3 * np.abs(mean)).mean(0),
        np.log1p(np.maximum(mean, 0)),
    ]


def _in_order(values: Index) -> list[int]:
    """Distinct values in order of their first appearance."""
    return list(dict.fromkeys(values.tolist()))


def learn(features: Floats, truth: npt.NDArray[np.bool_]) -> Floats:
    """(features + 1,) weights of the linear discriminant (Fisher 1936) of the shadow devices, and what to subtract."""
    centre = features.mean(0)
    scale = features.std(0) + 1e-12
    x = (features - centre) / scale
    within = sum(np.cov(x[truth == side].T) for side in (False, True)) / 2 + 1e-3 * np.eye(x.shape[1])
    weights = np.linalg.solve(within, x[truth].mean(0) - x[~truth].mean(0)) / scale
    return np.append(weights, weights @ centre)


def scored(weights: Floats, features: Floats) -> Floats:
    """(n,) scores of a learned attack."""
    return features @ weights[:-1] - weights[-1]


def auc(scores: Floats, truth: npt.NDArray[np.bool_]) -> float:
    """Probability that a true pair scores above a false one, ties half (Mann and Whitney 1947)."""
    ranks = rankdata(scores)
    n = int(truth.sum())
    return float((ranks[truth].sum() - n * (n + 1) / 2) / (n * (len(truth) - n)))


def guessed_profiles(
    view: View, histories: Histories, config: ProfileConfig, devices: Index, weights: Floats, guesses: int = 20
) -> tuple[Floats, Floats, Floats, Floats]:
    """(devices, dim) each: profiles as they are, the population's mean, and two guesses of what a device adds to it.

    All for the table of each device's last round. First guess: how the first moment of its rounds differs from the
    mean. Second: the fold-in of the items that the item attack ranks highest for it.
    """
    true, means, moments, folded = [], [], [], []
    everyone = np.unique(np.concatenate(view.cohorts))
    items = np.arange(histories.n_items)
    known: dict[int, tuple[Solver, npt.NDArray[np.float32]]] = {}
    for device in devices.tolist():
        rounds = view.rounds_of(device)
        last = rounds[-1] if len(view.tables) > 1 else 0
        if last not in known:
            solver = solver_of(view.tables[last], config)
            known[last] = solver, solver.profiles(histories, everyone[:: max(len(everyone) // 200, 1)]).mean(0)
        solver, mean = known[last]
        likely = np.argsort(-scored(weights, np.column_stack(_item_evidence(view, rounds, items))))[:guesses]
        guess = Histories(
            offsets=np.array([0, guesses]),
            item_idx=np.sort(likely).astype(np.int32),
            weight=np.ones(guesses, dtype=np.float32),
            target=np.ones(guesses, dtype=np.float32),
            n_items=histories.n_items,
        )
        true.append(solver.profiles(histories, np.array([device]))[0])
        means.append(mean)
        moments.append(view.first[rounds[-1]] / view.reports - mean)
        folded.append(solver.profiles(guess, np.array([0]))[0])
    return tuple(np.array(one, dtype=np.float64) for one in (true, means, moments, folded))  # type: ignore[return-value]


def cosines(a: Floats, b: Floats) -> Floats:
    """(n,) |cos| of rows."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.abs((a * b).sum(1)) / np.maximum(norms, 1e-12)


def best_mix(true: Floats, mean: Floats, guess: Floats) -> float:
    """The share of the guess that points nearest to the shadow devices' profiles; 0 is the mean alone."""
    shares = np.linspace(0.0, 1.0, 21)
    return float(shares[int(np.argmax([cosines(true, mixed(mean, guess, share)).mean() for share in shares]))])


def mixed(mean: Floats, guess: Floats, share: float) -> Floats:
    """Mean and guess, each of length 1, in the given proportion."""
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (mean, guess))
    return (1 - share) * a + share * b


def took_part(
    view: View, histories: Histories, config: ProfileConfig, devices: Index, clips: Clips, noise: RoundSums | None
) -> Floats:
    """(devices,) log likelihood ratio that a device of known history was in some of the rounds, unknown which.

    Each round's sums less the mean over rounds are taken as Gaussian, a coordinate's variance that of the other devices
    over rounds plus the noise's. noise: standard deviation of each coordinate; None for none.
    """
    ratios = np.zeros((len(view.cohorts), len(devices)))
    stacked = {name: np.stack([getattr(one, name) for one in view.sums]) for name in ("rows", "counts", "first")}
    mean = {name: values.mean(0) for name, values in stacked.items()}
    weight = {}
    for name, values in stacked.items():
        floor = 1e-6 if noise is None else float(np.max(getattr(noise, name))) ** 2
        weight[name] = 1.0 / np.maximum(values.var(0), floor)
    everyone = np.arange(histories.n_devices)
    position = np.full(histories.n_devices, -1)
    position[devices] = np.arange(len(devices))
    for r, one in enumerate(view.sums):
        solver = solver_of(view.tables[r], config)
        left = {name: torch.from_numpy((getattr(one, name) - mean[name]) * weight[name]) for name in stacked}
        mass = {name: torch.from_numpy(values) for name, values in weight.items()}
        for batch in batches(histories, everyone[position >= 0], solver.dtype):
            u, scores = solver.solve(batch)
            residual = batch.weight * (scores - batch.target)
            profile = (u @ solver.rotation.T).double()
            squared = u.square().sum(1)
            row_scale = _scale((residual.square().sum(1) * squared).sqrt(), clips.rows)
            count_scale = _scale(batch.weight.square().sum(1).sqrt(), clips.counts)
            first = profile * _scale(squared.sqrt(), clips.first)[:, None]
            a = (residual * row_scale[:, None]).double()
            c = (batch.weight * count_scale[:, None]).double()
            idx = batch.item_idx
            along = a * torch.bmm(left["rows"][idx], profile[:, :, None]).squeeze(2) + c * left["counts"][idx]
            energy = a.square() * torch.bmm(mass["rows"][idx], profile.square()[:, :, None]).squeeze(2)
            energy = energy + c.square() * mass["counts"][idx]
            value = along.sum(1) + first @ left["first"] - (energy.sum(1) + first.square() @ mass["first"]) / 2
            ratios[r, position[batch.device]] = value.numpy()
    prior = np.log(np.mean([len(cohort) for cohort in view.cohorts]) / len(np.unique(np.concatenate(view.cohorts))))
    return np.logaddexp(0.0, np.clip(ratios + prior, -500, 500)).sum(0)


def _scale(norms: torch.Tensor, bound: float) -> torch.Tensor:
    return torch.clamp(bound / norms.clamp(min=1e-30), max=1.0) if np.isfinite(bound) else torch.ones_like(norms)


def matched_devices(histories: Histories, members: Index, others: Index) -> tuple[Index, Index]:
    """Pairs of a member and a non-member of like history: number of items and their mean log popularity."""
    owners = np.log1p(np.bincount(histories.item_idx, minlength=histories.n_items))
    sums = np.add.reduceat(np.append(owners[histories.item_idx], 0.0), histories.offsets[:-1])
    counts = np.maximum(histories.counts, 1)
    marks = np.column_stack([np.log(counts), sums / counts])
    marks = (marks - marks[others].mean(0)) / marks[others].std(0)
    free = np.ones(len(others), dtype=bool)
    chosen: list[tuple[int, int]] = []
    for member in members.tolist():
        distance = np.where(free, ((marks[others] - marks[member]) ** 2).sum(1), np.inf)
        nearest = int(np.argmin(distance))
        if distance[nearest] < 0.01:
            free[nearest] = False
            chosen.append((member, int(others[nearest])))
    a, b = (np.array(column, dtype=np.int64) for column in zip(*chosen, strict=True))
    return a, b


def noise_of(plan: SumPlan, n_items: int, dim: int) -> RoundSums:
    """One party's standard deviation of every coordinate, in the sums' own units."""
    words = np.full(plan.length, plan.sigma, dtype=np.int32)
    return round_sums(plan, {0: words}, n_items=n_items, n_block=n_items, dim=dim)
