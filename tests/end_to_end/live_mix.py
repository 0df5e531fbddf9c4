"""A fleet that learns the weights of a bundle's mix over HTTP, and the same fit in one process, to compare with."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import polars as pl

from data.interactions import EventKind, Interactions
from data.vocabulary import Vocabulary
from federation.device.delivery import RetryPolicy
from federation.device.tokens.issuing import ShopIssuer
from federation.learning.mix_step import judge, judged_by_guard, start_fit, step_fit
from federation.learning.mix_sum import STEPS, mix_parts, sum_at
from federation.learning.mix_update import mix_judgement, mix_update
from federation.learning.privacy_plan import PrivacyPlan, noised_plan
from federation.private_sum.fixed_point import decode
from federation.private_sum.plan import SumPlan
from federation.service.round_store import StoredRound
from federation.simulation.fleet import Fleet, FleetConfig, judging_coin, measuring_coin, next_task, play_round
from federation.simulation.simulated_noise import both_parties_noise
from recsys.catalogue.bundle import Bundle, save_bundle
from recsys.catalogue.catalogue import decode_catalogue, encode_catalogue
from recsys.mix.examples import Examples, make_examples
from recsys.mix.features import N_FEATURES
from recsys.mix.fit import FitState
from recsys.mix.model import MixModel
from recsys.mix.pools import Signals
from recsys.mix.priors import LISTS, ListName
from recsys.model.items import ItemTable
from recsys.model.profile_config import ProfileConfig
from serving.cli.device.contribute import policy_of
from tests.end_to_end.deployment import Deployment

Floats = npt.NDArray[np.float64]
ROUNDS = STEPS + 1


@dataclass(frozen=True)
class MixFleet:
    """Devices 0..n−1 with the whole histories of a log's users; the bundle's tables end at `as_of` (µs)."""

    log: Interactions
    ids: Vocabulary
    as_of: int
    until: int
    seed: int

    @property
    def config(self) -> FleetConfig:
        """Of all its rounds."""
        return FleetConfig(self.until, self.seed, retry=RetryPolicy(spread_s=0.0, attempts=4))

    @property
    def judges(self) -> npt.NDArray[np.bool_]:
        """The coins of its devices, (n_users,)."""
        coins = [measuring_coin(self.config, n) or judging_coin(self.config, n) for n in range(self.log.n_users)]
        return np.array(coins)

    def examples(self, bundle: Bundle) -> tuple[Examples, npt.NDArray[np.bool_]]:
        """Make the examples of all devices that have one, from the catalogue as they download it; and which judge."""
        catalogue = decode_catalogue(encode_catalogue(bundle))
        assert catalogue.mix is not None
        before = self.log.where(self.log.time < self.as_of)
        later = self.log.where(self.log.time >= self.as_of)
        targeted = later.where(later.kind != EventKind.DISLIKE).counts > 0
        users = np.flatnonzero((before.counts > 0) & targeted)
        signals = Signals(catalogue.table, catalogue.config, catalogue.mix.tables)
        return make_examples(signals, before, later, self.as_of, users), self.judges[users]


def mix_bundle(
    folder: Path, ids: list[str], table: ItemTable, config: ProfileConfig, mix: MixModel, catalogue: pl.DataFrame
) -> Bundle:
    """The bundle that the fleet's rounds begin with."""
    assert catalogue["item_id"].to_list() == ids
    return save_bundle(
        folder, name="live", table=table, catalogue=catalogue, config=config, seed=0, data_hash="test",
        privacy="none: a test", training={}, mix=mix,
    )  # fmt: skip


def play_mix(deployment: Deployment, mix_fleet: MixFleet, plan: PrivacyPlan) -> list[StoredRound]:
    """Play all rounds of a mix with the whole fleet; each device downloads every bundle itself."""
    home = deployment.folder / "fleet"
    fleet = Fleet.create(home, mix_fleet.log, mix_fleet.ids, np.arange(mix_fleet.log.n_users))
    policy, task_id, published = policy_of(plan, bytes.fromhex(deployment.custodian_key)), None, []
    with httpx.Client(base_url=deployment.url, timeout=30.0) as client:
        issuer = ShopIssuer(client, deployment.api_key)
        for round_ in range(ROUNDS):
            task = next_task(client, task_id, 60.0)
            assert task is not None
            task_id = task.task_id
            catalogue = decode_catalogue(encode_catalogue(Bundle.load(deployment.folder_of(task.bundle_version))))
            played = play_round(
                fleet, range(mix_fleet.log.n_users), deployment.url, policy, issuer, mix_fleet.config, play=round_,
                catalogue=catalogue,
            )  # fmt: skip
            assert played.count("accepted") == mix_fleet.log.n_users, played.to_dict()
            published.append(deployment.until_published(round_))
            time.sleep(max(0.0, max(fate.come_back_at for fate in played.fates) - time.time() + 0.1))
    return published


def central_fit(
    examples: Examples, prior: str, z: float = 0.0, rng: np.random.Generator | None = None
) -> tuple[FitState, SumPlan]:
    """The fit of the devices that fit, from exact sums in one process, or with the noise that both parties add."""
    fit, plan = start_fit(prior), None
    while (kind := sum_at(fit.step)) in ("first_step", "step"):
        plan = noised_plan(mix_parts(kind, N_FEATURES), z, min_reports=1, max_reports=1_000)
        parts = mix_update(examples, fit.weights, kind).parts
        if rng is not None:
            noise = decode(plan, both_parties_noise(plan, rng))
            parts = {name: value + noise[name] for name, value in parts.items()}
        fit = step_fit(fit, prior, parts, plan, 1)
    assert plan is not None
    return fit, plan


def central_verdict(examples: Examples, weights: dict[ListName, Floats], prior: str) -> dict[ListName, str]:
    """What the judging devices choose from exact sums."""
    plan = noised_plan(mix_parts("guard", N_FEATURES), 0.0, min_reports=1, max_reports=1_000)
    parts = mix_judgement(examples, judged_by_guard(weights, prior)).parts
    return dict(judge(weights, prior, parts, plan).served)


def furthest(ours: Any, theirs: Any) -> float:
    """The largest difference of two fits' weights."""
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in LISTS)
