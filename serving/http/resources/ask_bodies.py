"""The JSON of asking for recommendations: one request for each mode, and what is answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Discriminator, Field, Tag, TypeAdapter, ValidationError

from serving.http.bodies import (
    MAX_DIM,
    MAX_EXCLUDE,
    MAX_ID_CHARS,
    MAX_TOP_K,
    Coordinate,
    Item,
    ItemId,
    Strict,
    invalid,
)
from serving.http.cursor import MAX_CURSOR_CHARS
from serving.refusal import Refusal

MAX_CANDIDATES = 2_000
MAX_CLUSTERS = 4
MAX_CART = 100
MAX_BATCH = 100
CURRENT = "current"
"""Any version at all, which is good enough where nothing that is sent was made for one."""

_T = TypeVar("_T")
_FORMS_OF: dict[type, str] = {str: "base64", list: "numbers", type(None): "none"}


def _form(sent: Any) -> str | None:
    return _FORMS_OF.get(type(sent))


def whole(sent: Any) -> Any:
    """Read JSON's one number type: 20.0 is the integer 20."""
    return int(sent) if type(sent) is float and sent.is_integer() else sent


_Base64 = Annotated[str, Field(max_length=MAX_DIM * 6), Tag("base64")]
_Numbers = Annotated[list[Coordinate], Field(max_length=MAX_DIM, fail_fast=True), Tag("numbers")]
SentProfile = Annotated[
    _Base64 | _Numbers | Annotated[None, Tag("none")],
    Discriminator(
        _form, custom_error_type="profile_form", custom_error_message="must be base64, a list of numbers, or null"
    ),
]
SentVector = Annotated[
    _Base64 | _Numbers,
    Discriminator(_form, custom_error_type="vector_form", custom_error_message="must be base64 or a list of numbers"),
]
Whole = BeforeValidator(whole)


LISTED_FIELDS = ("title", "category", "price", "available", "image", "link")
"""Fields that may be asked for of any catalogue, beside its own columns as `attributes.NAME`."""
ATTRIBUTE = "attributes."
MAX_FIELDS = 32

FieldName = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
Fields = Annotated[list[FieldName], Field(max_length=MAX_FIELDS, fail_fast=True)]
ListedFields = Annotated[
    Fields | None,
    Field(
        description="What each item has beside item_id and score: title, category, price, available, image, link or "
        "attributes.NAME of the catalogue; without it title, category and price."
    ),
]


class _Ask(Strict):
    """What every mode takes."""

    bundle_version: str = Field(
        min_length=1,
        max_length=64,
        description="The bundle the profile was made for; `current` will do without a profile.",
    )
    exclude: Annotated[list[ItemId], Field(max_length=MAX_EXCLUDE, fail_fast=True)] = Field(
        default_factory=list, description="item_ids that must not appear; unknown ones are named in the answer."
    )
    filter: dict[str, Any] | None = Field(None, description="Only items that match; docs/api.md has the language.")
    fields: ListedFields = None


class ProfileRequest(_Ask):
    """What a list is made from; used for this one answer, never stored, never logged."""

    mode: Literal["profile"] = Field("profile", description="`device` is answered by the catalogue, on the device.")
    bundle_version: str = Field(
        CURRENT,
        min_length=1,
        max_length=64,
        description="The bundle the profile was made for; without a profile `current`, which then is the default.",
    )
    profile: SentProfile = Field(
        None,
        description="dim numbers, or base64 of dim little-endian float32; null, or left out, for a shopper without a "
        "profile, who is shown the trend, or what goes with `context` and `cart`.",
    )
    top_k: Annotated[int, Whole] = Field(10, ge=1, le=MAX_TOP_K)
    cursor: str | None = Field(
        None, min_length=1, max_length=MAX_CURSOR_CHARS, description="Of the last answer: what comes after it."
    )
    diversity: float = Field(0.0, ge=0.0, le=1.0, description="0 by score alone, 1 as unlike each other as can be.")
    rules: dict[str, Any] | None = Field(None, description="pin, boost, bury, cap; docs/api.md.")
    context: ItemId | None = Field(None, description="The item of a product page: its like, for this profile.")
    cart: Annotated[list[ItemId], Field(max_length=MAX_CART, fail_fast=True)] = Field(
        default_factory=list,
        description="What goes with these items, on a page of `context` too. They are never in the list.",
    )
    placement: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="A surface of the shop by its name; its settings hold where this request says nothing. "
        "Sources that need a history are answered by the device alone.",
    )
    reasons: bool = Field(False, description="Say why of each item: trend, similar, pinned, boosted or profile.")


