"""What a shop changed about its items since a bundle was made: one row an item, read by every worker by sequence.

An item that no bundle knows gets a number at its first appearance and keeps it, so that all workers place new items in
the same order. A deleted item keeps its row, for those who have not heard of it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update

from federation.storage.database import reading
from federation.storage.migrations import prepare
from recsys.catalogue.live_items import ItemChange
from serving.state.counters import ensure, last, take
from serving.state.schema import SCHEMA, item_changes

COUNTER = "items"
EPOCH = "items-epoch"
"""A number drawn when an app's changes begin to be counted: a store that was made anew counts from 1 under another."""


class ItemStore:
    """Changes of all apps, in SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        prepare(engine, SCHEMA)

    def put(self, app: str, items: Sequence[tuple[str, Mapping[str, Any]]]) -> int:
        """Set fields of items; fields that are not named stay as they were put before. Returns the last sequence.

        items: (item_id, fields) in their order; an item named twice gets both, the later one winning.
        """
        merged: dict[str, dict[str, Any]] = {}
        for item_id, fields in items:
            merged[item_id] = merged.get(item_id, {}) | dict(fields)
        return self._change(app, merged)

    def delete(self, app: str, item_ids: Sequence[str]) -> int:
        """Take items out of every list until they are put again. Returns the last sequence."""
        return self._change(app, dict.fromkeys(item_ids))

    def changes(self, app: str, since: int = 0) -> list[ItemChange]:
        """List the last change of each item changed after `since`, in the order of sequence."""
        where = (item_changes.c.app == app) & (item_changes.c.sequence > since)
        with reading(self._engine) as connection:
            rows = connection.execute(select(item_changes).where(where).order_by(item_changes.c.sequence)).all()
        return [
            ItemChange(
                item_id=row.item_id,
                sequence=row.sequence,
                number=row.number,
                fields=None if row.fields is None else json.loads(row.fields),
                whole=True,
            )
            for row in rows
        ]

    def sequence(self, app: str) -> int:
        """Read the number of the last change; 0 before the first."""
        with reading(self._engine) as connection:
            return last(connection, app, COUNTER)

    def begin(self, app: str) -> None:
        """Draw the epoch of an app's sequences, unless it has one."""
        ensure(self._engine, app, EPOCH, secrets.randbelow(2**53))

    def _change(self, app: str, wanted: Mapping[str, dict[str, Any] | None]) -> int:
        ensure(self._engine, app, COUNTER)
        with self._engine.begin() as connection:
            first = take(connection, app, COUNTER, len(wanted))
            known = _stored(connection, app, list(wanted))
            for sequence, (item_id, fields) in enumerate(wanted.items(), first):
                text = None
                if fields is not None:
                    before = known.get(item_id)
                    text = json.dumps(
                        (json.loads(before) if before else {}) | fields, ensure_ascii=False, allow_nan=False
                    )
                values = {"sequence": sequence, "fields": text}
                if item_id in known:
                    here = (item_changes.c.app == app) & (item_changes.c.item_id == item_id)
                    connection.execute(update(item_changes).where(here).values(values))
                else:
                    new = {"app": app, "item_id": item_id, "number": sequence}
                    connection.execute(insert(item_changes).values(new | values))
        return first + len(wanted) - 1


def _stored(connection: Connection, app: str, item_ids: list[str]) -> dict[str, str | None]:
    where = (item_changes.c.app == app) & item_changes.c.item_id.in_(item_ids)
    rows = connection.execute(select(item_changes.c.item_id, item_changes.c.fields).where(where)).all()
    return {row.item_id: row.fields for row in rows}
