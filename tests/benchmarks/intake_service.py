"""A service with one open round, as a process of its own: `python -m tests.benchmarks.intake_service FOLDER`.

Prints its address once the round is open. Everything is the real thing but the custodian, which answers nothing while
reports come in and therefore lives in the same process.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import uvicorn

from federation.custodian.custodian import Custodian
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.service.coordinator import Coordinator
from federation.service.round_settings import RoundSettings
from federation.service.round_store import CoordinatorStore
from federation.storage.database import sqlite_url
from serving.http.app import create_app
from serving.http.resources.federation_routes import TokenDesk, add_federation
from serving.state.api_keys import MintCounter
from tests.federation.service.a_lineage import CustodianHere, a_token, an_issuer
from tests.shop import make_bundle

N_ITEMS, DIM = 2_048, 64
PLAN = PrivacyPlan(Clips(1.0, 8.0, 1.0, 1.0), 2.0, 5, min_reports=50, max_reports=100_000, delta=1e-6)
SETTINGS = RoundSettings(goal_reports=1_000_000, issuer_reports=1_000_000)
DATABASE = "rounds.sqlite"


def main(folder: Path) -> None:
    now = int(time.time())
    make_bundle(folder / "first", n_items=N_ITEMS, dim=DIM)
    custodian = Custodian.open(folder / "custodian", PLAN, now)
    store = CoordinatorStore.open(sqlite_url(folder / DATABASE))
    here = CustodianHere(custodian, now)
    issuer = an_issuer(store.engine, here)
    coordinator = Coordinator(store, here, folder, PLAN, SETTINGS, issuer, custodian_key=custodian.key.public)
    coordinator.begin(folder / "first", now)
    while coordinator.task() is None:
        coordinator.advance(now)
    task = coordinator.task()
    assert task is not None
    a_token(issuer, task)
    app = create_app(coordinator.bundles())
    mints = MintCounter(store.engine, period_s=3_600, tokens_per_period=10)
    add_federation(app, coordinator, TokenDesk(issuer, mints))
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", access_log=False, server_header=False)
    socket = config.bind_socket()
    socket.listen()
    print(json.dumps({"host": "127.0.0.1", "port": socket.getsockname()[1]}), flush=True)  # noqa: T201
    uvicorn.Server(config).run(sockets=[socket])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
