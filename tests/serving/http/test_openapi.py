from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.access import ROUTES as TABLE
from serving.http.app import create_app
from serving.http.bodies import MAX_ABS, profile_vector
from serving.http.openapi import float32_base64
from serving.refusal import Refusal
from tests.serving.keyed import keyed_service
from tests.shop import DIM, make_bundle

ROUTES = {
    ("/v1/recommendations", "post"),
    ("/v1/rank", "post"),
    ("/v1/placements", "get"),
    ("/v1/placements", "put"),
    ("/v1/placements", "delete"),
    ("/v1/recommendations/batch", "post"),
    ("/v1/items", "put"),
    ("/v1/items/{item_id}", "get"),
    ("/v1/items/{item_id}", "delete"),
    ("/v1/items/{item_id}/similar", "get"),
    ("/v1/items/{item_id}/similar", "post"),
    ("/v1/catalogue/{version}", "get"),
    ("/v1/catalogue/{version}/changes", "get"),
    ("/v1/clusters/{version}", "get"),
    ("/v1/clusters/{version}/candidates", "get"),
    ("/v1/bundles", "get"),
    ("/v1/bundles/{version}", "delete"),
    ("/v1/bundles/{version}/activate", "post"),
    ("/v1/dashboard", "get"),
    ("/dashboard", "get"),
    ("/shop", "get"),
    ("/shop/{file}", "get"),
    ("/sdk/{file}", "get"),
    ("/", "get"),
    ("/docs", "get"),
    ("/healthz", "get"),
    ("/readyz", "get"),
    ("/metrics", "get"),
}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return create_app([make_bundle(tmp_path_factory.mktemp("b") / "b")]).openapi()


def test_every_route_is_described(document: dict[str, Any]) -> None:
    assert {(path, method) for path, methods in document["paths"].items() for method in methods} == ROUTES


def test_every_error_is_declared_in_the_one_shape(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            refused = {status: answer for status, answer in operation["responses"].items() if status[0] in "45"}
            assert "500" in refused, path
            for answer in refused.values():
                assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorAnswer"}
    assert set(document["paths"]["/v1/recommendations"]["post"]["responses"]) == {
        "200",
        "401",
        "403",
        "409",
        "413",
        "415",
        "422",
        "429",
        "500",
        "503",
    }


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    names = set(re.findall(r"'#/components/schemas/(\w+)'", str(document)))
    assert names <= set(document["components"]["schemas"])
    assert "HTTPValidationError" not in names


def test_a_profile_is_described_with_its_exact_length(document: dict[str, Any]) -> None:
    base64_, numbers, null = document["components"]["schemas"]["ProfileRequest"]["properties"]["profile"]["anyOf"]
    assert (numbers["minItems"], numbers["maxItems"]) == (DIM, DIM)
    assert (numbers["items"]["minimum"], numbers["items"]["maximum"]) == (-MAX_ABS, MAX_ABS)
    assert base64_["pattern"] == float32_base64(DIM)
    assert null == {"type": "null"}


def test_bundles_of_two_widths_are_both_described(tmp_path: Path) -> None:
    app = create_app([make_bundle(tmp_path / "a"), make_bundle(tmp_path / "b", dim=5)])
    options = app.openapi()["components"]["schemas"]["ProfileRequest"]["properties"]["profile"]["anyOf"]
    assert [option.get("minItems") for option in options] == [None, 5, None, DIM, None]


# the exponents around the bound (143 is 2^16 ≤ |x| < 2^17) and those of NaN and infinity
words = st.one_of(
    st.integers(0, 2**32 - 1),
    st.builds(
        lambda sign, exponent, rest: sign << 31 | exponent << 23 | rest,
        st.integers(0, 1),
        st.sampled_from([0, 1, 126, 127, 128, 143, 144, 145, 160, 254, 255]),
        st.integers(0, 2**23 - 1),
    ),
)


@given(st.lists(words, min_size=1, max_size=9))
def test_the_pattern_holds_for_exactly_the_profiles_that_are_taken(sent: list[int]) -> None:
    content = np.array(sent, dtype="<u4").tobytes()
    text = base64.b64encode(content).decode()
    described = re.search(float32_base64(len(sent)), text) is not None
    below = bool((np.abs(np.frombuffer(content, "<f4")) < MAX_ABS).all())
    assert described == below
    try:
        vector = profile_vector(text, len(sent))
    except Refusal:
        assert not described
    else:
        assert described or bool((np.abs(vector) == MAX_ABS).any())


@pytest.mark.parametrize("dim", [1, 2, 3, 64])
def test_the_pattern_wants_the_exact_length(dim: int) -> None:
    for other in (dim - 1, dim + 1):
        text = base64.b64encode(bytes(4 * other)).decode()
        assert re.search(float32_base64(dim), text) is None
    assert re.search(float32_base64(dim), base64.b64encode(bytes(4 * dim)).decode()) is not None


def test_without_keys_a_route_can_be_asked_without_one(document: dict[str, Any]) -> None:
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["security"] == [] or operation["security"][0] == {}


def test_with_keys_every_route_says_which_scopes_open_it(tmp_path: Path) -> None:
    with keyed_service(tmp_path) as keyed:
        paths = keyed.app.openapi()["paths"]
    lines = {(route.method, route.pattern): route.scopes for route in TABLE}
    for path, methods in paths.items():
        for method, operation in methods.items():
            scopes = [{"api_key": [scope]} for scope in sorted(lines[method.upper(), path])]
            assert operation["security"] == scopes, path
    assert paths["/v1/keys"]["post"]["security"] == [{"api_key": ["admin"]}]
    assert paths["/healthz"]["get"]["security"] == []


def test_an_item_is_put_with_the_columns_of_the_catalogue(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "a")
    more = bundle.catalogue.with_columns(size=pl.lit(3, pl.UInt8), material=pl.lit("oak"), fair=pl.lit(True))
    app = create_app([replace(bundle, catalogue=more.drop("price"))])
    item = app.openapi()["components"]["schemas"]["PutItem"]["properties"]
    assert set(item) == {"item_id", "title", "category", "available", "attributes"}
    assert item["attributes"]["additionalProperties"] is False
    null = {"type": "null"}
    assert item["attributes"]["properties"] == {
        "size": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 255}, null]},
        "material": {"anyOf": [{"type": "string", "maxLength": 1_000}, null]},
        "fair": {"anyOf": [{"type": "boolean"}, null]},
    }


def test_clusters_and_caps_are_described_as_what_is_served_has_them(tmp_path: Path) -> None:
    app = create_app([make_bundle(tmp_path / "a", n_items=39 * 5)])
    schemas = app.openapi()["components"]["schemas"]
    ids = schemas["ClusterRequest"]["properties"]["clusters"]["items"]
    assert ids == {"type": "integer", "minimum": 0, "maximum": 4}
    assert schemas["CapBy"]["properties"]["by"] == {"enum": ["category", "attributes.title"]}


def test_the_document_is_of_what_is_served_now(tmp_path: Path) -> None:
    first, second = make_bundle(tmp_path / "a"), make_bundle(tmp_path / "b", n_items=39 * 3)
    app = create_app([first])
    assert app.openapi() is app.openapi()
    before = app.openapi()["components"]["schemas"]["ClusterRequest"]["properties"]["clusters"]["items"]["maximum"]
    app.state.apps.of("shop").replace([second])
    after = app.openapi()["components"]["schemas"]["ClusterRequest"]["properties"]["clusters"]["items"]["maximum"]
    assert (before, after) == (0, 2)
