"""A shop's own list re-ordered for a profile: mode profile of what a device does by itself."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import Body, FastAPI
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from data.errors import ModelError
from recsys.lists.rank_items import (
    MAX_RANKED,
    Impact,
    RankSignals,
    Surface,
    base_heights,
    check_rank,
    rank_scores,
    reorder,
)
from serving.access import caller
from serving.http.bodies import ItemId, Strict, invalid_field, profile_vector, refusals
from serving.http.resources.ask_bodies import CURRENT, ProfileRequest, SentProfile
from serving.http.resources.ask_routes import NO_STORE, served
from serving.shelf.served import Apps, ServedBundle


class RankRequest(Strict):
    """A list of the shop's, in its order. What is sent is used for this one answer, never stored, never logged."""

    bundle_version: str = Field(CURRENT, min_length=1, max_length=64, description="The one the profile was made for.")
    profile: SentProfile = Field(None, description="As of POST /v1/recommendations; null keeps the shop's order.")
    items: Annotated[list[ItemId], Field(min_length=1, max_length=MAX_RANKED, fail_fast=True)] = Field(
        description="item_ids in the shop's order, each once."
    )
    base: Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(max_length=MAX_RANKED)] | None = Field(
        None, description="The shop's scores of the items, the higher the better; null where only the order is known."
    )
    impact: Impact = Field("medium", description="low moves no item by more than three places.")
    surface: Surface = "search"


class RankedItem(Strict):
    """One item of the shop's list and its score here."""

    item_id: str
    score: float


class RankAnswer(Strict):
    """The same items in another order. unknown_items: those that the bundle does not have."""

    bundle_version: str
    unknown_items: list[str]
    ranked: list[RankedItem]


def add_ranking(app: FastAPI, apps: Apps) -> None:
    """Mount the route."""

    @app.post(
        "/v1/rank",
        summary="Re-order the shop's own list for a profile",
        description="For backends that a shopper trusts with the profile; a device does it by itself, and knows more: "
        "own items, and what goes with them.",
        response_model=RankAnswer,
        responses=refusals(409, 413, 422),
    )
    async def rank(asked: Annotated[RankRequest, Body()], request: Request) -> Response:
        shelf = apps.of(caller(request.scope).app)
        question = {"bundle_version": asked.bundle_version, "profile": asked.profile}
        bundle = served(shelf, ProfileRequest.model_validate(question))
        return JSONResponse(_ranked(bundle, asked), headers=NO_STORE)


def _ranked(bundle: ServedBundle, asked: RankRequest) -> dict[str, Any]:
    try:
        check_rank(asked.items, asked.impact, asked.surface)
        heights = base_heights(len(asked.items), asked.base)
    except ModelError as error:
        where, _, problem = str(error).partition(": ")
        raise invalid_field(where, problem) from None
    item_idx = bundle.live.index_of(asked.items)
    start = np.argsort(-heights, kind="stable")
    scores, order = heights, start
    if asked.profile is not None:
        vector = profile_vector(asked.profile, bundle.bundle.table.dim)[0]
        signals = _signals(bundle, vector)
        scores = rank_scores(signals, item_idx, heights, asked.impact, asked.surface)
        order = start[reorder(scores[start], asked.impact)]
    return {
        "bundle_version": bundle.version,
        "unknown_items": [name for name, place in zip(asked.items, item_idx.tolist(), strict=True) if place < 0],
        "ranked": [{"item_id": asked.items[place], "score": float(scores[place])} for place in order.tolist()],
    }


def _signals(bundle: ServedBundle, vector: Any) -> RankSignals:
    """Make the signals of a profile alone: the plain score in its own deviations, as a device without a mix has it."""
    items = bundle.shop_items
    scores = items.scores(vector, items.config.trend_weight)
    spread = float(scores.std(dtype=np.float64))
    nothing = np.zeros(items.n_items, dtype=np.float32)
    personal = scores * np.float32(1.0 / spread if spread > 0 else 1.0)
    return RankSignals(personal, nothing, np.zeros(items.n_items, dtype=np.bool_), 0, 0)
