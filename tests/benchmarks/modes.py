"""What each mode of asking costs and leaks, on synthetic shops of 10,000 and 100,000 items.

The tables are central iALS (recsys/evaluation/ials.py): as good as federated ones and faster to make; nothing here
depends on
who trained. Histories of 1,000 and more devices are folded in; the lists of some of them are asked for by the very
functions that service and device call, over the service's index.

A row: mode, setting, items; recall@20, the overlap with the device's exact list after re-ranking; auc, of items of the
history against others as popular; reidentified, the larger of `known` (a message against all histories) and `linked`
(messages of two periods, 19 events apart, against each other); bytes of question and answer, or of the catalogue;
ms of CPU, service and device together.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from federation.device.asking.direction_noise import leading_directions, priv_unit
from federation.private_sum.randomness import RandomBytes, seeded_bytes
from recsys.catalogue.candidates import decode_candidates, encode_candidates, rerank
from recsys.catalogue.clusters import cluster_queries, direction_queries, interleave, nearest
from recsys.model.intent import in_shares
from recsys.model.quantization import dequantize
from recsys.model.scoring import score, top_k
from tests.benchmarks import modes_intent
from tests.benchmarks.attacks_modes import membership_auc, recognised, unit
from tests.benchmarks.modes_plot import plot as plot
from tests.benchmarks.modes_world import DIM, TOP_K, Floats, World, world

SHOPS = ((10_000, 10_000, 1_000_000, 20), (100_000, 20_000, 2_000_000, 200))
"""items, users, events, taste clusters: more of these make more directions worth knowing, and harder questions."""
NOISE = ((4.0, 64), (8.0, 16), (8.0, 64), (16.0, 8), (16.0, 16), (16.0, 64), (32.0, 64))
LAPLACE = ((16.0, 16), (16.0, 64), (64.0, 64))


def run(
    *,
    seed: int = 0,
    shops: Sequence[tuple[int, int, int, int]] = SHOPS,
    users: int = 1_500,
    asked: int = 100,
    intents: Sequence[str] = modes_intent.SHOPS,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Rows for every shop and setting. users: devices to be told apart; asked: those whose lists are made. intents:
    shops in which the devices that the current intent is added to are measured before and after."""
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for shop in shops:
        say(f"a shop of {shop[0]:,} items")
        found = world(*shop, seed=seed, users=users, asked=asked)
        say("every mode")
        rows += measured(found, seeded_bytes(np.random.default_rng([seed, 31])))
    with_intent = [
        one
        for shop in intents
        for one in modes_intent.rows(shop, seed=seed, users=users, asked=asked, say=say, measured=few_modes)
    ]
    return {
        "rows": rows,
        "intent": with_intent,
        "users": users,
        "asked": asked,
        "top_k": TOP_K,
        "dim": DIM,
        "table": "central iALS",
    }


def few_modes(world: World, random: RandomBytes, most: int) -> list[tuple[dict[str, Any], Floats]]:
    """The modes that devices use, each with what was sent, as a direction (users, dim)."""
    centroids, basis = world.clusters.centroids, leading_directions(world.clusters.gram)
    found = [(on_the_device(world), np.zeros_like(world.now)), (whole_profile(world), world.now)]
    for n in (1, 2):
        sent = np.stack([centroids[nearest(centroids, one, n)].sum(0) for one in world.now])
        found.append((with_clusters(world, n, most), sent))
    for epsilon in (4.0, 8.0, 16.0):
        now, then = (noised(side, basis, epsilon, random) for side in (world.now, world.then))
        found.append((row(world, "noised", f"PrivUnit, ε {epsilon:g}, M {most}", now, then, most), now))
    return found


def measured(world: World, random: RandomBytes) -> list[dict[str, Any]]:
    rows = [on_the_device(world), whole_profile(world), for_nobody(world, 500), for_nobody(world, 2000)]
    rows += [with_clusters(world, n, most) for n in (1, 2, 4) for most in (200, 500, 2000)]
    basis = {r: leading_directions(world.clusters.gram, r) for r in (8, 16, 64)}
    for epsilon, r in NOISE:
        now, then = (noised(side, basis[r], epsilon, random) for side in (world.now, world.then))
        for most in (500, 2000):
            rows.append(
                row(world, "noised", f"PrivUnit, ε {epsilon:g}, {r} directions, M {most}", now, then, most)
                | {"epsilon": epsilon, "directions": r, "candidates": most}
            )
    for epsilon, r in LAPLACE:
        now, then = (laplace(side, basis[r], epsilon, random) for side in (world.now, world.then))
        rows.append(
            row(world, "noised", f"metric Laplace, ε {epsilon:g}, {r} directions, M 2000", now, then, 2000)
            | {"epsilon": epsilon, "directions": r, "candidates": 2000}
        )
    return rows + sequences(world, basis[64], random)


