"""Replay with federated rounds: the arms by name, and the trainer that recsys.replay is handed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from data.dataset import Dataset
from data.errors import DataError
from data.interactions import Interactions
from data.split import known_at
from federation.lab.comparison import central_table
from federation.lab.defaults import settle
from federation.lab.mixing import shipped_mix
from federation.lab.recipes import Recipe
from federation.learning.item_step import StepState
from federation.simulation.continual import ContinualTrainer
from recsys.evaluation.arm_names import REPLAY_ARMS
from recsys.mix.mix_tables import attributes_of
from recsys.model.items import ItemTable
from recsys.replay.replay_arms import Arm, NamedArm, TimedRecommender
from recsys.replay.result import Replay
from recsys.replay.run import replay as replay_log
from recsys.replay.settings import ReplayConfig

MIXED = "mixed"
"""One more arm beside REPLAY_ARMS, of a replay that starts somewhere: `personalized` by the mix, with weights learned
from what came before. It costs about ten times as much as the plain score."""
DEFAULT_ARMS = ("personalized", "global", "popularity")


def replay(
    dataset: Dataset,
    arms: Sequence[str | Arm | TimedRecommender] = DEFAULT_ARMS,
    config: ReplayConfig | None = None,
    *,
    settings: Recipe | None = None,
    jobs: int = 1,
    work: Path | None = None,
    on_period: Callable[[int, int], None] | None = None,
) -> Replay:
    """Replay by recsys.replay.replay with arms by name (or objects of your own) and daily federated rounds.

    settings: how to train and to serve; by default what federation/lab/defaults.py chooses for the log. Raises
    DataError for an unknown name, and as recsys.replay.replay does.
    """
    config = config or ReplayConfig()
    chosen = settings or settle(dataset.interactions(), validate=False).recipe
    made_arms: list[Arm | TimedRecommender] = []
    for arm in arms:
        if arm == MIXED:
            made_arms.append(mixed_arm(dataset, chosen, config))
        else:
            made_arms.append(named_arm(arm, chosen, len(dataset.items), config.seed) if isinstance(arm, str) else arm)
    trainer = ContinualTrainer(chosen.train, config.seed)
    return replay_log(dataset, made_arms, config, trainer=trainer, jobs=jobs, work=work, on_period=on_period)


def mixed_arm(dataset: Dataset, chosen: Recipe, config: ReplayConfig) -> NamedArm:
    """Make the arm `mixed`: its weights are learned from the log before start_us. Raises DataError without a start."""
    if config.start_us is None:
        raise DataError("arm='mixed': needs a start: its weights are learned from what came before")
    known, attributes = known_at(dataset.interactions(), config.start_us), attributes_of(dataset.catalogue)
    model = shipped_mix(known, config.start_us, chosen, seed=config.seed, attributes=attributes)
    if model is None:
        raise DataError("arm='mixed': the recipe has no mix; name one that has, such as purchases")
    return NamedArm("personalized", chosen.serve, MIXED, mix=model, attributes=attributes)


def named_arm(name: str, chosen: Recipe, n_items: int, seed: int) -> NamedArm:
    """Make an arm of REPLAY_ARMS with what the lab trains for it. Raises DataError for another name."""
    for known in REPLAY_ARMS:
        if known == name:
            embeddings = StepState.start(n_items, chosen.train.dim, seed).item_embeddings if name == "local" else None
            fit = partial(_central, chosen, seed) if name == "central" else None
            return NamedArm(known, chosen.serve, embeddings=embeddings, fit=fit)
    names = ", ".join((*REPLAY_ARMS, MIXED))
    raise DataError(f"arm={name!r}: must be one of {names}, or MODULE:NAME of an object of your own")


def _central(chosen: Recipe, seed: int, log: Interactions, now: int) -> ItemTable:
    return central_table(log, chosen, now, seed)
