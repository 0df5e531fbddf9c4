"""Hiding small groups so that nobody computes them from the others by subtraction.

A cell is hidden when it is small, and then enough others that no hidden cell follows from what is published: neither
one alone, nor a hidden part of a whole that is itself small. The total over each attribute counts as published.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recsys.fairness.audit_layout import AuditLayout

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def hidden_cells(layout: AuditLayout, counts: Floats, least: float) -> Mask:
    """Choose what is hidden, (n_cells,) bool. counts: (n_cells,) shoppers, noised or not; least: of a published cell.

    >>> layout = AuditLayout((("age", ("young", "middle", "old")),))
    >>> hidden_cells(layout, np.array([20.0, 300.0, 80.0]), 50).tolist()  # alone, "young" would be the total's rest
    [True, False, True]
    """
    hidden = counts < least
    relations = relations_of(layout)
    while True:
        exposed = _exposed(relations, hidden, counts, least)
        if exposed is None:
            return hidden
        relation = relations[exposed]
        parts, either = np.flatnonzero((relation > 0) & ~hidden), np.flatnonzero((relation != 0) & ~hidden)
        published = parts if len(parts) else either  # a group is hidden after its intersections, not before
        hidden[published[np.argmin(counts[published])]] = True


def relations_of(layout: AuditLayout) -> npt.NDArray[np.int64]:
    """Make the linear relations whose right-hand sides are public, (n_relations, n_cells).

    The cells of an attribute add up to its total; intersections add up to a group, which is −1 there.
    """
    rows = []
    for name, _ in layout.attributes:
        row = np.zeros(len(layout.cells), dtype=np.int64)
        row[[place for cell, place in layout.place.items() if len(cell) == 1 and cell[0][0] == name]] = 1
        rows.append(row)
    for whole, *parts in layout.relations():
        row = np.zeros(len(layout.cells), dtype=np.int64)
        row[whole], row[parts] = -1, 1
        rows.append(row)
    return np.array(rows)


def determined(relations: npt.NDArray[np.int64], hidden: Mask) -> Mask:
    """Mark the hidden cells that follow from what is published, (n_cells,) bool.

    A hidden value follows exactly where no vector of the relations' null space over the hidden cells moves it.
    """
    places = np.flatnonzero(hidden)
    result = np.zeros(len(hidden), dtype=np.bool_)
    if len(places):
        _, singular, directions = np.linalg.svd(relations[:, places].astype(np.float64))
        rank = int((singular > 1e-9).sum())
        result[places] = (np.abs(directions[rank:]) < 1e-9).all(axis=0)
    return result


def _exposed(relations: npt.NDArray[np.int64], hidden: Mask, counts: Floats, least: float) -> int | None:
    """Find a relation that gives a hidden cell, or a small sum of hidden parts, away; None where none does."""
    followed = determined(relations, hidden)
    fallback = None
    for place, relation in enumerate(relations):
        inside = hidden & (relation != 0)
        if not inside.any() or not (~hidden & (relation != 0)).any():
            continue
        if inside.sum() == 1:
            return place
        parts = hidden & (relation > 0)
        if parts.any() and not (hidden & (relation < 0)).any() and counts[parts].sum() < least:
            return place
        if fallback is None and (inside & followed).any():
            fallback = place
    return fallback
