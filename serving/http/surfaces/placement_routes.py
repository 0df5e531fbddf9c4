"""The shop's placements over HTTP: those that hold, and new ones without a new bundle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Body, FastAPI
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from data.errors import ModelError
from recsys.lists.placements.placement import Placements
from recsys.lists.placements.placements_file import check_against, content_hash, placements_of, to_dict
from serving.access import caller
from serving.http.bodies import Strict, invalid_field, refusals
from serving.shelf.served import Apps, ServedBundles
from serving.state.placement_store import PlacementStore


class PutPlacements(Strict):
    """What `placements.yaml` has: docs/placements.md."""

    placements: dict[str, Any] = Field(description="name → settings; each has a `source`.")
    attributes: list[str] = Field(default_factory=list, description="Columns that devices hold beside those named.")


class PlacementsAnswer(Strict):
    """The placements that hold. sequence: among the changes of items; hash: of their canonical text."""

    sequence: int
    hash: str
    placements: dict[str, Any]
    attributes: list[str]


def add_placements(app: FastAPI, apps: Apps, store: PlacementStore, look: Callable[[], None]) -> None:
    """Mount the routes. look: takes over what the store has, in this process, at once."""

    @app.get("/v1/placements", summary="The shop's placements", responses=refusals())
    async def placements(request: Request) -> PlacementsAnswer:
        return _answer(apps.of(caller(request.scope).app))

    @app.put("/v1/placements", summary="Set the shop's placements, without a new bundle", responses=refusals(413, 422))
    async def put(asked: Annotated[PutPlacements, Body()], request: Request) -> PlacementsAnswer:
        owner = caller(request.scope).app
        shelf = apps.of(owner)
        try:
            wanted = placements_of(asked.model_dump())
            check_against(wanted, shelf.current.live.catalogue)
            _check_carried(wanted, shelf)
        except ModelError as error:
            where, _, problem = str(error).partition(": ")
            raise invalid_field("placements" if "=" in where else where, problem) from None
        await run_in_threadpool(_stored, lambda: store.set(owner, wanted), look)
        return _answer(shelf)

    @app.delete("/v1/placements", summary="Let each bundle's own placements hold again", responses=refusals())
    async def delete(request: Request) -> PlacementsAnswer:
        owner = caller(request.scope).app
        shelf = apps.of(owner)
        await run_in_threadpool(_stored, lambda: store.set(owner, None), look)
        return _answer(shelf)


def _check_carried(wanted: Placements, shelf: ServedBundles) -> None:
    """Check that devices hold every attribute that is named: the file of a bundle stays as it is."""
    held = set(shelf.current.bundle.placements.carried)
    columns = set(shelf.current.live.catalogue.columns)
    missing = sorted(name for name in wanted.carried if name in columns and name not in held)
    if missing:
        raise ModelError(
            f"attributes: devices of this bundle do not hold {', '.join(missing)}; train or add one with them listed"
        )


def _answer(shelf: ServedBundles) -> PlacementsAnswer:
    current = shelf.placements_of(shelf.current)
    return PlacementsAnswer(sequence=shelf.sequence, hash=content_hash(current), **to_dict(current))


def _stored(change: Callable[[], int], look: Callable[[], None]) -> None:
    change()
    look()