def sequences(
    world: World, basis: npt.NDArray[np.float64], random: RandomBytes, epsilon: float = 8.0
) -> list[dict[str, Any]]:
    """Twenty events, twenty questions, and an attacker who averages what was sent: in two ways to draw the noise."""
    messages = [noised(profiles, basis, epsilon, random) for profiles in reversed(world.sequence)]
    again = [noised(profiles, basis, epsilon, random) for profiles in reversed(world.sequence)]
    redrawn = row(
        world,
        "noised",
        f"attack: ε {epsilon:g} redrawn for each of 20 events, averaged",
        np.mean(messages, 0),
        np.mean(again, 0),
        2000,
        messages[-1],
    )
    fixed = row(world, "noised", f"ε {epsilon:g} once for all 20 events", messages[0], again[0], 2000, messages[0])
    life = row(
        world,
        "noised",
        f"attack: 4 periods of ε {epsilon:g}, averaged",
        np.mean(messages[:4], 0),
        np.mean(again[:4], 0),
        2000,
        messages[3],
    )
    centroids = world.clusters.centroids
    ids = [[nearest(centroids, one, 1) for one in profiles] for profiles in world.sequence]
    path = np.mean([named(step, len(centroids)) for step in ids], 0) @ centroids
    clusters = with_clusters(world, 1, 2000)
    auc = membership_auc(world.table.item_embeddings, path, world.pairs)
    known = round(recognised(path, world.now), 4)
    return [
        clusters
        | {"setting": "attack: 1 of 256 for each of 20 events, averaged", "auc": round(auc, 4), "known": known}
        | {"reidentified": max(known, clusters["linked"]), "sequence": "clusters"},
        redrawn | {"epsilon": 20 * epsilon, "sequence": "redrawn"},
        fixed | {"epsilon": epsilon, "sequence": "once"},
        life | {"epsilon": 4 * epsilon, "sequence": "life"},
    ]


def noised(profiles: Floats, basis: npt.NDArray[np.float64], epsilon: float, random: RandomBytes) -> Floats:
    """One message each, as federation.device.asking.direction_noise.noised_direction makes them, many at once."""
    inside = profiles.astype(np.float64) @ basis
    inside /= np.linalg.norm(inside, axis=1, keepdims=True)
    return np.asarray(priv_unit(inside, epsilon, random) @ basis.T, dtype=np.float32)


def laplace(profiles: Floats, basis: npt.NDArray[np.float64], epsilon: float, random: RandomBytes) -> Floats:
    """The alternative that is not used: metric Laplace noise (Chatzikokolakis et al. 2013) on the direction.

    ε bounds any two directions, whose distance is at most 2: ε/2 per unit of distance.
    """
    rng = np.random.default_rng(np.frombuffer(random(16), "<u4").tolist())
    inside = unit(np.asarray(profiles @ basis, dtype=np.float32))
    away = unit(rng.normal(size=inside.shape).astype(np.float32))
    far = rng.gamma(basis.shape[1], 2.0 / epsilon, len(inside))[:, None]
    return np.asarray((inside + far * away) @ basis.T, dtype=np.float32)


def on_the_device(world: World) -> dict[str, Any]:
    """Nothing is sent; the catalogue has one byte a coordinate."""
    embeddings = dequantize(world.source.rows, world.source.scale)
    rounded = replace(world.table, item_embeddings=embeddings)
    weight, hits, begun = world.clusters.config.trend_weight, 0, time.process_time()
    for user, exact in enumerate(world.lists):
        hits += len(np.intersect1d(top_k(score(rounded, world.now[user][None], weight)[0], TOP_K)[0], exact))
    spent = time.process_time() - begun
    size = (
        world.source.rows.nbytes
        + 8 * world.table.n_items
        + len(json.dumps(world.source.shown.to_dict(as_series=False)))
    )
    chance = 1.0 / len(world.now)
    return line(
        world,
        "device",
        "int8 catalogue",
        hits / world.lists.size,
        0.5,
        chance,
        chance,
        size,
        1e3 * spent / len(world.lists),
    )


