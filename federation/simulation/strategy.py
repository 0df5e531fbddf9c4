"""Personalization strategies one can choose and compare: how a device gets from the shared table to its profile.

profile     closed-form fold-in of its history (ours)
fine-tune   a few gradient steps on a private vector that starts at the population's mean profile, the partially
            local training of FedPer (Arivazhagan et al. 2019) and FedRecon (Singhal et al. 2021)
local       fold-in on a table that was never federated
global      no profile of its own: the population's mean profile for everybody
"""

from __future__ import annotations

from typing import Literal, get_args

import torch

from data.errors import FederationError
from recsys.evaluation.arm_names import DeviceArm
from recsys.evaluation.arms import TableArm, arm
from recsys.mix.model import MixModel
from recsys.model.histories import PaddedBatch
from recsys.model.items import TASTE, ItemTable
from recsys.model.log_profiles import MakeSolver, closed_form
from recsys.model.profile_config import ProfileConfig
from recsys.model.solver import Solver

Strategy = Literal["profile", "global", "local", "fine-tune"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
GRADIENT_STEPS = 10


class GradientSolver(Solver):
    """Profiles by gradient steps on the fold-in's own loss, instead of its closed form."""

    def __init__(
        self,
        item_embeddings: torch.Tensor,
        start: torch.Tensor,
        *,
        alpha: float,
        reg: float,
        steps: int = GRADIENT_STEPS,
    ) -> None:
        """start: (dim,) the vector every device starts from. The step is 1 / (a bound on the loss's curvature)."""
        super().__init__(item_embeddings, alpha=alpha, reg=reg)
        self._start = start.to(self.dtype) @ self.rotation
        self._steps = steps

    def solve(self, batch: PaddedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Solve as Solver.solve does, for the vector after the last step."""
        X = self.rotated[batch.item_idx]
        diagonal = self.diagonal(batch)
        bound = diagonal.amax(1) + (batch.weight * X.square().sum(2)).sum(1)
        u = self._start.repeat(len(batch.device), 1)
        for _ in range(self._steps):
            residual = batch.weight * (torch.bmm(X, u[:, :, None]).squeeze(2) - batch.target)
            gradient = diagonal * u + torch.bmm(X.transpose(1, 2), residual[:, :, None]).squeeze(2)
            u = u - gradient / bound[:, None]
        return u, torch.bmm(X, u[:, :, None]).squeeze(2)


def parse_strategy(name: str) -> Strategy:
    """Parse a strategy's name. Raises FederationError for another word."""
    for strategy in STRATEGIES:
        if strategy == name:
            return strategy
    raise FederationError(f"strategy={name!r}: must be one of {', '.join(STRATEGIES)}")


def solver_of(strategy: Strategy) -> MakeSolver:
    """Choose how a strategy's devices compute profiles from a table, in training and afterwards."""
    return _gradient if strategy == "fine-tune" else closed_form


def arm_of(
    strategy: Strategy,
    table: ItemTable,
    config: ProfileConfig,
    label: str,
    *,
    mix: MixModel | None = None,
    repeat: bool = True,
) -> TableArm:
    """Make the arm of a table trained with a strategy; repeat: whether own purchases count."""
    name: DeviceArm = "personalized" if repeat else "personalized_no_repeat"
    if strategy == "global":
        name = "global_profile"
    return arm(name, table, config, mix=mix, make_solver=solver_of(strategy), label=label)


def _gradient(table: ItemTable, config: ProfileConfig) -> Solver:
    return GradientSolver(
        torch.from_numpy(table.rows_of(TASTE).copy()),
        torch.from_numpy(table.mean_profile[table.part(TASTE)].copy()),
        alpha=config.alpha,
        reg=config.reg,
    )
