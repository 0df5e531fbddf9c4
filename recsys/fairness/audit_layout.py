"""Which number of a device's audit contribution means what: five figures in each group and intersection it is in.

A device knows its own levels and puts its figures into the cells of those levels, zeros everywhere else: the vector
alone says its attributes, so it is never sent but as a share of a private sum. Whose level is unknown is in no cell of
that attribute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

from data.errors import DataError

Floats = npt.NDArray[np.float64]

FIGURES = ("one", "ndcg", "ndcg_squared", "hit", "tail")
"""What a device says of its shopper, each in 0..1; the square is for the intervals."""
MAX_CELLS = 2_000
Cell = tuple[tuple[str, str], ...]
"""A group as (attribute, level), or an intersection of two, in the order of the layout's attributes."""


@dataclass(frozen=True)
class AuditLayout:
    """attributes: name → levels, in order. Cells: every level, and every pair of levels of two attributes."""

    attributes: tuple[tuple[str, tuple[str, ...]], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.attributes]
        if not names or len(set(names)) != len(names):
            raise DataError(f"attributes={names}: must be distinct, and one at least")
        for name, levels in self.attributes:
            if not levels or len(set(levels)) != len(levels):
                raise DataError(f"attribute {name}: levels={list(levels)}: must be distinct, and one at least")
        if len(self.cells) > MAX_CELLS:
            raise DataError(f"attributes: make {len(self.cells)} groups and intersections, at most {MAX_CELLS}")

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells in the order of the vector."""
        single: list[Cell] = [((name, level),) for name, levels in self.attributes for level in levels]
        pairs: list[Cell] = [
            ((a, x), (b, y))
            for (a, of_a), (b, of_b) in combinations(self.attributes, 2)
            for x, y in product(of_a, of_b)
        ]
        return (*single, *pairs)

    @cached_property
    def place(self) -> Mapping[Cell, int]:
        """Cell → its place."""
        return {cell: place for place, cell in enumerate(self.cells)}

    @property
    def length(self) -> int:
        """Numbers of a contribution."""
        return len(self.cells) * len(FIGURES)

    @property
    def bound(self) -> float:
        """L2 bound of a contribution: a device is in one cell of each attribute and of each pair of them."""
        n = len(self.attributes)
        return math.sqrt(len(FIGURES) * (n + n * (n - 1) // 2))

    def contribution(self, levels: Sequence[str | None], *, ndcg: float, hit: float, tail: float) -> Floats:
        """Make one device's vector, (length,) float64. levels: of its shopper, in the order of attributes.

        ndcg, hit, tail: in 0..1. Raises DataError for a level that is none.
        """
        known: list[tuple[str, str]] = []
        for (name, of_name), level in zip(self.attributes, levels, strict=True):
            if level is not None and level not in of_name:
                raise DataError(f"attribute {name}={level!r}: must be one of {', '.join(of_name)}")
            if level is not None:
                known.append((name, level))
        vector = np.zeros((len(self.cells), len(FIGURES)))
        for cell in [*((one,) for one in known), *combinations(known, 2)]:
            vector[self.place[cell]] = (1.0, ndcg, ndcg * ndcg, hit, tail)
        return vector.ravel()

    def siblings(self, cell: Cell) -> list[Cell]:
        """List the cells of the same attribute or pair, the cell itself among them."""
        names = [name for name, _ in cell]
        return [other for other in self.cells if [name for name, _ in other] == names]

    def relations(self) -> list[list[int]]:
        """List what adds up, as places of cells: a group is the sum of its intersections with another attribute.

        Each relation's first place is the whole, the others its parts.
        """
        rows = []
        for (a, of_a), (b, of_b) in combinations(self.attributes, 2):
            rows += [[self.place[((a, x),)], *(self.place[(a, x), (b, y)] for y in of_b)] for x in of_a]
            rows += [[self.place[((b, y),)], *(self.place[(a, x), (b, y)] for x in of_a)] for y in of_b]
        return rows
