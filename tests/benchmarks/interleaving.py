"""How many sessions team-draft interleaving needs where an A/B test needs many, on the shipped simulator of shoppers.

Pairs of rankers that know each shopper's true scores but for a normal error, of different size: unlike ones, which err
on their own, like ones, which err in the same way, and global against personalized. One session a shopper. The A/B test
is the better of two: clicks a session, and sessions with a click, its sessions by the planner's formula from exact
moments (both arms counted); interleaving's from a million sessions. Then both are run at that size, to see that they
have the power they should; and rankers that are equally good, and shoppers who click at random, to see how often a
difference is found where there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from data.synthetic import SyntheticShop
from recsys.experiments.analysis.designs import Design
from recsys.experiments.analysis.intervals import POWER
from recsys.experiments.analysis.preferences import preference_sums, preference_test, sessions_needed
from recsys.experiments.device.interleaving import coins, preference, team_drafts
from recsys.experiments.rehearsal.planning import Spread, shoppers_needed
from recsys.experiments.rehearsal.simulator import ClickModel, Shoppers
from recsys.search.ranking import rank

Items = npt.NDArray[np.int32]
K = 10
ERRORS = {"small": (1.5, 1.35), "middle": (1.5, 1.2), "large": (1.5, 1.0)}
"""Errors of incumbent and challenger, in units of the true log-chance: each pair's effect in clicks is printed."""
MAIN = "middle"
AA_SESSIONS = 1000
HABITS = {
    "less attention": ClickModel(decay=1.5),
    "even shoppers": ClickModel(eagerness=0.0),
    "rare clicks": ClickModel(best_click=0.08),
}


