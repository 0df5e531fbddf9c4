"""How far lying devices get one unpopular item into everybody's list, with the item step's defences and without.

Online Retail, purchases before 2011-11-09, 100 rounds of 200 devices of which a share lies in every round from the
first. Exposure is the share of honest shoppers without the target who see it among their first 10 new items (own items
taken out: their repeat counter would leave an attacker less room); peak: its largest value over the rounds. No noise:
it hides small attackers, so this is the worse case for the defence.

Verified: each report proves its bounds (federation/private_sum/verified/), and one whose proof fails is left out. Every
LOOK_EVERY rounds the lying report is proved as a cheat proves it best and checked by both parties; in the rounds
between, exact norms decide, which is what the proof is about.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from data.dataset import Dataset
from data.interactions import Interactions
from data.split import parse_time
from federation.lab.questions import Question, question
from federation.lab.recipes import Recipe, recipe
from federation.learning.item_step import GUARDED, RoundSums, StepConfig, StepState, item_step
from federation.learning.plausibility import plausible
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.learning.training_sum import round_sums, training_plan
from federation.private_sum.plan import SumPlan
from federation.private_sum.report_share import proof_plan
from federation.simulation.taste_sums import sum_updates
from recsys.evaluation.arms import Personalized
from recsys.evaluation.evaluation import evaluate
from recsys.model.histories import Histories, merge_histories
from recsys.model.items import ItemTable
from recsys.model.log_profiles import closed_form
from recsys.model.trend import trend
from tests.benchmarks.attacks_poisoning import PUBLIC_SHARE, Attack, Attacker, Claim, approximate_shoppers, public_part
from tests.federation.private_sum.verified.a_cheat import cheat

CLIPS = Clips(rows=1.0, counts=4.0, second=0.5, first=0.5)
SHARES = (0.01, 0.05, 0.1, 0.2)
OBEYING: tuple[Attack, ...] = ("fedrec", "a-ra")
IGNORING: tuple[Attack, ...] = ("random words", "optimised words")
PROVED: tuple[Attack, ...] = (*IGNORING, "provable words")
LOOK_EVERY = 10


@dataclass(frozen=True, eq=False)
class Shop:
    """What does not change from attack to attack."""

    asked: Question
    recipe: Recipe
    histories: Histories
    public: Histories
    devices: npt.NDArray[np.int64]
    trend: npt.NDArray[np.float32]
    watched: npt.NDArray[np.int64]

    @property
    def log(self) -> Interactions:
        """What is known before the cut."""
        return self.asked.split.train

    def table(self, state: StepState) -> ItemTable:
        """The table that would be served."""
        return ItemTable(state.item_embeddings, self.trend, state.mean_profile)


def open_shop(log: Interactions, at: int, seed: int, named: str = "purchases", watched: int = 1_000) -> Shop:
    """A log cut at `at` (µs); `watched` shoppers are asked what they see."""
    asked, chosen = question(log, "temporal", at), recipe(named)
    train = asked.split.train
    rng = np.random.default_rng([seed, 20])
    histories = merge_histories(train, chosen.train.profile, asked.now)
    devices = np.flatnonzero(train.counts > 0)
    return Shop(
        asked=asked,
        recipe=chosen,
        histories=histories,
        public=public_part(histories, PUBLIC_SHARE, rng),
        devices=devices,
        trend=trend(train, asked.now),
        watched=np.sort(rng.permutation(devices)[:watched]),
    )


def unpopular(histories: Histories, n: int, seed: int) -> list[int]:
    """Items that 5 to 20 shoppers have."""
    owners = np.bincount(histories.item_idx, minlength=histories.n_items)
    rare = np.flatnonzero((owners >= 5) & (owners <= 20))
    return np.random.default_rng([seed, 21]).permutation(rare)[:n].tolist()


@dataclass(frozen=True)
class Outcome:
    """exposure: by k, at each look; discarded: rounds lost to implausible sums; hit, ndcg: @20 afterwards, by part.

    dropped: reports left out because their proof failed; proofs: those made and checked.
    """

    exposure: dict[int, list[float]]
    discarded: int
    dropped: int
    proofs: int
    hit: dict[str, float]
    ndcg: dict[str, float]

    def peak(self, k: int) -> float:
        """The largest exposure in the first k."""
        return max(self.exposure[k], default=0.0)


def play(
    shop: Shop,
    attacker: Attacker | None,
    share: float,
    step: StepConfig,
    *,
    discard: bool,
    seed: int,
    verified: bool = False,
    rounds: int = 100,
    cohort: int = 200,
    dim: int = 64,
) -> Outcome:
    """One training run. discard: implausible sums lose the round, as a coordinator with the check would.

    verified: reports prove their bounds, and those that do not are left out of the sum.
    """
    profile = shop.recipe.train.profile
    n_items = shop.log.n_items
    plan = round_plan(n_items, dim, min(50, cohort), verified=verified)
    rng = np.random.default_rng([seed, 22])
    state = StepState.start(n_items, dim, seed)
    liars = round(share * cohort) if attacker is not None else 0
    exposure: dict[int, list[float]] = {10: [], 20: []}
    discarded = dropped = proofs = 0
    for round_ in range(rounds):
        looks = (round_ + 1) % LOOK_EVERY == 0 or round_ + 1 == rounds
        counted = cohort
        V = state.item_embeddings
        honest = np.sort(rng.choice(shop.devices, cohort - liars, replace=False))
        sums = sum_updates(closed_form(shop.table(state), profile), shop.histories, honest, CLIPS)
        if attacker is not None and liars:
            shoppers = approximate_shoppers(attacker.attack, V, state.mean_profile, shop.public, profile, rng)
            lies = attacker.sums(V, shoppers, liars, plan=plan, reports=cohort, rng=rng)
            if verified:
                report = report_of(lies, plan, 1 if attacker.attack == "random words" else liars)
                accepted = within_bounds(report, plan)
                if looks:
                    proofs += 1
                    if cheat(proof_plan(plan), report, f"{attacker.target} {round_}") is not accepted:
                        raise AssertionError(f"round {round_}: a proof of a report that is within bounds: {accepted}")
                lies = as_sums(liars * report, plan, n_items, dim) if accepted else RoundSums.zeros(n_items, dim)
                counted, dropped = (cohort, dropped) if accepted else (cohort - liars, dropped + liars)
            sums = sums + lies
        if discard and not plausible(as_words(sums, plan), plan, counted):
            discarded += 1
            state = replace(state, steps=state.steps + 1)
        else:
            eta = step.step_at(round_, rounds)
            state = item_step(state, sums, step, alpha=profile.alpha, reg=profile.reg, step=eta)
        if attacker is not None and looks:
            places = target_places(shop, state, attacker.target)
            for k, values in exposure.items():
                values.append(float((places < k).mean()))
    return Outcome(exposure, discarded, dropped, proofs, *served(shop, state))


def round_plan(n_items: int, dim: int, min_reports: int, *, verified: bool) -> SumPlan:
    """The sums of a round; verified: in steps of which proofs can be made."""
    bounds = {"min_reports": min_reports, "max_reports": 10_000}
    if verified:
        return PrivacyPlan.off(CLIPS, max_participations=1, **bounds).sum_plan(n_items, dim, verified=True)
    return training_plan(n_items, dim, CLIPS, **bounds)


def report_of(lies: RoundSums, plan: SumPlan, devices: int) -> npt.NDArray[np.int64]:
    """(plan.length,) the integers of one lying report, of devices that all say the same."""
    return np.trunc(steps_of(lies, plan) / devices + 1e-9).astype(np.int64)


def within_bounds(report: npt.NDArray[np.int64], plan: SumPlan) -> bool:
    """Whether each part keeps its bound: what a proof is of."""
    parts = zip(plan.parts, plan.slices().values(), strict=True)
    return all(sum(x**2 for x in report[where].tolist()) <= part.bound_squared for part, where in parts)


def as_sums(words: npt.NDArray[np.int64], plan: SumPlan, n_items: int, dim: int) -> RoundSums:
    """Sums of one block, of integers that fit their 32 bits."""
    return round_sums(plan, {0: words.astype(np.int32)}, n_items=n_items, n_block=n_items, dim=dim)


def as_words(sums: RoundSums, plan: SumPlan) -> npt.NDArray[np.int32]:
    """The sums as the service sees them: 32-bit words that wrap around."""
    return (np.rint(steps_of(sums, plan)).astype(np.int64) % 2**32).astype(np.uint32).view(np.int32)


def steps_of(sums: RoundSums, plan: SumPlan) -> npt.NDArray[np.float64]:
    """(plan.length,) the sums in their parts' steps, not rounded."""
    parts = {
        "rows": sums.rows,
        "counts": sums.counts,
        "second": sums.second,
        "first": sums.first,
        "one": np.array([sums.one]),
        "metrics": sums.metrics,
    }
    return np.concatenate([parts[part.name].ravel() * part.scale for part in plan.parts])


