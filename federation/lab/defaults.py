"""Defaults for a log: which named recipe and protocol fit it, and the recipe's numbers on the log's own scale.

A choice is a function of statistics that a live shop has as private sums (data/log_statistics.py), in shares, so that
no single event or device turns it. Where two recipes fit about as well, both are tried by federated validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from data.errors import DataError, FederationError
from data.interactions import Interactions
from data.log_statistics import LogStatistics, measure_log
from federation.lab.folds import Folds
from federation.lab.private_statistics import private_half_life, private_statistics
from federation.lab.questions import PROTOCOLS, Protocol
from federation.lab.recipes import RECIPES, Recipe
from federation.lab.selection import cross_validate
from recsys.evaluation.half_life import HALF_LIVES, HalfLife, choose_half_life
from recsys.model.profile_config import ProfileConfig
from recsys.model.trend import HALF_LIFE_DAYS

BOUNDARY = 0.2
"""Two recipes whose fits differ by less are both tried."""
SATURATION = 0.1
"""Share of carts and purchases in a history at which about half of what they can say is said."""
KNOWN_DEVICES = 0.25
"""Share of later devices that must have a history for a split in time to ask enough of them."""
UNSEEN_PER_ITEM = 30.0
"""α·n_items is at most so many times m, the mean number of distinct items in a history."""
RIDGE_SHARE = 0.1
"""λ·(m + α·n_items) is at most this share of m: the ridge of a mean history beside the weight of its own items."""
PARTICIPATIONS = 2
"""Least participations of a device, on average: rounds of a larger fleet have larger cohorts."""


@dataclass(frozen=True)
class Defaults:
    """The defaults chosen for a log, and why.

    recipe: the name of the best fit. tried: the names that fit about as well, the best fit first.
    reasons: sentences to print.
    """

    recipe: str
    tried: tuple[str, ...]
    protocol: Protocol
    reasons: tuple[str, ...]


def choose_defaults(statistics: LogStatistics) -> Defaults:
    """Choose a recipe and a protocol from what a log is."""
    fits = recipe_fits(statistics)
    names = sorted(fits, key=lambda name: -fits[name])
    tried = tuple(name for name in names if fits[names[0]] - fits[name] < BOUNDARY)
    protocol, because = _protocol(statistics)
    reasons = [f"recipe {names[0]}: {_why(names[0], statistics)}"]
    if len(tried) > 1:
        reasons.append(f"{' and '.join(tried[1:])} fits about as well")
    return Defaults(names[0], tried, protocol, (*reasons, f"protocol {protocol}: {because}"))


def recipe_fits(statistics: LogStatistics) -> Mapping[str, float]:
    """Score how well each named recipe fits a log, 0..1.

    ratings fit histories of likes and dislikes; purchases fit shoppers who come back, with carts and purchases among
    what they do; sessions fit what is left: shoppers who do not come back, or who only look.
    """
    ratings, bought = statistics.rating_share, statistics.purchase_share
    back = statistics.return_share if statistics.timed else 1.0  # without times nobody knows who came back
    acted = back * bought * (1 + SATURATION) / (bought + SATURATION)
    return {"ratings": ratings, "purchases": (1 - ratings) * acted, "sessions": (1 - ratings) * (1 - acted)}


def protocol_for(log: Interactions) -> Protocol:
    """Choose the protocol that suits a log."""
    return _protocol(measure_log(log))[0]


def protocol_of(word: str, log: Interactions) -> Protocol:
    """Choose the protocol that a command was given: `auto` for the one that suits.

    Raises DataError for another word.
    """
    for protocol in PROTOCOLS:
        if protocol == word:
            return protocol
    if word == "auto":
        return protocol_for(log)
    raise DataError(f"protocol={word!r}: must be auto, {', '.join(PROTOCOLS)}")


def _protocol(statistics: LogStatistics) -> tuple[Protocol, str]:
    if not statistics.timed:
        return "leave-last-out", "the log has no times, only an order"
    known = f"{statistics.known_share:.0%} of the devices of the last fifth have an earlier history"
    return ("temporal", known) if statistics.known_share >= KNOWN_DEVICES else ("sessions", f"only {known}")


def _why(name: str, statistics: LogStatistics) -> str:
    back = f"{statistics.return_share:.0%} of devices with two events come back on another day"
    if name == "ratings":
        return f"{statistics.rating_share:.0%} of a history is likes and dislikes"
    return f"{statistics.purchase_share:.0%} of a history is carts and purchases, and {back}"


def scaled(base: Recipe, statistics: LogStatistics) -> Recipe:
    """Bring a recipe's α, λ and cohorts to the scale of a log.

    With m the mean history length and n the catalogue, α ← min(α, 30·m/n) and λ ← min(λ, .1·m/(m + α·n)) in training;
    the profile's own α and λ keep their ratio to those of training. Without the caps the ridge λ·(Σw + α·n) of a large
    catalogue outweighs a short history, and every list becomes the trend.
    """
    profile, serve, intent = base.train.profile, base.serve, base.train.intent
    alpha, reg = _capped(profile.alpha, profile.reg, statistics)
    if intent is not None:
        capped = _capped(intent.alpha, intent.reg, statistics)
        size = _cohort(intent.cohort_size, intent.rounds, statistics.devices)
        intent = replace(intent, alpha=capped[0], reg=capped[1], cohort_size=size)
    train = replace(
        base.train,
        profile=_times(profile, alpha / profile.alpha, reg / profile.reg),
        intent=intent,
        cohort_size=_cohort(base.train.cohort_size, base.train.rounds, statistics.devices),
    )
    return replace(base, train=train, serve=_times(serve, alpha / profile.alpha, reg / profile.reg))


def _capped(alpha: float, reg: float, statistics: LogStatistics) -> tuple[float, float]:
    m, n = statistics.history_length, statistics.items
    alpha = min(alpha, UNSEEN_PER_ITEM * m / n)
    return alpha, min(reg, RIDGE_SHARE * m / (m + alpha * n))


def _times(config: ProfileConfig, a: float, r: float) -> ProfileConfig:
    return replace(config, alpha=config.alpha * a, reg=config.reg * r)


def _cohort(size: int, rounds: int, devices: int) -> int:
    """Size the cohort with which a fleet of so many devices takes part PARTICIPATIONS times in the rounds.

    It is at least size.
    """
    return max(size, -(-PARTICIPATIONS * devices // max(rounds, 1)))


def fitted(
    name: str, log: Interactions, statistics: LogStatistics | None = None, *, noise: float = 0.0
) -> tuple[Recipe, tuple[str, ...]]:
    """Fit a named recipe to the scale and the trend of a log; and say what was changed.

    noise: as of settle; the half-life is then not looked at here (recipes under a plan: with_private_half_life).
    """
    base, known = RECIPES[name], measure_log(log) if statistics is None else statistics
    fits = scaled(base, known)
    half_life = HalfLife(HALF_LIFE_DAYS, (0.0,) * len(HALF_LIVES), 0) if noise else choose_half_life(log)
    fits = replace(fits, train=replace(fits.train, trend_half_life=half_life.days))
    words = []
    for symbol, before, after in (
        ("α", base.train.profile.alpha, fits.train.profile.alpha),
        ("λ", base.train.profile.reg, fits.train.profile.reg),
    ):
        if after != before:
            words.append(
                f"{symbol} {before:g} → {after:.3g}: {known.history_length:.1f} items a history, {known.items:,} in all"
            )
    if fits.train.cohort_size != base.train.cohort_size:
        words.append(f"{fits.train.cohort_size:,} devices a round: there are {known.devices:,}")
    if half_life.days != HALF_LIFE_DAYS:
        figures = dict(zip(HALF_LIVES, half_life.figures, strict=True))
        words.append(
            f"trend's half-life {half_life.days:g} days: foretells next visits with NDCG@20 "
            f"{figures[half_life.days]:.3f}, {HALF_LIFE_DAYS:g} days {figures[HALF_LIFE_DAYS]:.3f}"
        )
    return fits, tuple(words)


def with_private_half_life(private: Recipe, log: Interactions, now: int, *, seed: int) -> Recipe:
    """Give a recipe under a plan the half-life that private sums choose; one without a plan as it is."""
    plan = private.train.privacy
    if plan is None or not plan.private:
        return private
    days = private_half_life(log, now, plan.noise_multiplier, seed=seed)
    return replace(private, train=replace(private.train, trend_half_life=days))


@dataclass(frozen=True)
class Settled:
    """A recipe for a log. name: the named recipe it is made of; participations: of a device in trying, at most."""

    name: str
    recipe: Recipe
    defaults: Defaults
    reasons: tuple[str, ...]
    participations: int = 0


def settle(
    log: Interactions,
    *,
    seed: int = 0,
    validate: bool = True,
    noise: float = 0.0,
    on_step: Callable[[], None] | None = None,
) -> Settled:
    """Choose the recipe of a log; near a boundary by federated cross-validation of what fits, on this log alone.

    validate: False takes the best fit near a boundary too, for a log of which what follows is to stay unseen. noise:
    the noise multiplier of a training round under a privacy plan; what the log is comes from a private sum then, and
    nothing is validated, for that would cost rounds. on_step: told after each table of the validation. What is too
    small to be validated gets the best fit.
    """
    statistics = private_statistics(log, noise, seed=seed) if noise else measure_log(log)
    defaults = choose_defaults(statistics)
    tried = defaults.tried if validate and not noise else defaults.tried[:1]
    recipes = {name: fitted(name, log, statistics, noise=noise) for name in tried}
    chosen, reasons, participations = defaults.recipe, defaults.reasons, 0
    if len(recipes) > 1:
        names = {recipe: name for name, (recipe, _) in recipes.items()}
        try:
            judged = cross_validate(
                Folds(log, defaults.protocol, devices=2, seed=seed), list(names), seed=seed, on_step=on_step
            )
        except (FederationError, DataError) as error:
            reasons = (*reasons, f"{chosen} it is, for there is too little to try both on ({error})")
        else:
            chosen, participations = names[judged.best], judged.participations
            figures = ", ".join(
                f"{names[recipe]} {mean:.3f}" for recipe, mean in zip(judged.candidates, judged.mean, strict=True)
            )
            reasons = (*reasons, f"of the two, {chosen}: NDCG@20 on {judged.devices:,} held-out devices {figures}")
    recipe, words = recipes[chosen]
    return Settled(chosen, recipe, defaults, (*reasons, *words), participations)
