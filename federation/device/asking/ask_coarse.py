"""Modes cluster and noised: the device says something coarse, gets candidates, and ranks them by its exact profile.

What is sent is the complete list: mode, bundle version, how many candidates, and cluster ids or one noised direction.
Excludes and the repeat counter stay here. Without a profile there is nothing to hide but that: the trend is asked for.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import httpx
import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import ModelError, ServingError
from data.interactions import MICROS_PER_DAY
from data.vocabulary import Vocabulary
from federation.device.asking.client import ask_candidates, ask_trend
from federation.device.asking.clusters_file import fetch_current, held_clusters
from federation.device.asking.direction_noise import leading_directions, noised_direction
from federation.device.asking.logged_clusters import check_logged
from federation.device.cluster_ledger import ClusterPolicy
from federation.device.lists import Recommendation, Recommendations, join, profile_of
from federation.device.noise_ledger import NoisePolicy
from federation.device.state import DeviceState, known_columns
from federation.private_sum.randomness import secure_bytes
from recsys.catalogue.candidates import MAX_CANDIDATES, Candidates, rerank
from recsys.catalogue.catalogue import Catalogue
from recsys.catalogue.changes import CatalogueChange
from recsys.catalogue.clusters import MAX_ASKED, Clusters, nearest
from recsys.model.items import TASTE, columns_of
from recsys.model.profile import Profile, repeat_counts, repeat_score, vector_from_rows
from recsys.model.scoring import score

MICROS_PER_S = MICROS_PER_DAY // 86_400
MAX_DEVICE_ITEMS = 100_000
"""Up to so many items a device takes the whole catalogue by itself: about 12 MB at dim 64."""

Mode = Literal["device", "cluster", "noised", "profile"]
MODES: tuple[Mode, ...] = ("device", "cluster", "noised", "profile")


@dataclass(frozen=True)
class CandidateRequest:
    """The coarse question of a device.

    clusters: how many of the nearest, 1 to 4. candidates: how many to rank, 1 to 2000.
    """

    mode: Literal["cluster", "noised"]
    clusters: int = 1
    candidates: int | None = None
    noise: NoisePolicy = field(default_factory=NoisePolicy)
    naming: ClusterPolicy = field(default_factory=ClusterPolicy)

    @property
    def wanted(self) -> int:
        """candidates, else as many as may come: what a coarse question costs, many candidates make up for."""
        most = MAX_CANDIDATES if self.candidates is None else self.candidates
        if not 1 <= most <= MAX_CANDIDATES:
            raise ServingError(f"candidates={most}: must be 1..{MAX_CANDIDATES}")
        return most


class CatalogueHolder(Protocol):
    """The parts of a device that a coarse question needs."""

    @property
    def folder(self) -> Path:
        """Where its files are."""
        ...

    @property
    def state(self) -> DeviceState:
        """Everything that is stored."""
        ...

    @property
    def catalogue(self) -> Catalogue | None:
        """The catalogue at hand."""
        ...

    def refresh(self, service: httpx.Client) -> bool:
        """Fetch the service's current catalogue."""
        ...

    def change(self, change: Callable[[DeviceState], DeviceState]) -> DeviceState:
        """Replace the state durably."""
        ...


def ask_coarsely(
    device: CatalogueHolder,
    client: httpx.Client,
    coarse: CandidateRequest,
    top_k: int,
    exclude: Sequence[str],
    repeat: bool,
    now: int,
) -> Recommendations:
    """List top_k items in mode cluster or noised, at `now` (µs).

    When the service no longer has the bundle, its current clusters file is fetched and it is asked once more. Raises
    ServingError for a refusal, BudgetExhausted when the noise of a lifetime is spent.
    """
    if not 1 <= coarse.clusters <= MAX_ASKED:
        raise ServingError(f"clusters={coarse.clusters}: must be 1..{MAX_ASKED}")
    excluded = len(set(exclude))
    if top_k + excluded > coarse.wanted:
        raise ServingError(f"top_k + excluded items = {top_k + excluded}: must be at most candidates={coarse.wanted}")
    clusters = held_clusters(device.folder, device.state.clusters)
    for _ in range(2):
        if clusters is None:
            clusters = refresh_clusters(device, client)
        listed = _ask_service(device, client, clusters, coarse, top_k, exclude, repeat, now)
        if listed is not None:
            return listed
        clusters = None
    raise ServingError("service: refuses the bundle that it has just handed out")