class ClusterRequest(_Ask):
    """Candidates for the nearest public centroids; the device ranks them with its exact profile."""

    mode: Literal["cluster"]
    clusters: Annotated[list[Annotated[int, Whole, Field(ge=0, lt=65_536)]], Field(min_length=1)] = Field(
        max_length=MAX_CLUSTERS, description="Ids of centroids, the nearest first."
    )
    candidates: Annotated[int, Whole] = Field(500, ge=1, le=MAX_CANDIDATES)


class NoisedRequest(_Ask):
    """Candidates for a vector with noise; the device ranks them with its exact profile."""

    mode: Literal["noised"]
    noised: SentVector = Field(description="dim numbers, or base64 of dim little-endian float32, with noise on them.")
    candidates: Annotated[int, Whole] = Field(500, ge=1, le=MAX_CANDIDATES)


Ask = ProfileRequest | ClusterRequest | NoisedRequest
_ASK: TypeAdapter[Ask] = TypeAdapter(Annotated[Ask, Field(discriminator="mode")])
_PROFILE = TypeAdapter(ProfileRequest)
MODELS: tuple[type[_Ask], ...] = (ProfileRequest, ClusterRequest, NoisedRequest)
MODES = ("profile", "cluster", "noised")


class BatchRequest(Strict):
    """Several questions in one request, each answered or refused on its own."""

    requests: Annotated[list[Any], Field(min_length=1, max_length=MAX_BATCH)]


Reason = Literal["trend", "similar", "pinned", "boosted", "profile"]


class RecommendedItem(Item):
    """An item of a list, with the reason if reasons were asked for."""

    reason: Reason | None = None


class RecommendedRow(Strict):
    """One row of a page: a category and its items, best first."""

    category: str
    recommendations: list[RecommendedItem]


class RecommendationAnswer(Strict):
    """A list. Fewer than top_k items come only when fewer are available, allowed and not shown before, or fit a cap."""

    bundle_version: str
    mode: Literal["profile"]
    recommendation_id: str = Field(description="Of this list, for the caller's own records; the service keeps none.")
    fallback: Literal["trend"] | None = Field(description="`trend` when there was no profile, context or cart.")
    unknown_exclude: list[str] = Field(description="Excluded item_ids that the bundle does not have.")
    unknown_items: list[str] = Field(description="Of context, cart and pins, those that the bundle does not have.")
    cursor: str | None = Field(
        description="Asks for what comes next, also after a page that a cap made short; null when nothing is left."
    )
    recommendations: list[RecommendedItem]
    placement: str | None = Field(None, description="The one that was asked for.")
    source: str | None = Field(None, description="What it lists: its own source, or the one that stands in.")
    rows: list[RecommendedRow] | None = Field(None, description="Of source `rows`; `recommendations` is empty then.")


class Candidates(Strict):
    """Public items for a device to rank, best first by what was sent; docs/modes.md has the encoding."""

    items: dict[str, list[Any]]
    item_embeddings: str
    scale: str
    trend: str


class CandidateAnswer(Strict):
    """What the device ranks itself."""

    bundle_version: str
    mode: Literal["cluster", "noised"]
    unknown_exclude: list[str]
    candidates: dict[str, Any]


def parse_ask(body: bytes | Any) -> Ask:
    """Parse a request from JSON bytes, or from a value of a batch. Raises Refusal, which never quotes what was sent."""
    try:
        return _validated(_ASK, body)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        first = problems[0]
        if first["type"] == "union_tag_not_found":  # it names no mode, so it is of the one that needs no name
            return _of_profile(body)
        if first["type"] == "union_tag_invalid" and first["ctx"].get("tag") == "device":
            raise Refusal(
                "device_mode",
                "mode=device: nothing is sent in it; fetch the catalogue and recommend on the device",
                {"fetch": "/v1/catalogue/current"},
            ) from None
        raise invalid([_told(problem) for problem in problems]) from None


def _of_profile(body: bytes | Any) -> ProfileRequest:
    try:
        return _validated(_PROFILE, body)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False)) from None


def _validated(adapter: TypeAdapter[_T], body: bytes | Any) -> _T:
    return adapter.validate_json(body) if isinstance(body, bytes) else adapter.validate_python(body)


def _told(problem: Any) -> dict[str, Any]:
    """Describe a problem without the tag of the mode in its place, and without quoting what was sent as mode."""
    loc = problem["loc"]
    if problem["type"] == "union_tag_invalid":
        return {"loc": ("mode",), "type": problem["type"], "msg": f"must be one of {', '.join(MODES)}"}
    return {"loc": loc[1:] if loc and loc[0] in MODES else loc, "type": problem["type"], "msg": problem["msg"]}
