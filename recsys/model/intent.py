"""The current intent: pools of the last events, and what they ask of an item table's second part. No long-lived taste.

A pool is a sum over a history in which an event weighs ρ^(later events), ρ in [0, 1): at 0 only the last event is left,
near 1 almost all of them. The query is the pools side by side, of the items' rows in the part TASTE:

    q = scale · [Σ_j ρ₁^age_j·w_j·p_j·v_j ; Σ_j ρ₂^age_j·w_j·p_j·v_j ; …]      score of item i = q·d_i

so the output table D, the part INTENT, holds how much each pool counts for each item: learned, not set. Linear in the
events, as the fold-in is, so the share of each in a score is exact. Pooling of item rows for the next item: Hidasi and
Karatzoglou (2018) name it as a baseline; with two tables it is FPMC of a longer order (Rendle et al. 2010).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from data.errors import ModelError
from data.interactions import EventKind, Interactions
from recsys.model.items import INTENT, TASTE, Parts, columns_of, has_part
from recsys.model.profile_config import ProfileConfig


def intent_share(parts: Parts, config: ProfileConfig) -> float:
    """Compute g for a table of these parts.

    It is the settings' own, 0 where the table has no such part or the settings no pools.

    Raises ModelError when the pools do not fit the part's width.
    """
    if not has_part(parts, INTENT) or not config.intent_pools:
        return 0.0
    taste, intent = columns_of(parts, TASTE), columns_of(parts, INTENT)
    expected = len(config.intent_pools) * (taste.stop - taste.start)
    if intent.stop - intent.start != expected:
        raise ModelError(
            f"parts={parts}: {len(config.intent_pools)} intent_pools ask for a part {INTENT!r} of width {expected}"
        )
    return config.intent_share


def in_shares(vectors: npt.NDArray[np.float32], parts: Parts, config: ProfileConfig) -> npt.NDArray[np.float32]:
    """Put fold-ins and queries side by side, (…, dim), as a profile has them: (1 − g)·taste and g·intent."""
    share, taste = intent_share(parts, config), columns_of(parts, TASTE)
    shared = vectors * np.float32(share)
    shared[..., taste] = np.float32(1 - share) * vectors[..., taste]
    return shared


def signed_weights(kind: npt.NDArray[np.uint8], config: ProfileConfig) -> npt.NDArray[np.float64]:
    """Compute w_j·p_j without age, (n,): the kind's weight, negative for a dislike."""
    weights = np.asarray(config.kind_weights)[kind]
    return np.where(kind == EventKind.DISLIKE, -weights, weights)


def event_queries(
    rows: npt.NDArray[np.float32], kind: npt.NDArray[np.uint8], config: ProfileConfig
) -> npt.NDArray[np.float64]:
    """Compute what each event of ONE history adds to its query, (n, pools·dim) float64; the query is their sum.

    rows: (n, dim) the events' item rows in the part TASTE, oldest first; kind: (n,).
    """
    age = np.arange(len(kind) - 1, -1, -1, dtype=np.float64)
    weighed = rows.astype(np.float64) * signed_weights(kind, config)[:, None] * config.intent_scale
    return np.hstack([weighed * (pool**age)[:, None] for pool in config.intent_pools])


def intent_query(
    rows: npt.NDArray[np.float32], kind: npt.NDArray[np.uint8], config: ProfileConfig
) -> npt.NDArray[np.float32]:
    """Compute the query of one history, (pools·dim,) float32; the zero vector for an empty one.

    Arguments as event_queries.
    """
    query: npt.NDArray[np.float32] = event_queries(rows, kind, config).sum(axis=0).astype(np.float32)
    return query


def intent_queries(
    log: Interactions, item_rows: npt.NDArray[np.float32], config: ProfileConfig
) -> npt.NDArray[np.float32]:
    """Compute the queries of all users of a log at once, (n_users, pools·dim) float32.

    Agrees with intent_query.

    item_rows: (n_items, dim), the part TASTE.
    """
    age = (np.repeat(log.offsets[1:], log.counts) - 1 - np.arange(log.n_events)).astype(np.float64)
    weights, V = config.intent_scale * signed_weights(log.kind, config), item_rows.astype(np.float64)
    shape = (log.n_users, log.n_items)
    pools: list[npt.NDArray[np.float64]] = [
        np.asarray(sparse.csr_array((weights * pool**age, log.item_idx, log.offsets), shape=shape) @ V)
        for pool in config.intent_pools
    ]
    return np.hstack(pools).astype(np.float32)
