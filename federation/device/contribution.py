"""What a device has to say in a training round: its own history against the shared table, as the parts of the task."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions
from federation.learning.intent_update import intent_update
from federation.learning.taste_update import METRICS, Clips, Update, device_update, metrics_vector
from federation.learning.training_sum import ROWS, vectors_of
from federation.private_sum.refusals import TaskRefused
from federation.protocol.messages import Task
from recsys.catalogue.catalogue import Catalogue
from recsys.evaluation.holdout import basket_ndcg, hold_out_last
from recsys.model.intent_config import IntentConfig
from recsys.model.items import INTENT, TASTE, ItemTable
from recsys.model.profile import event_targets, event_weights, vector_from_rows
from recsys.model.scoring import score

Vectors = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class OwnHistory:
    """The events that a catalogue knows, oldest first, (n,) each as in Interactions; at: as of when, µs since 1970."""

    item_idx: npt.NDArray[np.int32] = field(repr=False)
    kind: npt.NDArray[np.uint8] = field(repr=False)
    time: npt.NDArray[np.int64] = field(repr=False)
    at: int


def training_vectors(
    history: OwnHistory, catalogue: Catalogue, task: Task, block: int, *, measures_only: bool = False
) -> Vectors:
    """Compute the device's vectors for a training task, one for each part of its plan.

    They are zeros for a device without history.

    measures_only: a hold-out device adds nothing but how well it was served. Clipping is the private sum's part.
    Raises TaskRefused for a task whose parts or blocks do not fit the table.
    """
    if catalogue.before is not None:
        raise TaskRefused(f"catalogue {catalogue.bundle_version}: has changes since its bundle, must have none")
    n_block = _check_shape(task, catalogue)
    rows = range(task.blocks[block].start, task.blocks[block].stop)
    name = "holdout" if measures_only else "train"
    figure = _last_basket(history, catalogue)
    metrics = {} if np.isnan(figure) else {f"{name}_devices": 1.0, f"{name}_ndcg": figure}
    if measures_only:
        update = _nothing(len(rows), _width(catalogue.table), metrics)
    else:
        update = _update(history, catalogue, rows, metrics)
    return vectors_of(update, n_block, catalogue.table.trained)


def _check_shape(task: Task, catalogue: Catalogue) -> int:
    """Return the rows of the task's longest block."""
    lengths = {part.name: part.length for part in task.plan.parts}
    n_block, dim, n_items = lengths.get("counts", 0), _width(catalogue.table), catalogue.table.n_items
    expected = {
        ROWS[catalogue.table.trained]: n_block * dim,
        "counts": n_block,
        "second": dim * (dim + 1) // 2,
        "first": dim,
        "one": 1,
        "metrics": len(METRICS),
    }
    if lengths != expected:
        raise TaskRefused(f"parts={lengths}: must be {expected}")
    if task.blocks[-1].stop != n_items:
        raise TaskRefused(f"blocks: end at row {task.blocks[-1].stop}, must end at the table's {n_items}")
    if any(block.stop > n_items or block.stop - block.start > n_block for block in task.blocks):
        raise TaskRefused(f"blocks: must be of at most {n_block} of the {n_items} rows of {catalogue.bundle_version}")
    return n_block


def _width(table: ItemTable) -> int:
    """Return the columns of the part that rounds train."""
    part = table.part(table.trained)
    return int(part.stop - part.start)


def _profile(history: OwnHistory, catalogue: Catalogue) -> npt.NDArray[np.float32]:
    config, table = catalogue.training, catalogue.table
    rows = table.item_embeddings[history.item_idx]
    return vector_from_rows(
        table.parts, table.gram, table.n_items, rows, history.kind, history.time, history.at, config
    )


def _update(history: OwnHistory, catalogue: Catalogue, rows: range, metrics: dict[str, float]) -> Update:
    table, training = catalogue.table, catalogue.training
    if table.trained == INTENT:
        update = intent_update(
            table.rows_of(TASTE),
            table.rows_of(INTENT),
            history.item_idx,
            history.kind,
            training,
            catalogue.intent or IntentConfig(),
            Clips(),
            block=rows,
        )
        return replace(update, metrics=metrics_vector(metrics))
    return device_update(
        table.item_embeddings,
        _profile(history, catalogue),
        history.item_idx,
        event_weights(history.kind, history.time, history.at, training),
        event_targets(history.kind),
        Clips(),
        block=rows,
        metrics=metrics,
    )


def _last_basket(history: OwnHistory, catalogue: Catalogue) -> float:
    """Compute NDCG@20 of the device's last basket under a profile of what came before it; nan without one."""
    n = len(history.item_idx)
    log = Interactions(
        offsets=np.array([0, n]),
        item_idx=history.item_idx,
        kind=history.kind,
        time=history.time,
        quantity=np.ones(n, dtype=np.float32),
        n_items=catalogue.table.n_items,
        undone_row=np.empty(0, dtype=np.int64),
        undone_time=np.empty(0, dtype=np.int64),
    )
    hold_out = hold_out_last(log)
    if hold_out.basket.n_events == 0:
        return np.nan
    before = OwnHistory(hold_out.before.item_idx, hold_out.before.kind, hold_out.before.time, int(hold_out.moments[0]))
    scores = score(catalogue.table, _profile(before, catalogue)[None], 0.0)
    return float(basket_ndcg(scores, hold_out.basket)[0])


def _nothing(n_rows: int, dim: int, metrics: dict[str, float]) -> Update:
    return Update(
        rows=np.zeros((n_rows, dim)),
        counts=np.zeros(n_rows),
        second=np.zeros(dim * (dim + 1) // 2),
        first=np.zeros(dim),
        one=0.0,
        metrics=metrics_vector(metrics),
    )
