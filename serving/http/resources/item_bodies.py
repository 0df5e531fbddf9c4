"""The JSON of items: one item, items like it, and what a shop changes about them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from data.limits import MAX_PRICE
from serving.http.bodies import MAX_EXCLUDE, MAX_TOP_K, Item, ItemId, Strict
from serving.http.resources.ask_bodies import ListedFields, whole

MAX_PUT = 1_000
MAX_ATTRIBUTES = 50
MAX_TEXT = 1_000


Text = Annotated[str, Field(max_length=MAX_TEXT)]
FIELDS = ("title", "category", "price", "available")
"""Of an item, beside item_id; every other column is an attribute."""

AttributeName = Annotated[
    str,
    Field(min_length=1, max_length=64),
    AfterValidator(lambda name: _attribute(name)),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 64, "not": {"enum": ["item_id", *FIELDS]}}),
]
PutItemId = Annotated[
    ItemId,
    Field(pattern=r"^[^\x00-\x1f\x7f]*$", json_schema_extra={"not": {"enum": [".", ".."]}}),
    AfterValidator(lambda item_id: _addressable(item_id)),
]  # the bounds of a log's item ids
Attribute = Text | Annotated[float, Field(allow_inf_nan=False)] | bool | None


def _attribute(name: str) -> str:
    """Check a field under attributes, which would go round its own bounds."""
    if name in FIELDS or name == "item_id":
        raise PydanticCustomError("attribute_name", "a field, which is no attribute")
    return name


def _addressable(item_id: str) -> str:
    """Refuse ``.`` and ``..``, which as a path are another path."""
    if item_id in (".", ".."):
        raise PydanticCustomError("item_id", "an id that an address can carry")
    return item_id


class SimilarQuery(BaseModel):
    """Query of the similar items."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    top_k: int = Field(10, ge=1, le=MAX_TOP_K)
    fields: ListedFields = None


class SimilarRequest(Strict):
    """The same with a filter and items to leave out."""

    top_k: Annotated[int, BeforeValidator(whole)] = Field(10, ge=1, le=MAX_TOP_K)
    exclude: Annotated[list[ItemId], Field(max_length=MAX_EXCLUDE, fail_fast=True)] = Field([])
    filter: dict[str, Any] | None = None
    fields: ListedFields = None


class SimilarAnswer(Strict):
    """Nearest items by cosine of the item embeddings."""

    bundle_version: str
    item_id: str
    similar: list[Item]


class ItemAnswer(Strict):
    """One item as it is now. row: base64 of dim little-endian float32, for the device of whoever looks at the page."""

    bundle_version: str
    item_id: str
    title: str | None
    category: str | None
    price: float | None
    available: bool
    attributes: dict[str, Any]
    row: str


class PutItem(Strict):
    """Fields that are named are set, `null` clears; others stay. attributes: columns of the bundle's catalogue."""

    item_id: PutItemId
    title: Text | None = None
    category: Text | None = None
    price: Annotated[float, Field(ge=0, le=MAX_PRICE, allow_inf_nan=False)] | None = None
    available: bool | None = None
    attributes: Annotated[dict[AttributeName, Attribute], Field(max_length=MAX_ATTRIBUTES)] = Field({})

    def fields(self) -> dict[str, Any]:
        """Return what is to be set, by column of the catalogue."""
        named = {name: getattr(self, name) for name in self.model_fields_set if name not in ("item_id", "attributes")}
        return {**self.attributes, **named}


class PutItems(Strict):
    """Items to be put, in order."""

    items: Annotated[list[PutItem], Field(min_length=1, max_length=MAX_PUT)]


class Changed(Strict):
    """sequence: of the last change; a worker that has it shows the change."""

    sequence: int


class ItemChangeEntry(Strict):
    """One changed item for a device. fields: null once deleted; row: of an item that the bundle does not know."""

    item_id: str
    fields: dict[str, Any] | None
    row: str | None


class ChangesAnswer(Strict):
    """What changed after `since`; sequence: to ask with next time.

    epoch: which count the sequence is of. Another one than before, as after the service lost its state: forget all that
    was told, and ask with 0.
    """

    bundle_version: str
    epoch: str
    sequence: int
    changes: list[ItemChangeEntry]
    placements: dict[str, Any] | None = Field(None, description="As the shop set them; null: the bundle's own hold.")
