"""MixModel: the weights of the mix and the public tables they go with, as a bundle carries them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from data.errors import ModelError
from recsys.mix.features import FEATURES
from recsys.mix.priors import LISTS, ListName
from recsys.mix.tables import ItemAttributes, MixTables

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MixModel:
    """Public: the same for every device of a bundle.

    weights: of each list, (F,) float64, in the order of FEATURES. served: what those weights are: "mix", "prior", or
    the feature that the guard preferred. devices: how many had an example to learn from.
    """

    weights: Mapping[ListName, Floats]
    served: Mapping[ListName, str]
    devices: int
    tables: MixTables

    def __post_init__(self) -> None:
        if set(self.weights) != set(LISTS) or set(self.served) != set(LISTS):
            raise ModelError(f"mix: lists {sorted(self.weights)}, {sorted(self.served)}: must be {list(LISTS)}")
        for name, weights in self.weights.items():
            if weights.shape != (len(FEATURES),) or not np.isfinite(weights).all():
                raise ModelError(f"mix: weights {name} {weights.shape}: must be {len(FEATURES)} finite numbers")

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the tables, as JSON."""
        return {
            "features": list(FEATURES),
            "weights": {name: [float(weight) for weight in self.weights[name]] for name in LISTS},
            "served": dict(self.served),
            "devices": self.devices,
        }

    @property
    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The tables as arrays: transitions by row, and trends. Category and price are the catalogue's own columns."""
        transitions = self.tables.transitions
        return {
            "transition_count": np.diff(transitions.indptr).astype(np.int32),
            "transition_item": transitions.indices.astype(np.int32),
            "transition_weight": transitions.data.astype(np.float32),
            "trends": self.tables.trends,
        }


def read_mix(settings: object, tensors: Mapping[str, npt.NDArray[Any]], attributes: ItemAttributes) -> MixModel:
    """A model from its settings and tensors, and the attributes of the catalogue it belongs to.

    Raises ModelError for missing, foreign or impossible ones.
    """
    try:
        if not isinstance(settings, Mapping):
            raise ModelError(f"mix: is a {type(settings).__name__}, must be an object")
        if list(settings["features"]) != list(FEATURES):
            raise ModelError(f"mix: features {settings['features']}: this version reads {list(FEATURES)}")
        count, item = np.asarray(tensors["transition_count"]), np.asarray(tensors["transition_item"])
        weight, trends = np.asarray(tensors["transition_weight"]), np.asarray(tensors["trends"])
        n_items = len(attributes.category)
        if len(count) != n_items or (count < 0).any() or int(count.sum()) != len(item) or len(item) != len(weight):
            raise ModelError(f"mix: {len(count)} rows of transitions, {len(item)} entries; {n_items} items")
        if len(item) and not 0 <= item.min() <= item.max() < n_items:
            raise ModelError(f"mix: transitions to items {item.min()}..{item.max()}, must be in 0..{n_items - 1}")
        indptr = np.concatenate(([0], np.cumsum(count, dtype=np.int64)))
        transitions: sparse.csr_array[np.float32, tuple[int, int]] = sparse.csr_array(
            (weight.astype(np.float32), item.astype(np.int32), indptr), shape=(n_items, n_items)
        )
        tables = MixTables(transitions, trends.astype(np.float32), attributes.category, attributes.log_price)
        weights: dict[ListName, Floats] = {
            name: np.asarray(settings["weights"][name], dtype=np.float64) for name in LISTS
        }
        served: dict[ListName, str] = {name: str(settings["served"][name]) for name in LISTS}
        return MixModel(weights, served, int(settings["devices"]), tables)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"mix: not a mix of this version ({error!r})") from None
