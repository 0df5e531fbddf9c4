"""Random cases of a device's half of the private sum, and what the Python device makes of them: for other languages.

Plans of training rounds, updates of random shops, shares from given random bytes, ε of a ledger, proofs of the public
log, and tasks with what is refused about each.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from data.errors import FederationError
from federation.device.contribution import OwnHistory, training_vectors
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.private_sum.accounting import epsilon_of
from federation.private_sum.fixed_point import encode
from federation.private_sum.plan import Part, SumPlan
from federation.private_sum.sealing import Suite
from federation.private_sum.shares import service_share
from federation.private_sum.signing import SigningKey
from federation.protocol.merkle_log import LogHead, leaf_hash, prove_consistency, prove_inclusion, root_of
from federation.protocol.messages import Block, Task, blocks_of
from federation.protocol.transparency import LogProof, task_entry
from recsys.catalogue.catalogue import decode_catalogue
from tests.vectors.shops import shops

NOW = 1_800_000_000
Rng = np.random.Generator
CLIPS = Clips(rows=1.0, counts=3.0, second=0.4, first=0.6)


def cases(seed: int = 0, n: int = 20) -> dict[str, Any]:
    """Draw n cases of each kind."""
    rng = np.random.Generator(np.random.PCG64(seed))
    key = SigningKey.generate()
    return {
        "plans": [_plan(rng) for _ in range(5 * n)],
        "updates": [_update(rng, shop, key) for shop in shops(n, seed)],
        "reports": [_report(rng) for _ in range(n)],
        "epsilons": [_epsilon(rng) for _ in range(n)],
        "proofs": [_proof(rng, key) for _ in range(n)],
        "tasks": _tasks(key),
    }


def a_plan(rng: Rng, **changes: Any) -> PrivacyPlan:
    clips = Clips(*(float(value) for value in 10 ** rng.uniform(-2, 2, 4)))
    least = int(rng.integers(1, 60))
    noise, most = float(rng.choice([0.0, 0.5, 1.3, 7.77])), least + int(rng.integers(1, 5000))
    plan = PrivacyPlan(clips, noise, 6, least, most, 1e-6)
    return replace(plan, **changes)


def _plan(rng: Rng) -> dict[str, Any]:
    privacy, n_block, width = a_plan(rng), int(rng.integers(1, 3000)), int(rng.integers(1, 65))
    trained = str(rng.choice(["taste", "intent"]))
    try:
        made: Any = asdict(privacy.sum_plan(n_block, width, trained))
    except FederationError:
        made = "task"
    return {"privacy": asdict(privacy), "n_block": n_block, "width": width, "trained": trained, "plan": made}


def a_task(plan: SumPlan, key: SigningKey, **changes: Any) -> Task:
    """A signed task of a round; changes of its fields."""
    fields: dict[str, Any] = {
        "task_id": "training-3", "round": 3, "bundle_version": "shop-1", "bundle_hash": bytes(32),
        "blocks": (Block(0, 1),),
        "plan": plan, "suite": Suite.X25519, "round_public_key": bytes(range(32)), "deadline": NOW + 600,
        "come_back_at": NOW + 900,
    }  # fmt: skip
    return Task(**fields | changes).signed_by(key)


def _update(rng: Rng, shop: dict[str, Any], key: SigningKey) -> dict[str, Any]:
    file = base64.b64decode(shop["file"])
    catalogue = decode_catalogue(file)
    table = catalogue.table
    trained, n_items = table.trained, table.n_items
    n_block = int(rng.integers(1, n_items + 1))
    width = table.part(trained).stop - table.part(trained).start
    plan = PrivacyPlan(CLIPS, 0.0, 6, 1, 1000, 1e-6).sum_plan(n_block, width, trained)
    task = a_task(plan, key, blocks=blocks_of(n_items, n_block), bundle_hash=hashlib.sha256(file).digest())
    kinds = ["view", "cart", "purchase", "like", "dislike"]
    events = [[time, item, kinds.index(kind), 1] for item, kind, time in shop["events"]]
    index = {item: at for at, item in enumerate(catalogue.items.ids.to_list())}
    known = [event for event in events if event[1] in index]
    history = OwnHistory(
        np.array([index[event[1]] for event in known], dtype=np.int32),
        np.array([event[2] for event in known], dtype=np.uint8),
        np.array([event[0] for event in known], dtype=np.int64),
        NOW * 1_000_000,
    )
    block, measures_only = int(rng.integers(len(task.blocks))), bool(rng.random() < 0.2)
    vectors = training_vectors(history, catalogue, task, block, measures_only=measures_only)
    return {
        "file": shop["file"], "events": events, "now": NOW * 1_000_000, "task": task.to_bytes().hex(), "block": block,
        "trained": trained, "measures_only": measures_only,
        "vectors": {name: np.asarray(vector).ravel().tolist() for name, vector in vectors.items()},
    }  # fmt: skip


def _report(rng: Rng) -> dict[str, Any]:
    parts = tuple(
        Part(f"part{at}", int(rng.integers(1, 400)), float(10 ** rng.uniform(-1, 1)), float(2 ** rng.integers(4, 14)),
             bool(rng.random() < 0.3)) for at in range(int(rng.integers(1, 5)))
    )  # fmt: skip
    plan = SumPlan(parts, min_reports=1, max_reports=20, sigma=0)
    vectors = {part.name: (rng.normal(size=part.length) * 10 ** rng.uniform(-2, 1)).tolist() for part in parts}
    random, seed = rng.bytes(8 * plan.length), rng.bytes(32)
    left = random

    def draw(n: int) -> bytes:
        nonlocal left
        taken, left = left[:n], left[n:]
        return taken

    words = encode(plan, vectors, draw)
    share = service_share(words, seed)
    return {
        "plan": asdict(plan), "vectors": vectors, "random": random.hex(), "seed": seed.hex(), "words": words.tolist(),
        "share": share.hex(),
    }  # fmt: skip


def _epsilon(rng: Rng) -> dict[str, Any]:
    rho = (10 ** rng.uniform(-6, 2, int(rng.integers(0, 6)))).tolist()
    delta = float(10 ** rng.uniform(-9, -3))
    return {"rho": rho, "delta": delta, "epsilon": epsilon_of(sum(rho), delta)}


def _proof(rng: Rng, key: SigningKey) -> dict[str, Any]:
    """A log of some entries that goes on from an earlier one; of every third case something is wrong."""
    size = int(rng.integers(1, 70))
    old, index = int(rng.integers(0, size + 1)), int(rng.integers(size))
    task = a_task(PrivacyPlan(CLIPS, 0.0, 6, 1, 100, 1e-6).sum_plan(2, 3), key, round=index, blocks=(Block(0, 2),))
    entries = [rng.bytes(20) for _ in range(size)]
    entries[index] = task_entry(task)
    leaves = [leaf_hash(entry) for entry in entries]
    head = LogHead(size, root_of(leaves), NOW).signed_by(key)
    seen = None if rng.random() < 0.3 else [old, root_of(leaves[:old]).hex()]
    proof = LogProof(head, index, prove_inclusion(leaves, index), old, prove_consistency(leaves, old)).to_bytes()
    wanted: Any = [size, head.root.hex()]
    if rng.random() < 0.3:
        spoilt = bytearray(proof)
        spoilt[int(rng.integers(len(spoilt)))] ^= 1 << int(rng.integers(8))
        proof, wanted = bytes(spoilt), None  # whatever it is, it is not accepted as another log
    return {
        "proof": proof.hex(), "task": task.to_bytes().hex(), "key": key.public.hex(), "seen": seen, "head": wanted,
        "true_head": [size, head.root.hex()],
    }  # fmt: skip


def _tasks(key: SigningKey) -> list[dict[str, Any]]:
    """Tasks by what is wrong with them; `refused` is a word of the reason, None for a good one."""
    plan = PrivacyPlan(CLIPS, 1.0, 6, 60, 1000, 1e-6, min_items=10, min_dim=2)
    n_items, n_block, dim = 25, 10, 4
    agreed = plan.sum_plan(n_block, dim)
    blocks = blocks_of(n_items, n_block)
    good = {"blocks": blocks}
    quiet, few = replace(agreed, sigma=agreed.sigma - 1), replace(agreed, min_reports=59)
    softer = replace(agreed.parts[0], clip_norm=agreed.parts[0].clip_norm / 2)
    tilted = replace(agreed, parts=(softer, *agreed.parts[1:]))
    hybrid = {"suite": Suite.HYBRID, "round_public_key": bytes(1216)}
    other = SigningKey.generate()
    drafts: list[tuple[str | None, Task]] = [
        (None, a_task(agreed, key, **good)),
        ("signature", a_task(agreed, other, **good)),
        ("deadline", a_task(agreed, key, deadline=NOW - 1, **good)),
        ("deadline", a_task(agreed, key, deadline=NOW + 8 * 86_400, **good)),
        ("sigma", a_task(quiet, key, **good)),
        ("plan", a_task(few, key, **good)),
        ("plan", a_task(tilted, key, **good)),
        ("plan", a_task(replace(agreed, max_reports=999), key, **good)),
        ("blocks", a_task(agreed, key, blocks=(Block(0, 10), Block(10, 25)))),
        ("blocks", a_task(agreed, key, blocks=(Block(0, 10), Block(10, 20), Block(20, 25), Block(25, 25)))),
        ("items", a_task(plan.sum_plan(1, dim), key, blocks=(Block(0, 1),))),
        ("items", a_task(plan.sum_plan(n_block, 1), key, **good)),
        ("suite", a_task(agreed, key, **good, **hybrid)),
    ]
    asked = {"key": key.public.hex(), "plan": asdict(plan), "now": NOW}
    made = [{**asked, "task": task.to_bytes().hex(), "refused": refused, "terms": {}} for refused, task in drafts]
    made.append({**made[0], "refused": "min_reports", "terms": {"minReports": 61}})
    changed = bytearray.fromhex(made[0]["task"])
    changed[40] ^= 1
    made.append({**made[0], "task": changed.hex(), "refused": ""})
    return made
