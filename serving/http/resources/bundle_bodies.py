"""The JSON of bundles."""

from __future__ import annotations

from pydantic import Field

from serving.http.bodies import Strict


class BundleDescription(Strict):
    """One served bundle. made_at: seconds since 1970-01-01 UTC; recall: of its index, when it was opened."""

    version: str
    name: str
    current: bool
    n_items: int
    dim: int
    made_at: int
    recall: float
    catalogue: str = Field(description="Where a device fetches it.")
    catalogue_bytes: int


class BundleList(Strict):
    """The served bundles, current first."""

    bundles: list[BundleDescription]


class Activated(Strict):
    """The bundle that is current now."""

    version: str
