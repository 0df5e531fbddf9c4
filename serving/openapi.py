"""The OpenAPI document: FastAPI's, plus the hot route, which bypasses FastAPI, with exact bounds of its body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from serving.bodies import MAX_ABS, ErrorAnswer, RecommendationAnswer, RecommendationRequest

_REF = "#/components/schemas/{model}"
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def document(app: FastAPI, dims: set[int], statuses: tuple[int, ...]) -> dict[str, Any]:
    """The whole document. dims: widths of the served bundles' profiles; statuses: errors of the hot route."""
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    for model in (RecommendationRequest, RecommendationAnswer, ErrorAnswer):
        _add(components, model)
    profile = components["RecommendationRequest"]["properties"]["profile"]
    profile["anyOf"] = [*(option for dim in sorted(dims) for option in _profile_options(dim)), {"type": "null"}]
    schema["paths"]["/v1/recommendations"] = {
        "post": {
            "operationId": "recommend",
            "summary": "Recommend items to a profile",
            "description": "The profile is used for this one answer, never stored, never logged. "
            f"A body without a profile gets the trend. Scores are inner products.\n\n{RecommendationRequest.__doc__}",
            "requestBody": {"required": True, "content": _content(RecommendationRequest)},
            "responses": {
                "200": {"description": "A list, best first", "content": _content(RecommendationAnswer)},
                **{str(status): {"description": "Refused", "content": _content(ErrorAnswer)} for status in statuses},
            },
        }
    }
    return schema


def float32_base64(dim: int) -> str:
    """A pattern for base64 of exactly dim little-endian float32 below 2^17 in magnitude, none of them NaN.

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
    return {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}


def _add(components: dict[str, Any], model: type[BaseModel]) -> None:
    schema = model.model_json_schema(ref_template=_REF)
    components.update(schema.pop("$defs", {}))
    components[model.__name__] = schema
