"""The HTTP bodies: strict, bounded, and complete. What is not declared here is refused, and nothing is kept."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError

from serving.refusal import Refusal

MAX_TOP_K = 1000
MAX_EXCLUDE = 1000
MAX_ID_CHARS = 128
MAX_DIM = 4096
MAX_ABS = float(2**17)
"""Largest magnitude of a profile's coordinate; a power of two, so that a pattern can say it of base64 as well."""

ItemId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
Coordinate = Annotated[float, Field(ge=-MAX_ABS, le=MAX_ABS, allow_inf_nan=False)]


_FORMS_OF: dict[type, str] = {str: "base64", list: "numbers", type(None): "none"}
_FORMS = frozenset(_FORMS_OF.values())


def _form(sent: Any) -> str | None:
    return _FORMS_OF.get(type(sent))


def _whole(sent: Any) -> Any:
    """JSON has one number type: 20.0 is the integer 20."""
    return int(sent) if type(sent) is float and sent.is_integer() else sent


SentProfile = Annotated[
    Annotated[str, Field(max_length=MAX_DIM * 6), Tag("base64")]
    | Annotated[list[Coordinate], Field(max_length=MAX_DIM, fail_fast=True), Tag("numbers")]
    | Annotated[None, Tag("none")],
    Discriminator(
        _form, custom_error_type="profile_form", custom_error_message="must be base64, a list of numbers, or null"
    ),
]


class Strict(BaseModel):
    """A body without conversions and without undeclared fields, whose errors do not quote what was sent."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class RecommendationRequest(Strict):
    """What a list is made from; used for this one answer, never stored, never logged."""

    mode: Literal["profile"] = Field(description="`device` is answered by the catalogue, on the device.")
    bundle_version: str = Field(min_length=1, max_length=64, description="The bundle the profile was made for.")
    profile: SentProfile = Field(
        description="dim numbers, or base64 of dim little-endian float32; null for a shopper without a profile, "
        "who is shown the trend. Must be given, so that a forgotten profile is an error."
    )
    top_k: Annotated[int, BeforeValidator(_whole)] = Field(10, ge=1, le=MAX_TOP_K)
    exclude: Annotated[list[ItemId], Field(max_length=MAX_EXCLUDE, fail_fast=True)] = Field(
        [], description="item_ids that must not appear; unknown ones are named in the answer."
    )


class SimilarQuery(BaseModel):
    """Query of the similar items."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    top_k: int = Field(10, ge=1, le=MAX_TOP_K)


class Item(Strict):
    """One item of a list, best first; unavailable items never appear."""

    item_id: str
    title: str | None
    category: str | None
    price: float | None
    score: float


class RecommendationAnswer(Strict):
    """A list. Fewer than top_k items come only when fewer are available and not excluded."""

    bundle_version: str
    mode: Literal["profile"]
    fallback: Literal["trend"] | None = Field(description="`trend` when the request had no profile.")
    unknown_exclude: list[str] = Field(description="Excluded item_ids that the bundle does not have.")
    recommendations: list[Item]


class SimilarAnswer(Strict):
    """Nearest items by cosine of the item embeddings."""

    bundle_version: str
    item_id: str
    similar: list[Item]


class BundleDescription(Strict):
    """One served bundle."""

    version: str
    name: str
    current: bool
    n_items: int
    dim: int
    catalogue: str = Field(description="Where a device fetches it.")
    catalogue_bytes: int


class BundleList(Strict):
    """The served bundles, current first."""

    bundles: list[BundleDescription]


class Health(Strict):
    """The process answers."""

    status: Literal["ok"]


class Ready(Strict):
    """The current bundle answers searches."""

    status: Literal["ready"]
    bundle_version: str


class ErrorBody(Strict):
    """What went wrong: a stable code, a sentence with name, value and bound, and what to do about it."""

    code: str
    message: str
    details: dict[str, Any]


class ErrorAnswer(Strict):
    """The one shape of every error."""

    error: ErrorBody


def parse_request(body: bytes) -> RecommendationRequest:
    """A request from JSON. Raises Refusal, which never quotes what was sent."""
    try:
        return RecommendationRequest.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        if any(problem["loc"] == ("mode",) and problem["input"] == "device" for problem in problems):
            raise Refusal(
                "device_mode",
                "mode=device: nothing is sent in it; fetch the catalogue and recommend on the device",
                {"fetch": "/v1/catalogue/current"},
            ) from None
        raise invalid(problems) from None


def invalid(problems: Any) -> Refusal:
    """The refusal for pydantic's error list: where and what, not the value that was sent."""
    described = [{"at": _place(problem["loc"]), "problem": _sentence(problem)} for problem in problems[:10]]
    first = described[0]
    return Refusal("invalid_request", f"{first['at']}: {first['problem']}", {"problems": described})


def _place(loc: tuple[str | int, ...]) -> str:
    return ".".join(_step(step) for step in loc if step not in _FORMS) or "body"


def _step(step: str | int) -> str:
    """A field's name is said back only if it looks like one: it, too, was sent."""
    return str(step) if isinstance(step, int) or re.fullmatch("[a-z_]{1,32}", step) else "(unnamed)"


def _sentence(problem: Any) -> str:
    if problem["loc"] and problem["loc"][-1] == "top_k" and problem["type"] != "missing":
        return f"must be a whole number 1..{MAX_TOP_K}"
    return str(problem["msg"])


def profile_vector(sent: str | list[float], dim: int) -> npt.NDArray[np.float32]:
    """The profile (1, dim) float32. Raises Refusal for another length, for NaN and for values beyond ±2^17."""
    if isinstance(sent, str):
        try:
            content = base64.b64decode(sent, validate=True)
        except (binascii.Error, ValueError):
            raise _profile_refused("must be base64 or a list of numbers") from None
        if len(content) != 4 * dim:
            raise _profile_refused(f"{len(content)} bytes, must be {4 * dim}: {dim} little-endian float32")
        vector = np.frombuffer(content, dtype="<f4")
    else:
        if len(sent) != dim:
            raise _profile_refused(f"{len(sent)} values, must be {dim}")
        vector = np.array(sent, dtype=np.float32)
    if not (np.abs(vector) <= MAX_ABS).all():  # NaN compares false
        raise _profile_refused(f"has values that are not finite or beyond ±{MAX_ABS:.0f}")
    return vector[None]


def _profile_refused(problem: str) -> Refusal:
    described = {"at": "profile", "problem": problem}
    return Refusal("invalid_request", f"profile: {problem}", {"problems": [described]})
