"""`ownshelf experiment`: check a definition, and define, start, stop and read experiments of a running service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from data.errors import DataError, ServingError
from recsys.experiments.definition.amendments import check_amendment, difference
from recsys.experiments.definition.definition import Experiment, date_of
from recsys.experiments.definition.definition_file import content_hash, experiment_of, read_experiment, to_dict
from serving.cli.errors import OneLineErrors
from serving.cli.options import AsJson
from serving.cli.output import errors

MUCH_SCATTER = 0.1
"""Of its cap: where caps cut little, shoppers' counts and money have standard deviations of 0.01 to 0.2 of them."""

app = typer.Typer(cls=OneLineErrors, no_args_is_help=True, pretty_exceptions_enable=False)

File = Annotated[Path, typer.Argument(help="A definition, YAML or JSON: docs/experiments.md.")]
Id = Annotated[str, typer.Argument(help="The experiment's id.")]
Service = Annotated[str, typer.Option(help="Address of the service.", envvar="OWNSHELF_SERVICE")]
Key = Annotated[
    str | None,
    typer.Option(help="API key of scope analyst or admin, if the service has keys.", envvar="OWNSHELF_API_KEY"),
]
Ca = Annotated[Path | None, typer.Option(help="Certificate authority (PEM) of the service, if it is a private one.")]


@app.command()
def validate(file: File, as_json: AsJson = False) -> None:
    """Say what a definition is, or what is wrong with it."""
    from federation.learning.experiment_sum import experiment_plan
    from recsys.experiments.analysis.layout import layout_of
    from recsys.experiments.rehearsal.log_planning import least_scatter

    experiment = read_experiment(file)
    layout, plan = layout_of(experiment), experiment_plan(experiment)
    scatter = least_scatter(experiment, plan.sigma)
    windows = [[date_of(at) for at in experiment.window(number)] for number in range(experiment.looks.count)]
    told = {
        "id": experiment.id,
        "version": experiment.version,
        "hash": content_hash(experiment).hex(),
        "arms": [arm.name for arm in experiment.arms],
        "cells": experiment.n_cells,
        "coordinates": layout.length,
        "report_bytes": 4 * layout.length,
        "noise_multiplier": plan.noise_multiplier,
        "epsilon": experiment.privacy.epsilon,
        "windows": windows,
        "covariate_scatter": scatter,
    }
    for metric, share in scatter.items():
        if share > MUCH_SCATTER:
            errors.print(
                f"[yellow]warning:[/yellow] metric {metric}: noise hides its covariate's coefficient unless shoppers "
                f"scatter by {share:.0%} of the caps or more (with {experiment.privacy.max_reports:,} of them): "
                "lower the caps, sum fewer metrics, look less often, or leave the covariate out",
                highlight=False,
            )
    shape = "{id} version {version}: {arms}, {cells} cells, {coordinates} coordinates".format(**told)
    looks = f"{len(windows)} looks, reports from {windows[0][0]} to {windows[-1][1]}, hash {told['hash']}"
    _print(told, f"{shape}\n{looks}", as_json)


@app.command()
def define(file: File, service: Service, key: Key = None, ca: Ca = None, as_json: AsJson = False) -> None:
    """Put a definition into the service: a new draft, a draft rewritten, or the next version of a running one."""
    made = ask("PUT", "", service, key, ca, to_dict(read_experiment(file)))
    _print(made, f"{made['id']} version {made['version']}: {made['state']}", as_json)


@app.command()
def start(experiment: Id, service: Service, key: Key = None, ca: Ca = None, as_json: AsJson = False) -> None:
    """Start a defined experiment; from then on it can only be amended."""
    made = ask("POST", f"/{experiment}/start", service, key, ca)
    _print(made, f"{made['id']} version {made['version']}: {made['state']}", as_json)


@app.command()
def stop(experiment: Id, service: Service, key: Key = None, ca: Ca = None, as_json: AsJson = False) -> None:
    """Stop a running experiment for good; the reports that have come are summed."""
    made = ask("POST", f"/{experiment}/stop", service, key, ca)
    _print(made, f"{made['id']} version {made['version']}: {made['state']}", as_json)


@app.command("list")
def list_(service: Service, key: Key = None, ca: Ca = None, as_json: AsJson = False) -> None:
    """List the app's experiments with their state."""
    told = ask("GET", "", service, key, ca)
    lines = [f"{one['id']:<40}{one['version']:>3}  {one['state']}" for one in told["experiments"]]
    _print(told, "\n".join(lines) or "no experiment is defined", as_json)


@app.command()
def status(experiment: Id, service: Service, key: Key = None, ca: Ca = None, as_json: AsJson = False) -> None:
    """Show an experiment with its windows."""
    told = ask("GET", f"/{experiment}", service, key, ca)
    lines = [f"{told['id']} version {told['version']}: {told['state']}"]
    lines += [
        f"window {one['window']:>3}  {one['state']:<9}{one['reports']:>9} reports  {one['failure'] or ''}".rstrip()
        for one in told["windows"]
    ]
    _print(told, "\n".join(lines), as_json)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(help="A definition's file, or an experiment's id with --service.")],
    second: Annotated[str, typer.Argument(help="The definition to compare it with, likewise.")],
    service: Annotated[str | None, typer.Option(help="Address of the service.", envvar="OWNSHELF_SERVICE")] = None,
    key: Key = None,
    ca: Ca = None,
    as_json: AsJson = False,
) -> None:
    """Say in which fields two definitions differ, and whether the second may follow the first as an amendment."""
    before, after = (_definition(name, service, key, ca) for name in (first, second))
    changes = {name: [old, new] for name, old, new in difference(to_dict(before), to_dict(after))}
    try:
        check_amendment(before, after)
        amends = "may follow as an amendment of a running experiment"
    except DataError as error:
        amends = f"is no amendment: {error}"
    lines = [f"{name}: {json.dumps(old)} → {json.dumps(new)}" for name, (old, new) in changes.items()]
    text = "\n".join([*lines, f"{second} {amends}"]) if lines else "the definitions are equal"
    _print({"changes": changes, "amends": amends.startswith("may")}, text, as_json)


def _definition(name: str, service: str | None, key: str | None, ca: Path | None) -> Experiment:
    """Read a definition from a file, else from the service."""
    if Path(name).is_file():
        return read_experiment(Path(name))
    if service is None:
        raise DataError(f"{name}: no such file; --service names where it is an experiment's id")
    return experiment_of(ask("GET", f"/{name}", service, key, ca)["definition"])


@app.command()
def results(experiment: Id, service: Service, key: Key = None, ca: Ca = None, as_json: AsJson = False) -> None:
    """Show what the sums say so far."""
    told = ask("GET", f"/{experiment}/results", service, key, ca)
    words = [f"{one['arm']}: {one['text']}" for one in told["verdicts"] or ()]
    _print(told, "\n".join(words) or f"{experiment}: no window is summed yet", as_json)


def ask(method: str, path: str, service: str, key: str | None, ca: Path | None, body: object = None) -> dict[str, Any]:
    """Ask the service. Raises ServingError with its own words for a refusal."""
    import httpx

    from federation.device.asking.client import service_client

    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    with service_client(service, ca) as client:
        try:
            answer = client.request(method, f"/v1/experiments{path}", json=body, headers=headers)
            told: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ServingError(f"service={service}: does not answer ({type(error).__name__})") from None
    if answer.is_error:
        raise ServingError(str(told.get("error", {}).get("message", f"status {answer.status_code}")))
    return told


def _print(answer: dict[str, Any], text: str, as_json: bool) -> None:
    typer.echo(json.dumps(answer) if as_json else text)
