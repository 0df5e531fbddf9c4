"""A whole deployment on this machine for tests: custodian and service, each in a process of its own, over HTTP(S)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl

from data.interactions import Interactions
from federation.learning.item_step import StepState
from federation.learning.privacy_plan import PrivacyPlan
from federation.service.round_schema import RoundState
from federation.service.round_store import CoordinatorStore, StoredRound
from federation.simulation.training import TrainConfig
from federation.storage.database import sqlite_url
from recsys.catalogue.bundle import Bundle, save_bundle
from recsys.model.items import ItemTable
from recsys.model.trend import trend
from serving.cli.certs import make_certificates

ROOT = Path(__file__).parents[2]
BODY_TIMEOUT_S = 900.0
"""Long, for tests that look around while a report is on its way."""


@dataclass
class Process:
    """A program of the deployment. said: the JSON object it printed when it was ready; log: all else it prints."""

    process: subprocess.Popen[str]
    said: dict[str, Any]
    log: Path

    @staticmethod
    def start(arguments: list[str], log: Path) -> Process:
        with log.open("a") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments], stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        return Process(process, json.loads(line), log)

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)
        assert self.process.stdout is not None
        with self.log.open("a") as log:
            log.write(self.process.stdout.read())
        self.process.stdout.close()


@dataclass
class Deployment:
    """Two parties in a folder: `custodian/` and `service/` are theirs alone.

    rounds: settings of the service's federation file. through: what stands between the service and its custodian, from
    the custodian's address to the one the service is told. serve_options: more of `ownshelf serve`.
    custodian_options: more of `ownshelf custodian`.
    """

    folder: Path
    bundle: Path
    plan: PrivacyPlan
    rounds: dict[str, Any]
    tls: bool = False
    through: Callable[[str], str] = lambda url: url
    serve_options: tuple[str, ...] = ("--open",)
    custodian_options: tuple[str, ...] = ()
    processes: list[Process] = field(default_factory=list)

    def __enter__(self) -> Deployment:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.plan_file.write_text(self.plan.to_json())
        if self.tls:
            make_certificates(self.folder / "certs")
        self._keys("service", str(self.service_folder / "rounds"))
        try:
            self.custodian = self._start_custodian()
            self._write_federation_file()
            made = self._keys("create", "--federation", str(self.federation_file), "--json")
            self.api_key: str = json.loads(made)["key"]
            self.service = self._start_service()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()

    @property
    def plan_file(self) -> Path:
        return self.folder / "plan.json"

    @property
    def service_folder(self) -> Path:
        return self.folder / "service"

    @property
    def federation_file(self) -> Path:
        return self.service_folder / "federation.toml"

    @property
    def ca(self) -> Path | None:
        return self.folder / "certs" / "ca.pem" if self.tls else None

    @property
    def url(self) -> str:
        return str(self.service.said["url"])

    @property
    def custodian_key(self) -> str:
        return str(self.custodian.said["public_key"])

    @property
    def store(self) -> CoordinatorStore:
        """The service's own, read from outside."""
        return CoordinatorStore.open(sqlite_url(self.service_folder / "rounds" / "rounds.sqlite"))

    def folder_of(self, version: str) -> Path:
        """Where the bundle of a version is."""
        folders = [self.bundle, *(self.service_folder / "rounds" / "bundles").glob("*")]
        return next(folder for folder in folders if Bundle.load(folder).version == version)

    def until_published(self, round_: int, within_s: float = 60.0) -> StoredRound:
        """The round when it is published."""
        give_up = time.monotonic() + within_s
        while time.monotonic() < give_up:
            for one in self.store.rounds(100):
                if one.number == round_ and one.state.final:
                    assert one.state is RoundState.PUBLISHED, one.failure
                    return one
            time.sleep(0.1)
        raise AssertionError(f"round {round_} was not published: {self.custodian.log.read_text()}")

    def client(self) -> httpx.Client:
        """An outsider's client of the service."""
        return httpx.Client(base_url=self.url, timeout=60)

    def _start_custodian(self) -> Process:
        return self._start(
            "custodian",
            [
                "serving.cli.custodian",
                str(self.folder / "custodian"),
                f"--plan={self.plan_file}",
                f"--service-key={self.service_folder / 'rounds' / 'service.key.pub'}",
                *self.custodian_options,
            ],
        )

    def _start_service(self) -> Process:
        return self._start(
            "service",
            [
                "serving.cli.main",
                "serve",
                str(self.bundle),
                f"--federation={self.federation_file}",
                *self.serve_options,
            ],
        )

    def _start(self, party: str, arguments: list[str]) -> Process:
        tls = []
        if self.tls:
            certs = self.folder / "certs"
            tls = [f"--tls-cert={certs / party}.pem", f"--tls-key={certs / party}.key"]
        process = Process.start([*arguments, "--port=0", "--json", *tls], self.folder / f"{party}.log")
        self.processes.append(process)
        return process

    def _write_federation_file(self) -> None:
        lines = [
            "[custodian]",
            f'url = "{self.through(self.custodian.said["url"])}"',
            f'public_key = "{self.custodian.said["public_key"]}"',
            *([f'ca = "{self.ca}"'] if self.tls else []),
            "[privacy]",
            f'plan = "{self.plan_file}"',
            "[rounds]",
            *(f"{name} = {value}" for name, value in self.rounds.items()),
            "[intake]",
            f"body_timeout_s = {BODY_TIMEOUT_S}",
        ]
        self.federation_file.write_text("\n".join(lines) + "\n")

    @staticmethod
    def _keys(*arguments: str) -> str:
        program = [sys.executable, "-m", "serving.cli.main", "keys", *arguments]
        return subprocess.run(program, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def untrained_bundle(
    folder: Path, log: Interactions, config: TrainConfig, *, seed: int, now: int, item_ids: list[str]
) -> Bundle:
    """The bundle a training starts from: the very table that the simulation starts from, and how it trains."""
    state = StepState.start(log.n_items, config.dim, seed)
    return save_bundle(
        folder,
        name="live",
        table=ItemTable(state.item_embeddings, trend(log, now), np.zeros(config.dim, dtype=np.float32)),
        catalogue=pl.DataFrame({"item_id": item_ids}),
        config=config.profile,
        seed=seed,
        data_hash="test",
        privacy="none: random numbers",
        training={"config": {"profile": asdict(config.profile)}},
    )
