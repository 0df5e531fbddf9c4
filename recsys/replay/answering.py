"""Answering one task of a replay, some devices between two publications: where each arm has the right items.

A task holds all it needs and is a pure function of it, so that it gives the same in any process. The arms are handed
prefixes of histories and nothing else; what would be right is compared with their answers afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions
from recsys.evaluation.metrics import METRICS, novelty
from recsys.replay.prefixes import Index, histories_before
from recsys.replay.questions import RelevantItems
from recsys.replay.ranks import UNLISTED, positions
from recsys.replay.replay_arms import TimedRecommender, blame_arm, scores_of
from recsys.search.ranking import best, sort_keys

Floats = npt.NDArray[np.float64]

CELLS_AT_ONCE = 2_000_000
"""Scores held at a time: 8 MB, near a processor's cache."""
EVENTS_AT_ONCE = 500_000
"""Rows of histories handed to an arm at a time."""
_NEGATIVES = 13
"""Purpose of a draw."""
_FAR = np.iinfo(np.int32).max

LIST_FIGURES = ("novelty", "diversity", "churn")
"""Of one list: mean self-information of its items in bits; 1 − mean cosine of two of its items in the shared table;
share of it that the bundle before would not have listed, for the same device at the same moment."""


@dataclass(frozen=True, eq=False)
class ListMeasurement:
    """The measurements of lists. moments: (n,) which of the task's moments; the first per device and bundle.

    information: (n_items,) bits; embeddings: (n_items, dim) rows of length 1 or 0, or None without a shared table.
    before: who answered under the bundle before, arm by arm; empty at the first.
    """

    moments: Index
    information: Floats
    embeddings: npt.NDArray[np.float32] | None
    before: tuple[TimedRecommender, ...]


@dataclass(frozen=True, eq=False)
class CategoryShare:
    """The share of a list in one category, for the adaptation curve: of moments[i], in category[i].

    item_category: (n_items,) int32, −1 for none.
    """

    moments: Index
    category: npt.NDArray[np.int32]
    item_category: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Task:
    """number: of the bundle, part: of its tasks. arms: who answers. log: the devices' rows up to the end of the period.

    user, end, time: (m,) of each moment: device (of this log), row before which its history ends, µs; candidates:
    (n_items,) bool; wanted: target → questions over these moments.
    """

    number: int
    part: int
    arms: tuple[TimedRecommender, ...]
    log: Interactions
    user: Index
    end: Index
    time: Index
    candidates: npt.NDArray[np.bool_]
    wanted: dict[str, RelevantItems]
    k: int
    negatives: int | None
    seed: int
    look: ListMeasurement | None
    share: CategoryShare | None


@dataclass(frozen=True, eq=False)
class Answer:
    """Arrays by name, the last axis the arms where there is one.

    For each target, row: (q,) int64 of the log; past: (q,) int32, events the device had behind it; rank: (q, arms)
    int32, how many items stand before the first right one, UNLISTED where none is listed; relevant: (q,) int32, right
    items that can be listed; for targets of several items also gain and recall, (q, arms) float64: ndcg@k and recall@k.
    list.FIGURE: (lists, arms) float64; exposure: (n_items, arms) int64; share: (n, arms) float64.
    """

    arrays: dict[str, npt.NDArray[np.generic]]


def answer(task: Task) -> Answer:
    """Answer every question of a task."""
    n_items, n_arms = task.log.n_items, len(task.arms)
    pair, keys = _pairs(task)
    row, item = keys // n_items, (keys % n_items).astype(np.int32)
    rank = np.full((len(keys), n_arms), UNLISTED, dtype=np.int32)
    past = np.zeros(len(task.user), dtype=np.int32)
    out = _Lists(task)
    for block in _blocks(task):
        histories = histories_before(task.log, task.user[block], task.end[block], task.time[block])
        past[block] = histories.counts
        inside = slice(*np.searchsorted(row, (block.start, block.stop)).tolist())
        for arm, who in enumerate(task.arms):
            scores = masked_scores(who, histories, task.time[block], task.candidates)
            with blame_arm(who):
                rank[inside, arm] = positions(scores, row[inside] - block.start, item[inside])
            out.add(block, arm, scores)
        for arm, who in enumerate(task.look.before if task.look else ()):
            out.compare(block, arm, who, histories)
    listed = task.candidates[item]
    answers: dict[str, npt.NDArray[np.generic]] = {}
    for target, questions in task.wanted.items():
        answers |= _of_target(task, target, questions, past, rank[pair[target]], listed[pair[target]])
    return Answer(answers | out.arrays())


