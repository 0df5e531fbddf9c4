"""What can leak: an attacker with all of the service's side, the same attacker without private sums, and the strongest.

On Online Retail, at min_reports and at the default cohort, with the noise of the default plan and with none. The three
attacks are in attacks_leak.py, the strongest attacker, who knows every other report, in attacks_known.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from data.dataset import Dataset
from federation.lab.recipes import recipe
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from recsys.model.histories import Histories, merge_histories
from tests.benchmarks.attacks_known import audit
from tests.benchmarks.attacks_leak import (
    Pairs,
    View,
    auc,
    best_mix,
    cosines,
    guessed_profiles,
    item_features,
    learn,
    matched_devices,
    matched_pairs,
    mixed,
    noise_of,
    one_by_one,
    scored,
    took_part,
    watch,
)

CONFIG = recipe("purchases").train.profile
CLIPS = Clips(rows=1.0, counts=4.0, second=0.5, first=0.5)
MIN_REPORTS, COHORT, PARTICIPATIONS, DIM = 50, 200, 6, 32
EPSILON, DELTA = 8.0, 1e-6


def privacy_plan(epsilon: float = EPSILON, participations: int = PARTICIPATIONS) -> PrivacyPlan:
    """The plan under attack: ε of an installation's whole life."""
    return PrivacyPlan.calibrated(epsilon, DELTA, participations, CLIPS, min_reports=MIN_REPORTS, max_reports=10_000)


def run(seed: int = 0, members: int = 1_200, per_device: int = 3, trials: int = 2_000) -> dict[str, Any]:
    """All figures. members: devices that take part; per_device: items asked about for each; trials: of the audit.

    service_view_auc (two-sided), service_view_cos and mean_cos: the worst over both cohorts, with the plan's noise.
    without_noise: the same with sums alone. known_history_auc: was a device whose whole history is known among the
    members at all.
    """
    log = Dataset.open("sample:online-retail").interactions()
    histories = merge_histories(log, CONFIG, int(log.time.max()) + 1)
    active = np.random.default_rng([seed, 10]).permutation(np.flatnonzero(histories.counts >= 3))
    inside, outside = np.sort(active[:members]), np.sort(active[members:])
    plan = privacy_plan()
    cases = []
    for reports in (MIN_REPORTS, COHORT):
        for noisy in (True, False):
            view = watch(
                histories,
                CONFIG,
                inside,
                reports=reports,
                participations=PARTICIPATIONS,
                clips=CLIPS,
                plan=plan.sum_plan(histories.n_items, DIM) if noisy else None,
                dim=DIM,
                seed=seed,
            )
            reported = np.unique(np.concatenate(view.cohorts))
            pairs = matched_pairs(histories, reported, per_device, seed)
            found = attacked(view, histories, pairs, seed)
            noise = noise_of(plan.sum_plan(histories.n_items, DIM), histories.n_items, DIM) if noisy else None
            member, other = matched_devices(histories, reported, outside)
            both = np.concatenate([member, other])
            ratios = took_part(view, histories, CONFIG, both, CLIPS, noise)
            cases.append(
                {"reports": reports, "noise": noisy}
                | found
                | {"known_history_auc": auc(ratios, np.arange(len(both)) < len(member)), "matched": len(member)}
            )
            table = view.tables[-1]
    plain = one_by_one(histories, CONFIG, reported, table, CLIPS)
    clear = attacked(plain, histories, pairs, seed)
    return summary(cases, clear, audit(plan, trials, seed)) | {
        "epsilon": plan.epsilon,
        "delta": DELTA,
        "noise_multiplier": plan.noise_multiplier,
        "participations": PARTICIPATIONS,
        "members": len(reported),
    }


