"""`ownshelf device contribute`: this device takes part in the open round, once, if the shopper agreed to it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from data.errors import ServingError
from federation.device.asking.client import service_client
from federation.device.delivery import RetryPolicy
from federation.device.device import Device
from federation.device.participation import take_part
from federation.device.report import DevicePolicy
from federation.device.reporting import Status
from federation.device.tokens.issuing import TOKENS, ShopIssuer
from federation.learning.privacy_plan import PrivacyPlan
from federation.storage.key_files import read_public_key
from serving.cli.device.device_home import default_home
from serving.cli.device.device_key import Key, RelayKey, RelayUrl, keyed_client

CustodianKey = Annotated[
    str, typer.Option("--custodian-key", help="The custodian's public key (hex, or its file), not from the service.")
]
Plan = Annotated[Path, typer.Option("--plan", help="The privacy plan (JSON) that was agreed on; less is refused.")]
Ca = Annotated[Path | None, typer.Option("--ca", help="Believe certificates of this authority (PEM) and no other.")]
SAID: dict[Status, str] = {
    "accepted": "the service has the report",
    "rejected": "the service refused the report for good",
    "unsent": "the report was not sent yet; the same one goes out when this is called again",
    "no_consent": "consent is not `contribute`: nothing was sent",
    "no_round": "no round is open",
    "no_window": "no window of the experiment is open",
    "unknown_experiment": "this device knows no experiment of that id",
    "not_assigned": "this device is in none of the experiment's arms",
    "too_early": "the service asked to come back later",
    "took_part": "this device has taken part in this round",
    "cap_reached": "this device has taken part as often as was agreed",
    "period_full": "this device has taken part as often as was agreed for one period",
    "budget_spent": "this device's privacy budget is spent",
}


PROOFS_SHARE = 1e-5
"""Share of δ that the proof of one verified report may take: 2.7·10⁻¹² of a δ of 10⁻⁶ is a third of it."""


def policy_of(plan: PrivacyPlan, custodian_key: bytes) -> DevicePolicy:
    """Make what a device insists on when it agreed to this plan."""
    return DevicePolicy(
        custodian_key=custodian_key,
        min_noise_multiplier=plan.noise_multiplier,
        min_reports=plan.min_reports,
        max_participations=plan.max_participations,
        max_per_period=plan.max_per_period,
        period_s=plan.period_s,
        max_epsilon=plan.epsilon_after(plan.max_participations, PROOFS_SHARE * plan.delta) * (1.0 + 1e-9)
        if plan.private
        else math.inf,
        delta=plan.delta,
        plan=plan,
    )


def read_policy(plan: Path, custodian_key: str) -> DevicePolicy:
    """Read the policy of a plan's file. Raises ServingError when it cannot be read."""
    try:
        content = plan.read_bytes()
    except OSError as error:
        raise ServingError(f"plan={plan}: cannot be read ({type(error).__name__})") from None
    return policy_of(PrivacyPlan.from_json(content), read_public_key(custodian_key))


def contribute_command(
    service: Annotated[str, typer.Option("--service", help="Address of the service.")],
    custodian_key: CustodianKey,
    plan: Plan,
    home: Annotated[Path | None, typer.Option(help="The device's folder.", show_default=False)] = None,
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
    relay: RelayUrl = None,
    relay_key: RelayKey = None,
    ca: Ca = None,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Take part in the open training round. The shop signs the right to report without seeing it."""
    policy = replace(read_policy(plan, custodian_key), app=app)
    retry = RetryPolicy(spread_s=math.inf if spread is None else spread, stay_s=stay)
    device = Device.open(home or default_home())
    with keyed_client(service, key, ca, relay, relay_key) as client, service_client(shop or service, ca) as shop_client:
        outcome = take_part(device, client, policy, ShopIssuer(shop_client, credential, tokens), retry=retry)
    detail = f" ({outcome.detail})" if outcome.detail else ""
    typer.echo(json.dumps(asdict(outcome)) if as_json else f"{SAID[outcome.status]}{detail}")
