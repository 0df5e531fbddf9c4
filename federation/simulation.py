"""Federated training over thousands of simulated devices: cohort → updates → sums → item step, round after round.

Every draw is a function of (seed, round), and the whole state between two rounds is one StepState, so a run that was
stopped goes on to the same bits. The devices' histories are read here as a simulation must; what reaches the item
step are sums only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from data.errors import BatchTooSmall, FederationError
from data.interactions import EventKind, Interactions
from federation.batch import sum_updates
from federation.checkpoint import load_checkpoint, save_checkpoint
from federation.cohort import cohort, cohort_size, draw_blocks, holdout_devices, survivors
from federation.intent_training import train_intent
from federation.item_step import RoundSums, StepConfig, StepState, item_step
from federation.learning_curve import RoundRecord, mean_holdout
from federation.privacy_plan import PrivacyPlan
from federation.strategy import Strategy, parse_strategy, solver_of
from federation.training_noise import add_noise
from federation.update import Clips
from recsys.histories import Histories, merge_histories
from recsys.holdout import basket_ndcg, hold_out_last
from recsys.intent_config import IntentConfig
from recsys.items import ItemTable
from recsys.profile_config import ProfileConfig
from recsys.scoring import score
from recsys.solver import Solver
from recsys.trend import trend

_NOISE, _INTENT = 6, 7
"""Purposes of draws, beside those of federation.cohort."""


@dataclass(frozen=True)
class TrainConfig:
    """How the shared table is learned.

    dim: width of an item embedding. rounds; cohort_size: devices asked per round, fewer when max_participations (of one
    device over all rounds) demands it. dropout: share of devices that vanish. blocks: parts the catalogue is cut into.
    holdout_share: devices that never train and only measure. patience: training stops when the hold-out figure has been
    significantly below its best of at least so many rounds ago; 0 for never. smoothing: rounds in the mean that figure
    is. measure_every: rounds between two measurements, 0 for none.
    privacy: the plan whose clips and noise, of both parties, every round's sums carry; None is privacy off.
    intent: how the output table of the current intent is learned, in rounds after the others; needs pools in profile,
    and the strategy profile. None trains the taste alone.
    profile: how devices weigh their histories in training. What a bundle tells devices to serve with may differ: its
    recency is shorter (federation/recipe.py).
    """

    dim: int = 64
    rounds: int = 100
    cohort_size: int = 200
    max_participations: int = 6
    dropout: float = 0.0
    blocks: int = 1
    holdout_share: float = 0.1
    patience: int = 20
    smoothing: int = 20
    measure_every: int = 1
    strategy: Strategy = "profile"
    clips: Clips = field(default_factory=Clips)
    step: StepConfig = field(default_factory=StepConfig)
    privacy: PrivacyPlan | None = None
    intent: IntentConfig | None = None
    profile: ProfileConfig = field(default_factory=ProfileConfig)

    def __post_init__(self) -> None:
        bounds = {
            "dim": (1, 4096),
            "rounds": (0, 1_000_000),
            "cohort_size": (1, 10_000_000),
            "max_participations": (1, 1_000_000),
            "blocks": (1, 1_000_000),
            "patience": (0, 1_000_000),
            "smoothing": (1, 1_000_000),
            "measure_every": (0, 1_000_000),
            "dropout": (0.0, 0.99),
            "holdout_share": (0.0, 0.5),
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise FederationError(f"{name}={getattr(self, name)}: must be {low}..{high}")
        parse_strategy(self.strategy)
        if self.intent is not None and not self.profile.intent_pools:
            raise FederationError("intent: needs at least one of profile.intent_pools")
        if self.intent is not None and self.privacy is not None:
            raise FederationError("intent: must be None under a privacy plan, whose rounds all go to the taste")
        if self.privacy is not None and (self.clips, self.max_participations) != (
            self.privacy.clips,
            self.privacy.max_participations,
        ):
            raise FederationError("privacy: its clips and max_participations must be those of the training")


@dataclass(frozen=True, eq=False)
class Training:
    """The outcome: a table, how it came about, and what each device was asked for.

    participations: (n_users,) int32. best_round: the round whose table this is, the last unless training overfitted; −1
    for an untrained table.
    """

    table: ItemTable
    config: TrainConfig
    seed: int
    records: tuple[RoundRecord, ...]
    best_round: int
    participations: npt.NDArray[np.int32]


def train(
    log: Interactions,
    config: TrainConfig,
    *,
    seed: int,
    now: int,
    checkpoint: Path | None = None,
    checkpoint_every: int = 10,
    on_round: Callable[[RoundRecord], None] | None = None,
) -> Training:
    """Train a table on a log's users as devices; events from `now` (µs) on must not be in the log.

    checkpoint: a file that makes the run resumable: written every few rounds, on Ctrl-C and at the end, read at the
    start. Whoever keeps the outcome removes it afterwards, so that nothing is lost in between. on_round: told about
    every finished round. Raises FederationError for settings that cannot work and for a checkpoint of another run.
    """
    torch.set_num_threads(1)
    if log.n_events == 0:
        raise FederationError("log: has no events, so no device can train")
    if (log.kind == EventKind.DISLIKE).all():
        raise FederationError("log: has dislikes only, so there is no taste to learn")
    shop = _Devices(log, config, seed, now)
    rounds = 0 if config.strategy == "local" else config.rounds
    size = cohort_size(shop.n, rounds, config.cohort_size, config.max_participations)
    run = _Run(StepState.start(log.n_items, config.dim, seed))
    identity = _identity(log, config, seed, now)
    if checkpoint is not None and checkpoint.exists():
        run = _Run(*load_checkpoint(checkpoint, identity))
    try:
        while run.state.steps < rounds and not run.overfits(config):
            round_ = run.state.steps
            asked = shop.devices[cohort(shop.n, size, round_, seed)]
            devices = survivors(asked, config.dropout, round_, seed)
            run = run.after(*shop.play(run.state, devices, len(asked), round_, rounds), config)
            if on_round is not None:
                on_round(run.records[-1])
            if checkpoint is not None and run.state.steps % checkpoint_every == 0:
                save_checkpoint(checkpoint, identity, run.state, run.records, run.best)
    except KeyboardInterrupt:
        if checkpoint is not None:
            save_checkpoint(checkpoint, identity, run.state, run.records, run.best)
        raise
    participations = np.zeros(log.n_users, dtype=np.int32)
    for record in run.records:
        participations[shop.devices[cohort(shop.n, size, record.round, seed)]] += 1
    chosen = run.choice(config)
    if checkpoint is not None:
        save_checkpoint(checkpoint, identity, run.state, run.records, run.best)
    table = ItemTable(chosen.item_embeddings, trend(log, now), chosen.mean_profile)
    if config.intent is not None and config.strategy == "profile":
        table, more = shop.train_intent(table, log, config.intent)
        participations += more
    return Training(
        table=table,
        config=config,
        seed=seed,
        records=run.records,
        best_round=chosen.steps - 1,
        participations=participations,
    )


@dataclass(frozen=True)
class _Run:
    """Everything between two rounds: the state, what was measured, and the state of the best smoothed hold-out."""

    state: StepState
    records: tuple[RoundRecord, ...] = ()
    best: StepState | None = None

    def after(self, state: StepState, record: RoundRecord, config: TrainConfig) -> _Run:
        run = _Run(state, (*self.records, record), self.best)
        best = -np.inf if run.best is None else run.smoothed(run.best.steps, config)
        return replace(run, best=state) if run.smoothed(len(run.records), config) > best else run

    def smoothed(self, steps: int, config: TrainConfig) -> float:
        """Mean hold-out figure of the last rounds up to `steps`, nan while there are too few."""
        if steps < config.smoothing:
            return np.nan
        return mean_holdout(self.records[steps - config.smoothing : steps])

    def overfits(self, config: TrainConfig) -> bool:
        """Is the hold-out figure now below its best by more than four standard errors?

        Four, for the best of a hundred noisy figures is two above their mean. The noise of one round is half the mean
        square of differences of neighbouring rounds, which a slow curve does not disturb.
        """
        if self.best is None or not config.patience or self.state.steps - self.best.steps < config.patience:
            return False
        held = np.array([record.holdout_ndcg for record in self.records if record.holdout_devices])
        error = float(np.sqrt((np.diff(held) ** 2).mean() / config.smoothing))  # of a difference of two means
        fall = self.smoothed(self.best.steps, config) - self.smoothed(self.state.steps, config)
        return fall > 4 * error

    def choice(self, config: TrainConfig) -> StepState:
        """The best state where training went on into overfitting, else the last."""
        return self.best if self.best is not None and self.overfits(config) else self.state


class _Devices:
    """The simulated devices of a log: those with a history, split once into the training and the hold-out ones."""

    def __init__(self, log: Interactions, config: TrainConfig, seed: int, now: int) -> None:
        self._config, self._seed = config, seed
        self.devices = np.flatnonzero(log.counts > 0)
        self.n = len(self.devices)
        self._histories = merge_histories(log, config.profile, now)
        self._holdout = holdout_devices(log.n_users, config.holdout_share, seed)
        self._held = hold_out_last(log) if config.measure_every else None

    def play(
        self, state: StepState, devices: npt.NDArray[np.int64], asked: int, round_: int, rounds: int
    ) -> tuple[StepState, RoundRecord]:
        """One round over the devices that report."""
        config = self._config
        table = ItemTable(state.item_embeddings, np.zeros(len(state.item_embeddings), np.float32), state.mean_profile)
        solver = solver_of(config.strategy)(table, config.profile)
        measuring = self._holdout[devices]
        training = devices[~measuring]
        sums = sum_updates(
            solver,
            self._histories,
            training,
            config.clips,
            blocks=config.blocks,
            device_block=draw_blocks(len(training), config.blocks, round_, self._seed),
        )
        sums = replace(sums, metrics=self._measure(solver, table, training, devices[measuring], round_))
        if config.privacy is not None:
            sums = self._noisy(sums, config.privacy, round_)
        step = config.step.step_at(round_, rounds)
        state = item_step(state, sums, config.step, alpha=config.profile.alpha, reg=config.profile.reg, step=step)
        train_n, train_sum, held_n, held_sum = sums.metrics
        return state, RoundRecord(
            round=round_,
            reports=len(devices),
            vanished=asked - len(devices),
            step=step,
            train_ndcg=float(train_sum / train_n) if train_n >= 1 else np.nan,
            holdout_ndcg=float(held_sum / held_n) if held_n >= 1 else np.nan,
            holdout_devices=max(round(held_n), 0),
        )

    def train_intent(
        self, table: ItemTable, log: Interactions, intent: IntentConfig
    ) -> tuple[ItemTable, npt.NDArray[np.int32]]:
        """The rounds after those of the taste, from which hold-out devices stay away; how often each user was asked."""
        config = self._config
        seed = int(np.random.default_rng([self._seed, _INTENT]).integers(2**31))
        size = cohort_size(self.n, intent.rounds, intent.cohort_size, intent.max_participations)
        participations = np.zeros(log.n_users, dtype=np.int32)

        def reporting(round_: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
            asked = self.devices[cohort(self.n, size, round_, seed)]
            participations[asked] += 1
            devices = survivors(asked, config.dropout, round_, seed)
            devices = devices[~self._holdout[devices]]
            return devices, draw_blocks(len(devices), config.blocks, round_, seed)

        more = train_intent(
            table,
            log,
            config.profile,
            intent,
            config.step,
            config.clips,
            seed=seed,
            blocks=config.blocks,
            reporting=reporting,
        )
        return more, participations

    def _noisy(self, sums: RoundSums, plan: PrivacyPlan, round_: int) -> RoundSums:
        """The sums as both parties would publish them; fewer reports than the plan allows is no round at all."""
        n_items, dim = sums.rows.shape
        n_block = -(-n_items // self._config.blocks)
        fewest, most = int(sums.reports.min()), int(sums.reports.max())
        if fewest < plan.min_reports or most > plan.max_reports:
            raise BatchTooSmall(
                f"reports={fewest}..{most}: must be {plan.min_reports}..{plan.max_reports} in every block"
            )
        rng = np.random.default_rng([self._seed, _NOISE, round_])
        return add_noise(sums, plan.sum_plan(n_block, dim), rng, n_block=n_block)

    def _measure(
        self,
        solver: Solver,
        table: ItemTable,
        training: npt.NDArray[np.int64],
        measuring: npt.NDArray[np.int64],
        round_: int,
    ) -> npt.NDArray[np.float64]:
        if self._held is None or round_ % self._config.measure_every:
            return np.zeros(4)
        found: list[float] = []
        for devices in (training[: max(len(measuring), 16)], measuring):
            before = self._held.before.users(devices)
            histories: Histories = merge_histories(before, self._config.profile, self._held.moments[devices])
            profiles = solver.profiles(histories, np.arange(len(devices)))
            figures = basket_ndcg(score(table, profiles, 0.0), self._held.basket.users(devices))
            figures = figures[~np.isnan(figures)]
            found += [float(len(figures)), float(figures.sum())]
        return np.array(found)


def _identity(log: Interactions, config: TrainConfig, seed: int, now: int) -> str:
    """What a checkpoint belongs to."""
    marks = [log.n_users, log.n_items, log.n_events, int(log.time.sum()), int(log.item_idx.sum()), seed, now]
    return json.dumps([asdict(config), marks], sort_keys=True)
