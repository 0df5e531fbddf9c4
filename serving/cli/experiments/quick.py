"""`ownshelf experiment quick`: the commonest test of a surface, written, checked, defined and started at once."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from data.errors import DataError
from recsys.experiments.definition.definition import date_of
from recsys.experiments.definition.definition_file import read_experiment, to_dict
from serving.cli.experiments.service_commands import Ca, Key, Service, ask, ask_service
from serving.cli.experiments.templates import RETENTION_DAYS, Days, fill_in, write_new
from serving.cli.options import AsJson


def quick(
    service: Service,
    placement: Annotated[str, typer.Option(help="The surface, as devices list by it.")] = "for-you",
    personalized_against_global: Annotated[
        bool, typer.Option("--personalized-against-global", help="A personal list, or the one list for everybody?")
    ] = False,
    as_now_against_diverse: Annotated[
        bool, typer.Option("--as-now-against-diverse", help="The list as it is, or a more diverse one?")
    ] = False,
    name: Annotated[str | None, typer.Option("--id", help="Default: surface, test and date.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the definition here; default: its id.yaml.")] = None,
    starts_at: Annotated[str | None, typer.Option(help="ISO 8601, UTC unless it says otherwise; now.")] = None,
    days: Days = 28,
    outcome_days: Annotated[int, typer.Option(min=1, max=366, help="Days that each shopper is measured.")] = (
        RETENTION_DAYS
    ),
    looks: Annotated[int, typer.Option(min=1, max=100, help="Planned looks.")] = 5,
    epsilon: Annotated[
        float, typer.Option(min=0.0, help="ε of one device for the whole experiment; 0: privacy off, on loopback.")
    ] = 1.0,
    min_reports: Annotated[int, typer.Option(min=1, help="No sum is made of fewer.")] = 1_000,
    key: Key = None,
    ca: Ca = None,
    as_json: AsJson = False,
) -> None:
    """Write, check, define and start an experiment; devices that list by this surface are in from then on."""
    if personalized_against_global == as_now_against_diverse:
        raise DataError("--personalized-against-global, --as-now-against-diverse: give one of the two")
    template = "personalized-against-global" if personalized_against_global else "two-settings"
    begin = _moment(starts_at)
    name = (
        name or f"{placement[:16].strip('-')}-{'personal' if personalized_against_global else 'diverse'}-{begin:%Y%m%d}"
    )
    layer = _layer(placement, ask_service("GET", "/v1/placements", service, key, ca)["placements"])
    file = out or Path(f"{name}.yaml")
    text = fill_in(
        template,
        name=name,
        starts_at=begin,
        days=days,
        surface=placement,
        layer=layer,
        looks=looks,
        outcome_days=outcome_days,
        epsilon=epsilon or None,
        min_reports=min_reports,
    )
    write_new(file, text)
    try:
        experiment = read_experiment(file)
        ask("PUT", "", service, key, ca, to_dict(experiment))
        made = ask("POST", f"/{experiment.id}/start", service, key, ca)
    except BaseException:
        file.unlink()  # what was not started leaves nothing that the next try would trip over
        raise
    begins, ends = experiment.window(0), experiment.window(experiment.looks.count - 1)
    told = {"id": made["id"], "state": made["state"], "file": str(file), "first_look": begins[1], "last_look": ends[0]}
    words = [
        f"{made['id']}: {made['state']}; definition in {file}",
        f"first look after {date_of(begins[1])}, the last one from {date_of(ends[0])} on",
        f"next: ownshelf experiment report {made['id']} --service {service}",
    ]
    typer.echo(json.dumps(told) if as_json else "\n".join(words))


def _layer(placement: str, defined: dict[str, Any]) -> str:
    """Name the layer in which a surface is compared: two tests of one surface share no shopper."""
    from recsys.lists.placements.placement import DEFAULTS  # here: rules and filters load polars

    if placement not in defined and placement not in DEFAULTS:
        known = ", ".join(dict.fromkeys((*defined, *DEFAULTS)))
        raise DataError(f"placement={placement!r}: the service has none of that name; must be one of {known}")
    return str(defined.get(placement, {}).get("layer") or placement)


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DataError(f"starts_at={text!r}: must be ISO 8601, such as 2026-12-01T00:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
