"""From a question to a list or to candidates: pure functions of a served bundle and one request, which they forget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from data.errors import ModelError
from recsys.catalogue.candidates import COLUMNS, encode_candidates
from recsys.catalogue.clusters import cluster_queries, direction_queries, interleave
from recsys.lists.diversity import diversify, pool_size
from recsys.lists.placements.queries import ListQuery, list_query
from recsys.lists.rules import PreparedRules, RankedList, Rules, apply_lifts, arrange, parse_rules
from recsys.model.fold_in import blend
from recsys.model.intent import in_shares
from recsys.model.scoring import top_k as best
from recsys.search.filters import parse_filter
from serving.http.bodies import invalid_field, profile_vector
from serving.http.cursor import decode_cursor, encode_cursor
from serving.http.resources.ask_bodies import ClusterRequest, NoisedRequest, ProfileRequest, Reason
from serving.http.resources.item_json import check_fields, field_columns
from serving.shelf.served import ServedBundle, VisibleItems

Vector = npt.NDArray[np.float32]
Items = npt.NDArray[np.int32]
SearchHits = tuple[Items, Vector, npt.NDArray[np.bool_] | None]
"""item_idx (k,) and scores (k,), best first; and (k,) which are there by a pin, where there were rules or diversity."""
_NO_ITEMS = np.empty(0, dtype=np.int32)
_NO_RULES = Rules()


class ListResult(NamedTuple):
    """A list: item_idx (k,) and scores (k,), best first, reasons if they were asked for, and what the answer says.

    fallback: nothing was known of the shopper, so it is the trend.
    """

    items: Items
    scores: Vector
    reasons: tuple[Reason, ...] | None
    fallback: bool
    unknown_exclude: list[str]
    unknown_items: list[str]
    cursor: str | None


class Question(NamedTuple):
    """A request that was read and found good: all that a search needs. It lives as long as its request."""

    one: ServedBundle
    asked: ProfileRequest
    query: ListQuery
    shown: VisibleItems
    hidden: Items
    before: Items
    prepared: PreparedRules | None
    unknown_exclude: list[str]
    unknown_items: list[str]


def list_for(served: ServedBundle, request: ProfileRequest) -> ListResult:
    """Make the list of a request. Raises Refusal for what the bundle cannot answer; no message holds what was sent."""
    question = question_of(served, request)
    return listed(question, search(question))


def question_of(served: ServedBundle, request: ProfileRequest) -> Question:
    """Resolve a request into what is to be searched for. Raises Refusal as list_for."""
    live = served.live
    check_fields(served, request.fields)
    exclude, unknown_exclude = places(served, request.exclude)
    page, unknown_items = places(served, [] if request.context is None else [request.context])
    cart, unknown_cart = places(served, request.cart)
    unknown_items = [*unknown_items, *unknown_cart]
    near = np.concatenate((page, cart)) if len(page) or len(cart) else _NO_ITEMS
    before = _NO_ITEMS if request.cursor is None else decode_cursor(request.cursor, served.version)
    hidden = (
        np.concatenate((exclude, near, before[before < live.n_items]))
        if len(exclude) or len(near) or len(before)
        else _NO_ITEMS
    )
    shown = shown_for(served, request.filter)
    query = _query(served, request, int(page[0]) if len(page) else None, cart)
    prepared = None
    if request.rules:
        prepared = _prepared(served, request.rules, before)
        unknown_items = [*unknown_items, *prepared.unknown]
    return Question(served, request, query, shown, hidden, before, prepared, unknown_exclude, unknown_items)


def search(question: Question) -> SearchHits:
    """Search the items of a question, best first."""
    served, request, query, shown, hidden, _, prepared, _, _ = question
    if prepared is None and request.diversity == 0.0:
        return *_plain(served, query, shown, hidden, request.top_k), None
    ranked = _arranged(served, query, shown, hidden, request, prepared)
    return ranked.item_idx, ranked.scores, ranked.pinned


def search_all(questions: Sequence[Question]) -> list[SearchHits]:
    """Search the items of each question; those that differ in their vector alone are searched in one."""
    results: list[SearchHits | None] = [None] * len(questions)
    alike: dict[tuple[int, int, int, float], list[tuple[int, Vector]]] = {}
    for place, (served, request, query, shown, hidden, _, prepared, _, _) in enumerate(questions):
        if prepared is None and request.diversity == 0.0 and query.vector is not None and not len(hidden):
            alike.setdefault((id(served), id(shown), request.top_k, query.weight), []).append((place, query.vector))
    for (_, _, top_k, weight), members in alike.items():
        first = questions[members[0][0]]
        vectors = np.array([vector for _, vector in members])
        lists = first.one.live.search_many(vectors, top_k, trend_weight=weight, selection=first.shown.selection)
        for (place, _), (items, scores) in zip(members, lists, strict=True):
            results[place] = items, scores, None
    return [search(question) if hits is None else hits for question, hits in zip(questions, results, strict=True)]


def listed(question: Question, chosen: SearchHits) -> ListResult:
    """Make what is answered of what was found."""
    served, request, before = question.one, question.asked, question.before
    items, scores, pinned = chosen
    reasons = _reasons(served, question.query, items, pinned, question.prepared) if request.reasons else None
    cursor = None
    if len(items) == request.top_k or (len(items) and _held_back(question, items)):
        cursor = encode_cursor(served.version, items if not len(before) else np.concatenate((before, items)))
    return ListResult(
        items=items,
        scores=scores,
        reasons=reasons,
        fallback=question.query.vector is None,
        unknown_exclude=question.unknown_exclude,
        unknown_items=question.unknown_items,
        cursor=cursor,
    )


def _held_back(question: Question, items: Items) -> bool:
    """Check if a list is short because of its caps. They hold for a page, and the next one has room for more."""
    if question.prepared is None or not question.prepared.caps:
        return False
    left = question.shown.mask.copy()
    left[question.hidden] = False
    left[items] = False
    return bool(left.any())


def candidates_for(served: ServedBundle, request: ClusterRequest | NoisedRequest) -> tuple[dict[str, Any], list[str]]:
    """Encode candidates as they travel, and list the excluded ids that the bundle does not have. Raises Refusal."""
    check_fields(served, request.fields)
    exclude, unknown = places(served, request.exclude)
    shown = shown_for(served, request.filter)
    if isinstance(request, ClusterRequest):
        try:
            queries = cluster_queries(served.clusters, request.clusters)
        except ModelError as error:
            raise invalid_field("clusters", str(error).partition(": ")[2]) from None
    else:
        vector = profile_vector(request.noised, served.bundle.table.dim, "noised")
        mean = in_shares(served.bundle.table.mean_profile, served.bundle.table.parts, served.bundle.config)
        queries = direction_queries(vector, mean)
    weight = served.bundle.config.trend_weight
    lists = [
        served.live.search(query, request.candidates, trend_weight=weight, selection=shown.selection, hidden=exclude)[0]
        for query in queries
    ]
    chosen = np.sort(interleave(np.stack(lists), request.candidates)) if len(lists[0]) else _NO_ITEMS
    candidates = encode_candidates(served.quantized, chosen)
    if request.fields is not None:
        kept = {name: value for name, value in candidates.items() if name not in COLUMNS or name == "item_id"}
        candidates = kept | field_columns(served, chosen, request.fields)
    return candidates, unknown


def similar_to(
    served: ServedBundle, item_idx: int, top_k: int, shown: VisibleItems, hidden: Items
) -> tuple[Items, Vector]:
    """Find the available items of highest cosine to one item, itself left out."""
    scores = _cosine(served, item_idx)
    allowed = shown.mask.copy()
    allowed[item_idx] = False
    allowed[hidden] = False
    return best(np.where(allowed, scores, np.float32(-np.inf)), top_k)


def places(served: ServedBundle, item_ids: Sequence[str]) -> tuple[Items, list[str]]:
    """Find item_idx of the ids that there are, in their order, and list the ids that there are not."""
    if not item_ids:
        return _NO_ITEMS, []
    item_idx = served.live.index_of(item_ids)
    missing = item_idx < 0
    if not missing.any():
        return item_idx, []
    unknown = [item_ids[place] for place in np.flatnonzero(missing).tolist()]
    return item_idx[~missing], unknown


def shown_for(served: ServedBundle, sent: dict[str, Any] | None) -> VisibleItems:
    """Select what a filter lets through. Raises Refusal with the place of what is wrong in it."""
    if sent is None:
        return served.everything
    try:
        return served.visible(parse_filter(sent))
    except ModelError as error:
        raise _refused(error) from None


def _query(served: ServedBundle, request: ProfileRequest, context: int | None, cart: Items) -> ListQuery:
    """Make the query of a request; context: of an item, None for no page. cart: (n,) item_idx."""
    profile = None if request.profile is None else profile_vector(request.profile, served.bundle.table.dim)[0]
    return list_query(served.shop_items, profile, context, cart)


def _plain(
    served: ServedBundle, query: ListQuery, shown: VisibleItems, hidden: Items, top_k: int
) -> tuple[Items, Vector]:
    if query.vector is not None:
        return served.live.search(
            query.vector, top_k, trend_weight=query.weight, selection=shown.selection, hidden=hidden
        )
    order = served.by_trend
    if shown is not served.everything:
        order = order[shown.mask[order]]
    else:
        order = order[: top_k + len(hidden) + int(np.count_nonzero(~shown.mask))]
        order = order[shown.mask[order]]
    if len(hidden):
        order = order[: top_k + len(hidden)]
        order = order[~np.isin(order, hidden)]
    items = order[:top_k]
    return items, served.live.trend[items]


def _arranged(
    served: ServedBundle,
    query: ListQuery,
    shown: VisibleItems,
    hidden: Items,
    request: ProfileRequest,
    prepared: PreparedRules | None,
) -> RankedList:
    scores = _scores(served, query)
    allowed = shown.mask.copy()
    allowed[hidden] = False
    chosen = _NOTHING_PREPARED if prepared is None else prepared
    raised = apply_lifts(scores, allowed, chosen)
    first = None
    if request.diversity > 0.0 and allowed.any():
        pool, values = best(np.where(allowed, raised, np.float32(-np.inf)), pool_size(request.top_k))
        first = pool[diversify(values, served.live.vectors(pool), request.top_k, request.diversity)]
    return arrange(raised, allowed, chosen, request.top_k, first)


_NOTHING_PREPARED = PreparedRules(None, (), (), ())


def _prepared(served: ServedBundle, sent: dict[str, Any], before: Items) -> PreparedRules:
    """Prepare the rules. On a later page pins have moved up by what was shown, and those that were shown are gone."""
    try:
        prepared = served.prepare(parse_rules(sent))
    except ModelError as error:
        raise _refused(error) from None
    if not len(before) or not prepared.pins:
        return prepared
    gone = set(before.tolist())
    pins = tuple((item, max(place - len(before), 1)) for item, place in prepared.pins if item not in gone)
    return replace(prepared, pins=pins)


def _scores(served: ServedBundle, query: ListQuery) -> Vector:
    """Score every item, new ones included, (n_items,) float32."""
    items = served.shop_items
    return items.trend if query.vector is None else items.scores(query.vector, query.weight)


def _cosine(served: ServedBundle, item_idx: int) -> Vector:
    live = served.live
    vector = live.vectors(np.array([item_idx]))[0]
    rows = served.bundle.table.item_embeddings
    scores = rows @ vector
    lengths: Vector = served.once("lengths", lambda: np.linalg.norm(rows, axis=1).astype(np.float32))
    if len(live.numbers):
        scores = np.concatenate((scores, live.embeddings @ vector))
        lengths = np.concatenate((lengths, np.linalg.norm(live.embeddings, axis=1)))
    scale = lengths * np.float32(np.linalg.norm(vector))
    cosines: Vector = np.divide(scores, scale, out=np.zeros_like(scores), where=scale > 0)
    return cosines


def _reasons(
    served: ServedBundle,
    query: ListQuery,
    items: Items,
    pinned: npt.NDArray[np.bool_] | None,
    prepared: PreparedRules | None,
) -> tuple[Reason, ...]:
    """Give each item's reason: pinned, else boosted if a rule lifted it, else the largest part of its score."""
    live = served.live
    rows = live.vectors(items)
    parts: dict[Reason, Vector] = {"trend": np.float32(query.weight) * live.trend[items]}
    if query.like is not None:
        parts["similar"] = rows @ blend(query.like, None, 1.0)
    if query.profile is not None:
        scale = query.profile if query.like is None else blend(query.profile, None, 1.0)
        parts["profile"] = rows @ scale
    names = list(parts)
    largest = np.argmax(np.stack(list(parts.values())), axis=0) if len(items) else _NO_ITEMS
    reasons: list[Reason] = []
    for place, item in enumerate(items.tolist()):
        if pinned is not None and pinned[place]:
            reasons.append("pinned")
        elif prepared is not None and prepared.lift is not None and prepared.lift[item] > 0:
            reasons.append("boosted")
        else:
            reasons.append("trend" if query.vector is None else names[int(largest[place])])
    return tuple(reasons)


def _refused(error: ModelError) -> Exception:
    where, _, problem = str(error).partition(": ")
    return invalid_field(where, problem)
