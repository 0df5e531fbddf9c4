"""The log of a Dataset from its rows in their final order: cancellations matched, columns under their own names."""

from __future__ import annotations

import polars as pl

from data.cancellations import STANDS, undo
from data.columns import Columns
from data.dataset import RESERVED
from data.numbering import Numbered


def make_log(rows: pl.DataFrame, numbered: Numbered, columns: Columns) -> tuple[pl.DataFrame, dict[str, int]]:
    """The log of a Dataset in its final order, and the counts of cancellations.

    Empties rows as it goes: two copies of a large log need not fit.
    """
    order = numbered.order
    kind, time = rows["kind"].to_numpy()[order], rows["time"].to_numpy()[order]
    units = rows["quantity"].fill_null(1.0).to_numpy()[order]
    undone = undo(numbered.user_idx, numbered.item_idx, kind, time, units)
    stays = undone.is_event
    gone = pl.Series(undone.time[stays])
    made = {
        "user_idx": pl.Series(numbered.user_idx[stays]),
        "item_idx": pl.Series(numbered.item_idx[stays]),
        "kind": pl.Series(kind[stays]),
        "time": pl.Series(time[stays]),
    }
    rows.drop_in_place("kind")
    rows.drop_in_place("time")
    kept = pl.Series(order[stays])
    names = {"price": "price", "quantity": "quantity", "session": "session_id"}
    names |= {f"x.{name}": f"source_{name}" if name in RESERVED else name for name in columns.extras}
    for name in rows.columns:
        column = rows.drop_in_place(name)
        if name in names:
            made[names[name]] = column.gather(kept)
    made["undone_time"] = gone.set(gone == STANDS, None)
    log = pl.DataFrame(made).select(*list(made)[:4], *names.values(), "undone_time")
    return log.with_columns(pl.col("time", "undone_time").cast(pl.Datetime("us", "UTC"))), undone.counts
