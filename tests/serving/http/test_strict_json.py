"""Every JSON that a service or a device's catalogue holds is JSON: no NaN, no Infinity, whatever an items file said."""

import ast
import json
import math
from pathlib import Path

import httpx
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.catalogue.bundle import save_bundle
from recsys.catalogue.catalogue import encode_catalogue, read_tensors
from serving.http.app import create_app
from tests.serving.keyed import keyed_service
from tests.shop import InProcess, make_bundle

ROOT = Path(__file__).parents[3]
ROOMS = ("serving/http", "serving/shelf", "serving/state", "serving/process", "recsys/catalogue")
PLACES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")) if "json.dumps" in path.read_text()]
NUMBERS = st.one_of(st.none(), st.floats(), st.sampled_from([math.inf, -math.inf, math.nan, -1.0, 1e300, 5.0]))


def strict(text: bytes | str) -> object:
    def refuse(name: str) -> object:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("path", PLACES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_json_is_written_strictly(path):
    for call in ast.walk(ast.parse(path.read_text())):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "json.dumps":
            said = {word.arg: ast.unparse(word.value) for word in call.keywords}
            assert said.get("allow_nan") == "False", f"line {call.lineno}"


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prices=st.lists(NUMBERS, min_size=40, max_size=40), sizes=st.lists(NUMBERS, min_size=40, max_size=40))
def test_no_catalogue_makes_an_answer_that_is_no_json(prices, sizes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    made = make_bundle(folder / "plain")
    columns = [pl.Series("price", prices, pl.Float64), pl.Series("size", sizes, pl.Float32)]
    bundle = save_bundle(
        folder / "odd", name="shop", table=made.table, catalogue=made.catalogue.with_columns(columns),
        config=made.config, seed=0, data_hash="test", privacy="none: random numbers",
    )  # fmt: skip
    app = create_app([bundle])
    with httpx.Client(transport=InProcess(app), base_url="http://shop.test") as client:
        asked = {"mode": "profile", "bundle_version": bundle.version, "profile": None, "top_k": 40}
        for answer in (
            client.post("/v1/recommendations", json=asked),
            *(client.get(f"/v1/items/sku-{item}") for item in range(0, 40, 13)),
            client.get("/v1/items/sku-1/similar"),
        ):
            assert answer.status_code == 200, answer.text
            strict(answer.content)
        shown = strict(client.get("/v1/items/sku-0").content)
        price = shown["price"]
        assert price is None or 0 <= price <= 1e12
    for text in read_tensors(encode_catalogue(bundle))[1].values():
        if text[:1] in ("{", "["):
            strict(text)


@pytest.mark.parametrize("price", ["1e400", "-4", "1e13", "NaN", '"5"'])
def test_a_price_that_is_none_is_refused_at_the_door(price, tmp_path):
    with keyed_service(tmp_path) as keyed, keyed.client(scope="catalogue") as client:
        body = f'{{"items": [{{"item_id": "sku-1", "price": {price}}}]}}'
        answer = client.put("/v1/items", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 422
        strict(answer.content)


@pytest.mark.parametrize("item_id", [".", "..", "a\\u0000b", "a\\nb"])
def test_an_id_that_a_log_may_not_have_is_refused_at_the_door_too(item_id, tmp_path):
    with keyed_service(tmp_path) as keyed, keyed.client(scope="catalogue") as client:
        body = f'{{"items": [{{"item_id": "{item_id}", "price": 1}}]}}'
        answer = client.put("/v1/items", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 422
