"""What whoever reads the messages of a mode can do with them: read items of a history, and know a shopper again.

A message is given as a direction (dim,): the vector itself, or the sum of the named centroids.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recsys.model.histories import Histories
from tests.benchmarks.attacks_leak import Pairs, matched_pairs

Floats = npt.NDArray[np.float32]
TIE = 1e-6


def unit(rows: Floats) -> Floats:
    """Rows of length 1; zero rows stay."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12), dtype=np.float32)


def pairs_of(histories: Histories, users: int, per_user: int, seed: int) -> Pairs:
    """per_user items of each of the first users, each beside an item as popular that is not in the history."""
    return matched_pairs(histories, np.arange(users), per_user, seed)


def membership_auc(V: Floats, messages: Floats, pairs: Pairs) -> float:
    """How often the item of the history scores above its twin of equal popularity, ties half: V·(what was sent).

    pairs: true and false ones in turn, as matched_pairs gives them. messages: (users, dim).
    """
    scores = np.einsum("nd,nd->n", V[pairs.item], messages[pairs.device])
    assert pairs.truth[::2].all()
    assert not pairs.truth[1::2].any()
    ahead = scores[::2] - scores[1::2]
    return float((ahead > TIE).mean() + (np.abs(ahead) <= TIE).mean() / 2)


def recognised(messages: Floats, known: Floats) -> float:
    """Share of messages (n, dim) whose nearest of the known (n, dim) by cosine is their own; of k as near, 1/k."""
    near = unit(messages) @ unit(known).T
    best = near.max(axis=1)
    equal = near >= best[:, None] - TIE
    return float((np.diagonal(equal) / equal.sum(axis=1)).mean())
