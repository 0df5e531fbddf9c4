"""`ownshelf device --simulate N`: the command; what it does is loaded when it runs."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from data.errors import FederationError
from federation.device.delivery import RetryPolicy
from serving.cli.device.contribute import Ca, CustodianKey, Plan, experiment_policy, read_policy
from serving.cli.device.device_key import Key
from serving.cli.output import print_json


def simulate_command(
    n: Annotated[int, typer.Argument(min=1, help="Devices.", metavar="N")],
    dataset: Annotated[str, typer.Option(help="Whose histories: a folder, or sample:NAME.")],
    service: Annotated[str, typer.Option(help="Address of the service.")],
    custodian_key: CustodianKey,
    plan: Plan,
    api_key: Annotated[
        str, typer.Option(envvar="OWNSHELF_API_KEY", help="The shop's API key, to mint tokens.", show_default=False)
    ],
    rounds: Annotated[
        int | None, typer.Option(min=0, help="Rounds to take part in; 1, or with --experiments 0.")
    ] = None,
    experiments: Annotated[
        bool, typer.Option("--experiments", help="Live through the running experiments until now, and report to them.")
    ] = False,
    visits: Annotated[float, typer.Option(min=0.0, max=1.0, help="Chance that a shopper comes on a day.")] = 0.3,
    buys_listed: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Chance to buy each wanted item that a list has.")
    ] = 0.3,
    buys_anyway: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Chance, a visit, to buy one that it does not have.")
    ] = 0.1,
    max_epsilon: Annotated[
        float | None, typer.Option(min=0.0, help="ε of a device's life over all sums; default: the plan's.")
    ] = None,
    cohort_size: Annotated[int | None, typer.Option("--cohort", min=1, help="Devices asked a round; all.")] = None,
    dropout: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share that vanishes at a random moment.")] = 0.0,
    until: Annotated[
        str | None, typer.Option(help="Histories before this ISO time, wants after it; the log's end.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Devices at a time.")] = 4,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for a round to open.")] = 600.0,
    home: Annotated[Path | None, typer.Option(help="Keep the devices here; a temporary folder.")] = None,
    ca: Ca = None,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    seed: Annotated[int, typer.Option(help="Who comes, who vanishes, and every draw of the simulated devices.")] = 0,
) -> None:
    """Run N devices of a log against a live service; each has a vault of its own, and draws by the seed."""
    from federation.simulation.experiment_shopping import ShopperModel
    from federation.simulation.fleet import FleetConfig
    from serving.cli.device.fleet import Simulation, create_fleet, first_start, simulate, simulate_experiments

    size = n if cohort_size is None else cohort_size
    if size > n:
        raise FederationError(f"cohort={size}: must be at most N={n}")
    policy = read_policy(plan, custodian_key)
    rounds = (0 if experiments else 1) if rounds is None else rounds
    told = Simulation(service, ca, policy, api_key, rounds, size, wait, key)
    with nullcontext(home) if home is not None else tempfile.TemporaryDirectory() as folder:
        created = create_fleet(Path(folder), dataset, until, n, seed, first_start(told) if experiments else None)
        config = FleetConfig(created.at, seed, dropout, workers=workers, retry=RetryPolicy(spread_s=0.0, attempts=4))
        played = simulate(created.fleet, config, told) if rounds else []
        tested: dict[str, Any] | None = None
        if experiments:
            shoppers = ShopperModel(visits, buys_listed=buys_listed, buys_anyway=buys_anyway)
            told = replace(told, policy=experiment_policy(policy, max_epsilon))
            tested = simulate_experiments(created, config, told, shoppers)
    result = {"devices": n, "cohort": size, "dropout": dropout, "seed": seed, "rounds": played, "experiments": tested}
    if as_json:
        print_json(result)
        return
    if tested is not None:
        typer.echo(f"{tested['visits']} visits of {n} shoppers in {tested['seconds']:.1f} s")
        for name, statuses in tested["statuses"].items():
            counts = ", ".join(f"{count} {status}" for status, count in statuses.items())
            typer.echo(f"{name or 'devices'}: {counts}")
    for round_played in played:
        counts = ", ".join(f"{count} {status}" for status, count in round_played["statuses"].items())
        typer.echo(
            f"round {round_played['round']}: {counts}; {round_played['seconds']:.1f} s, "
            f"{round_played['report_bytes']} bytes a report"
        )