def chosen_mode(device: CatalogueHolder, client: httpx.Client, named: str | None) -> Mode:
    """Choose the mode that is named, else the one that gives away least; for mode device a catalogue is fetched.

    That is device where a catalogue is held or has at most MAX_DEVICE_ITEMS items, else cluster. Raises ServingError.
    """
    for mode in MODES:
        if named == mode:
            break
    else:
        if named is not None:
            raise ServingError(f"mode={named!r}: must be one of {list(MODES)}")
        mode = "device"
        if device.catalogue is None:
            clusters = held_clusters(device.folder, device.state.clusters) or refresh_clusters(device, client)
            mode = "device" if clusters.n_items <= MAX_DEVICE_ITEMS else "cluster"
    if mode == "device" and device.catalogue is None:
        device.refresh(client)
    return mode


def refresh_clusters(device: CatalogueHolder, client: httpx.Client) -> Clusters:
    """Fetch the service's current clusters if they are not the ones held. Raises ModelError and ServingError.

    One file is taken for a bundle version, which must be a hash over it, and the one that the catalogue at hand names.
    """

    def accept(clusters: Clusters) -> None:
        version, content = clusters.bundle_version, clusters.content_hash
        catalogue = device.catalogue
        if catalogue is not None and catalogue.bundle_version == version:
            named = (catalogue.clusters_hash, catalogue.of_bundle.table.n_items)
            if named != (content, clusters.n_items):
                raise ModelError(f"clusters: are not those that the catalogue of bundle {version} names")
        device.change(
            lambda state: replace(state, clusters=str(clusters.digest), named=state.named.with_file(version, content))
        )

    fetched = fetch_current(device.folder, device.state.clusters, client, accept)
    clusters = fetched or held_clusters(device.folder, device.state.clusters)
    if clusters is None:
        raise ServingError(f"{device.folder}: the clusters file that was just written is gone")
    return clusters


def profile_from_rows(state: DeviceState, clusters: Clusters, now: int) -> Profile | None:
    """Make the profile from the device's own rows alone.

    None without consent, or without an event that has a row.

    The same as from a whole catalogue, as far as the history has rows: the Gram matrix stands for all other items.
    """
    own_rows = _own(state, clusters)
    if own_rows is None:
        return None
    rows, (item_idx, kind, time) = own_rows
    taste = columns_of(clusters.parts, TASTE)
    vector = vector_from_rows(
        clusters.parts, clusters.gram[taste, taste], clusters.n_items, rows[item_idx], kind, time, now, clusters.config
    )
    return Profile(vector, clusters.bundle_version)


def row_version(row: npt.NDArray[np.float32], named: str | None, source: Clusters | Catalogue | None) -> str | None:
    """Name the bundle that a row (dim,) from an item's page is kept for.

    None when it is of another one than is at hand.

    named: the bundle that the page says, None for the one at hand. Raises ServingError for a row that is none.
    """
    if source is None or named not in (None, source.bundle_version):
        return None
    dim = source.dim if isinstance(source, Clusters) else source.table.dim
    if row.shape != (dim,) or row.dtype != np.float32 or not np.isfinite(row).all():
        raise ServingError(f"row: {row.dtype} {row.shape}, must be float32 ({dim},) and finite")
    return source.bundle_version


def _ask_service(
    device: CatalogueHolder,
    client: httpx.Client,
    clusters: Clusters,
    coarse: CandidateRequest,
    top_k: int,
    exclude: Sequence[str],
    repeat: bool,
    now: int,
) -> Recommendations | None:
    state, version = device.state, clusters.bundle_version
    catalogue = device.catalogue
    if catalogue is not None and catalogue.bundle_version != version:
        catalogue = None
    profile = profile_from_rows(state, clusters, now) if catalogue is None else profile_of(state, catalogue, now)
    question = None if profile is None else _question(device, client, clusters, coarse, profile, now)
    if profile is None or question is None:
        listed = ask_trend(client, version, min(top_k + len(set(exclude)), 1000))
        return None if listed is None else _trend(listed, version, coarse, top_k, exclude)
    candidates = ask_candidates(client, version, question, coarse.wanted, clusters.dim)
    if candidates is None:
        return None
    if catalogue is not None:
        catalogue = _with_candidates(catalogue, candidates)
        scores = score(candidates.table, profile.vector[None], clusters.config.trend_weight)[0]
        return join(state, catalogue, now, (candidates.item_ids, scores), top_k, exclude, repeat, coarse.mode)
    bonus = _bonus(state, clusters, now) if repeat else {}
    rows, values = rerank(candidates, profile.vector, clusters.config.trend_weight, top_k, bonus, set(exclude))
    return _make_list(candidates, rows, values, version, coarse)


