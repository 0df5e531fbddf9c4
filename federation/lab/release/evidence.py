"""What is known of two releases on a log: the lists they serve after both were trained, groups, ε, and their age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data.dataset import Dataset
from data.errors import DataError, ModelError
from data.interactions import Interactions
from data.split import iso
from federation.lab.defaults import protocol_of
from federation.lab.questions import Question, question
from federation.learning.privacy_plan import epsilon_of_noise
from recsys.catalogue.bundle import Bundle
from recsys.evaluation.arms import arm
from recsys.evaluation.recommender import Recommender
from recsys.evaluation.targets import Targets, collect_targets
from recsys.fairness.gate import GatePolicy, GateResult, ReleaseEvidence, SpentPrivacy, judge_release
from recsys.fairness.groups import Grouping, by_activity, by_niche_taste, declared, tail_items
from recsys.fairness.served_lists import ServedLists, serve_lists


@dataclass(frozen=True, eq=False)
class _OfKnownItems:
    """A bundle's arm on the axis of a catalogue that has grown since: what came later is never listed."""

    arm: Recommender
    n_known: int

    @property
    def name(self) -> str:
        return self.arm.name

    def scores(self, histories: Interactions, users: npt.NDArray[np.int64], now: int) -> npt.NDArray[np.float32]:
        known = replace(histories.where(histories.item_idx < self.n_known), n_items=self.n_known)
        scores = np.full((len(users), histories.n_items), -np.inf, dtype=np.float32)
        scores[:, : self.n_known] = self.arm.scores(known, users, now)
        return scores


@dataclass(frozen=True, eq=False)
class Audience:
    """Whom releases are compared over: a question, its targets, and the groups of its shoppers.

    tail: (n_items,) bool, the long tail of what was known.
    """

    question: Question
    targets: Targets
    groupings: tuple[Grouping, ...]
    tail: npt.NDArray[np.bool_]
    log_end: int
    k: int

    def arm_of(self, bundle: Bundle) -> Recommender:
        """Make what lists a bundle as it is shipped: by its own trend, mix and settings."""
        return _OfKnownItems(arm("personalized", bundle.table, bundle.config, mix=bundle.mix), bundle.table.n_items)

    def lists_of(self, bundle: Bundle) -> ServedLists:
        """Serve every shopper the list of a bundle."""
        asked, n_items = self.question, self.question.split.train.n_items
        return serve_lists(self.arm_of(bundle), self.targets, asked.histories, asked.now, self.k, n_items)

    def evidence_of(self, bundle: Bundle, lists: ServedLists | None = None) -> ReleaseEvidence:
        """Collect what the gate judges a bundle by. lists: of it, where they are served already."""
        lists = self.lists_of(bundle) if lists is None else lists
        share = lists.share_of(self.tail)
        return ReleaseEvidence(bundle.version, lists.ndcg, share, learned_until(bundle), spent_privacy(bundle))

    def about(self) -> dict[str, Any]:
        """Describe the question in JSON values."""
        split = self.question.split
        return {
            "split": split.name,
            "cut": None if split.at is None else iso(split.at),
            "k": self.k,
            "users": len(self.targets.users),
            "tail_items": int((self.tail & self.targets.candidates).sum()),
            "candidates": int(self.targets.candidates.sum()),
        }


def gather_audience(
    dataset: Dataset,
    bundles: Sequence[Bundle],
    *,
    attributes: pl.DataFrame | None = None,
    protocol: str = "auto",
    k: int = 20,
    at: int | None = None,
) -> Audience:
    """Gather the shoppers who did something after every bundle was trained.

    attributes: a users file, see recsys.fairness.groups.declared. at: the moment of the split (µs), by default the
    latest that a bundle learned until. Raises DataError when the log ends before it, ModelError for bundles of another
    log or one that has learned from what comes after `at`.
    """
    log = on_shared_items(dataset, bundles)
    known = [until for bundle in bundles if (until := learned_until(bundle)) is not None]
    if at is None:
        at = max(known, default=None)
    elif late := [until for until in known if until > at]:
        raise ModelError(f"at={iso(at)}: a bundle has learned from events until {iso(max(late))}")
    if at is not None and log.n_events and at > int(log.time.max()):
        raise DataError(
            f"{dataset.name}: its last event is of {iso(int(log.time.max()))}, the bundles learned until {iso(at)}; "
            "nothing is left to judge them on: give a log that goes on after that"
        )
    kind = protocol_of(protocol, log)
    asked = question(log, kind, None if kind == "leave-last-out" else at)
    targets = collect_targets(asked.split, asked.histories)
    tail = tail_items(np.bincount(asked.split.train.item_idx, minlength=log.n_items))
    groupings = [
        by_activity(asked.histories, targets.users),
        by_niche_taste(asked.histories, targets.users, tail),
    ]
    if attributes is not None:
        groupings += [grouping.of(targets.users) for grouping in declared(attributes, dataset.users)]
    end = int(log.time.max()) if log.n_events else 0
    return Audience(asked, targets, tuple(groupings), tail, end, k)


def on_shared_items(dataset: Dataset, bundles: Sequence[Bundle]) -> Interactions:
    """Put the log on the items of the bundle that has most. Events of items that no bundle has are left out."""
    for bundle in bundles:
        n = bundle.table.n_items
        if list(dataset.catalogue["item_id"][:n]) != list(bundle.catalogue["item_id"]):
            raise ModelError(
                f"bundle {bundle.version}: its items are not the first {n} of {dataset.name}; another log's bundle"
            )
    log, n = dataset.interactions(), max(bundle.table.n_items for bundle in bundles)
    return replace(log.where(log.item_idx < n), n_items=n)


def judge_bundles(new: Bundle, old: Bundle, audience: Audience, policy: GatePolicy, *, seed: int = 0) -> GateResult:
    """Judge a bundle against another over the same audience."""
    return judge_release(
        audience.evidence_of(new),
        audience.evidence_of(old),
        audience.groupings,
        policy,
        log_end=audience.log_end,
        about=audience.about(),
        seed=seed,
    )


def learned_until(bundle: Bundle) -> int | None:
    """Read until when a bundle may have learned, µs since 1970 UTC; None where its manifest does not say."""
    until = bundle.manifest["training"].get("until")
    return until if isinstance(until, int) and not isinstance(until, bool) else None


def spent_privacy(bundle: Bundle) -> SpentPrivacy | None:
    """Compute what a device spent on a bundle, from the noise and the participations that its manifest states.

    None for a bundle without noise. A live round's own statement is newer than that of the bundle it started from.
    Raises ModelError for a statement that lacks them.
    """
    training = bundle.manifest["training"]
    statement = training.get("round", {}).get("privacy") or training.get("privacy")
    if statement is None or not statement.get("private"):
        return None
    try:
        noise, delta = float(statement["noise_multiplier"]), float(statement["delta"])
        participations, cap = int(statement["participations"]), int(statement["max_participations"])
        stated = statement["epsilon"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"bundle {bundle.version}: its privacy statement lacks {error}") from None
    spent, promised = (epsilon_of_noise(noise, times, delta) for times in (participations, cap))
    return SpentPrivacy(_bounded(spent), stated, _bounded(promised), participations, cap)


def _bounded(epsilon: float) -> float | None:
    return epsilon if np.isfinite(epsilon) else None