def whole_profile(world: World) -> dict[str, Any]:
    """The vector is sent and the service ranks."""
    hits, size, begun = 0, 0, time.process_time()
    for user, exact in enumerate(world.lists):
        question = json.dumps(
            {"mode": "profile", "bundle_version": "0" * 16, "profile": text(world.now[user]), "top_k": TOP_K}
        )
        found = world.index.search(world.now[user], TOP_K, trend_weight=world.clusters.config.trend_weight)[0]
        answer = json.dumps(world.source.shown[found.tolist()].to_dicts())
        hits, size = hits + len(np.intersect1d(found, exact)), size + len(question) + len(answer)
    spent, n = time.process_time() - begun, len(world.lists)
    auc = membership_auc(world.table.item_embeddings, world.now, world.pairs)
    return line(
        world,
        "profile",
        "the vector",
        hits / world.lists.size,
        auc,
        recognised(world.now, world.now),
        recognised(world.now, world.then),
        size / n,
        1e3 * spent / n,
    )


def for_nobody(world: World, most: int) -> dict[str, Any]:
    """What the same candidates for everybody give, by the public mean profile: nothing personal is sent."""
    mean = in_shares(world.table.mean_profile, world.table.parts, world.clusters.config)
    same = np.repeat(mean[None], len(world.now), axis=0)
    return row(world, "nobody", f"the mean profile, M {most}", same, same, most) | {"candidates": most}


def with_clusters(world: World, n: int, most: int) -> dict[str, Any]:
    """The nearest n of the public centroids are named."""
    centroids = world.clusters.centroids
    now, then = ([nearest(centroids, one, n) for one in side] for side in (world.now, world.then))
    hits, size, ms = asked(
        world,
        lambda user: cluster_queries(world.clusters, nearest(centroids, world.now[user], n)),
        lambda user: {"mode": "cluster", "clusters": now[user]},
        most,
    )
    sent = np.stack([centroids[ids].sum(0) for ids in now])
    auc = membership_auc(world.table.item_embeddings, sent, world.pairs)
    setting = f"{n} of {len(centroids)}, M {most}"
    return line(
        world,
        "cluster",
        setting,
        hits,
        auc,
        recognised(sent, world.now),
        recognised(named(now, len(centroids)), named(then, len(centroids))),
        size,
        ms,
    ) | {
        "clusters": n,
        "candidates": most,
    }


def named(ids: Sequence[Sequence[int]], k: int) -> Floats:
    """(users, k): 1 at every named cluster."""
    flags = np.zeros((len(ids), k), dtype=np.float32)
    for user, some_ids in enumerate(ids):
        flags[user, list(some_ids)] = 1.0
    return flags


def row(
    world: World, mode: str, setting: str, now: Floats, then: Floats, most: int, sent: Floats | None = None
) -> dict[str, Any]:
    """A mode that sends a direction. now, then: what an attacker makes of it; sent: the last message, `now` if None."""
    used = now if sent is None else sent
    mean = in_shares(world.clusters.mean_profile, world.table.parts, world.clusters.config)
    hits, size, ms = asked(
        world,
        lambda user: direction_queries(used[user][None], mean),
        lambda user: {"mode": "noised", "noised": text(used[user])},
        most,
    )
    auc = membership_auc(world.table.item_embeddings, now, world.pairs)
    return line(world, mode, setting, hits, auc, recognised(now, world.now), recognised(now, then), size, ms)


def asked(
    world: World, queries: Callable[[int], Floats], question: Callable[[int], dict[str, Any]], most: int
) -> tuple[float, float, float]:
    """recall@20, bytes and ms of a question: both sides' functions, JSON included."""
    weight, hits, size, begun = world.clusters.config.trend_weight, 0, 0, time.process_time()
    for user, exact in enumerate(world.lists):
        said = json.dumps({**question(user), "bundle_version": "0" * 16, "candidates": most})
        found = np.stack([world.index.search(one, most, trend_weight=weight)[0] for one in queries(user)])
        answer = json.dumps({"candidates": encode_candidates(world.source, interleave(found, most))})
        candidates = decode_candidates(json.loads(answer)["candidates"], world.table.dim)
        assert candidates is not None
        best, _ = rerank(candidates, world.now[user], weight, TOP_K, {})
        listed = {candidates.item_ids[place] for place in best}
        hits += len(listed & set(world.source.shown["item_id"][exact.tolist()]))
        size += len(said) + len(answer)
    n = len(world.lists)
    return hits / world.lists.size, size / n, 1e3 * (time.process_time() - begun) / n


def line(
    world: World,
    mode: str,
    setting: str,
    recall: float,
    auc: float,
    known: float,
    linked: float,
    size: float,
    ms: float,
) -> dict[str, Any]:
    return {
        "mode": mode,
        "setting": setting,
        "items": world.table.n_items,
        "recall@20": round(recall, 4),
        "auc": round(auc, 4),
        "reidentified": round(max(known, linked), 4),
        "known": round(known, 4),
        "linked": round(linked, 4),
        "bytes": round(size),
        "ms": round(ms, 2),
    }


def text(vector: Floats) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
