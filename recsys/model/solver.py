"""Closed-form profiles of thousands of histories at once, on one thread; agrees with recsys.model.fold_in.

In the eigenbasis of G the unseen-item term is diagonal, so a history of fewer items than dim needs a solve of its own
size only (Woodbury):

    u = D⁻¹Xᵀ S (I + S·X·D⁻¹·Xᵀ·S)⁻¹ S·p,   D = α·Λ + λ(Σw + α·n_items)·I,   S = diag(√w)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from recsys.model.histories import Histories, PaddedBatch, batches


class Solver:
    """Closed-form profiles for one table: the eigenbasis of its Gram matrix is computed once."""

    def __init__(self, item_embeddings: torch.Tensor, *, alpha: float, reg: float) -> None:
        """item_embeddings: (n_items, dim), float32 or float64; all results have its dtype."""
        self.n_items, self.dim = item_embeddings.shape
        self.dtype = item_embeddings.dtype
        self.alpha, self.reg = alpha, reg
        wide = item_embeddings.to(torch.float64)
        eigenvalues, Q = torch.linalg.eigh(wide.T @ wide)
        self.rotation = Q.to(self.dtype)
        self.rotated = (wide @ Q).to(self.dtype)
        self._unseen = (alpha * eigenvalues.clamp(min=0.0)).to(self.dtype)

    def diagonal(self, batch: PaddedBatch) -> torch.Tensor:
        """Compute α·Λ + λ(Σw + α·n_items) of each history, (batch, dim).

        It is all of its system that is not a sum over its items.
        """
        ridge = self.reg * (batch.weight.sum(1) + self.alpha * self.n_items)
        diagonal: torch.Tensor = self._unseen + ridge[:, None]
        return diagonal

    def solve(self, batch: PaddedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Solve for profiles in the rotated basis, (batch, dim).

        Beside them, the scores u·v of the batch's items, (batch, length).
        """
        X = self.rotated[batch.item_idx]
        diagonal = self.diagonal(batch)
        length = X.shape[1]
        if length < self.dim:
            root = batch.weight.sqrt()
            Y = X * (root[:, :, None] / diagonal.sqrt()[:, None, :])
            K = torch.bmm(Y, Y.transpose(1, 2))
            K.diagonal(dim1=1, dim2=2).add_(1.0)
            b = torch.cholesky_solve((root * batch.target)[:, :, None], torch.linalg.cholesky(K))
            u = torch.bmm(Y.transpose(1, 2), b).squeeze(2) / diagonal.sqrt()
        else:
            W = X * batch.weight[:, :, None]
            A = torch.bmm(X.transpose(1, 2), W)
            A.diagonal(dim1=1, dim2=2).add_(diagonal)
            b = torch.bmm(W.transpose(1, 2), batch.target[:, :, None])
            u = torch.cholesky_solve(b, torch.linalg.cholesky(A)).squeeze(2)
        return u, torch.bmm(X, u[:, :, None]).squeeze(2)

    def profiles(self, histories: Histories, devices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Compute profiles (len(devices), dim) float32; the zero vector for an empty history."""
        out = np.zeros((histories.n_devices, self.dim), dtype=np.float32)
        for batch in batches(histories, devices, self.dtype):
            u, _ = self.solve(batch)
            out[batch.device] = (u @ self.rotation.T).numpy()
        return out[devices]
