"""The loss of the mix, its gradient and its Hessian: for each positive a softmax against what was not taken.

A device with features X (pool, F), positives P and the others N, under weights w:

    loss = −1/|P| Σ_{p∈P} log( exp(w·x_p) / (exp(w·x_p) + Σ_{n∈N} exp(w·x_n)) )

Positives do not compete with each other: one softmax over all of them ranks below a plain counter on groceries. The
Hessian is the covariance of x under (q + t)/2, q the mean of the positives' softmax distributions and t uniform on P:
plain Newton oscillates where positives are rare, since the covariance under q alone says nothing of the way to t.
A listwise softmax: Cao et al. (2007); sampled softmax per positive as in Bruch et al. (2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.mix.features import N_FEATURES
from recsys.mix.pools import Pools

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class LossParts:
    """Gradient (n, F) and Hessian (n, F, F) of each device's loss, zero without positives or without others.

    counted: (n,) bool, which devices have both. loss: (n,) at the weights.
    """

    gradient: Floats
    hessian: Floats
    loss: Floats
    counted: npt.NDArray[np.bool_]


def loss_parts(pools: Pools, positive: npt.NDArray[np.bool_], weights: Floats) -> LossParts:
    """Compute gradient and mid Hessian of every device's loss at weights (F,).

    positive: (m,) bool, over the pools' entries.
    """
    n = len(pools)
    gradient, hessian = np.zeros((n, N_FEATURES)), np.zeros((n, N_FEATURES, N_FEATURES))
    X = pools.features.astype(np.float64)
    device = pools.device
    n_positive = np.bincount(device[positive], minlength=n)
    counted = (n_positive > 0) & (np.diff(pools.offsets) > n_positive)
    height = X @ weights
    top = np.full(n, -np.inf)
    np.maximum.at(top, device, height)
    e = np.exp(height - np.where(np.isfinite(top), top, 0.0)[device])
    others = np.bincount(device, np.where(positive, 0.0, e), minlength=n)
    # a positive's own share of its softmax, and what each of them leaves to the others
    probability = np.where(positive, e / np.maximum(e + others[device], 1e-300), 0.0)
    each = 1.0 / np.maximum(n_positive, 1)
    left = np.bincount(device, np.where(positive, (1.0 - probability), 0.0), minlength=n) * each
    q = np.where(positive, probability * each[device], e / np.maximum(others, 1e-300)[device] * left[device])
    t = np.where(positive, each[device], 0.0)
    loss = np.bincount(
        device, np.where(positive, -np.log(np.maximum(probability, 1e-300)) * each[device], 0.0), minlength=n
    )
    mid = (q + t) / 2
    for row in np.flatnonzero(counted):
        inside = slice(pools.offsets[row], pools.offsets[row + 1])
        x = X[inside]
        gradient[row] = (q[inside] - t[inside]) @ x
        mean = mid[inside] @ x
        hessian[row] = (x * mid[inside, None]).T @ x - np.outer(mean, mean)
    return LossParts(gradient, hessian, np.where(counted, loss, 0.0), counted)
