"""The privacy plan: clips, noise, caps and their ε as ONE frozen object that cannot be set against its own guarantee.

Unit: one installation. Adjacency: zero-out (its reports, or zeros in their place; the number of reports is public).
Mechanism: a sum of integer vectors of bounded L2 norm Δ plus the discrete Gaussian of scale σ ≥ z·Δ, which is
1/(2z²)-zCDP (Canonne, Kamath, Steinke 2020, theorem 14). An installation reports to one block of a round, so a round is
one participation. Only ONE party's σ counts, since each of the two knows its own; no amplification by sampling is
claimed, since devices choose when to come. dp-accounting composes the participations by their Rényi curves and turns
them into (ε, δ).
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from data.errors import FederationError
from data.strict import read_strictly
from federation.learning.mix_sum import NOISE_OF_MIX, MixSum, mix_parts
from federation.learning.taste_update import Clips
from federation.learning.training_sum import training_plan
from federation.private_sum.plan import Part, SumPlan
from federation.private_sum.refusals import PlanRefused
from federation.private_sum.report_share import proof_plan

STATEMENT = {
    "unit": "installation",
    "adjacency": "zero-out",
    "amplification": None,
    "noise_counted": "one party",
    "accountant": "discrete Gaussian as zCDP, composed by dp-accounting's RdpAccountant",
}
"""What an ε of this plan means, beside its figures."""

_MAX_Z = 1_000.0
_ORDERS = tuple(1.0 + 10 ** (k / 100) for k in range(-200, 601))
"""Rényi orders 1.01 … 10⁶, 2 % apart: zCDP holds at every one."""


@dataclass(frozen=True)
class PrivacyPlan:
    """The promise to one installation by all rounds under this plan.

    clips: finite L2 bounds of the parts of an update. noise_multiplier: one party's σ over the sensitivity; 0 is
    privacy off, for simulation and loopback. max_participations: rounds that one installation takes part in, ever: each
    device keeps this count itself. min_reports, max_reports: of one block's sum. delta: of (ε, δ). max_rounds: rounds
    the custodian answers for, whatever devices say; then the budget is spent and a new plan is needed. max_per_period:
    of the participations, within any period_s, also counted by each device; 0 for no bound beside the lifetime's.
    min_items, min_dim: of a table that rounds may train; a catalogue of one item would ask of one item.
    """

    clips: Clips
    noise_multiplier: float
    max_participations: int
    min_reports: int
    max_reports: int
    delta: float
    max_rounds: int = 1_000
    max_per_period: int = 0
    period_s: int = 86_400
    min_items: int = 1
    min_dim: int = 1

    def __post_init__(self) -> None:
        for name, clip in asdict(self.clips).items():
            if not (math.isfinite(clip) and clip > 0):
                raise PlanRefused(f"clips.{name}={clip}: must be finite and above 0")
        if not 0.0 <= self.noise_multiplier <= _MAX_Z:
            raise PlanRefused(f"noise_multiplier={self.noise_multiplier}: must be 0..{_MAX_Z:.0f}")
        for name, least in (
            ("max_participations", 1), ("max_rounds", 1), ("min_reports", 1), ("period_s", 1), ("max_per_period", 0),
            ("min_items", 1), ("min_dim", 1),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise PlanRefused(f"{name}={getattr(self, name)}: must be {least} or more")
        if self.min_reports > self.max_reports:
            raise PlanRefused(f"min_reports={self.min_reports}: must be 1..max_reports={self.max_reports}")
        if not 0.0 < self.delta < 1.0:
            raise PlanRefused(f"delta={self.delta}: must be above 0 and below 1")

    @property
    def private(self) -> bool:
        """False without noise: such a plan is for simulation and loopback only."""
        return self.noise_multiplier > 0

    @property
    def epsilon(self) -> float:
        """ε of one installation's whole life under this plan, at delta; inf with privacy off."""
        return self.epsilon_after(self.max_participations)

    def epsilon_after(self, participations: int, proof_error: float = 0.0, returned: int = 0) -> float:
        """Compute ε of one installation that took part so many times: 0 of none, inf with privacy off.

        proof_error: what each verified report takes of δ. returned: reports that were never answered, beside those.
        """
        left = self.delta - (participations + returned) * proof_error
        return epsilon_of_noise(self.noise_multiplier, participations, left) if left > 0 else math.inf

    def epsilon_of_rounds(self, rounds: int, proof_error: float = 0.0, unanswered: int = 0) -> float:
        """Compute ε of the installation that was asked most after so many rounds: its cap bounds it.

        unanswered: further rounds, of which nothing but the proofs of their reports costs anything.
        """
        return self.epsilon_after(min(rounds, self.max_participations), proof_error, unanswered)

    def sum_plan(self, n_block: int, dim: int, trained: str = "taste", *, verified: bool = False) -> SumPlan:
        """Plan a round's sums over blocks of n_block items: σ is the least integer with σ² ≥ z²·Δ².

        Much noise over few reports needs no fine steps: scales are halved until sums and noise fit their 32 bits, and
        with verified reports until the field of their proofs has room for the squares. One round has one such plan:
        whoever is asked for another refuses the task.
        """
        bounds = {"min_reports": self.min_reports, "max_reports": self.max_reports}
        parts = training_plan(n_block, dim, self.clips, **bounds, trained=trained).parts
        return noised_plan(parts, self.noise_multiplier, **bounds, verified=verified)

    def mix_plan(self, kind: MixSum, n_features: int, *, verified: bool = False) -> SumPlan:
        """Plan a sum of the mix, of which mix_sum.STEPS together cost as much as one training round.

        A device adds to the steps or to the guard, never to both.
        """
        return noised_plan(
            mix_parts(kind, n_features),
            self.noise_multiplier * NOISE_OF_MIX,
            min_reports=self.min_reports,
            max_reports=self.max_reports,
            verified=verified,
        )

    @staticmethod
    def calibrated(
        epsilon: float,
        delta: float,
        max_participations: int,
        clips: Clips,
        *,
        min_reports: int,
        max_reports: int,
        max_rounds: int = 1_000,
    ) -> PrivacyPlan:
        """Calibrate the plan with the least noise, to four digits, whose lifetime ε is at most epsilon.

        inf is privacy off.
        """
        if not epsilon > 0:
            raise PlanRefused(f"epsilon={epsilon}: must be above 0")
        off = PrivacyPlan(clips, 0.0, max_participations, min_reports, max_reports, delta, max_rounds)
        if math.isinf(epsilon):
            return off
        return replace(off, noise_multiplier=least_noise(epsilon, delta, max_participations))

    @staticmethod
    def off(
        clips: Clips, *, max_participations: int, min_reports: int, max_reports: int, max_rounds: int = 1_000
    ) -> PrivacyPlan:
        """Plan no noise and no guarantee: ε = inf. For simulation and loopback; every artifact says so."""
        return PrivacyPlan(clips, 0.0, max_participations, min_reports, max_reports, 1e-6, max_rounds)

    def statement(self, participations: int | None = None) -> dict[str, Any]:
        """State the promise for a report or a manifest.

        It is ε after so many participations (default: the cap), and its meaning.

        epsilon is None when there is no bound.
        """
        at = self.max_participations if participations is None else participations
        epsilon = self.epsilon_after(at)
        figures = {
            "epsilon": epsilon if math.isfinite(epsilon) else None,
            "delta": self.delta,
            "participations": at,
            "max_participations": self.max_participations,
            "noise_multiplier": self.noise_multiplier,
            "private": self.private,
        }
        return figures | STATEMENT

    def to_json(self) -> str:
        """Write one line of JSON, the same for equal plans."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str | bytes) -> PrivacyPlan:
        """Read the plan of its JSON; raises PlanRefused for missing, unknown or mistyped fields.

        A plan agreed on before there were min_items and min_dim goes without them.
        """
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise PlanRefused(f"plan: is no JSON ({error})") from None
        if isinstance(raw, dict):
            raw = {"min_items": 1, "min_dim": 1} | raw
        plan = read_strictly(PrivacyPlan, raw, "plan", infinite=True, error=PlanRefused)
        if missing := [name for name, value in asdict(plan).items() if name not in raw and value is not None]:
            raise PlanRefused(f"plan.{missing[0]}: is missing")
        return plan


def noised_plan(
    parts: tuple[Part, ...], z: float, *, min_reports: int, max_reports: int, verified: bool = False
) -> SumPlan:
    """Plan a sum of these parts with the noise multiplier z, scales halved until sums, noise and proofs fit.

    One report is 1/(2z²)-zCDP. Raises PlanRefused where nothing fits.
    """
    while True:
        try:
            quiet = SumPlan(parts, min_reports, max_reports, sigma=0)
            plan = replace(quiet, sigma=least_sigma(z, quiet.sensitivity_squared))
            if verified:
                proof_plan(plan)
            return plan
        except PlanRefused:
            if min(part.clip_norm * part.scale for part in parts) < 1.0:
                raise
            parts = tuple(_coarser(part) for part in parts)


def least_sigma(z: float, sensitivity_squared: int) -> int:
    """Find the least integer σ with σ² ≥ z²·Δ², compared as a device compares it."""
    wanted = z**2 * sensitivity_squared
    sigma = math.isqrt(math.floor(wanted))
    return sigma if sigma**2 >= wanted else sigma + 1


def _coarser(part: Part) -> Part:
    return replace(part, scale=part.scale / 2)


# dp-accounting loads SciPy's statistics, which takes longer than the custodian may to start: hence no import above.
@functools.lru_cache(maxsize=4_096)
def epsilon_of_noise(z: float, participations: int, delta: float) -> float:
    """Compute ε at delta of so many sums whose noise is z times the sensitivity; inf of z = 0."""
    if participations < 0:
        raise FederationError(f"participations={participations}: must be 0 or more")
    if participations == 0:
        return 0.0
    if z == 0:
        return math.inf
    from dp_accounting import NeighboringRelation, SelfComposedDpEvent, ZCDpEvent
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant(_ORDERS, NeighboringRelation.REPLACE_SPECIAL)
    accountant.compose(SelfComposedDpEvent(ZCDpEvent(rho=0.5 / z**2), participations))
    return float(accountant.get_epsilon(delta))


@functools.lru_cache(maxsize=256)
def least_noise(epsilon: float, delta: float, participations: int) -> float:
    """Find the least noise multiplier of four digits that keeps so many participations at ε or less.

    Raises PlanRefused.
    """
    if epsilon_of_noise(_MAX_Z, participations, delta) > epsilon:
        raise PlanRefused(f"epsilon={epsilon}: needs a noise_multiplier above {_MAX_Z:.0f}")
    low, high = 0.0, _MAX_Z
    while high - low > 1e-6 * high:
        z = (low + high) / 2
        if epsilon_of_noise(z, participations, delta) <= epsilon:
            high = z
        else:
            low = z
    exponent = math.floor(math.log10(high)) - 3
    return min(float(f"{math.ceil(high / 10.0**exponent)}e{exponent}"), _MAX_Z)
