"""HTTP bodies that several routes share: strict, bounded, and complete. What is not declared is refused."""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from data.limits import MAX_ID_CHARS as MAX_ID_CHARS
from serving.refusal import Refusal

MAX_TOP_K = 1000
MAX_EXCLUDE = 1000
MAX_DIM = 4096
MAX_ABS = float(2**17)
"""Largest magnitude of a profile's coordinate; a power of two, so that a pattern can say it of base64 as well."""

ItemId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
Coordinate = Annotated[float, Field(ge=-MAX_ABS, le=MAX_ABS, allow_inf_nan=False)]
_FORMS = frozenset(("base64", "numbers", "none"))


class Strict(BaseModel):
    """A body without conversions and without undeclared fields, whose errors do not quote what was sent."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Item(Strict):
    """One item of a list, best first; unavailable items never appear.

    Without `fields` in the question: item_id, title, category, price and score. With it: item_id, score, and what was
    asked for.
    """

    item_id: str
    title: str | None = None
    category: str | None = None
    price: float | None = None
    available: bool | None = None
    image: str | None = None
    link: str | None = None
    attributes: dict[str, Any] | None = None
    score: float


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


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors that a route declares.

    500 and, behind a key or a bound, 401, 403, 429 and 503 always may be.
    """
    return {
        status: {"model": ErrorAnswer, "description": "Refused"}
        for status in sorted({*statuses, 401, 403, 429, 500, 503})
    }


def invalid(problems: Any) -> Refusal:
    """Refuse pydantic's error list: say where and what, not the value that was sent."""
    described = [{"at": _place(problem["loc"]), "problem": _sentence(problem)} for problem in problems[:10]]
    return _described(described)


def invalid_field(at: str, problem: str) -> Refusal:
    """Refuse one field that was checked here, in the same way."""
    return _described([{"at": at, "problem": problem}])


def _described(problems: Sequence[dict[str, str]]) -> Refusal:
    first = problems[0]
    return Refusal("invalid_request", f"{first['at']}: {first['problem']}", {"problems": list(problems)})


def _place(loc: tuple[str | int, ...]) -> str:
    inside = loc[1:] if len(loc) > 1 and loc[0] == "body" else loc
    return ".".join(_step(step) for step in inside if step not in _FORMS and step != "[key]") or "body"


def _step(step: str | int) -> str:
    """Say a field's name back only if it looks like one: it, too, was sent."""
    return str(step) if isinstance(step, int) or re.fullmatch("[a-z_]{1,32}", step) else "(unnamed)"


def _sentence(problem: Any) -> str:
    if problem["loc"] and problem["loc"][-1] == "top_k" and problem["type"] not in ("missing", "extra_forbidden"):
        return f"must be a whole number 1..{MAX_TOP_K}"
    if problem["type"] == "model_attributes_type":  # a value of a batch, in the words of a body of its own
        return "Input should be an object"
    return str(problem["msg"])


def profile_vector(sent: str | list[float], dim: int, name: str = "profile") -> npt.NDArray[np.float32]:
    """Read a sent vector (1, dim) float32. Raises Refusal for another length, for NaN and for values beyond ±2^17."""
    if isinstance(sent, str):
        try:
            content = binascii.a2b_base64(sent, strict_mode=True)
        except ValueError:  # binascii.Error is one, and so is what letters beyond ASCII raise
            raise invalid_field(name, "must be base64 or a list of numbers") from None
        if len(content) != 4 * dim:
            raise invalid_field(name, f"{len(content)} bytes, must be {4 * dim}: {dim} little-endian float32")
        vector = np.frombuffer(content, dtype="<f4")
    else:
        if len(sent) != dim:
            raise invalid_field(name, f"{len(sent)} values, must be {dim}")
        vector = np.array(sent, dtype=np.float32)
    if not np.abs(vector).max() <= MAX_ABS:  # NaN compares false
        raise invalid_field(name, f"has values that are not finite or beyond ±{MAX_ABS:.0f}")
    return vector[None]
