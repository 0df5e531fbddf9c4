"""Devices that lie to get one item shown to everybody: our own versions of two published attacks, adapted to this step.

FedRecAttack (Rong, Ye, Chen, Sun et al. 2022): some interactions are public; the attacker folds them in to approximate
shoppers, and pushes the target's score above the last place of their lists: loss g(s_last − s_target), g(x) = x above 0
and e^x − 1 below. A-ra (Rong, He, Chen 2022): nothing is known; shoppers are random vectors, the loss is that of a
positive, log(1 + e^−s). Both publish gradients of the target's row in the paper's federations; here the table is moved
by Newton steps from sums, so both first find the row they want and then the words that bring the table there. They know
the code, its settings, and every bundle; not the other devices' reports.

What a lying device may send: within every clip, any words at all, or the loudest words of which a proof can be made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from federation.learning.item_step import RoundSums
from federation.learning.taste_update import METRICS, Clips
from federation.learning.training_sum import round_sums
from federation.private_sum.plan import Part, SumPlan
from recsys.model.histories import Histories
from recsys.model.profile import ProfileConfig
from recsys.model.solver import Solver

Floats = npt.NDArray[np.float64]

Attack = Literal["fedrec", "a-ra", "random words", "optimised words", "provable words"]
Claim = Literal["quiet", "owner", "rivals"]

PUBLIC_SHARE = 0.05
"""Share of the interactions that FedRecAttack's attacker knows; the paper's largest setting."""

LOUD = 0.5
"""What an attacker who ignores the clips adds to a batch, as a share of the bound of all its reports together: the rest
is left to the honest reports, so that the sum stays plausible."""

RIVALS = 100
"""Items that an attacker pushes down beside raising its own: those that the average shopper would see first."""

REACH = 3.0
"""Norm of the row an attacker wants: as long as the longest row of an honest table."""


@dataclass(frozen=True)
class Attacker:
    """One attacker and all its devices.

    claim: `owner` says that each device has the target, with all the weight the clip allows, so that rows and counts go
    together; `quiet` sends the row without a count, which leaves the row's curvature small and the move large; `rivals`
    spends half of the same (in energy) on turning the rows of the items listed first away from the average shopper.
    """

    attack: Attack
    target: int
    clips: Clips
    config: ProfileConfig
    claim: Claim = "owner"

    def sums(
        self,
        V: npt.NDArray[np.float32],
        shoppers: Floats,
        devices: int,
        *,
        plan: SumPlan,
        reports: int,
        rng: np.random.Generator,
    ) -> RoundSums:
        """What `devices` lying devices add to a round of `reports`. shoppers: (n, dim), the approximated profiles."""
        n_items, dim = V.shape
        if devices == 0:
            return RoundSums.zeros(n_items, dim)
        if self.attack == "random words":
            words = rng.integers(-(2**31), 2**31, plan.length).astype(np.int32)
            return round_sums(plan, {0: words}, n_items=n_items, n_block=n_items, dim=dim)
        A = shoppers.T @ shoppers / len(shoppers)
        weight = 0.0 if self.claim == "quiet" else self.clips.counts
        wanted = self.wanted_row(V.astype(np.float64), shoppers)
        own = V[self.target].astype(np.float64)
        curvature = (self.config.alpha + weight) * A + self.config.reg * (weight + self.config.alpha) * np.eye(dim)
        push = curvature @ (own - wanted)
        push *= self.clips.rows / max(float(np.linalg.norm(push)), 1e-12)
        loud, counted = (self._loudness(part, reports / devices) for part in plan.parts[:2])
        second, first = A[np.triu_indices(dim)], shoppers.mean(0)
        rows, counts = np.zeros((n_items, dim)), np.zeros(n_items)
        rows[self.target] = push * loud
        counts[self.target] = weight * counted
        if self.claim == "rivals":
            ahead = np.setdiff1d(np.argsort(-(V @ first))[: RIVALS + 1], [self.target])
            away = A @ first / max(float(np.linalg.norm(A @ first)), 1e-12)
            rows[ahead] = away * self.clips.rows * loud / np.sqrt(len(ahead))
            counts[ahead] = weight * counted / np.sqrt(len(ahead))
            rows, counts = rows / np.sqrt(2), counts / np.sqrt(2)
        return RoundSums(
            rows=devices * rows,
            counts=devices * counts,
            second=devices * second * min(1.0, self.clips.second / float(np.linalg.norm(second))),
            first=devices * first * min(1.0, self.clips.first / float(np.linalg.norm(first))),
            reports=np.full(n_items, float(devices)),
            one=float(devices),
            metrics=np.zeros(len(METRICS)),
        )

    def _loudness(self, part: Part, others: float) -> float:
        """How many times its clip one device says in a part. others: reports of the batch for each lying device.

        Provable words fill the bound that is proved: the clip, and what honest rounding may add to it.
        """
        if self.attack == "optimised words":
            return LOUD * others
        if self.attack == "provable words":
            return math.sqrt(part.bound_squared) / (part.clip_norm * part.scale)
        return 1.0

    def wanted_row(self, V: Floats, shoppers: Floats, steps: int = 20) -> Floats:
        """(dim,) the row, of norm at most REACH, that a gradient ascent of the attack's loss arrives at."""
        scores = shoppers @ V.T
        scores[:, self.target] = -np.inf
        last = np.partition(scores, -10, axis=1)[:, -10]
        row = V[self.target].copy()
        rate = REACH / max(float(np.linalg.norm(shoppers, axis=1).mean()), 1e-12) / 4
        for _ in range(steps):
            own = shoppers @ row
            if self.attack == "a-ra":
                pull = 1.0 / (1.0 + np.exp(np.clip(own, -30, 30)))
            else:
                gap = last - own
                pull = np.where(gap > 0, 1.0, np.exp(np.minimum(gap, 0.0)))
            row = row + rate * (pull @ shoppers) / len(shoppers)
            row *= min(1.0, REACH / max(float(np.linalg.norm(row)), 1e-12))
        return row


def approximate_shoppers(
    attack: Attack,
    V: npt.NDArray[np.float32],
    mean_profile: npt.NDArray[np.float32],
    public: Histories,
    config: ProfileConfig,
    rng: np.random.Generator,
    n: int = 200,
) -> Floats:
    """(n, dim) profiles as the attacker imagines them.

    A-ra draws them around the population's mean, which is in every bundle (the paper, without one, around zero); all
    others fold public interactions in.
    """
    dim = V.shape[1]
    if attack == "a-ra":
        spread = max(float(np.linalg.norm(mean_profile)), 0.1) / np.sqrt(dim)
        return mean_profile + rng.normal(0.0, spread, (n, dim))
    known = rng.permutation(np.flatnonzero(public.counts > 0))[:n]
    solver = Solver(torch.from_numpy(np.array(V)), alpha=config.alpha, reg=config.reg)
    return solver.profiles(public, known).astype(np.float64)


def public_part(histories: Histories, share: float, rng: np.random.Generator) -> Histories:
    """Each interaction is public with probability `share`."""
    keep = rng.random(len(histories.item_idx)) < share
    users = np.repeat(np.arange(histories.n_devices), histories.counts)[keep]
    counts = np.bincount(users, minlength=histories.n_devices)
    return Histories(
        offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        item_idx=histories.item_idx[keep],
        weight=histories.weight[keep],
        target=histories.target[keep],
        n_items=histories.n_items,
    )