def target_places(shop: Shop, state: StepState, target: int) -> npt.NDArray[np.int64]:
    """Place (0 is the top) of the target in the list of each watched shopper who does not have it."""
    log = shop.log
    owners = np.unique(log.user_idx[log.item_idx == target])
    asked = np.setdiff1d(shop.watched, owners)
    own = log.users(asked)
    scores = Personalized("served", shop.table(state), shop.recipe.serve).scores(log, asked, shop.asked.now)
    scores[own.user_idx, own.item_idx] = -np.inf
    places: npt.NDArray[np.int64] = (scores > scores[:, [target]]).sum(axis=1)
    return places


def served(shop: Shop, state: StepState) -> tuple[dict[str, float], dict[str, float]]:
    """hit@20 and ndcg@20 on what honest shoppers bought afterwards: all items, and items new to them."""
    arm = Personalized("served", shop.table(state), shop.recipe.serve)
    found = evaluate([arm], shop.asked.split, now=shop.asked.now, bootstrap=1)
    hit, ndcg = (
        {part: float(np.nanmean(found.column("served", metric, part))) for part in ("all", "new")}
        for metric in ("hit@20", "ndcg@20")
    )
    return hit, ndcg


def run(
    seed: int = 0,
    shares: tuple[float, ...] = SHARES,
    targets: int = 2,
    rounds: int = 100,
    cohort: int = 200,
    shop: Shop | None = None,
    dim: int = 32,
) -> dict[str, Any]:
    """All figures.

    peak_exposure: by share, the worst attack of those that obey the clips, means over targets. ignoring_clips: the
    worst that does not. hit_loss: share of hit@20 that the defences cost when nobody attacks, of all or of new items,
    whichever is more. peak_exposure_verified: the worst attack where every report proves its bounds;
    rounds_lost_verified: the most rounds that any of them cost. Every attack is in rows.
    """
    if shop is None:
        log = Dataset.open("sample:online-retail").interactions()
        shop = open_shop(log, parse_time("2011-11-09"), seed)
    steps = {"undefended": StepConfig(), "defended": GUARDED}
    chosen = unpopular(shop.histories, targets, seed)
    settings: dict[str, int] = {"rounds": rounds, "cohort": cohort, "dim": dim}
    quiet = {
        name: play(shop, None, 0.0, step, discard=name == "defended", seed=seed, **settings)
        for name, step in steps.items()
    }
    rows = []
    for share in shares:
        for attack in (*OBEYING, *PROVED):
            claims: tuple[Claim, ...] = ("owner",) if attack == "random words" else ("quiet", "owner", "rivals")
            for claim in claims:
                for name in defences_against(attack):
                    attackers = [Attacker(attack, target, CLIPS, shop.recipe.train.profile, claim) for target in chosen]
                    outcomes = [
                        play(
                            shop,
                            attacker,
                            share,
                            steps.get(name, GUARDED),
                            discard=name != "undefended",
                            verified=name == "verified",
                            seed=seed,
                            **settings,
                        )
                        for attacker in attackers
                    ]
                    rows.append(_row(attack, claim, share, name, outcomes))
    return summary(rows, quiet) | {"targets": len(chosen), "rounds": rounds, "cohort": cohort}


