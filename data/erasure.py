"""Erasing people from a saved dataset: their events go, and their id is replaced by one that means nobody."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from data.checked_log import load
from data.errors import DataError
from data.interactions import EventKind
from data.vocabulary import Vocabulary

ERASED = "erased:"
"""How the id begins that stands in the place of an erased one. It is drawn, so nothing of the old id is in it."""


def erase_users(folder: Path | str, users: Sequence[str]) -> dict[str, int]:
    """Remove users' events and ids from a dataset folder, whole or not at all; return the counts of users and events.

    The user_idx of everybody else stays, so a dataset grown by base= from this folder knows the erased ids no more.
    An erased shopper who comes back in a later log is a new one. Raises DataError for an id that is not in it.
    """
    log = load(Path(folder))
    places = log.users.index_of(list(users))
    if unknown := [user for user, place in zip(users, places, strict=True) if place < 0]:
        raise DataError(f"user={unknown[0]!r}: is not in dataset {folder}")
    ids = log.users.ids.to_list()
    for place in places.tolist():
        ids[place] = f"{ERASED}{secrets.token_hex(8)}"
    stays = log.log.filter(~pl.col("user_idx").is_in(places.tolist()))
    gone = len(log.log) - len(stays)
    kinds = dict(stays["kind"].value_counts().iter_rows())
    before = log.summary.get("erased", {"users": 0, "events": 0})
    summary = log.summary | {
        "events": len(stays),
        "users": log.summary["users"] - len(set(places.tolist())),
        "kinds": {kind.name.lower(): kinds[int(kind)] for kind in EventKind if int(kind) in kinds},
        "erased": {"users": before["users"] + len(set(places.tolist())), "events": before["events"] + gone},
        "notes": [note for note in log.summary["notes"] if not note.startswith("user: ")],
    }
    replace(log, log=stays, users=Vocabulary(ids), summary=summary).save(folder)
    return {"users": len(set(places.tolist())), "events": gone}