@dataclass(frozen=True, eq=False)
class Pair:
    """Two rankers' lists for everybody, (n_shoppers, K)."""

    shoppers: Shoppers
    incumbent: Items
    challenger: Items

    def preferences(self, sessions: int, rng: np.random.Generator) -> npt.NDArray[np.int8]:
        """(2, sessions) outcomes of interleaving, a shopper drawn for each; second, if every pick had its captain's
        credit, as in the original.
        """
        found = []
        for start in range(0, sessions, 50_000):
            who = rng.integers(0, len(self.incumbent), min(50_000, sessions - start))
            heads = coins(K, rng, len(who))
            items, picked_by = team_drafts(self.incumbent[who], self.challenger[who], heads)
            captains = heads[:, np.arange(K) // 2] ^ (np.arange(K) % 2 == 1)
            clicked = self.shoppers.respond(who, items, rng).clicked
            found.append([preference(picked_by, clicked), preference(captains.astype(np.int8), clicked)])
        return np.concatenate(found, axis=1)

    def moments(self) -> dict[str, tuple[float, float, float]]:
        """metric → mean of the incumbent, effect, variance of a session (mean of both arms'); exact over the crowd."""
        everybody = np.arange(len(self.incumbent))
        values = []
        for lists in (self.incumbent, self.challenger):
            chance = self.shoppers.click_chances(everybody, lists)
            clicks = chance.sum(axis=1)
            scatter = (chance * (1 - chance)).sum(axis=1).mean() + clicks.var()
            some = float((1 - np.prod(1 - chance, axis=1)).mean())
            values.append({"clicks": (clicks.mean(), scatter), "any_click": (some, some * (1 - some))})
        a, b = values
        return {
            name: (float(a[name][0]), float(b[name][0] - a[name][0]), float(a[name][1] + b[name][1]) / 2) for name in a
        }

    def ab(self, sessions: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Clicks a session of both arms, sessions ÷ 2 each."""
        found = []
        for lists in (self.incumbent, self.challenger):
            who = rng.integers(0, len(lists), sessions // 2)
            found.append(self.shoppers.respond(who, lists[who], rng).clicked.sum(axis=1).astype(np.float64))
        return found[0], found[1]


def run(
    *,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
    n_shoppers: int = 4000,
    n_items: int = 400,
    sessions: int = 1_000_000,
    runs: int = 1000,
) -> dict[str, object]:
    """`{"sessions_ratio", "pairs": {pair: …}, "power", "a_a"}`; about a minute of CPU time."""
    tell = say or (lambda _: None)
    shop = SyntheticShop(n_users=n_shoppers, n_items=n_items, n_events=1, seed=seed)
    shoppers = Shoppers.of(shop, seed=seed)
    pairs = {name: _pair(shoppers, *errors, seed) for name, errors in ERRORS.items()}
    pairs |= {f"{name}, alike": _pair(shoppers, *errors, seed, alike=True) for name, errors in ERRORS.items()}
    pairs["global, personalized"] = _global(shoppers, seed)
    pairs |= {
        f"{MAIN}, {name}": _pair(Shoppers.of(shop, habits, seed=seed), *ERRORS[MAIN], seed)
        for name, habits in HABITS.items()
    }
    figures: dict[str, dict[str, float]] = {}
    for name, pair in pairs.items():
        tell(name)
        figures[name] = _compared(pair, sessions, np.random.default_rng((seed, 1)))
    tell("power")
    needed = figures[MAIN]
    power = _power(pairs[MAIN], needed, min(runs, 400), np.random.default_rng((seed, 2)))
    tell("equal rankers")
    one, other = (shoppers.ranker(1.5, K, seed=seed + number) for number in (11, 12))
    # Two draws are never quite equally good; with every shopper twice, each is once the incumbent, they are.
    equal = Pair(
        Shoppers(
            *(np.concatenate([table, table]) for table in (shoppers.scores, shoppers.chance)),
            shoppers.price,
            shoppers.habits,
        ),
        np.concatenate([one, other]),
        np.concatenate([other, one]),
    )
    blind = Shoppers(shoppers.scores, np.full_like(shoppers.chance, 0.2), shoppers.price, shoppers.habits)
    main = pairs[MAIN]
    same = Pair(shoppers, main.incumbent, main.incumbent)
    return {
        "sessions_ratio": needed["sessions_ratio"],
        "pairs": figures,
        "power": power,
        "a_a": {
            "sessions": AA_SESSIONS,
            "runs": 5 * runs,
            "equally_good": _false_positives(equal, 5 * runs, np.random.default_rng((seed, 3))),
            "clicks_at_random": _false_positives(
                Pair(blind, main.incumbent, main.challenger), 5 * runs, np.random.default_rng((seed, 4))
            ),
            "same_ranker_sessions_with_preference": float(
                same.preferences(AA_SESSIONS, np.random.default_rng((seed, 5)))[0].any()
            ),
        },
    }


def _pair(shoppers: Shoppers, incumbent: float, challenger: float, seed: int, *, alike: bool = False) -> Pair:
    other = seed + 1 if alike else seed + 2
    return Pair(shoppers, shoppers.ranker(incumbent, K, seed=seed + 1), shoppers.ranker(challenger, K, seed=other))


def _global(shoppers: Shoppers, seed: int) -> Pair:
    """The crowd's mean chance of each item, the same list for all, against lists with an error of 1.5."""
    same = rank(shoppers.chance.mean(axis=0, keepdims=True).astype(np.float32), K)
    return Pair(shoppers, np.repeat(same, len(shoppers.chance), axis=0), shoppers.ranker(1.5, K, seed=seed + 2))


def _compared(pair: Pair, sessions: int, rng: np.random.Generator) -> dict[str, float]:
    moments = pair.moments()
    ab = {
        name: shoppers_needed(Spread(mean, scatter, scatter), Design(), effect)
        for name, (mean, effect, scatter) in moments.items()
    }
    found, credited = pair.preferences(sessions, rng).astype(np.float64)
    needed = sessions_needed(float(found.mean()), float(found.var()))
    error = 2 * found.std() / np.sqrt(sessions) / abs(found.mean())  # of 1/mean²
    return {
        "clicks_a_session": moments["clicks"][0],
        "effect": moments["clicks"][1] / moments["clicks"][0],
        "ab_sessions_clicks": ab["clicks"],
        "ab_sessions_any_click": ab["any_click"],
        "preference": float(found.mean()),
        "sessions_with_preference": float((found != 0).mean()),
        "interleaving_sessions": needed,
        "sessions_ratio": needed / min(ab.values()),
        "sessions_ratio_error": float(needed * error / min(ab.values())),
        "sessions_ratio_all_credited": sessions_needed(float(credited.mean()), float(credited.var()))
        / min(ab.values()),
    }


def _power(pair: Pair, needed: dict[str, float], runs: int, rng: np.random.Generator) -> dict[str, float]:
    """Share of runs in which a difference of the right sign is found, at the sizes that should have POWER."""
    inter, ab = int(needed["interleaving_sessions"]), int(needed["ab_sessions_clicks"])
    found = [_tested(pair.preferences(inter, rng)[0]) for _ in range(runs)]
    welch = [stats.ttest_ind(*pair.ab(ab, rng), equal_var=False) for _ in range(runs)]
    return {
        "wanted": POWER,
        "interleaving": float(np.mean([p < 0.05 and mean > 0 for mean, p, _ in found])),
        "ab_clicks": float(np.mean([one.pvalue < 0.05 and one.statistic < 0 for one in welch])),
        "runs": runs,
    }


def _false_positives(pair: Pair, runs: int, rng: np.random.Generator) -> dict[str, float]:
    drawn = [_tested(pair.preferences(AA_SESSIONS, rng)[0]) for _ in range(runs)]
    return {
        "t_test": float(np.mean([p < 0.05 for _, p, _ in drawn])),
        "sign_test": float(np.mean([sign < 0.05 for _, _, sign in drawn])),
    }


def _tested(found: npt.NDArray[np.int8]) -> tuple[float, float, float]:
    x = found.astype(np.float64)
    test = preference_test(preference_sums(len(x), x.sum(), (x**2).sum()), single_sessions=True)
    assert test.sign_p_value is not None
    return test.mean, test.p_value, test.sign_p_value
