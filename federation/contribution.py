"""What a device has to say in a training round: its own history against the shared table, as the parts of the task."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions
from federation.messages import Task
from federation.private_sum.refusals import TaskRefused
from federation.training_sum import vectors_of
from federation.update import METRICS, Clips, Update, device_update
from recsys.catalogue import Catalogue
from recsys.fold_in import fold_in
from recsys.holdout import basket_ndcg, hold_out_last
from recsys.items import TASTE
from recsys.profile import event_targets, event_weights
from recsys.scoring import score

Vectors = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class OwnHistory:
    """The events that a catalogue knows, oldest first, (n,) each as in Interactions; at: as of when, µs since 1970."""

    item_idx: npt.NDArray[np.int32] = field(repr=False)
    kind: npt.NDArray[np.uint8] = field(repr=False)
    time: npt.NDArray[np.int64] = field(repr=False)
    at: int


def training_vectors(
    own: OwnHistory, catalogue: Catalogue, task: Task, block: int, *, measures_only: bool = False
) -> Vectors:
    """The device's vectors for a training task, one for each part of its plan; zeros for a device without history.

    measures_only: a hold-out device adds nothing but how well it was served. Clipping is the private sum's part.
    Raises TaskRefused for a task whose parts or blocks do not fit the table.
    """
    if catalogue.before is not None:
        raise TaskRefused(f"catalogue {catalogue.bundle_version}: has changes since its bundle, must have none")
    n_block = _check_shape(task, catalogue)
    rows = range(task.blocks[block].start, task.blocks[block].stop)
    name = "holdout" if measures_only else "train"
    figure = _last_basket(own, catalogue)
    metrics = {} if np.isnan(figure) else {f"{name}_devices": 1.0, f"{name}_ndcg": figure}
    if measures_only:
        update = _nothing(len(rows), catalogue.table.dim, metrics)
    else:
        update = _update(own, catalogue, rows, metrics)
    return vectors_of(update, n_block)


def _check_shape(task: Task, catalogue: Catalogue) -> int:
    """Rows of the task's longest block."""
    found = {part.name: part.length for part in task.plan.parts}
    n_block, dim, n_items = found.get("counts", 0), catalogue.table.dim, catalogue.table.n_items
    expected = {
        "rows": n_block * dim,
        "counts": n_block,
        "second": dim * (dim + 1) // 2,
        "first": dim,
        "one": 1,
        "metrics": len(METRICS),
    }
    if found != expected:
        raise TaskRefused(f"parts={found}: must be {expected}")
    if any(one.stop > n_items or one.stop - one.start > n_block for one in task.blocks):
        raise TaskRefused(f"blocks: must be of at most {n_block} of the {n_items} rows of {catalogue.bundle_version}")
    return n_block


def _profile(own: OwnHistory, catalogue: Catalogue) -> npt.NDArray[np.float32]:
    config, table, taste = catalogue.training, catalogue.table, catalogue.table.part(TASTE)
    return fold_in(
        table.rows_of(TASTE)[own.item_idx],
        table.gram[taste, taste],
        event_weights(own.kind, own.time, own.at, config),
        event_targets(own.kind),
        n_items=table.n_items,
        alpha=config.alpha,
        reg=config.reg,
    )


def _update(own: OwnHistory, catalogue: Catalogue, rows: range, metrics: dict[str, float]) -> Update:
    return device_update(
        catalogue.table.item_embeddings,
        _profile(own, catalogue),
        own.item_idx,
        event_weights(own.kind, own.time, own.at, catalogue.training),
        event_targets(own.kind),
        Clips(),
        block=rows,
        metrics=metrics,
    )


def _last_basket(own: OwnHistory, catalogue: Catalogue) -> float:
    """NDCG@20 of the device's last basket under a profile of what came before it; nan without one."""
    n = len(own.item_idx)
    log = Interactions(
        offsets=np.array([0, n]),
        item_idx=own.item_idx,
        kind=own.kind,
        time=own.time,
        quantity=np.ones(n, dtype=np.float32),
        n_items=catalogue.table.n_items,
        undone_row=np.empty(0, dtype=np.int64),
        undone_time=np.empty(0, dtype=np.int64),
    )
    held = hold_out_last(log)
    if held.basket.n_events == 0:
        return np.nan
    before = OwnHistory(held.before.item_idx, held.before.kind, held.before.time, int(held.moments[0]))
    scores = score(catalogue.table, _profile(before, catalogue)[None], 0.0)
    return float(basket_ndcg(scores, held.basket)[0])


def _nothing(n_rows: int, dim: int, metrics: dict[str, float]) -> Update:
    return Update(
        rows=np.zeros((n_rows, dim)),
        counts=np.zeros(n_rows),
        second=np.zeros(dim * (dim + 1) // 2),
        first=np.zeros(dim),
        one=0.0,
        metrics=np.array([metrics.get(name, 0.0) for name in METRICS]),
    )
