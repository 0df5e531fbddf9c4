"""A little of every kind of traffic, and what the dashboard must say of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from tests.shop import DIM

ASKED = {
    ("profile", "ok"): 1,
    ("trend", "ok"): 3,  # questions without a profile
    ("cluster", "ok"): 2,
    ("noised", "ok"): 1,
    ("batch", "ok"): 1,
    ("similar", "ok"): 2,
    ("similar", "refused"): 1,  # of an item that is not there
    ("catalogue", "ok"): 1,
    ("other", "refused"): 1,  # a body that is no question
}
"""What `ask_everything` asks."""


def ask_everything(client: httpx.Client, version: str, profile: Sequence[float]) -> None:
    ask: dict[str, Any] = {"mode": "profile", "bundle_version": version, "profile": None}
    route = "/v1/recommendations"
    good = [client.post(route, json=ask) for _ in range(3)]
    good.append(client.post(route, json=ask | {"profile": list(profile)}))
    cluster = {"mode": "cluster", "bundle_version": version, "clusters": [0], "candidates": 5}
    good += [client.post(route, json=cluster) for _ in range(2)]
    noised = {"mode": "noised", "bundle_version": version, "noised": [0.5] * DIM, "candidates": 5}
    good.append(client.post(route, json=noised))
    good.append(client.post(f"{route}/batch", json={"requests": [ask, cluster]}))
    good += [client.get(f"/v1/items/sku-{item}/similar") for item in (1, 2)]
    good.append(client.get(f"/v1/catalogue/{version}"))
    assert {one.status_code for one in good} == {200}, [one.text for one in good]
    refused = [client.get("/v1/items/nowhere/similar"), client.post(route, json=[])]
    assert [one.status_code for one in refused] == [404, 422]
