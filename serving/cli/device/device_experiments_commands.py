"""`ownshelf device experiments`: the shop's experiments as this device takes part in them: refresh, status, report."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from federation.device.asking.client import service_client
from federation.device.delivery import RetryPolicy
from federation.device.device import Device
from federation.device.timestamps import iso
from federation.device.tokens.issuing import TOKENS, ShopIssuer
from serving.cli.device.contribute import SAID, Ca, CustodianKey, Plan, experiment_policy, read_policy
from serving.cli.device.device_home import default_home
from serving.cli.device.device_key import Key, keyed_client
from serving.cli.errors import OneLineErrors

Home = Annotated[Path | None, typer.Option("--home", help="The device's folder.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Service = Annotated[str, typer.Option("--service", help="Address of the service.")]

experiments_app = typer.Typer(
    name="experiments",
    help="The shop's experiments on this device. The arm is drawn here, and never sent.",
    cls=OneLineErrors,
    no_args_is_help=True,
)


@experiments_app.command()
def refresh(service: Service, key: Key = None, ca: Ca = None, home: Home = None, as_json: AsJson = False) -> None:
    """Fetch the running experiments; from then on this device's lists follow its arms."""
    device = Device.open(home or default_home())
    with keyed_client(service, key, ca) as client:
        running = device.experiments.refresh(client)
    text = "\n".join(running) or "no experiment is running"
    typer.echo(json.dumps({"experiments": running}) if as_json else text)


@experiments_app.command()
def status(home: Home = None, as_json: AsJson = False) -> None:
    """Show which experiments this device knows, in which arm it is, and what it has reported."""
    told = Device.open(home or default_home()).experiments.status()
    if as_json:
        typer.echo(json.dumps({"experiments": [asdict(entry) for entry in told]}))
        return
    for entry in told:
        since = "not yet shown a list" if entry.exposed_at is None else f"in since {iso(entry.exposed_at)}"
        reported = "no report yet" if entry.window < 0 else f"last report to window {entry.window}"
        arm = entry.arm or "in none of its arms, or in both"
        more = [f"no list is made here: {entry.obstacle}"] if entry.obstacle else []
        more += ["says zeros from now on"] if entry.silent else []
        typer.echo("; ".join([f"{entry.experiment_id}: {arm}", since, reported, *more]))
    if not told:
        typer.echo("this device knows no running experiment; `refresh` fetches them")


@experiments_app.command()
def report(
    service: Service,
    custodian_key: CustodianKey,
    plan: Plan,
    max_epsilon: Annotated[
        float | None, typer.Option(min=0.0, help="ε of this device's life, over all sums; default: the plan's.")
    ] = None,
    spread: Annotated[
        float | None, typer.Option(min=0.0, help="Post at a random moment of so many seconds; default: of the window.")
    ] = None,
    stay: Annotated[float, typer.Option(min=0.0, help="Wait so many seconds for that moment, at most.")] = 60.0,
    shop: Annotated[
        str | None, typer.Option("--shop", help="The shop's address, which signs tokens; the service's.")
    ] = None,
    tokens: Annotated[str, typer.Option(help="Path of the shop's address that signs tokens.")] = TOKENS,
    credential: Annotated[
        str | None,
        typer.Option(
            envvar="OWNSHELF_SHOP_CREDENTIAL", help="What the shop knows this shopper by.", show_default=False
        ),
    ] = None,
    app: Annotated[str, typer.Option(help="Whose device this is: the app's name at the service.")] = "shop",
    key: Key = None,
    ca: Ca = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Report to every experiment's open window. The shop signs the right to report without seeing it."""
    policy = replace(experiment_policy(read_policy(plan, custodian_key), max_epsilon), app=app)
    retry = RetryPolicy(spread_s=math.inf if spread is None else spread, stay_s=stay)
    device = Device.open(home or default_home())
    with keyed_client(service, key, ca) as client, service_client(shop or service, ca) as shop_client:
        outcomes = device.experiments.report(client, policy, ShopIssuer(shop_client, credential, tokens), retry=retry)
    if as_json:
        typer.echo(json.dumps({name: asdict(outcome) for name, outcome in outcomes.items()}))
        return
    for name, outcome in outcomes.items():
        detail = f" ({outcome.detail})" if outcome.detail else ""
        typer.echo(f"{name}: {SAID[outcome.status]}{detail}")
    if not outcomes:
        typer.echo("no experiment is running")
