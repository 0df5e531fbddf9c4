"""The OpenAPI document: FastAPI's, plus the hot route, which bypasses FastAPI, with exact bounds of its body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import polars as pl
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from recsys.lists.rules import RuleSet
from recsys.search.filters import CONDITIONS, FIELDS, RawFilter, SeveralFilters, column_kind, fields_of
from serving.http.bodies import MAX_ABS, MAX_ID_CHARS, ErrorAnswer
from serving.http.openapi_keys import describe_headers, describe_keys
from serving.http.resources.ask_bodies import (
    LISTED_FIELDS,
    MAX_FIELDS,
    MODELS,
    BatchRequest,
    CandidateAnswer,
    RecommendationAnswer,
)
from serving.http.resources.item_bodies import FIELDS as ITEM_FIELDS
from serving.http.resources.item_bodies import MAX_TEXT
from serving.http.resources.item_json import fields_of as fields_of_items
from serving.shelf.served import ServedBundle

_REF = "#/components/schemas/{model}"
_JOINS = ("not", "any", "all")
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


ERRORS = (401, 403, 409, 413, 415, 422, 429, 500, 503)
"""Statuses of the routes that bypass FastAPI."""


def document(
    app: FastAPI, bundles: Sequence[ServedBundle], *, named: bool = True, is_open: bool = False
) -> dict[str, Any]:
    """Write the whole document.

    bundles: those that are served, for the widths of profiles and the fields of filters.

    named: whether attributes may be named; not where apps share the service, for everybody can read the document.
    is_open: requests without a key are answered.
    """
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    models: tuple[type[BaseModel], ...] = (*MODELS, BatchRequest, RecommendationAnswer, CandidateAnswer, ErrorAnswer)
    for model in models:
        _add(components, model)
    dims = sorted({one.bundle.table.dim for one in bundles})
    options = [option for dim in dims for option in _profile_options(dim)]
    components["ProfileRequest"]["properties"]["profile"]["anyOf"] = [*options, {"type": "null"}]
    components["NoisedRequest"]["properties"]["noised"]["anyOf"] = options
    most = max(len(one.clusters.centroids) for one in bundles) - 1
    ids = {"items": {"type": "integer", "minimum": 0, "maximum": most}, "uniqueItems": True}
    components["ClusterRequest"]["properties"]["clusters"] |= ids
    for parameter in schema["paths"]["/v1/clusters/{version}/candidates"]["get"]["parameters"]:
        if parameter["name"] == "clusters":
            parameter["schema"] |= ids
    if named:
        _name_columns(components["PutItem"], [one.live.catalogue for one in bundles])
    components |= language_schemas([one.live.catalogue for one in bundles] if named else [])
    for name in (*(model.__name__ for model in MODELS), "SimilarRequest"):
        properties = components[name]["properties"]
        properties["filter"] = {"anyOf": [{"$ref": _REF.format(model="Filter")}, {"type": "null"}]}
        if "rules" in properties:
            properties["rules"] = {"anyOf": [{"$ref": _REF.format(model="Rules")}, {"type": "null"}]}
    described = fields_schema(bundles if named else [])
    for name in (*(model.__name__ for model in MODELS), "SimilarRequest"):
        properties = components[name]["properties"]
        properties["fields"] = properties["fields"] | {"anyOf": [described, {"type": "null"}]}
    for path in ("/v1/clusters/{version}/candidates", "/v1/items/{item_id}/similar"):
        for parameter in schema["paths"][path]["get"]["parameters"]:
            if parameter["name"] == "fields":
                parameter["schema"] = described
    # No discriminator: a question that names no mode is a ProfileRequest, and a discriminator must be there.
    components["Ask"] = {"oneOf": [{"$ref": _REF.format(model=model.__name__)} for model in MODELS]}
    answers = {"anyOf": [{"$ref": _REF.format(model=one.__name__)} for one in (RecommendationAnswer, CandidateAnswer)]}
    schema["paths"]["/v1/recommendations"] = {
        "post": {
            "operationId": "recommend",
            "summary": "Recommend items to a profile, or candidates for a device to rank",
            "description": "What is sent is used for this one answer, never stored, never logged. "
            "A body without a profile gets the trend. Scores are inner products.",
            "requestBody": {"required": True, "content": _json({"$ref": _REF.format(model="Ask")})},
            "responses": _responses("A list, best first, or candidates", answers),
        }
    }
    anything = {"description": "Anything else is refused in its place in `answers`."}
    components["BatchRequest"]["properties"]["requests"]["items"] = {
        "anyOf": [{"$ref": _REF.format(model="Ask")}, anything]
    }
    many = {"type": "object", "required": ["answers"], "properties": {"answers": {"type": "array", "items": {
        "anyOf": [*answers["anyOf"], {"$ref": _REF.format(model="ErrorAnswer")}]}}}}  # fmt: skip
    schema["paths"]["/v1/recommendations/batch"] = {
        "post": {
            "operationId": "recommend_batch",
            "summary": "Many questions at once, each answered or refused on its own",
            "requestBody": {"required": True, "content": _content(BatchRequest)},
            "responses": _responses("An answer or an error for each, in order", many, left_out=(409,)),
        }
    }
    describe_keys(schema, is_open=is_open)
    describe_headers(schema)
    return schema


def _name_columns(item: dict[str, Any], catalogues: Sequence[pl.DataFrame]) -> None:
    """Name the fields and attributes of an item to be put: those that these catalogues have, and no others."""
    columns = {name: dtype for catalogue in catalogues for name, dtype in catalogue.schema.items()}
    for name in set(ITEM_FIELDS) - set(columns):
        del item["properties"][name]
    attributes = {name: _value(dtype) for name, dtype in columns.items() if name not in ("item_id", *ITEM_FIELDS)}
    described = item["properties"]["attributes"]
    described.pop("propertyNames", None)
    described["additionalProperties"] = False
    described["properties"] = {
        name: {"anyOf": [value, {"type": "null"}]} for name, value in attributes.items() if value is not None
    }


def _value(dtype: pl.DataType) -> dict[str, Any] | None:
    """Describe a value that a column can hold; None for a column that nothing can be put into."""
    if dtype.is_integer():
        low, high = pl.select(low=dtype.min(), high=dtype.max()).row(0)  # type: ignore[attr-defined]
        return {"type": "integer", "minimum": low, "maximum": high}
    if isinstance(dtype, pl.Enum):
        return {"type": "string", "enum": dtype.categories.to_list()}
    kinds: dict[str, dict[str, Any]] = {
        "text": {"type": "string", "maxLength": MAX_TEXT},
        "number": {"type": "number"},
        "flag": {"type": "boolean"},
    }
    return kinds.get(column_kind(dtype) or "")


def fields_schema(bundles: Sequence[ServedBundle]) -> dict[str, Any]:
    """Describe the fields that may be asked for of items; by name where there are bundles to read them of."""
    names = sorted({name for one in bundles for name in fields_of_items(one)} - set(LISTED_FIELDS))
    name: dict[str, Any] = {"enum": [*LISTED_FIELDS, *names]}
    if not bundles:
        own = {"type": "string", "pattern": r"^attributes\.", "maxLength": MAX_ID_CHARS}
        name = {"anyOf": [{"enum": list(LISTED_FIELDS)}, own]}
    return {"type": "array", "items": name, "maxItems": MAX_FIELDS, "uniqueItems": True}


def language_schemas(catalogues: Sequence[pl.DataFrame]) -> dict[str, dict[str, Any]]:
    """Describe filters and rules, by the types that read them, over the fields that these catalogues have."""
    kinds: dict[str, Any] = dict(FIELDS)
    for catalogue in catalogues:
        for name in fields_of(catalogue):
            if name not in kinds:  # a catalogue may lack the columns of fields
                kinds[name] = column_kind(catalogue.schema[name.removeprefix("attributes.")])
    columns = [name for name, kind in kinds.items() if kind in CONDITIONS]
    fields = [(f"field_{at}", CONDITIONS[kinds[name]]) for at, name in enumerate(columns)]
    joins = [("not_", RawFilter), ("any_", SeveralFilters), ("all_", SeveralFilters)]
    names = {f"field_{at}": name for at, name in enumerate(columns)} | {f"{join}_": join for join in _JOINS}
    # msgspec renames to no name with a quote or a backslash, and a shop's columns may have any: renamed afterwards.
    unset = [(name, kind | msgspec.UnsetType, msgspec.UNSET) for name, kind in (*fields, *joins)]
    filters = msgspec.defstruct("Filter", unset, forbid_unknown_fields=True)
    (_, _, of_any_kind), schemas = msgspec.json.schema_components(
        (filters, RuleSet, CONDITIONS["any"]),
        schema_hook=lambda _: {"$ref": _REF.format(model="Filter")},
        ref_template=_REF.replace("{model}", "{name}"),
    )
    properties = schemas["Filter"]["properties"]
    schemas["Filter"]["properties"] = {names[name]: schema for name, schema in properties.items()}
    schemas["Filter"]["description"] = "Several fields must all match. docs/api.md has examples."
    schemas["Bounds"]["minProperties"] = 1
    caps = sorted(name for name in kinds if name.startswith("attributes."))
    if catalogues:
        schemas["CapBy"]["properties"]["by"] = {"enum": ["category", *caps]}
    else:
        schemas["Filter"]["patternProperties"] = {r"^attributes\.": of_any_kind}
    schemas["Rules"] = schemas.pop("RuleSet")
    return schemas


def _responses(description: str, answer: dict[str, Any], left_out: tuple[int, ...] = ()) -> dict[str, Any]:
    refused = {"description": "Refused", "content": _content(ErrorAnswer)}
    return {
        "200": {"description": description, "content": _json(answer)},
        **{str(status): dict(refused) for status in ERRORS if status not in left_out},
    }


def float32_base64(dim: int) -> str:
    """Write a pattern for base64 of exactly dim little-endian float32.

    Each is below 2^17 in magnitude, none of them NaN.

    The sign, and the exponent's upper seven bits, are the fourth byte of a float; |x| < 2^17 says that the
    topmost of them is 0 (|x| < 2), or the next three are. Three floats are 12 bytes, which are 16 characters.
    """
    any_, low = "[A-Za-z0-9+/]", _class
    first = any_ + "{4}" + low(lambda v: v >> 4 & 1 == 0 or v >> 1 & 7 == 0)  # s e7 e6 e5 e4 e3 of float 1
    small9, large9 = low(lambda v: v >> 2 & 1 == 0), low(lambda v: v & 7 == 4)  # …s e7 e6 e5 of float 2
    small14, large14 = low(lambda v: v & 1 == 0), low(lambda v: v & 1 == 1)  # …s e7 of float 3
    three = (
        f"{first}{any_}{{4}}(?:{small9}{any_}|{large9}{low(lambda v: v < 32)})"
        f"{any_}{{3}}(?:{small14}{any_}|{large14}{low(lambda v: v < 8)})"
    )
    last = {0: "", 1: first + low(lambda v: v & 15 == 0) + "=="}
    ends = low(lambda v: v & 3 == 0), low(lambda v: v & 3 == 0 and v < 32)
    last[2] = f"{first}{any_}{{4}}(?:{small9}{ends[0]}|{large9}{ends[1]})="
    return f"^(?:{three}){{{dim // 3}}}{last[dim % 3]}$"


def _class(holds: Callable[[int], bool]) -> str:
    return "[" + "".join(letter for value, letter in enumerate(_ALPHABET) if holds(value)) + "]"


def _profile_options(dim: int) -> list[dict[str, Any]]:
    number = {"type": "number", "minimum": -MAX_ABS, "maximum": MAX_ABS}
    return [
        {"type": "string", "pattern": float32_base64(dim), "description": f"base64 of {dim} little-endian float32"},
        {"type": "array", "items": number, "minItems": dim, "maxItems": dim},
    ]


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return _json({"$ref": _REF.format(model=model.__name__)})


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _add(components: dict[str, Any], model: type[BaseModel]) -> None:
    schema = model.model_json_schema(ref_template=_REF)
    components.update(schema.pop("$defs", {}))
    components[model.__name__] = schema
