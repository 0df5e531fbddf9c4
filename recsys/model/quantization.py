"""Item embeddings in one byte a coordinate, for the catalogue that a device downloads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def quantize(
    item_embeddings: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantize rows (n_items, dim) float32 to int8 in −127..127 and one scale a row (n_items,) float32."""
    peak = np.abs(item_embeddings).max(axis=1, initial=0.0)
    scale = np.where(peak > 0, peak / 127.0, 1.0).astype(np.float32)
    return np.rint(item_embeddings / scale[:, None]).astype(np.int8), scale


def dequantize(rows: npt.NDArray[np.int8], scale: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute the rows (n_items, dim) float32 that a device uses; each coordinate is off by ≤ scale / 2."""
    return rows.astype(np.float32) * scale[:, None]
