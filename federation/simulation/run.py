"""Everything between two rounds of a training: states and records; when the taste overfits, and which is chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from federation.learning.item_step import StepState
from federation.simulation.learning_curve import RoundRecord, mean_holdout


@dataclass(frozen=True)
class Run:
    """The state between two rounds.

    state: of the taste; best: the taste of the best smoothed hold-out; intent: once its rounds have begun.
    smoothing, patience: as in TrainConfig. records: of the taste's rounds, then of the intent's.
    """

    state: StepState
    smoothing: int
    patience: int
    records: tuple[RoundRecord, ...] = ()
    best: StepState | None = None
    intent: StepState | None = None

    @property
    def states(self) -> dict[str, StepState]:
        """Those that there are, by the names of the fields."""
        by_name = {"state": self.state, "best": self.best, "intent": self.intent}
        return {name: state for name, state in by_name.items() if state is not None}

    def after(self, state: StepState, record: RoundRecord) -> Run:
        """Append one more round of the taste."""
        run = replace(self, state=state, records=(*self.records, record))
        best = -np.inf if run.best is None else run.smoothed(run.best.steps)
        return replace(run, best=state) if run.smoothed(len(run.records)) > best else run

    def smoothed(self, steps: int) -> float:
        """Average the hold-out figure of the last rounds up to `steps`, nan while there are too few."""
        if steps < self.smoothing:
            return np.nan
        return mean_holdout(self.records[steps - self.smoothing : steps])

    def overfits(self) -> bool:
        """Check if the hold-out figure is now below its best by more than four standard errors.

        Four, for the best of a hundred noisy figures is two above their mean. The noise of one round is half the mean
        square of differences of neighbouring rounds, which a slow curve does not disturb.
        """
        if self.best is None or not self.patience or self.state.steps - self.best.steps < self.patience:
            return False
        figures = np.array(
            [record.holdout_ndcg for record in self.records[: self.state.steps] if record.holdout_devices]
        )
        error = float(np.sqrt((np.diff(figures) ** 2).mean() / self.smoothing))  # of a difference of two means
        fall = self.smoothed(self.best.steps) - self.smoothed(self.state.steps)
        return fall > 4 * error

    def choice(self) -> StepState:
        """Choose the best state where training went on into overfitting, else the last."""
        return self.best if self.best is not None and self.overfits() else self.state
