"""The fleet of a live test, a process of its own: python -m tests.end_to_end.fleet_process ORDERS.json"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import httpx

from federation.device.delivery import RetryPolicy
from federation.device.tokens.issuing import ShopIssuer
from federation.learning.privacy_plan import PrivacyPlan
from federation.protocol.messages import Task
from federation.simulation.fleet import Fleet, FleetConfig, next_task, play_round
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import catalogue_of, encode_catalogue
from serving.cli.device.contribute import policy_of


def main() -> None:
    """Play one round as ordered, every device with the bundle at full precision; prints each device's fate."""
    orders: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    plan = PrivacyPlan.from_json(Path(orders["plan"]).read_bytes())
    bundle = Bundle.load(orders["bundle"])
    digest = hashlib.sha256(encode_catalogue(bundle)).hexdigest()
    blocks: dict[str, int] = orders["blocks"]

    def block_of(_: Task, device: int) -> int:
        return blocks[str(device)]

    with httpx.Client(base_url=orders["service"], timeout=30.0) as client:
        task = next_task(client, None, 30.0)
        assert task is not None
        assert task.bundle_version == bundle.version
        found = play_round(
            Fleet(Path(orders["fleet"]), 0),
            orders["devices"],
            orders["service"],
            policy_of(plan, bytes.fromhex(orders["custodian_key"])),
            ShopIssuer(client, orders["api_key"]),
            FleetConfig(
                orders["history_at"],
                orders["seed"],
                orders["dropout"],
                holdout_share=0.0,
                retry=RetryPolicy(spread_s=0.0, attempts=4),
            ),
            play=orders["play"],
            catalogue=replace(catalogue_of(bundle), digest=digest),
            block_of=block_of,
        )
    fates = [asdict(one) for one in found.fates]
    sys.stdout.write(json.dumps({"task_id": task.task_id, "seconds": found.seconds, "fates": fates}))


if __name__ == "__main__":
    main()