def _with_candidates(catalogue: Catalogue, candidates: Candidates) -> Catalogue:
    """Extend the catalogue by candidates that are newer than this device's last refresh, as they came."""
    new = np.flatnonzero(catalogue.items.index_of(candidates.item_ids) < 0).tolist()
    rows = candidates.shown[new].iter_rows(named=True)
    return catalogue.with_changes(
        [
            CatalogueChange(row.pop("item_id"), row | {"available": True}, candidates.table.item_embeddings[place])
            for place, row in zip(new, rows, strict=True)
        ]
    )


def _question(
    device: CatalogueHolder,
    client: httpx.Client,
    clusters: Clusters,
    coarse: CandidateRequest,
    profile: Profile,
    now: int,
) -> dict[str, Any] | None:
    """Make what is sent of the profile, in the vault before this returns; None when nothing may be said now."""
    if coarse.mode == "cluster":
        log_key = coarse.naming.custodian_key
        if log_key is not None and device.state.named.is_due(coarse.naming, now / MICROS_PER_S):
            check_logged(device, client, clusters, log_key)
        n = min(coarse.clusters, len(clusters.centroids))
        ids: tuple[int, ...] = ()

        def name(state: DeviceState) -> DeviceState:
            nonlocal ids
            account, ids = state.named.with_answer(
                clusters,
                coarse.naming,
                now / MICROS_PER_S,
                lambda: nearest(clusters.centroids, profile.vector, n),
            )
            return state if account is state.named else replace(state, named=account)

        device.change(name)
        return {"mode": "cluster", "clusters": list(ids)} if ids else None
    vector = np.empty(0, dtype=np.float32)

    def draw() -> npt.NDArray[np.float32]:
        basis = leading_directions(clusters.gram)
        return noised_direction(profile.vector, basis, coarse.noise.epsilon, secure_bytes())

    def say(state: DeviceState) -> DeviceState:
        nonlocal vector
        account, message = state.noise.with_draw(clusters.bundle_version, coarse.noise, now / MICROS_PER_S, draw)
        vector = message.vector
        return state if account is state.noise else replace(state, noise=account)

    device.change(say)
    return {"mode": "noised", "noised": base64.b64encode(vector.astype("<f4").tobytes()).decode()}


def _own(state: DeviceState, clusters: Clusters) -> tuple[npt.NDArray[np.float32], tuple[Any, Any, Any]] | None:
    rows = state.own_rows
    if state.consent == "nothing" or rows is None or rows.bundle_version != clusters.bundle_version:
        return None
    if rows.rows.shape[1:] != (clusters.dim,):
        return None
    columns = known_columns(state.events, Vocabulary(pl.Series(list(rows.item_ids), dtype=pl.String)))
    return (rows.rows, columns) if len(columns[0]) else None


def _bonus(state: DeviceState, clusters: Clusters, now: int) -> dict[str, float]:
    own_rows = _own(state, clusters)
    if own_rows is None or state.own_rows is None:
        return {}
    config, (item_idx, kind, time) = clusters.config, own_rows[1]
    items, counts = repeat_counts(item_idx, kind, time, now, config.repeat_half_life)
    lift = np.float32(config.repeat_weight) * repeat_score(counts)
    return {state.own_rows.item_ids[item]: float(value) for item, value in zip(items, lift, strict=True)}


def _make_list(
    candidates: Candidates,
    rows: npt.NDArray[np.int32],
    values: npt.NDArray[np.float32],
    version: str,
    coarse: CandidateRequest,
) -> Recommendations:
    shown = candidates.shown[rows.tolist()].select("item_id", "title", "category", "price").iter_rows()
    items = tuple(
        Recommendation(item_id, float(value), title, category, price)
        for (item_id, title, category, price), value in zip(shown, values, strict=True)
    )
    return Recommendations(items, version, coarse.mode, None, ())


def _trend(
    listed: list[dict[str, Any]], version: str, coarse: CandidateRequest, top_k: int, exclude: Sequence[str]
) -> Recommendations:
    left = [item for item in listed if item["item_id"] not in set(exclude)][:top_k]
    items = tuple(
        Recommendation(item["item_id"], float(item["score"]), item["title"], item["category"], item["price"])
        for item in left
    )
    return Recommendations(items, version, coarse.mode, "trend", ())
