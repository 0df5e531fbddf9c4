"""Central implicit ALS: the upper bound that federated training is compared with.

It sees every user's rows. It is for benchmarks on logs one may hold centrally, never part of the service.

It minimizes, over all users u and items i, with event weights w ≥ 0 (events of one user and item add up),

    Σ_(u,i) w_ui (1 − u·v_i)² + α Σ_u Σ_i (u·v_i)²
        + λ Σ_u (Σ_i w_ui + α·n_items)|u|² + λ Σ_i (Σ_u w_ui + α·n_users)|v_i|²

(Hu, Koren, Volinsky 2008, with the frequency-scaled regularization of Rendle et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from data.errors import ModelError
from data.interactions import Interactions

Matrix = sparse.csr_array[np.float32, tuple[int, int]]

FLOATS_AT_ONCE = 8_000_000
"""Size of one padded batch, gathered rows or systems: 32 MB."""


@dataclass(frozen=True)
class _Rows:
    """One side of the weights as sparse rows, longest first, so that a batch has rows of similar length.

    row: (n,) rows that have any weight; start, length: (n,) their slice of column and weight.
    """

    row: torch.Tensor
    start: torch.Tensor
    length: torch.Tensor
    column: torch.Tensor
    weight: torch.Tensor
    n_rows: int


def fit_ials(
    train: Interactions,
    weights: npt.NDArray[np.float32],
    *,
    dim: int = 64,
    alpha: float = 0.01,
    reg: float = 0.05,
    n_iter: int = 15,
    seed: int = 0,
) -> npt.NDArray[np.float32]:
    """Fit item embeddings (n_items, dim) float32 by n_iter alternations; zero rows for items without weight.

    weights: (n_events,) float32, ≥ 0; 0 leaves an event out (dislikes: their target is not 1).
    n_users in the objective counts the users that have any weight.
    """
    if len(weights) != train.n_events or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ModelError(f"weights: must be n_events={train.n_events} finite numbers, 0 or more")
    if dim < 1 or n_iter < 1:
        raise ModelError(f"dim={dim}, n_iter={n_iter}: both must be 1 or more")
    if not (alpha > 0 and reg > 0):
        raise ModelError(f"alpha={alpha}, reg={reg}: both must be > 0")
    used = weights > 0
    if not used.any():
        raise ModelError("weights: all 0, must have at least one event to learn from")
    shape = (train.n_users, train.n_items)
    by_user: Matrix = sparse.coo_array(
        (weights[used], (train.user_idx[used], train.item_idx[used])), shape=shape
    ).tocsr()
    users, items = _rows(by_user), _rows(by_user.T.tocsr())
    start = torch.Generator().manual_seed(seed)
    V = torch.randn(train.n_items, dim, generator=start) * (0.1 / dim**0.5)
    for _ in range(n_iter):
        U = _solve(users, V, alpha, reg, n_other=train.n_items)
        V = _solve(items, U, alpha, reg, n_other=len(users.row))
    embeddings: npt.NDArray[np.float32] = V.numpy()
    return embeddings


def _rows(matrix: Matrix) -> _Rows:
    length = np.diff(matrix.indptr)
    row = np.argsort(-length, kind="stable")
    row = row[length[row] > 0]
    return _Rows(
        row=torch.from_numpy(row.astype(np.int64)),
        start=torch.from_numpy(matrix.indptr[row].astype(np.int64)),
        length=torch.from_numpy(length[row].astype(np.int64)),
        column=torch.from_numpy(matrix.indices.astype(np.int64)),
        weight=torch.from_numpy(matrix.data.astype(np.float32)),
        n_rows=int(matrix.shape[0]),
    )


def _solve(rows: _Rows, other: torch.Tensor, alpha: float, reg: float, n_other: int) -> torch.Tensor:
    """Solve for the best row vectors (n_rows, dim) for fixed vectors `other` (m, dim) of the other side.

    x = (α·OᵀO + Σ_j w_j o_j o_jᵀ + λ(Σ_j w_j + α·n_other)·I)⁻¹ Σ_j w_j o_j
    """
    dim = other.shape[1]
    gram = alpha * (other.double().T @ other.double()).float()
    solved = torch.zeros(rows.n_rows, dim)
    first = 0
    while first < len(rows.row):
        longest = int(rows.length[first])
        last = first + max(1, FLOATS_AT_ONCE // (dim * max(longest, dim)))
        length = rows.length[first:last]
        place = torch.arange(longest)
        filled = place < length[:, None]
        # Padding points at the batch's first event, with weight 0.
        event = torch.where(filled, rows.start[first:last, None] + place, rows.start[first])
        weight = rows.weight[event] * filled
        O = other[rows.column[event]]  # noqa: E741
        weighted = O * weight[:, :, None]
        A = torch.baddbmm(gram.expand(len(length), dim, dim), O.mT, weighted)
        A.diagonal(dim1=1, dim2=2).add_(reg * (weight.sum(1) + alpha * n_other)[:, None])
        solved[rows.row[first:last]] = torch.cholesky_solve(weighted.sum(1)[:, :, None], torch.linalg.cholesky(A))[
            :, :, 0
        ]
        first = last
    return solved