def defences_against(attack: Attack) -> tuple[str, ...]:
    """What an attack is played against: proofs only concern those who would ignore the clips."""
    if attack in OBEYING:
        return ("undefended", "defended")
    return ("undefended", "defended", "verified") if attack in IGNORING else ("verified",)


def _row(attack: Attack, claim: Claim, share: float, name: str, outcomes: list[Outcome]) -> dict[str, Any]:
    return {
        "attack": attack,
        "claim": claim,
        "share": share,
        "defence": name,
        "peak_10": float(np.mean([one.peak(10) for one in outcomes])),
        "peak_20": float(np.mean([one.peak(20) for one in outcomes])),
        "final_10": float(np.mean([one.exposure[10][-1] for one in outcomes])),
        "hit@20": float(np.mean([one.hit["all"] for one in outcomes])),
        "hit@20_new": float(np.mean([one.hit["new"] for one in outcomes])),
        "discarded": float(np.mean([one.discarded for one in outcomes])),
        "dropped": float(np.mean([one.dropped for one in outcomes])),
        "proofs": sum(one.proofs for one in outcomes),
    }


def summary(rows: list[dict[str, Any]], quiet: dict[str, Outcome]) -> dict[str, Any]:
    """The headline figures of all rows."""

    def worst(attacks: tuple[Attack, ...], key: str, best: Any) -> dict[str, dict[str, float]]:
        return {
            str(share): {
                name: best(
                    row[key]
                    for row in rows
                    if row["attack"] in attacks and row["share"] == share and row["defence"] == name
                )
                for name in ("defended", "undefended")
            }
            for share in sorted({row["share"] for row in rows})
        }

    verified = [row for row in rows if row["defence"] == "verified"]
    return {
        "peak_exposure": worst(OBEYING, "peak_10", max),
        "ignoring_clips": worst(IGNORING, "peak_10", max),
        "hit_loss": 1 - min(quiet["defended"].hit[part] / quiet["undefended"].hit[part] for part in ("all", "new")),
        "unattacked": {name: {"hit@20": one.hit, "ndcg@20": one.ndcg} for name, one in quiet.items()},
        "peak_exposure_verified": {
            share: max(row["peak_10"] for row in verified if str(row["share"]) == share)
            for share in sorted({str(row["share"]) for row in verified})
        },
        "rounds_lost_verified": max((row["discarded"] for row in verified), default=0),
        "proofs_checked": sum(row["proofs"] for row in verified),
        "hit_under_attack": worst((*OBEYING, *IGNORING), "hit@20_new", min),
        "rows": rows,
    }


