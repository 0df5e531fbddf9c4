"""Small seeded logs for tests of evaluation: users of a few tastes, popular items, events in time order."""

from __future__ import annotations

import numpy as np

from data.interactions import MICROS_PER_DAY, Interactions, interactions


def tastes_log(
    seed: int, *, n_users: int = 300, n_items: int = 200, events: int = 30, groups: int = 5, noise: float = 0.3
) -> Interactions:
    """Each user's items come from the user's group of items (skewed to its popular ones), or at random with `noise`."""
    rng = np.random.default_rng(seed)
    n = n_users * events
    users = np.repeat(np.arange(n_users), events)
    group = rng.integers(0, groups, n_users)[users]
    place = (rng.random(n) ** 2 * (n_items // groups)).astype(int)
    items = np.where(rng.random(n) < noise, rng.integers(0, n_items, n), place * groups + group)
    names = rng.permutation(n_items)  # item_idx says nothing of group or popularity
    time = rng.integers(0, 100 * MICROS_PER_DAY, n)
    return interactions(users, names[items], time, n_users=n_users, n_items=n_items)


def distinct_log(seed: int, *, n_users: int = 400, n_items: int = 300, events: int = 12) -> Interactions:
    """No user has an item twice; popular items are much more frequent."""
    rng = np.random.default_rng(seed)
    appeal = rng.permutation(-0.8 * np.log(np.arange(1, n_items + 1)))
    drawn = np.argsort(-(appeal + rng.gumbel(size=(n_users, n_items))), axis=1)[:, :events]
    items = rng.permuted(drawn, axis=1)
    time = rng.integers(0, 100 * MICROS_PER_DAY, n_users * events)
    return interactions(np.repeat(np.arange(n_users), events), items.ravel(), time, n_users=n_users, n_items=n_items)
