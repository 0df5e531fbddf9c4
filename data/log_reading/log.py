"""The log of a Dataset from its rows in their final order: cancellations matched, columns under their own names."""

from __future__ import annotations

import numpy as np
import polars as pl

from data.checked_log import RESERVED
from data.log_reading.cancellations import undo
from data.log_reading.columns import Columns
from data.log_reading.numbering import NumberedRows


def make_log(rows: pl.DataFrame, numbered: NumberedRows, columns: Columns) -> tuple[pl.DataFrame, dict[str, int]]:
    """Make the log of a Dataset in its final order, and the counts of cancellations.

    Empties rows of what the log does not keep: two copies of a large log need not fit.
    """
    events, order = numbered.events, numbered.order
    quantity = rows["quantity"]
    units = None if quantity.null_count() == len(quantity) else quantity.gather(order).fill_null(1.0).to_numpy()
    user_idx, item_idx, kind, time = (events[name].to_numpy() for name in ("user_idx", "item_idx", "kind", "time"))
    undone = undo(user_idx, item_idx, kind, time, units)
    if len(undone.cancels):
        stands = np.ones(len(order), dtype=np.bool_)
        stands[undone.cancels] = False
        events, order = events.filter(stands), order.filter(stands)
    names = {"price": "price", "quantity": "quantity", "session": "session_id"}
    names |= {f"x.{name}": f"source_{name}" if name in RESERVED else name for name in columns.extras}
    for name in set(rows.columns).difference(names):
        rows.drop_in_place(name)
    told = [name for name in names if rows[name].null_count() < len(rows)]
    nothing = {name: rows.drop_in_place(name).clear(len(order)) for name in names if name not in told}
    selected = rows[order].with_columns(**nothing).select(pl.col(name).alias(new) for name, new in names.items())
    gone = pl.Series("undone_time", [], dtype=pl.Int64).clear(len(order))
    gone = gone.scatter(undone.rows - np.searchsorted(undone.cancels, undone.rows), undone.times)
    log = events.hstack(selected).hstack([gone])
    return log.with_columns(pl.col("time", "undone_time").cast(pl.Datetime("us", "UTC"))), undone.counts