def masked_scores(
    who: TimedRecommender, histories: Interactions, now: Index, candidates: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Score candidates with one arm, (len(now), n_items) float32.

    −inf marks items that are not candidates, a row of nan that the arm gave no answer.

    One row repeated stays one row. The arm's own array is left as it is. Raises ModelError as scores_of does.
    """
    scores = scores_of(who, histories, now, len(candidates))
    if len(scores) == 0:
        return scores
    if scores.strides[0] == 0:
        shared = np.where(candidates | np.isnan(scores[0]).all(), scores[0], np.float32(-np.inf))
        return np.broadcast_to(shared, scores.shape)
    barred = np.flatnonzero(~candidates)
    if len(barred):
        silent = np.isnan(scores[:, :1])
        scores = scores.copy()
        scores[:, barred] = np.where(silent, np.float32(np.nan), np.float32(-np.inf))
    return scores


def _pairs(task: Task) -> tuple[dict[str, Index], Index]:
    """List the distinct (moment, item) pairs of all targets as moment · n_items + item, ascending.

    Beside them, each target's places there.
    """
    keys = {
        target: np.repeat(questions.asked, np.diff(questions.offsets)) * task.log.n_items + questions.items
        for target, questions in task.wanted.items()
    }
    every, place = np.unique(np.concatenate([*keys.values()]), return_inverse=True)
    ends = np.cumsum([len(pair_keys) for pair_keys in keys.values()])
    return dict(zip(keys, np.split(place, ends[:-1]), strict=True)), every


def _blocks(task: Task) -> Iterator[slice]:
    """Yield slices of moments, small enough that neither scores nor histories get large."""
    most = max(1, CELLS_AT_ONCE // task.log.n_items)
    grown = np.cumsum(task.end - task.log.offsets[task.user])
    start = 0
    while start < len(task.user):
        before = grown[start - 1] if start else 0
        stop = int(np.searchsorted(grown, before + EVENTS_AT_ONCE, side="right"))
        stop = min(max(stop, start + 1), start + most, len(task.user))
        yield slice(start, stop)
        start = stop


def _of_target(
    task: Task,
    target: str,
    questions: RelevantItems,
    past: npt.NDArray[np.int32],
    rank: npt.NDArray[np.int32],
    listed: npt.NDArray[np.bool_],
) -> dict[str, npt.NDArray[np.generic]]:
    """Compute positions and figures of one target's questions from the positions (pairs, arms) of their items."""
    n = len(questions.asked)
    question = np.repeat(np.arange(n), np.diff(questions.offsets))[listed]
    rank = rank[listed]
    relevant = np.bincount(question, minlength=n)
    if task.negatives is not None:
        rank = _among(rank, int(task.candidates.sum()), task.negatives, [task.seed, _NEGATIVES, task.number, task.part])
    far = np.where(rank == UNLISTED, _FAR, rank)
    first = np.full((n, rank.shape[1]), _FAR, dtype=np.int32)
    if len(question):
        begins = np.flatnonzero(np.diff(question, prepend=-1))
        first[question[begins]] = np.minimum.reduceat(far, begins, axis=0)
    arrays: dict[str, npt.NDArray[np.generic]] = {
        f"row.{target}": questions.row,
        f"past.{target}": past[questions.asked],
        f"rank.{target}": np.where(first == _FAR, UNLISTED, first).astype(np.int32),
        f"relevant.{target}": relevant.astype(np.int32),
    }
    if target == "next_item":
        return arrays
    gain, recall = np.full(first.shape, np.nan), np.full(first.shape, np.nan)
    for arm in range(rank.shape[1]):
        hits = np.zeros((n, task.k), dtype=np.bool_)
        near = (rank[:, arm] != UNLISTED) & (rank[:, arm] < task.k)
        hits[question[near], rank[near, arm]] = True
        gain[:, arm] = METRICS["ndcg"](hits, relevant, task.k)
        recall[:, arm] = METRICS["recall"](hits, relevant, task.k)
    return arrays | {f"gain.{target}": gain, f"recall.{target}": recall}


def _among(
    rank: npt.NDArray[np.int32], candidates: int, negatives: int, stream: Sequence[int]
) -> npt.NDArray[np.int32]:
    """Draw an item's position among `negatives` other candidates.

    It is how many of those that stand before it are drawn.
    """
    rng = np.random.default_rng(stream)
    drawn = max(min(negatives, candidates - 1), 0)
    before = np.where(rank == UNLISTED, 0, rank).astype(np.int64)
    fewer = rng.hypergeometric(before, np.maximum(candidates - 1 - before, 0), drawn)
    return np.where(rank == UNLISTED, UNLISTED, fewer).astype(np.int32)


class _Lists:
    """Figures of the lists themselves, filled block by block."""

    def __init__(self, task: Task) -> None:
        self._task = task
        shape = (0 if task.look is None else len(task.look.moments), len(task.arms))
        self._figures = {name: np.full(shape, np.nan) for name in LIST_FIGURES}
        self._exposure = np.zeros((task.log.n_items, len(task.arms)), dtype=np.int64)
        self._shown: dict[int, npt.NDArray[np.int32]] = {}
        self._share = np.full((0 if task.share is None else len(task.share.moments), len(task.arms)), np.nan)

    def add(self, block: slice, arm: int, scores: npt.NDArray[np.float32]) -> None:
        """Measure one arm's lists of one block."""
        look, share = self._task.look, self._task.share
        if look is not None:
            inside, moments = _inside(look.moments, block)
            lists = self._shown[arm] = top_lists(scores, moments, self._task.k)
            self._exposure[:, arm] += np.bincount(lists[lists >= 0], minlength=len(self._exposure))
            self._figures["novelty"][inside, arm] = novelty(lists, look.information)
            if look.embeddings is not None:
                self._figures["diversity"][inside, arm] = diversity(lists, look.embeddings)
        if share is not None:
            inside, moments = _inside(share.moments, block)
            lists = top_lists(scores, moments, self._task.k)
            same = (share.item_category[lists] == share.category[inside, None]) & (lists >= 0)
            self._share[inside, arm] = _per_list(same.sum(axis=1), lists)

    def compare(self, block: slice, arm: int, before: TimedRecommender, histories: Interactions) -> None:
        """Measure how much of one arm's lists the bundle before would not have shown."""
        assert self._task.look is not None
        inside, moments = _inside(self._task.look.moments, block)
        if len(moments) == 0:
            return
        block_histories = histories.users(moments)
        now = self._task.time[block][moments]
        scores = masked_scores(before, block_histories, now, self._task.candidates)
        older = top_lists(scores, np.arange(len(moments)), self._task.k)
        lists = self._shown[arm]
        still_listed = ((lists[:, :, None] == older[:, None, :]) & (lists >= 0)[:, :, None]).any(axis=2).sum(axis=1)
        self._figures["churn"][inside, arm] = 1.0 - _per_list(still_listed, lists)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the measured figures by name."""
        arrays: dict[str, npt.NDArray[np.generic]] = {}
        if self._task.look is not None:
            arrays |= {f"list.{name}": values for name, values in self._figures.items()} | {"exposure": self._exposure}
        return arrays | ({} if self._task.share is None else {"share": self._share})


def _inside(moments: Index, block: slice) -> tuple[slice, Index]:
    """Find which of ascending moments are in a block, and where they stand in it."""
    inside = slice(*np.searchsorted(moments, (block.start, block.stop)).tolist())
    return inside, moments[inside] - block.start


def top_lists(scores: npt.NDArray[np.float32], rows: Index, k: int) -> npt.NDArray[np.int32]:
    """Pick the top k of some rows of scores, (len(rows), k) int32.

    −1 stands where a list ends early or there is no answer.
    """
    if len(rows) == 0:
        return np.full((0, k), -1, dtype=np.int32)
    if scores.strides[0] == 0:
        return np.repeat(top_lists(np.array(scores[:1]), np.zeros(1, dtype=np.int64), k), len(rows), axis=0)
    row_scores = scores[rows]
    silent = np.isnan(row_scores[:, 0])
    ranked = best(sort_keys(np.where(silent[:, None], np.float32(-np.inf), row_scores)), k)
    lists = np.full((len(rows), k), -1, dtype=np.int32)
    lists[:, : ranked.shape[1]] = ranked
    return lists


def diversity(lists: npt.NDArray[np.int32], embeddings: npt.NDArray[np.float32]) -> Floats:
    """Compute 1 − mean cosine of two items of each list (Ziegler et al. 2005), (batch,).

    A list of fewer than two is nan.

    embeddings: (n_items, dim) rows of length 1; a zero row has cosine 0 with all.
    """
    listed = lists >= 0
    rows = np.where(listed[:, :, None], embeddings[lists], np.float32(0)).astype(np.float64)
    total = np.square(rows.sum(axis=1)).sum(axis=1) - np.square(rows).sum(axis=(1, 2))
    n = listed.sum(axis=1)
    pairs = n * (n - 1)
    return np.where(pairs > 0, 1.0 - total / np.maximum(pairs, 1), np.nan)


def _per_list(counts: npt.NDArray[np.int64], lists: npt.NDArray[np.int32]) -> Floats:
    length = (lists >= 0).sum(axis=1)
    return np.where(length > 0, counts / np.maximum(length, 1), np.nan)
