"""What a current intent changes about the modes of asking: the same devices and questions, without it and with it.

Sessions of the e-shop 2008 sample (217 items, real), and a synthetic shop of 10,000 items whose shoppers have tastes
but no sessions. Tables are central (federation.lab.comparison.central_table). An attacker tries every way that the
message's shape allows: the whole table, the taste's columns, and each pool's columns against the items' taste; the best
counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from data.dataset import Dataset
from data.synthetic import SyntheticShop
from federation.lab.comparison import central_table
from federation.lab.recipes import Recipe, recipe
from federation.private_sum.randomness import RandomBytes, seeded_bytes
from recsys.model.intent_config import IntentConfig
from recsys.model.items import INTENT, TASTE, ItemTable
from tests.benchmarks.attacks_leak import Pairs
from tests.benchmarks.attacks_modes import membership_auc, unit
from tests.benchmarks.modes_world import DIM, Floats, World, seen, some

SHOPS = ("eshop-2008", "synthetic")
APART, LEAST = 5, 10
"""Events between the two messages that are to be linked, and that a device has at least."""
Measured = Callable[[World, RandomBytes, int], Sequence[tuple[dict[str, Any], Floats]]]


def rows(
    shop: str,
    *,
    seed: int,
    users: int,
    asked: int,
    say: Callable[[str], None],
    measured: Measured,
    n_items: int = 10_000,
) -> list[dict[str, Any]]:
    """A row a mode and kind of profile: as of modes, with `shop`, `profile` (taste, or taste and intent) and `last`:
    the share of messages from which the attacker names the item of the last event, by chance one in n_items."""
    if shop == "synthetic":
        made = SyntheticShop(n_items, n_items, 40 * n_items, seed=seed, n_clusters=20)
        log, catalogue, most = made.interactions(), made.catalogue(), min(2_000, n_items)
        chosen = recipe("sessions")
        profile = replace(chosen.serve, alpha=20.0 / n_items)
        intent = IntentConfig(rounds=5, moments=8, horizon=5)
        chosen = Recipe(replace(chosen.train, dim=DIM, intent=intent, profile=replace(profile, reg=0.01)), profile)
    else:
        opened = Dataset.open(f"sample:{shop}")
        log, catalogue, chosen, most = opened.interactions(), opened.catalogue, recipe("sessions"), 100
        chosen = replace(chosen, train=replace(chosen.train, intent=IntentConfig(rounds=8)))
    now = int(log.time.max()) + 1
    say(f"{shop}: a table with an intent")
    both = central_table(log, chosen, now, seed)
    picked = np.random.default_rng([seed, 30]).permutation(np.flatnonzero(log.counts >= LEAST))[:users]
    few = some(log, np.sort(picked))
    last = few.item_idx[few.offsets[1:] - 1]
    taste = ItemTable(both.rows_of(TASTE), both.trend, np.zeros(both.rows_of(TASTE).shape[1], np.float32))
    found = []
    for name, table in (("taste", taste), ("taste and intent", both)):
        say(f"{shop}: {name}")
        world = seen(table, chosen.serve, few, now, catalogue, (0, APART), seed=seed, asked=asked)
        for one, sent in measured(world, seeded_bytes(np.random.default_rng([seed, 31])), most):
            leaks = {"auc": best_auc(table, sent, world.pairs), "last": last_named(table, sent, last)}
            found.append({"shop": shop, "profile": name, **one, **{key: round(leak, 4) for key, leak in leaks.items()}})
    return found


def ways(table: ItemTable, messages: Floats) -> list[tuple[Floats, Floats]]:
    """Rows of items (n_items, d) and columns of the messages (users, d) that can be held against each other."""
    taste = table.part(TASTE)
    found = [(table.item_embeddings, messages), (table.rows_of(TASTE), messages[:, taste])]
    if len(table.parts) > 1:
        width, columns = taste.stop - taste.start, messages[:, table.part(INTENT)]
        found += [(table.rows_of(TASTE), columns[:, at : at + width]) for at in range(0, columns.shape[1], width)]
    return found


def best_auc(table: ItemTable, messages: Floats, pairs: Pairs) -> float:
    """Membership AUC by the best of the ways; .5 where nothing was sent."""
    return max(membership_auc(rows, part, pairs) for rows, part in ways(table, messages))


def last_named(table: ItemTable, messages: Floats, last: npt.NDArray[np.int32]) -> float:
    """Share of messages whose nearest item by cosine is the one of the device's last event, by the best of the ways."""
    if not messages.any():
        return 1.0 / table.n_items
    return max(float(((unit(part) @ unit(rows).T).argmax(1) == last).mean()) for rows, part in ways(table, messages))
