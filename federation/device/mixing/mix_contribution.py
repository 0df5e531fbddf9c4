"""What a device has to say in a round of the mix: the bundle's own tables score what the device did after them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.interactions import EventKind
from federation.device.contribution import OwnHistory, Vectors
from federation.device.mixed_list import events_of
from federation.learning.mix_step import fit_of, judged_by_guard, next_sum
from federation.learning.mix_sum import MixSum, mix_parts, mix_sum_of
from federation.learning.mix_update import mix_judgement, mix_update
from federation.private_sum.refusals import TaskRefused
from federation.protocol.messages import Task
from recsys.catalogue.catalogue import Catalogue
from recsys.mix.examples import Examples, make_examples
from recsys.mix.features import N_FEATURES
from recsys.mix.model import MixModel
from recsys.mix.pools import Signals


def is_mix_task(task: Task) -> bool:
    """Tell whether a task is about the mix, by the parts of its plan."""
    return mix_sum_of([part.name for part in task.plan.parts]) is not None


def mix_vectors(history: OwnHistory, catalogue: Catalogue, task: Task, *, judges: bool) -> Vectors:
    """Compute the device's vectors for a task of the mix, one for each part of its plan.

    They are zeros for a device of the other role, and for one that did nothing before or nothing after the moment of
    the catalogue's tables. Raises TaskRefused for a task that does not fit the catalogue's mix.
    """
    kind = mix_sum_of([part.name for part in task.plan.parts])
    mix = catalogue.of_bundle.mix
    if mix is None or kind is None or next_sum(mix) != kind:
        raise TaskRefused(f"parts: are of a {kind}, the mix of {catalogue.bundle_version} needs {next_sum(mix)}")
    lengths = {part.name: part.length for part in mix_parts(kind, N_FEATURES)}
    if {part.name: part.length for part in task.plan.parts} != lengths:
        raise TaskRefused(f"parts: must be {lengths}")
    nothing = {name: np.zeros(length) for name, length in lengths.items()}
    if judges != (kind == "guard"):
        return nothing
    example = own_example(history, catalogue.of_bundle, mix)
    return nothing if example is None else _said(example, mix, kind)


def _said(example: Examples, mix: MixModel, kind: MixSum) -> Vectors:
    fit, prior = fit_of(mix), mix.prior
    if kind == "guard" and prior is not None:
        return mix_judgement(example, judged_by_guard(fit.weights, prior)).parts
    return mix_update(example, fit.weights, kind).parts


def own_example(history: OwnHistory, catalogue: Catalogue, mix: MixModel) -> Examples | None:
    """Make the device's one example, as of the moment of the mix's tables; None without events on both sides of it."""
    if mix.tables.as_of is None:
        return None
    before = history.time < mix.tables.as_of
    after = ~before & (history.kind != EventKind.DISLIKE) & (history.time <= history.at)
    if not before.any() or not after.any():
        return None
    known, later = (
        events_of((history.item_idx[rows], history.kind[rows], history.time[rows]), catalogue.table.n_items)
        for rows in (before, after)
    )
    signals = Signals(catalogue.table, catalogue.config, mix.tables)
    return make_examples(signals, known, later, mix.tables.as_of, _ONLY)


_ONLY: npt.NDArray[np.int64] = np.zeros(1, dtype=np.int64)
"""Its own row: there is no other."""
