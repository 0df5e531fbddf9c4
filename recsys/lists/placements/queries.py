"""The query of a list: a profile, the item of a page and a cart in one direction. One formula, wherever it is asked."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recsys.lists.placements.shop_items import Floats, Items, ShopItems
from recsys.model.fold_in import CART_WEIGHT, blend, cart_query, context_query

_NOTHING = np.empty(0, dtype=np.int32)


class ListQuery(NamedTuple):
    """q·v + weight·trend, and the parts of q: of the profile, of the context or cart. None: the trend alone."""

    vector: Floats | None
    weight: float
    profile: Floats | None = None
    like: Floats | None = None


def list_query(
    items: ShopItems, profile: Floats | None, context: int | None = None, cart: npt.NDArray[np.int32] = _NOTHING
) -> ListQuery:
    """Make the query of a list: the profile, and before it what the cart says, and before both the page's item.

    profile: (dim,), None for nobody's. context: of an item, None for no page. cart: (n,) item_idx. With both, the
    cart's query stands where the profile stands on a page without a cart.
    """
    weight = items.config.trend_weight
    vector, like = profile, None
    if len(cart):
        like = cart_direction(items, cart)
        vector = blend(like, profile, CART_WEIGHT)
    if context is not None:
        row = items.rows(np.array([context], dtype=np.int32))[0]
        vector = context_query(items.base, row, vector)
        like = context_query(items.base, row, like)
    if like is None or not like.any():
        return ListQuery(profile, weight, profile, None)
    return ListQuery(vector, weight, profile, like)


def cart_direction(items: ShopItems, cart: Items) -> Floats:
    """Compute what goes with a cart, (dim,). Where the bundle knows none of its items, it is their mean by content."""
    known = cart[cart < items.base.n_items]
    if len(known):
        return cart_query(items.base, known, items.config)
    return context_query(items.base, items.rows(cart).mean(axis=0), None)
