"""Federated training over thousands of simulated devices: cohort → updates → sums → item step, round after round.

Every draw is a function of (seed, part, round), and the whole state between two rounds are the StepStates of the parts,
so a run that was stopped goes on to the same bits. The devices' histories are read here as a simulation must; what
reaches the item step are sums only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from data.errors import BatchTooSmall, FederationError
from data.interactions import EventKind, Interactions
from federation.learning.item_step import RoundSums, StepConfig, StepState, item_step
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.simulation.checkpoint import load_checkpoint, save_checkpoint
from federation.simulation.cohort import cohort, cohort_size, draw_blocks, holdout_devices, survivors
from federation.simulation.intent_sums import sum_intent_updates
from federation.simulation.intent_training import intent_step, start_intent, with_intent
from federation.simulation.learning_curve import RoundRecord, rounds_of
from federation.simulation.run import Run
from federation.simulation.simulated_noise import add_noise
from federation.simulation.strategy import Strategy, parse_strategy, solver_of
from federation.simulation.table_sums import sum_popularity
from federation.simulation.taste_sums import sum_updates
from recsys.evaluation.holdout import basket_ndcg, hold_out_last
from recsys.model.histories import merge_histories
from recsys.model.intent_config import IntentConfig
from recsys.model.items import INTENT, TASTE, ItemTable
from recsys.model.log_profiles import closed_form, profiles_of
from recsys.model.profile_config import ProfileConfig
from recsys.model.scoring import score
from recsys.model.solver import Solver
from recsys.model.trend import HALF_LIFE_DAYS, trend, trend_of

_NOISE, _INTENT = 6, 7
"""Purposes of draws, beside those of federation.simulation.cohort."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of learning the shared table.

    dim: width of an item embedding. rounds; cohort_size: devices asked per round, fewer when max_participations (of one
    device over all rounds) demands it. dropout: share of devices that vanish. blocks: parts the catalogue is cut into.
    holdout_share: devices that never train and only measure. patience: training of the taste stops when the hold-out
    figure has been significantly below its best of at least so many rounds ago; 0 for never. smoothing: rounds in the
    mean that figure is. measure_every: rounds between two measurements, 0 for none.
    privacy: the plan whose clips and noise, of both parties, the sums of every round of either part carry; None is
    privacy off.
    intent: how the output table of the current intent is learned, in rounds after the others; needs pools in profile,
    and the strategy profile. None trains the taste alone.
    trend_half_life: of the trend, in days, > 0.
    profile: how devices weigh their histories in training. What a bundle tells devices to serve with may differ: its
    recency is shorter (federation/lab/recipes.py).
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
    trend_half_life: float = HALF_LIFE_DAYS
    profile: ProfileConfig = field(default_factory=ProfileConfig)

    @property
    def trained_intent(self) -> IntentConfig | None:
        """intent, where the strategy is one that trains it."""
        return self.intent if self.strategy == "profile" else None

    @property
    def all_rounds(self) -> int:
        """Of both parts, unless training stops early."""
        return self.rounds + (0 if self.trained_intent is None else self.trained_intent.rounds)

    @property
    def all_participations(self) -> int:
        """The cap on one device's rounds of both parts together: what its lifetime ε is of."""
        return self.max_participations + (0 if self.trained_intent is None else self.trained_intent.max_participations)

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
        if not self.trend_half_life > 0:
            raise FederationError(f"trend_half_life={self.trend_half_life}: must be > 0")
        parse_strategy(self.strategy)
        if self.intent is not None and not self.profile.intent_pools:
            raise FederationError("intent: needs at least one of profile.intent_pools")
        if self.privacy is None:
            return
        if self.clips != self.privacy.clips:
            raise FederationError("privacy: its clips must be those of the training")
        if self.all_participations > self.privacy.max_participations:
            raise FederationError(
                f"privacy: max_participations={self.privacy.max_participations}: must be at least "
                f"{self.all_participations}, those of the training, of all parts together"
            )


