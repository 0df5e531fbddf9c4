"""`ownshelf device --simulate N`: the command; what it does is loaded when it runs."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from data.errors import FederationError
from federation.device.delivery import RetryPolicy
from serving.cli.device.contribute import Ca, CustodianKey, Plan, read_policy
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
    rounds: Annotated[int, typer.Option(min=1, help="Rounds to take part in.")] = 1,
    cohort_size: Annotated[int | None, typer.Option("--cohort", min=1, help="Devices asked a round; all.")] = None,
    dropout: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share that vanishes at a random moment.")] = 0.0,
    until: Annotated[str | None, typer.Option(help="Histories before this ISO time; the log's end.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Devices at a time.")] = 4,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for a round to open.")] = 600.0,
    home: Annotated[Path | None, typer.Option(help="Keep the devices here; a temporary folder.")] = None,
    ca: Ca = None,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    seed: Annotated[int, typer.Option(help="Who comes, who vanishes, and every draw of the simulated devices.")] = 0,
) -> None:
    """Run N devices of a log against a live service; each has a vault of its own, and draws by the seed."""
    from federation.simulation.fleet import FleetConfig
    from serving.cli.device.fleet import Simulation, create_fleet, simulate

    size = n if cohort_size is None else cohort_size
    if size > n:
        raise FederationError(f"cohort={size}: must be at most N={n}")
    policy = read_policy(plan, custodian_key)
    told = Simulation(service, ca, policy, api_key, rounds, size, wait, key)
    with nullcontext(home) if home is not None else tempfile.TemporaryDirectory() as folder:
        fleet, at = create_fleet(Path(folder), dataset, until, n, seed)
        config = FleetConfig(at, seed, dropout, workers=workers, retry=RetryPolicy(spread_s=0.0, attempts=4))
        played = simulate(fleet, config, told)
    result = {"devices": n, "cohort": size, "dropout": dropout, "seed": seed, "rounds": played}
    if as_json:
        print_json(result)
        return
    for round_played in played:
        counts = ", ".join(f"{count} {status}" for status, count in round_played["statuses"].items())
        typer.echo(
            f"round {round_played['round']}: {counts}; {round_played['seconds']:.1f} s, "
            f"{round_played['report_bytes']} bytes a report"
        )