def plot(figures: dict[str, Any], path: Path) -> None:
    """Peak exposure over the share of lying devices, for each attack, without and with defences."""
    figure = Figure(figsize=(10.4, 3.4), layout="constrained")
    colours = {"fedrec": "#1b6ca8", "a-ra": "#3aa17e", "random words": "#b0b7bf", "optimised words": "#d1495b"}
    colours["provable words"] = "#8d5a97"
    panels = figure.subplots(1, 3, sharey=True)
    shares = sorted({row["share"] for row in figures["rows"]})
    for axes, name in zip(panels, ("undefended", "defended", "verified"), strict=True):
        for attack, colour in colours.items():
            if name not in defences_against(attack):  # type: ignore[arg-type]
                continue
            peaks = [
                max(
                    row["peak_10"]
                    for row in figures["rows"]
                    if (row["attack"], row["share"], row["defence"]) == (attack, share, name)
                )
                for share in shares
            ]
            style = "o-" if attack in OBEYING else "o--"
            axes.plot([f"{share:.0%}" for share in shares], peaks, style, color=colour, label=attack, ms=4)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("devices that lie (dashed: ignoring every clip)", fontsize=8)
        axes.set_ylim(-0.03, 1.03)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("shoppers who see the target\nin their first 10, at worst", fontsize=8)
    for axes in (panels[0], panels[2]):
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
