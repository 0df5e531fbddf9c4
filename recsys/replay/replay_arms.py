"""Arms of a replay: who answers between two publications. An arm is any object with a name and `publish`.

What an arm gets is the public state of the moment; what its recommender gets are histories without names, each cut
off before the moment it is asked for.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from data.errors import ModelError, OwnshelfError
from data.interactions import Interactions
from recsys.evaluation.arm_names import ReplayArm
from recsys.evaluation.arms import PooledLog, arm
from recsys.mix.mix_tables import ItemAttributes, build_tables
from recsys.mix.model import MixModel
from recsys.model.items import ItemTable
from recsys.model.profile_config import ProfileConfig

_Any = TypeVar("_Any", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Publication:
    """The state at the publication of a bundle.

    number: of the bundle, counted over all days of the log. now: the moment (µs); every event an arm may learn from is
    earlier. table: as the trainer has it, with the trend; None in a replay without a trainer. trend: (n_items,) float32
    in [0, 1]. counts, recent: (n_items,) float64, all events of each item and the time-decayed ones. candidates:
    (n_items,) bool, items seen before now: what can be listed. known: the whole log as a shop knew it at `now`, made
    when it is asked for. Arrays are read-only: all arms are handed the same ones.
    """

    number: int
    now: int
    table: ItemTable | None
    trend: npt.NDArray[np.float32]
    counts: npt.NDArray[np.float64]
    recent: npt.NDArray[np.float64]
    candidates: npt.NDArray[np.bool_]
    known: Callable[[], Interactions]

    def __post_init__(self) -> None:
        for name in ("trend", "counts", "recent", "candidates"):
            object.__setattr__(self, name, read_only(getattr(self, name)))


class TimedRecommender(Protocol):
    """A recommender between two publications; recsys.evaluation.evaluation.Recommender with a moment for each user."""

    def scores(
        self, histories: Interactions, users: npt.NDArray[np.int64], now: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Score all items for some users at `now`, (len(users), n_items) float32.

        Higher is better, −inf never lists an item, equal scores rank by item_idx.

        histories: what each device did before its moment now[u] (µs), from which it may forget nothing or all.
        A row of nan means no answer.
        """
        ...


@runtime_checkable
class Arm(Protocol):
    """Anything that answers anew after each publication. Must pickle where a replay runs in several processes."""

    @property
    def name(self) -> str:
        """The arm's name in tables."""
        ...

    def publish(self, at: Publication) -> TimedRecommender:
        """Return the recommender that answers until the next publication."""
        ...


@dataclass(frozen=True, eq=False)
class NamedArm:
    """An arm of recsys.evaluation.arms, made anew of what each publication knows.

    arm: its name there; name: in tables, the same by default. config: how to serve. embeddings: (n_items, dim) of the
    table that nobody trains, for `local`. fit: known log, now (µs) → table, for `central`; its trend is replaced by
    that of the moment. mix: for `personalized`, with the tables of each publication; its weights stand still, for they
    were learned from what came before the replay. attributes: of the items, for those tables.
    """

    arm: ReplayArm
    config: ProfileConfig = field(default_factory=ProfileConfig)
    name: str = ""
    embeddings: npt.NDArray[np.float32] | None = None
    fit: Callable[[Interactions, int], ItemTable] | None = None
    mix: MixModel | None = None
    attributes: ItemAttributes | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.arm)

    def publish(self, at: Publication) -> TimedRecommender:
        """Make the arm of the new table, counts and log. Raises ModelError without a trainer where it needs one."""
        mix = self.mix
        if mix is not None:
            mix = replace(mix, tables=build_tables(at.known(), at.now, self.attributes))
        pooled = PooledLog(at.known, at.now, at.counts)
        return arm(self.arm, self._table(at), self.config, mix=mix, pooled=pooled, label=self.name)

    def _table(self, at: Publication) -> ItemTable:
        """Return the table of the arm; one without taste for lists of counts, and with nothing to learn from yet."""
        trend_alone = ItemTable(np.zeros((len(at.trend), 1), dtype=np.float32), at.trend, np.zeros(1, dtype=np.float32))
        if self.arm in ("global", "popularity"):
            return trend_alone
        if self.arm == "local" and self.embeddings is not None:
            return ItemTable(self.embeddings, at.trend, np.zeros(self.embeddings.shape[1], dtype=np.float32))
        if self.arm == "central" and self.fit is not None:
            known = at.known()
            return replace(self.fit(known, at.now), trend=at.trend) if known.n_events else trend_alone
        if self.arm in ("local", "central") or at.table is None:
            raise ModelError(f"arm={self.name}: needs a trainer; local needs embeddings, central a fit")
        return at.table


def answers_of(arm: Arm | TimedRecommender, at: Publication) -> TimedRecommender:
    """Publish an arm: return what it answers with from a publication on.

    An object with `scores` alone answers always.
    """
    if not isinstance(arm, Arm):
        return arm
    with blame_arm(arm):
        return arm.publish(at)


def scores_of(
    who: TimedRecommender, histories: Interactions, now: npt.NDArray[np.int64], n_items: int
) -> npt.NDArray[np.float32]:
    """Score all items for all of some histories, (len(now), n_items) float32.

    The array may be one that `who` keeps.

    Raises ModelError for another shape, and with its name for whatever it raises.
    """
    with blame_arm(who):
        scores = np.asarray(who.scores(histories, np.arange(len(now)), read_only(now)), dtype=np.float32)
        if scores.shape != (len(now), n_items):
            raise ModelError(f"scores of shape {scores.shape}, must be {(len(now), n_items)}")
    return scores


@contextmanager
def blame_arm(arm: object) -> Iterator[None]:
    """Raise whatever an arm raises as a ModelError that says which arm, and where in its source.

    The cause stays attached.
    """
    try:
        yield
    except OwnshelfError as error:
        raise ModelError(f"arm {_name(arm)}: {error}") from error
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error}"
        raise ModelError(f"arm {_name(arm)}: {what} ({frame.filename}, line {frame.lineno})") from error


def read_only(array: npt.NDArray[_Any]) -> npt.NDArray[_Any]:
    """View an array so that nobody can write into it."""
    view = array.view()
    view.flags.writeable = False
    return view


def _name(arm: object) -> str:
    return str(getattr(arm, "name", type(arm).__name__))
