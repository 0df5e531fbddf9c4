"""What a device adds to the sums from which the mix is learned. Maths only, no I/O.

A device sends, of its own last example, the gradient of each list's loss and once its Hessian: a few hundred numbers
that do not grow with the catalogue. Its pool, its features and what it took stay where they are. Devices that judge
(the guard) send figures instead, and never gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from federation.learning.mix_sum import GRADIENT_CLIP, GUARD_CLIP, HESSIAN_CLIP, MixSum
from recsys.evaluation.mix_judging import guard_sums, pool_ndcg
from recsys.mix.examples import Examples
from recsys.mix.features import N_FEATURES
from recsys.mix.fit import clip_scale
from recsys.mix.loss import loss_parts
from recsys.mix.priors import LISTS, ListName

Floats = npt.NDArray[np.float64]

TRIANGLE = np.triu_indices(N_FEATURES)


@dataclass(frozen=True, eq=False)
class MixUpdate:
    """All that a device ever says for the weights of the mix; gradients (F,), Hessians as upper triangles.

    hessian_*: None after the first step. one: (1,), the number of devices: 1 of a device, 0 without an example.
    """

    gradient_all: Floats
    gradient_new: Floats
    hessian_all: Floats | None
    hessian_new: Floats | None
    one: Floats

    def __repr__(self) -> str:
        return "MixUpdate(…)"

    @property
    def parts(self) -> dict[str, Floats]:
        """By the name of the part in the sum."""
        return _parts_of(self)


@dataclass(frozen=True, eq=False)
class MixJudgement:
    """All that a judging device ever says: by candidate its NDCG's difference to the mix's, and the square of it.

    apart_*, square_*: in the order of recsys.evaluation.mix_guard.candidates, the mix left out. one: as of MixUpdate.
    """

    apart_all: Floats
    square_all: Floats
    apart_new: Floats
    square_new: Floats
    one: Floats

    def __repr__(self) -> str:
        return "MixJudgement(…)"

    @property
    def parts(self) -> dict[str, Floats]:
        """By the name of the part in the sum."""
        return _parts_of(self)


def _parts_of(said: MixUpdate | MixJudgement) -> dict[str, Floats]:
    values = {field.name: getattr(said, field.name) for field in fields(said)}
    return {name: value for name, value in values.items() if value is not None}


def mix_update(examples: Examples, weights: Mapping[ListName, Floats], kind: MixSum) -> MixUpdate:
    """Compute the update of ONE device, or the sum of those of several, each within its clips.

    weights: of both lists, (F,). kind: the first step is the one that brings Hessians.
    """
    sums: dict[ListName, tuple[Floats, Floats]] = {}
    for name, of_list in by_list(examples).items():
        parts = loss_parts(of_list.pools, of_list.positive, weights[name])
        scale = clip_scale(parts.gradient, parts.hessian, GRADIENT_CLIP, HESSIAN_CLIP)
        sums[name] = scale @ parts.gradient, np.tensordot(scale, parts.hessian, axes=1)[TRIANGLE]
    first = kind == "first_step"
    return MixUpdate(
        gradient_all=sums["all"][0],
        gradient_new=sums["new"][0],
        hessian_all=sums["all"][1] if first else None,
        hessian_new=sums["new"][1] if first else None,
        one=np.array([float(len(examples.pools))]),
    )


def mix_judgement(examples: Examples, judged: Mapping[ListName, Mapping[str, Floats]]) -> MixJudgement:
    """Judge candidates on ONE device's example, or sum the judgements of several.

    judged: of each list, weights (F,) by name, those of "mix" among them.
    """
    parts: dict[str, Floats] = {}
    for name, of_list in by_list(examples).items():
        figures = {
            candidate: pool_ndcg(of_list.pools, of_list.offsets, of_list.items, weights)
            for candidate, weights in judged[name].items()
        }
        sums = guard_sums(figures, GUARD_CLIP)
        parts[f"apart_{name}"] = np.array(list(sums.difference.values()))
        parts[f"square_{name}"] = np.array(list(sums.square.values()))
    return MixJudgement(**parts, one=np.array([float(len(examples.pools))]))


def by_list(examples: Examples) -> dict[ListName, Examples]:
    """Make the examples of both lists of those of all items."""
    of_list: dict[ListName, Examples] = {"all": examples, "new": examples.new()}
    return {name: of_list[name] for name in LISTS}
