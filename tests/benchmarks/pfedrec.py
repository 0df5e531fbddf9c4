"""PFedRec, the method ours is compared with, written anew from its paper: a reference for benchmarks, not a part.

Zhang, Long, Zhou, Yan, Zhang, Zhang and Yang (2023), "Dual Personalization on Federated Recommendation", IJCAI.
Each client keeps a score function of its own, σ(w·e_i + b), and no user embedding. In a round every client takes the
shared item table, fits its score function on its positives and sampled negatives, then the items under that score
function (binary cross-entropy, SGD), and uploads the table; the server averages the tables. A client ranks with the
table it has just made its own.

Where the negatives come from decides the figures. Published code draws them from the items a user touches neither in
train *nor in test*: the held-out item is the one unseen item never pushed down. `allowed` is that choice made plain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from data.errors import DataError
from data.interactions import Interactions

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

CLIENTS_AT_ONCE = 32
"""Their tables are 7 MB on ML-100K: they stay in the processor's cache."""


@dataclass(frozen=True)
class PFedRec:
    """Settings. The defaults are the published ones, which held on a validation split too (README.md beside this).

    rate_score, rate_items: step of the score function and of the items, both on the loss summed over a batch and
    divided by its size, as the paper's are. init: standard deviation of the item table before the first round.
    """

    dim: int = 32
    rounds: int = 100
    rate_score: float = 0.1
    rate_items: float = 0.1 * 1682 * 80
    init: float = 1.0
    n_negatives: int = 4
    batch: int = 256


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """A Recommender of scores computed before: (n_users, n_items) float32."""

    name: str
    table: Floats

    def scores(self, histories: Interactions, users: npt.NDArray[np.int64], now: int) -> Floats:
        """(len(users), n_items) float32."""
        return self.table[users]


def untouched(*logs: Interactions) -> Bools:
    """(n_users, n_items) bool: items that the user has in none of the logs, on the same axes."""
    allowed = np.ones((logs[0].n_users, logs[0].n_items), dtype=np.bool_)
    for log in logs:
        allowed[log.user_idx, log.item_idx] = False
    return allowed


def train_pfedrec(
    train: Interactions, allowed: Bools, config: PFedRec, seed: int, *, federated: bool = True
) -> tuple[Floats, Floats]:
    """Scores (n_users, n_items) with each client's own table, and with the table a server could serve.

    allowed: (n_users, n_items), from where a client draws negatives. federated: without, every client keeps a random
    table of its own, trains it alone, and there is nothing to serve: the second scores are of a random table. Raises
    DataError for a user without any allowed item.
    """
    if not allowed.any(axis=1).all():
        raise DataError(f"allowed: user {int(allowed.any(axis=1).argmin())} has no item to draw negatives from")
    torch.set_num_threads(1)  # these tensors are small: a second thread costs more than it does
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    served = config.init * torch.randn(train.n_items, config.dim, generator=generator)
    bound = config.dim**-0.5
    w = (2 * torch.rand(train.n_users, config.dim, generator=generator) - 1) * bound
    b = (2 * torch.rand(train.n_users, generator=generator) - 1) * bound
    cohorts = [
        torch.arange(first, min(first + CLIENTS_AT_ONCE, train.n_users))
        for first in range(0, train.n_users, CLIENTS_AT_ONCE)
    ]
    personal = torch.empty(train.n_users, train.n_items)
    if not federated:
        for clients in cohorts:
            tables = config.init * torch.randn(len(clients), train.n_items, config.dim, generator=generator)
            for _ in range(config.rounds):
                local_update(tables, w, b, clients, train, allowed, config, rng)
            personal[clients] = _scores(tables, w[clients], b[clients])
        return personal.numpy(), (w @ served.T + b[:, None]).numpy()
    for number in range(config.rounds):
        total = torch.zeros_like(served)
        for clients in cohorts:
            tables = served.repeat(len(clients), 1, 1)
            local_update(tables, w, b, clients, train, allowed, config, rng)
            total += tables.sum(0)
            if number == config.rounds - 1:
                personal[clients] = _scores(tables, w[clients], b[clients])
        served = total / train.n_users
    return personal.numpy(), (w @ served.T + b[:, None]).numpy()


def local_update(
    tables: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor,
    clients: torch.Tensor,
    train: Interactions,
    allowed: Bools,
    config: PFedRec,
    rng: np.random.Generator,
) -> None:
    """One local epoch of some clients, in place: tables (clients, n_items, dim), rows `clients` of w and b.

    All clients take their k-th batch at the same time; none sees another's.
    """
    row, item, label, place = draw_samples(train.users(clients.numpy()), allowed[clients.numpy()], config, rng)
    n_clients, n_items, dim = tables.shape
    flat = tables.view(n_clients * n_items, dim)
    w_own, b_own = w[clients], b[clients]
    for step in range(int(place.max()) // config.batch + 1):
        now = torch.from_numpy(np.flatnonzero(place // config.batch == step))
        client, cell, wanted = row[now], row[now] * n_items + item[now], label[now]
        share = 1.0 / torch.bincount(client, minlength=n_clients).clamp(min=1)[client]
        rows = flat[cell]
        miss = (torch.sigmoid((rows * w_own[client]).sum(1) + b_own[client]) - wanted) * share
        w_own = w_own.index_add(0, client, rows * miss[:, None], alpha=-config.rate_score)
        b_own = b_own.index_add(0, client, miss, alpha=-config.rate_score)
        miss = (torch.sigmoid((rows * w_own[client]).sum(1) + b_own[client]) - wanted) * share
        flat.index_add_(0, cell, w_own[client] * miss[:, None], alpha=-config.rate_items)
    w[clients], b[clients] = w_own, b_own


def draw_samples(
    histories: Interactions, allowed: Bools, config: PFedRec, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, npt.NDArray[np.int64]]:
    """client, item, label, and place in the client's shuffled samples, all (n,): positives and fresh negatives."""
    user = histories.user_idx.astype(np.int64)
    negative_user = np.repeat(user, config.n_negatives)
    negative = rng.integers(0, histories.n_items, len(negative_user))
    while len(wrong := np.flatnonzero(~allowed[negative_user, negative])):
        negative[wrong] = rng.integers(0, histories.n_items, len(wrong))
    row = np.concatenate((user, negative_user))
    item = np.concatenate((histories.item_idx.astype(np.int64), negative))
    label = np.concatenate((np.ones(len(user), np.float32), np.zeros(len(negative), np.float32)))
    order = np.lexsort((rng.random(len(row)), row))
    begins = np.searchsorted(row[order], np.arange(histories.n_users))
    place = np.arange(len(row)) - begins[row[order]]
    return torch.from_numpy(row[order]), torch.from_numpy(item[order]), torch.from_numpy(label[order]), place


def _scores(tables: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.einsum("cnd,cd->cn", tables, w) + b[:, None]