def attacked(view: View, histories: Histories, pairs: Pairs, seed: int) -> dict[str, Any]:
    """Item and profile attack, learned on half of the devices and judged on the others."""
    devices = np.random.default_rng([seed, 13]).permutation(np.unique(pairs.device))
    shadow, victims = np.sort(devices[: len(devices) // 2]), np.sort(devices[len(devices) // 2 :])
    known, asked = pairs.of(shadow), pairs.of(victims)
    weights = learn(item_features(view, known), known.truth)
    figures: dict[str, Any] = {
        "item_auc": auc(scored(weights, item_features(view, asked)), asked.truth),
        "item_members": int(asked.truth.sum()),
        "item_non_members": int((~asked.truth).sum()),
    }
    few = slice(None, None, max(len(shadow) // 200, 1))
    learned = guessed_profiles(view, histories, CONFIG, shadow[few], weights)
    judged = guessed_profiles(view, histories, CONFIG, victims[few], weights)
    figures["mean_cos"] = float(cosines(judged[0], judged[1]).mean())
    for name, which in (("moment_cos", 2), ("items_cos", 3)):
        share = best_mix(learned[0], learned[1], learned[which])
        figures[name] = float(cosines(judged[0], mixed(judged[1], judged[which], share)).mean())
        figures[name.replace("cos", "share")] = share
    figures["raw_moment_cos"] = float(cosines(judged[0], judged[2] + judged[1]).mean())
    return figures


def summary(cases: list[dict[str, Any]], clear: dict[str, Any], strongest: dict[str, Any]) -> dict[str, Any]:
    """The headline figures, and everything behind them."""
    noisy = [case for case in cases if case["noise"]]
    bare = [case for case in cases if not case["noise"]]
    worst, worst_bare = (max(some, key=lambda case: guess_of(case) - case["mean_cos"]) for some in (noisy, bare))
    return {
        "service_view_auc": two_sided(noisy),
        "service_view_cos": guess_of(worst),
        "mean_cos": worst["mean_cos"],
        "plain_update_auc": clear["item_auc"],
        "plain_update_cos": max(clear["raw_moment_cos"], clear["moment_cos"], clear["items_cos"]),
        "without_noise": {
            "service_view_auc": two_sided(bare),
            "service_view_cos": guess_of(worst_bare),
            "mean_cos": worst_bare["mean_cos"],
        },
        "known_history_auc": max(case["known_history_auc"] for case in noisy),
        "strongest": strongest,
        "cases": cases,
        "plain": clear,
    }


def guess_of(case: dict[str, Any]) -> float:
    """|cos| of the better profile guess."""
    return max(float(case["moment_cos"]), float(case["items_cos"]))


def two_sided(cases: list[dict[str, Any]]) -> float:
    """The AUC farthest from .5, mirrored above it: an attack that is always wrong is as good as one always right."""
    return max(0.5 + abs(case["item_auc"] - 0.5) for case in cases)


def plot(figures: dict[str, Any], path: Path) -> None:
    """AUC of every attacker in every setting, beside chance and the bound that ε allows."""
    rows = [("update in the clear", figures["plain"]["item_auc"], "#d1495b")]
    for case in sorted(figures["cases"], key=lambda case: (case["noise"], -case["reports"])):
        how = f"sums of {case['reports']}, {'noise' if case['noise'] else 'no noise'}"
        rows.append((f"item of a shopper: {how}", case["item_auc"], "#1b6ca8" if case["noise"] else "#e8a33d"))
        rows.append(
            (f"known shopper took part: {how}", case["known_history_auc"], "#1b6ca8" if case["noise"] else "#e8a33d")
        )
    strongest = figures["strongest"]
    rows.append(("knows every other report (audit)", strongest["auc"], "#1b6ca8"))
    figure = Figure(figsize=(7.6, 0.36 * len(rows) + 1.1), layout="constrained")
    axes = figure.subplots()
    names, values, colours = zip(*rows, strict=True)
    axes.barh(names, np.array(values) - 0.5, left=0.5, color=colours, height=0.65)
    for name, value in zip(names, values, strict=True):
        axes.text(max(value, 0.5), name, f" {value:.3f}", va="center", fontsize=8)
    axes.axvline(0.5, color="#333333", lw=1)
    axes.axvline(0.55, color="#333333", lw=1, ls=":")
    axes.axvline(strongest["bound"], color="#1b6ca8", lw=1, ls="--")
    axes.text(
        strongest["bound"], -0.8, f"bound at ε={figures['epsilon']:.3g}", fontsize=8, color="#1b6ca8", ha="center"
    )
    axes.set_xlim(0.45, 1.08)
    axes.invert_yaxis()
    axes.set_xlabel("AUC of membership")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
