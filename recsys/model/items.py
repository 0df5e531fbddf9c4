"""The item table: what every device and the service share, and nothing private.

Item embeddings and profiles are concatenations of named parts, so that a further signal (the current intent beside
long-lived taste) is one more part and still one inner product.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from data.errors import ModelError

TASTE = "taste"
"""Long-lived taste: the rows that a history is folded into."""

INTENT = "intent"
"""The current intent: what pools of the last events ask of an item (recsys/model/intent.py). Not every table has it."""


Parts = tuple[tuple[str, int], ...]
"""(name, width) of each part, side by side."""


def columns_of(parts: Parts, name: str) -> slice:
    """Locate the columns of one part. Raises ModelError when there is none of that name."""
    start = 0
    for part, width in parts:
        if part == name:
            return slice(start, start + width)
        start += width
    raise ModelError(f"part={name!r}: must be one of {[part for part, _ in parts]}")


def has_part(parts: Parts, name: str) -> bool:
    """Check if there is a part of that name."""
    return any(part == name for part, _ in parts)


def frozen(array: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """View as read-only float32, so that no caller writes into a served array. It is a copy if the type differs."""
    view = np.asarray(array, dtype=np.float32).view()
    view.flags.writeable = False
    return view


def gram_of(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute G = VᵀV of rows (n, width): (width, width) float32, read-only, summed in float64."""
    V = rows.astype(np.float64)
    return frozen(V.T @ V)


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Shared embeddings of all items.

    item_embeddings: (n_items, dim) float32, the parts side by side.
    trend: (n_items,) float32 in [0, 1], recent popularity (recsys/model/trend.py).
    mean_profile: (dim,) float32, the population's mean profile, a private sum.
    parts: (name, width) of each part; widths add up to dim.
    """

    item_embeddings: npt.NDArray[np.float32]
    trend: npt.NDArray[np.float32]
    mean_profile: npt.NDArray[np.float32]
    parts: Parts = ()

    def __post_init__(self) -> None:
        shape = self.item_embeddings.shape
        if len(shape) != 2 or 0 in shape:
            raise ModelError(f"item_embeddings: shape {shape}, must be (n_items, dim), both at least 1")
        n_items, dim = shape
        if self.trend.shape != (n_items,):
            raise ModelError(f"trend: shape {self.trend.shape}, must be ({n_items},)")
        if self.mean_profile.shape != (dim,):
            raise ModelError(f"mean_profile: shape {self.mean_profile.shape}, must be ({dim},)")
        if not self.parts:
            object.__setattr__(self, "parts", ((TASTE, dim),))
        if sum(width for _, width in self.parts) != dim:
            raise ModelError(f"parts={self.parts}: widths must add up to dim={dim}")
        for name in ("item_embeddings", "trend", "mean_profile"):
            array = frozen(getattr(self, name))
            if not np.isfinite(array).all():
                raise ModelError(f"{name}: has values that are not finite")
            object.__setattr__(self, name, array)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return int(self.item_embeddings.shape[0])

    @property
    def dim(self) -> int:
        """Width of an item embedding, all parts together."""
        return int(self.item_embeddings.shape[1])

    def part(self, name: str) -> slice:
        """Locate the columns of one part."""
        return columns_of(self.parts, name)

    def rows_of(self, name: str) -> npt.NDArray[np.float32]:
        """View the items' rows in one part, (n_items, width) float32."""
        return self.item_embeddings[:, self.part(name)]

    @property
    def trained(self) -> str:
        """The part that live rounds train: the intent where there is one, for its queries are made of a taste that
        stands still; else the taste."""
        return INTENT if has_part(self.parts, INTENT) else TASTE

    @cached_property
    def gram(self) -> npt.NDArray[np.float32]:
        """G = VᵀV of the part TASTE, which histories are folded into: (width, width) float32, summed in float64."""
        return gram_of(self.rows_of(TASTE))
