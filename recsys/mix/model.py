"""MixModel: the weights of the mix and the public tables they go with, as a bundle carries them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from data.errors import ModelError
from recsys.mix.features import FEATURES
from recsys.mix.fit import FitState, read_fit
from recsys.mix.mix_tables import ItemAttributes, MixTables, byte_scale, transition_scale
from recsys.mix.priors import LISTS, PRIORS, ListName
from recsys.model.transitions import Transitions

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MixModel:
    """Public: the same for every device of a bundle.

    weights: of each list, (F,) float64, in the order of FEATURES. served: what those weights are: "mix", "prior",
    "cautious" or the feature that the guard preferred. devices: how many had an example to learn from. prior: a name
    of recsys.mix.priors.PRIORS, None in a bundle of before live rounds could learn the weights. fit: how far such
    rounds have come; what is served changes with the last of them alone.
    """

    weights: Mapping[ListName, Floats]
    served: Mapping[ListName, str]
    devices: int
    tables: MixTables
    prior: str | None = None
    fit: FitState | None = None

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
            "prior": self.prior,
            "as_of": self.tables.as_of,
            "fit": None if self.fit is None else self.fit.settings,
        }

    @property
    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The tables as arrays, the widest words first. Category and price are the catalogue's own columns."""
        transitions, trends = self.tables.transitions, self.tables.trends
        scale, trend_scale = transition_scale(transitions), byte_scale(trends)
        row = np.repeat(np.arange(len(scale)), np.diff(transitions.indptr))
        narrow = np.uint16 if len(scale) <= 2**16 else np.int32
        return {
            "mix_transition_scale": scale,
            "mix_trend_scale": trend_scale,
            "mix_transition_item": transitions.indices.astype(narrow),
            "mix_transition_weight": np.rint(transitions.data / scale[row]).astype(np.uint8),
            "mix_transition_count": np.diff(transitions.indptr).astype(np.uint8),
            "mix_trends": np.rint(trends / trend_scale[:, None]).astype(np.uint8),
        }

    def grown(self, attributes: ItemAttributes) -> MixModel:
        """Grow the model for a catalogue with more items, or other attributes of the known ones."""
        return replace(self, tables=self.tables.grown(attributes))


def read_mix(settings: object, tensors: Mapping[str, npt.NDArray[Any]], attributes: ItemAttributes) -> MixModel:
    """Read a model from its settings and tensors, and the attributes of the catalogue it belongs to.

    Raises ModelError for missing, foreign or impossible ones.
    """
    try:
        if not isinstance(settings, Mapping):
            raise ModelError(f"mix: is a {type(settings).__name__}, must be an object")
        if list(settings["features"]) != list(FEATURES):
            raise ModelError(f"mix: features {settings['features']}: this version reads {list(FEATURES)}")
        count, item = tensors["mix_transition_count"], tensors["mix_transition_item"]
        steps, scale = tensors["mix_transition_weight"], tensors["mix_transition_scale"]
        n_items = len(attributes.category)
        if not len(count) == len(scale) == n_items or int(count.sum()) != len(item) or len(item) != len(steps):
            raise ModelError(f"mix: {len(count)} rows of transitions, {len(item)} entries; {n_items} items")
        if len(item) and not 0 <= int(item.min()) <= int(item.max()) < n_items:
            raise ModelError(f"mix: transitions to items {item.min()}..{item.max()}, must be in 0..{n_items - 1}")
        indptr = np.concatenate(([0], np.cumsum(count, dtype=np.int64)))
        weight = steps.astype(np.float32) * np.repeat(scale, count)
        transitions: Transitions = sparse.csr_array((weight, item.astype(np.int32), indptr), shape=(n_items, n_items))
        trends = tensors["mix_trends"].astype(np.float32) * tensors["mix_trend_scale"][:, None]
        as_of, prior = settings.get("as_of"), settings.get("prior")
        on_its_way = settings.get("fit")
        fit = None if on_its_way is None else read_fit(on_its_way, len(FEATURES))
        if not (as_of is None or isinstance(as_of, int)) or prior not in (None, *PRIORS):
            raise ModelError(f"mix: as_of={as_of!r}, prior={prior!r}: must be µs since 1970 and one of {PRIORS}")
        tables = MixTables(transitions, trends, attributes.category, attributes.log_price, as_of)
        weights: dict[ListName, Floats] = {
            name: np.asarray(settings["weights"][name], dtype=np.float64) for name in LISTS
        }
        served: dict[ListName, str] = {name: str(settings["served"][name]) for name in LISTS}
        return MixModel(weights, served, int(settings["devices"]), tables, prior, fit)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelError(f"mix: not a mix of this version ({error!r})") from None