@dataclass(frozen=True, eq=False)
class Training:
    """The outcome: a table, how it came about, and what each device was asked for.

    records: of the taste's rounds, then of the intent's. participations: (n_users,) int32. best_round: the round whose
    taste this is, the last of its rounds unless training overfitted; −1 for an untrained one.
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
    run = Run(StepState.start(log.n_items, config.dim, seed), config.smoothing, config.patience)
    identity = _identity(log, config, seed, now)
    if checkpoint is not None and checkpoint.exists():
        states, records = load_checkpoint(checkpoint, identity)
        run = replace(run, records=records, state=states["state"], best=states.get("best"), intent=states.get("intent"))

    def keep() -> None:
        if checkpoint is not None:
            save_checkpoint(checkpoint, identity, run.states, run.records)

    try:
        while (further := shop.after_one_more(run)) is not None:
            run = further
            if on_round is not None:
                on_round(run.records[-1])
            if len(run.records) % checkpoint_every == 0:
                keep()
    except KeyboardInterrupt:
        keep()
        raise
    keep()
    chosen = run.choice()
    table = ItemTable(chosen.item_embeddings, _trend(log, now, config, seed), chosen.mean_profile)
    if shop.intent is not None:
        output = run.intent or start_intent(table, config.profile, shop.intent_seed)
        table = with_intent(table, output.item_embeddings, output.mean_profile)
    return Training(
        table=table,
        config=config,
        seed=seed,
        records=run.records,
        best_round=chosen.steps - 1,
        participations=shop.participations(run.records),
    )


class _Devices:
    """The simulated devices of a log: those with a history, split once into the training and the hold-out ones."""

    def __init__(self, log: Interactions, config: TrainConfig, seed: int, now: int) -> None:
        self._config, self._log = config, log
        self.intent = config.trained_intent
        self.intent_seed = int(np.random.default_rng([seed, _INTENT]).integers(2**31))
        self._seeds = {TASTE: seed, INTENT: self.intent_seed}
        self._rounds = {TASTE: 0 if config.strategy == "local" else config.rounds}
        self.devices = np.flatnonzero(log.counts > 0)
        self.n = len(self.devices)
        self._size = {TASTE: cohort_size(self.n, self._rounds[TASTE], config.cohort_size, config.max_participations)}
        if self.intent is not None:
            self._rounds[INTENT] = self.intent.rounds
            self._size[INTENT] = cohort_size(
                self.n, self.intent.rounds, self.intent.cohort_size, self.intent.max_participations
            )
        self._histories = merge_histories(log, config.profile, now)
        self._holdout = holdout_devices(log.n_users, config.holdout_share, seed)
        self._held = hold_out_last(log) if config.measure_every else None

    def after_one_more(self, run: Run) -> Run | None:
        """Run one more round: of the taste, then of the intent. None where none is left."""
        if run.intent is None and run.state.steps < self._rounds[TASTE] and not run.overfits():
            return run.after(*self._taste_round(run.state))
        if self.intent is None:
            return None
        chosen = run.choice()
        table = _without_trend(chosen)
        state = run.intent or start_intent(table, self._config.profile, self.intent_seed)
        if state.steps >= self.intent.rounds:
            return None
        state, record = self._intent_round(state, table, self.intent, len(run.records))
        return replace(run, intent=state, records=(*run.records, record))

    def participations(self, records: Sequence[RoundRecord]) -> npt.NDArray[np.int32]:
        """Count how often each user was asked in these rounds, (n_users,) int32."""
        counts = np.zeros(self._log.n_users, dtype=np.int32)
        for part in self._rounds:
            for round_ in range(rounds_of(records, part)):
                counts[self._cohort_of(part, round_)] += 1
        return counts

    def _cohort_of(self, part: str, round_: int) -> npt.NDArray[np.int64]:
        return self.devices[cohort(self.n, self._size[part], round_, self._seeds[part])]

    def _draw_cohort(self, part: str, round_: int) -> _RoundCohort:
        cohort_devices = self._cohort_of(part, round_)
        devices = survivors(cohort_devices, self._config.dropout, round_, self._seeds[part])
        measuring = self._holdout[devices]
        training = devices[~measuring]
        blocks = draw_blocks(len(training), self._config.blocks, round_, self._seeds[part])
        return _RoundCohort(len(cohort_devices), training, blocks, devices[measuring])

    def _taste_round(self, state: StepState) -> tuple[StepState, RoundRecord]:
        """Run one round of the taste over the devices that report."""
        config, round_ = self._config, state.steps
        table, drawn = _without_trend(state), self._draw_cohort(TASTE, round_)
        solver = solver_of(config.strategy)(table, config.profile)
        sums = sum_updates(
            solver,
            self._histories,
            drawn.training,
            config.clips,
            blocks=config.blocks,
            device_block=drawn.blocks,
        )
        sums = replace(sums, metrics=self._measure(solver, table, drawn, round_))
        if config.privacy is not None:
            sums = self._noisy(sums, config.privacy, TASTE, round_)
        step = config.step.step_at(round_, self._rounds[TASTE])
        state = item_step(state, sums, config.step, alpha=config.profile.alpha, reg=config.profile.reg, step=step)
        return state, drawn.record(round_, step, sums.metrics, TASTE)

    def _intent_round(
        self, state: StepState, taste: ItemTable, intent: IntentConfig, before: int
    ) -> tuple[StepState, RoundRecord]:
        """Run one round of the intent, after so many rounds before it.

        Hold-out devices only measure, as in the others.
        """
        config, round_ = self._config, state.steps
        drawn = self._draw_cohort(INTENT, round_)
        table = with_intent(taste, state.item_embeddings, state.mean_profile)
        sums = sum_intent_updates(
            taste.rows_of(TASTE),
            state.item_embeddings,
            self._log,
            drawn.training,
            config.profile,
            intent,
            config.clips,
            blocks=config.blocks,
            device_block=drawn.blocks,
        )
        sums = replace(sums, metrics=self._measure(closed_form(taste, config.profile), table, drawn, round_))
        if config.privacy is not None:
            sums = self._noisy(sums, config.privacy, INTENT, round_)
        step = config.step.step_at(round_, intent.rounds)
        return intent_step(state, sums, intent, config.step), drawn.record(before, step, sums.metrics, INTENT)

    def _noisy(self, sums: RoundSums, plan: PrivacyPlan, part: str, round_: int) -> RoundSums:
        """Add noise to the sums as both parties would publish them.

        Fewer reports than the plan allows is no round at all.
        """
        n_items, dim = sums.rows.shape
        n_block = -(-n_items // self._config.blocks)
        fewest, most = int(sums.reports.min()), int(sums.reports.max())
        if fewest < plan.min_reports or most > plan.max_reports:
            raise BatchTooSmall(
                f"reports={fewest}..{most}: must be {plan.min_reports}..{plan.max_reports} in every block"
            )
        rng = np.random.default_rng([self._seeds[part], _NOISE, round_])
        return add_noise(sums, plan.sum_plan(n_block, dim, part), rng, n_block=n_block)

    def _measure(self, solver: Solver, table: ItemTable, drawn: _RoundCohort, round_: int) -> npt.NDArray[np.float64]:
        """Measure devices and sum of NDCG@20, of some that train and of the hold-out ones.

        Profiles are of all parts.
        """
        if self._held is None or round_ % self._config.measure_every:
            return np.zeros(4)
        measured: list[float] = []
        for devices in (drawn.training[: max(len(drawn.measuring), 16)], drawn.measuring):
            before, moments = self._held.before.users(devices), self._held.moments[devices]
            profiles = profiles_of(table, self._config.profile, before, moments, lambda *_: solver)
            figures = basket_ndcg(score(table, profiles, 0.0), self._held.basket.users(devices))
            figures = figures[~np.isnan(figures)]
            measured += [float(len(figures)), float(figures.sum())]
        return np.array(measured)


@dataclass(frozen=True, eq=False)
class _RoundCohort:
    """The devices that report in a round, of how many that were asked. blocks: (len(training),) int32."""

    asked: int
    training: npt.NDArray[np.int64]
    blocks: npt.NDArray[np.int32]
    measuring: npt.NDArray[np.int64]

    def record(self, round_: int, step: float, metrics: npt.NDArray[np.float64], part: str) -> RoundRecord:
        train_n, train_sum, held_n, held_sum = metrics
        reports = len(self.training) + len(self.measuring)
        return RoundRecord(
            round=round_,
            reports=reports,
            vanished=self.asked - reports,
            step=step,
            train_ndcg=float(train_sum / train_n) if train_n >= 1 else np.nan,
            holdout_ndcg=float(held_sum / held_n) if held_n >= 1 else np.nan,
            holdout_devices=max(round(held_n), 0),
            part=part,
        )


def _trend(log: Interactions, now: int, config: TrainConfig, seed: int) -> npt.NDArray[np.float32]:
    """Compute the trend of the table, under a plan from the published popularity alone."""
    plan = config.privacy
    if plan is None or not plan.private:
        return trend(log, now, config.trend_half_life)
    return trend_of(sum_popularity(log, now, plan.noise_multiplier, seed=seed).decayed(config.trend_half_life))


def _without_trend(state: StepState) -> ItemTable:
    return ItemTable(state.item_embeddings, np.zeros(len(state.item_embeddings), np.float32), state.mean_profile)


def _identity(log: Interactions, config: TrainConfig, seed: int, now: int) -> str:
    """Describe what a checkpoint belongs to."""
    marks = [log.n_users, log.n_items, log.n_events, int(log.time.sum()), int(log.item_idx.sum()), seed, now]
    return json.dumps([asdict(config), marks], sort_keys=True)
