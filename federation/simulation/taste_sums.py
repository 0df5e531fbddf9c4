"""Device updates of thousands of devices at once, on one thread; agrees with taste_update, device by device."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from federation.learning.item_step import RoundSums
from federation.learning.taste_update import METRICS, Clips
from recsys.model.histories import Histories, PaddedBatch, batches
from recsys.model.solver import Solver


def sum_updates(
    solver: Solver,
    histories: Histories,
    devices: npt.NDArray[np.int64],
    clips: Clips,
    *,
    blocks: int = 1,
    device_block: npt.NDArray[np.int32] | None = None,
) -> RoundSums:
    """Sum of the devices' updates, each part of each device clipped. Metrics are left at zero.

    A device with an empty history reports zeros only, its `one` too.
    blocks, device_block: the catalogue is cut into so many blocks of rows, and each device, (len(devices),) int32,
        reports rows and counts of its own block only.
    """
    n_items, dim = solver.n_items, solver.dim
    block_size = -(-n_items // blocks)
    block_of = np.zeros(histories.n_devices, dtype=np.int32)
    if device_block is not None:
        block_of[devices] = device_block
    rows = np.zeros((n_items, dim))
    counts = np.zeros(n_items)
    second = np.zeros((dim, dim))
    first = np.zeros(dim)
    reports = np.zeros(blocks)
    for batch in batches(histories, devices, solver.dtype):
        u, scores = solver.solve(batch)
        block = block_of[batch.device]
        reports += np.bincount(block, minlength=blocks)
        weight = batch.weight
        if blocks > 1:
            weight = weight * (batch.item_idx // block_size == torch.from_numpy(block)[:, None])
        residual = weight * (scores - batch.target)
        squared = u.square().sum(1)
        profile = u @ solver.rotation.T
        row_scale = _scale((residual.square().sum(1) * squared).sqrt(), clips.rows)
        count_scale = _scale(weight.square().sum(1).sqrt(), clips.counts)
        triangle_norm = ((squared.square() + profile.square().square().sum(1)) / 2).sqrt()
        second_scale = _scale(triangle_norm, clips.second)
        first_scale = _scale(squared.sqrt(), clips.first)
        rows += _by_item(batch, residual * row_scale[:, None], n_items) @ profile.numpy()
        counts += np.bincount(
            batch.item_idx.numpy().ravel(), (weight * count_scale[:, None]).numpy().ravel(), minlength=n_items
        )
        second += ((profile * second_scale[:, None]).T @ profile).numpy()
        first += (profile * first_scale[:, None]).sum(0).numpy()
    return RoundSums(
        rows=rows,
        counts=counts,
        second=second[np.triu_indices(dim)],
        first=first,
        reports=np.repeat(reports, block_size)[:n_items],
        one=float(reports.sum()),
        metrics=np.zeros(len(METRICS)),
    )


def _scale(norms: torch.Tensor, bound: float) -> torch.Tensor:
    return torch.clamp(bound / norms.clamp(min=1e-30), max=1.0) if np.isfinite(bound) else torch.ones_like(norms)


def _by_item(batch: PaddedBatch, coefficients: torch.Tensor, n_items: int) -> sparse.csc_array:
    """Spread the coefficients of each device's items into a sparse (n_items, batch). Padding adds zeros to item 0."""
    size, length = batch.item_idx.shape
    ends = np.arange(0, size * length + 1, length)
    return sparse.csc_array((coefficients.numpy().ravel(), batch.item_idx.numpy().ravel(), ends), shape=(n_items, size))
