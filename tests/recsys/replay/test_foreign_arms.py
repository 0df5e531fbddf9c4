"""Arms of somebody else's that misbehave: they cannot change another arm's figures, and are named when they fail."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

from data.errors import ModelError
from data.interactions import Interactions
from recsys.model.profile import ProfileConfig
from recsys.replay import Publication, ReplayConfig, replay
from recsys.replay.guards import inspect_replay
from recsys.replay.replay_arms import NamedArm, TimedRecommender
from tests.recsys.replay.replay_logs import small_dataset

Index = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]

N_ITEMS = 20
SHOP = small_dataset(3, n_items=N_ITEMS)
CONFIG = ReplayConfig(k=5, bootstrap=100, lists=False)
TABLE = np.random.default_rng(5).normal(size=(N_ITEMS, 3)).astype(np.float32)
OURS = (
    NamedArm("local", ProfileConfig(half_life=2.0), "personalized", TABLE),
    NamedArm("global"),
    NamedArm("popularity"),
)


@dataclass
class Foreign:
    """Scores items by their number; `spoils` says what it writes into before."""

    spoils: str = ""
    name: str = "foreign"

    def publish(self, at: Publication) -> TimedRecommender:
        if self.spoils in ("counts", "recent", "trend", "candidates"):
            getattr(at, self.spoils)[:] = 0
        return self

    def scores(self, histories: Interactions, users: Index, now: Index) -> Scores:
        if self.spoils == "now":
            now[:] = 0
        elif hasattr(histories, self.spoils):
            getattr(histories, self.spoils)[:] = 0
        return np.tile(np.arange(N_ITEMS, dtype=np.float32), (len(users), 1))


@dataclass
class Keeps(Foreign):
    """The same scores out of an array that it keeps."""

    kept: Scores = field(default_factory=lambda: np.tile(np.arange(N_ITEMS, dtype=np.float32), (1000, 1)))

    def scores(self, histories: Interactions, users: Index, now: Index) -> Scores:
        return self.kept[: len(users)]


class Raises(Foreign):
    """Fails as arms under construction do."""

    def scores(self, histories: Interactions, users: Index, now: Index) -> Scores:
        if self.spoils == "shape":
            return np.zeros((3, 2), dtype=np.float32)
        if self.spoils == "nan":
            return np.tile(np.where(np.arange(N_ITEMS) == 3, np.nan, 1).astype(np.float32), (len(users), 1))
        raise KeyError("boom")


@pytest.mark.parametrize(
    "spoils",
    ["counts", "recent", "trend", "candidates", "now", "offsets", "item_idx", "kind", "time", "quantity"],
)
def test_an_arm_cannot_write_into_what_the_other_arms_are_handed(spoils: str) -> None:
    with pytest.raises(
        ModelError, match=r"^arm foreign: ValueError: .*read-only \(.*test_foreign_arms\.py, line \d+\)"
    ):
        replay(SHOP, [Foreign(spoils), *OURS], CONFIG)


def test_an_arm_that_keeps_its_scores_finds_them_as_it_left_them() -> None:
    keeps = Keeps()
    figures = [replay(SHOP, [arm, *OURS], CONFIG).cuts for arm in (keeps, Foreign())]
    assert figures[0].equals(figures[1])
    assert (keeps.kept == np.arange(N_ITEMS)).all()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise", "arm foreign: KeyError: 'boom' .*line"),
        ("shape", "arm foreign: .*must be"),
        ("nan", "arm foreign: .*NaN"),
    ],
)
def test_an_arm_that_fails_is_named(how: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        replay(SHOP, [*OURS, Raises(how)], CONFIG)
    if how != "nan":
        with pytest.raises(ModelError, match=said):
            inspect_replay(SHOP, [Raises(how)], CONFIG)


def test_an_arm_that_cannot_reach_another_process_is_said_so() -> None:
    arm = Foreign()
    arm.why = lambda: None  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match=r"jobs: an arm does not pickle .*lambda"):
        replay(SHOP, [arm], CONFIG, jobs=2)
