"""The file that switches live rounds on: who the custodian is, where rounds are stored, how they run.

    [custodian]                          [store]                      [tokens]
    url = "https://custodian.example"    folder = "rounds"            period_s = 86400
    public_key = "custodian.key.pub"     url = "postgresql://…"       per_issuer = 1000000
    ca = "ca.pem"                        objects = "s3://bucket/shop"
                                         keys = "/run/secrets"        [rounds]
    [privacy]                                                         goal_reports = 200
    plan = "plan.json"                                                step = {step = 0.5}

Paths are relative to the file. Only custodian.url, custodian.public_key and privacy.plan are needed; everything else
has a default. The plan is the very file that the custodian was started with.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from data.errors import FederationError, OwnshelfError, ServingError
from data.strict import read_strictly
from federation.learning.privacy_plan import PrivacyPlan
from federation.protocol.oblivious.encapsulation import GatewayKey
from federation.protocol.transport import check_address, is_loopback
from federation.service.coordinator import Coordinator
from federation.service.custodian_client import CustodianClient
from federation.service.experiment_store import ExperimentStore
from federation.service.experiment_windows import ExperimentRounds
from federation.service.hosts.clocks import Clocks
from federation.service.hosts.shared_storage import StorageNotShared, adopt, check_shared, identities
from federation.service.intake.share_files import ShareFolder
from federation.service.intake.share_objects import ShareObjects
from federation.service.round_settings import RoundSettings
from federation.service.round_store import CoordinatorStore
from federation.service.tokens.issuer import Issuer
from federation.storage.database import sqlite_url
from federation.storage.key_files import (
    load_or_make_key,
    load_or_make_private,
    publish_key,
    read_public_key,
    read_secret,
)
from federation.storage.objects import FolderObjects, Objects, open_objects
from serving.access import OPEN_APP
from serving.http.resources.federation_routes import TokenDesk
from serving.http.resources.report_receiver import IntakeSettings
from serving.state.api_keys import MintCounter

SERVICE_KEY, GATEWAY_KEY, DATABASE = "service.key", "ohttp.key", "rounds.sqlite"
KEYS = (SERVICE_KEY, GATEWAY_KEY)
EXPERIMENT_SHARES = "experiment-shares"
CUSTODIAN_PATIENCE_S = 2.0
ROUNDS_WAIT_S = 1.0
"""Other rounds wait so long for one that asks the custodian, and then go on without it."""


@dataclass(frozen=True)
class TokenSettings:
    """period_s: an issuer's key is for the tasks that end in such a time. per_issuer: tokens an app may mint in one."""

    period_s: int = 86_400
    per_issuer: int = 1_000_000

    def __post_init__(self) -> None:
        for name, high in (("period_s", 30 * 86_400), ("per_issuer", 100_000_000)):
            if not 1 <= getattr(self, name) <= high:
                raise ServingError(f"tokens.{name}={getattr(self, name)}: must be 1..{high}")


@dataclass(frozen=True)
class _CustodianTable:
    """url, public_key: of the custodian; ca: the only authority that is believed, for one of its own."""

    url: str
    public_key: str
    ca: str | None = None


@dataclass(frozen=True)
class _StoreTable:
    """folder: of bundles, shares and keys. url: of a database elsewhere; url_file: a file that holds it. objects: an
    object store that several hosts share, for bundles and shares. keys: a folder of the keys alone.
    """

    folder: str = "rounds"
    url: str | None = None
    url_file: str | None = None
    objects: str | None = None
    keys: str | None = None
    advances: bool = True


@dataclass(frozen=True)
class _PrivacyTable:
    """plan: the file that the custodian was started with."""

    plan: str


@dataclass(frozen=True)
class _Said:
    """The file's tables."""

    custodian: _CustodianTable
    privacy: _PrivacyTable
    store: _StoreTable = _StoreTable()
    rounds: RoundSettings = field(default_factory=RoundSettings)
    tokens: TokenSettings = field(default_factory=TokenSettings)
    intake: IntakeSettings = field(default_factory=IntakeSettings)


@dataclass(frozen=True)
class FederationFile:
    """The settings of a federation file, checked.

    folder: bundles, shares, and keys unless `keys` is another. objects: URL of where bundles and shares are instead;
    the folder then holds copies. url: of the store. advances: of several processes on one store, one advances rounds.
    """

    custodian_url: str
    custodian_key: bytes
    custodian_ca: Path | None
    folder: Path
    keys: Path
    objects: str | None
    url: str
    advances: bool
    plan: PrivacyPlan
    rounds: RoundSettings
    tokens: TokenSettings
    intake: IntakeSettings

    @staticmethod
    def read(path: Path) -> FederationFile:
        """Read the file.

        Raises ServingError for a file that is not readable, incomplete, or says what does not exist.
        """
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ServingError(f"{path}: cannot be read ({type(error).__name__}: {error})") from None
        try:
            said = read_strictly(_Said, content, "", infinite=True, error=ServingError)
        except OwnshelfError as error:
            raise ServingError(f"{path}: {error}") from None
        custodian, store = said.custodian, said.store
        folder = path.parent / store.folder
        key = custodian.public_key
        return FederationFile(
            custodian_url=custodian.url,
            custodian_key=read_public_key(key if len(key) == 64 else str(path.parent / key)),
            custodian_ca=None if custodian.ca is None else path.parent / custodian.ca,
            folder=folder,
            keys=folder if store.keys is None else path.parent / store.keys,
            objects=store.objects,
            url=_url(path, store) or sqlite_url(folder / DATABASE),
            advances=store.advances,
            plan=_plan(path.parent / said.privacy.plan),
            rounds=said.rounds,
            tokens=said.tokens,
            intake=said.intake,
        )

    def store(self) -> CoordinatorStore:
        """Open its store, made if there is none."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return CoordinatorStore.open(self.url)

    def service_public_key(self) -> bytes:
        """Read the key that the custodian must know this service by; made if there is none."""
        return load_or_make_key(self.keys / SERVICE_KEY).public

    def opened_objects(self) -> Objects | None:
        """Open the shared object store; None where the folder is all there is."""
        return None if self.objects is None else open_objects(self.objects)

    def check_shared(self, store: CoordinatorStore) -> None:
        """Check that every process of the database shares this storage and these keys. Raises FederationError."""
        known = identities(store.engine)
        for name in KEYS:
            if name in known and not (self.keys / name).exists():
                raise StorageNotShared(
                    f"{self.keys / name}: is missing, and this database's other processes have it; copy it from them"
                )
        try:
            check_shared(store.engine, self._marked(), self._public_keys(), self.objects or str(self.folder))
        except OSError as error:
            raise FederationError(f"store: {self.objects or self.folder} cannot be used now ({error})") from None

    def adopt(self) -> None:
        """Make this storage and these keys those of the database."""
        adopt(self.store().engine, self._marked(), self._public_keys())

    def _marked(self) -> Objects:
        return self.opened_objects() or FolderObjects(self.folder)

    def _public_keys(self) -> dict[str, str]:
        gateway = self.gateway_key().config.public
        return {SERVICE_KEY: self.service_public_key().hex(), GATEWAY_KEY: gateway.hex()}

    def gateway_key(self) -> GatewayKey:
        """Load the key that requests through a relay are sealed to; made if there is none."""
        return gateway_key(self.keys)

    def check_host(self, host: str) -> None:
        """Check the host; raises ServingError for sums without noise beyond this machine."""
        custodian = check_address(self.custodian_url).host
        if not self.plan.private and not (is_loopback(host) and is_loopback(custodian)):
            raise ServingError(f"host={host}: must be this machine (127.0.0.1) with privacy off (noise_multiplier=0)")

    def start(self, bundle: Path, now: int) -> tuple[Coordinator, TokenDesk]:
        """Start the coordinator and the desk that signs tokens.

        The coordinator's line begins with a bundle if it is new.
        """
        store = self.store()
        self.check_shared(store)
        custodian = self._custodian()
        issuer = Issuer(store.engine, custodian, period_s=self.tokens.period_s)
        coordinator = Coordinator(
            store,
            custodian,
            self.folder,
            self.plan,
            self.rounds,
            issuer,
            custodian_key=self.custodian_key,
            app=OPEN_APP,
            patience_s=ROUNDS_WAIT_S,
            objects=self.opened_objects(),
        )
        coordinator.begin(bundle, now)
        mints = MintCounter(store.engine, period_s=self.tokens.period_s, tokens_per_period=self.tokens.per_issuer)
        return coordinator, TokenDesk(issuer, mints)

    def experiments(self, coordinator: Coordinator, desk: TokenDesk) -> ExperimentRounds:
        """Open experiments beside the coordinator's rounds, in the same store, with the same custodian and tokens."""
        objects = self.opened_objects()
        folder = ShareFolder(self.folder / EXPERIMENT_SHARES)
        return ExperimentRounds(
            ExperimentStore(coordinator.store.engine),
            self._custodian(),
            folder if objects is None else ShareObjects(objects, EXPERIMENT_SHARES),
            desk.issuer,
            custodian_key=self.custodian_key,
            suite=self.rounds.suite.without_proofs,
            patience_s=ROUNDS_WAIT_S,
        )

    def clocks(self, coordinator: Coordinator) -> Clocks:
        """Watch this host's clock against the custodian's and the database's."""
        return Clocks(self._custodian().time, coordinator.store.engine)

    def _custodian(self) -> CustodianClient:
        """Make a client that gives up soon: each round is tried again later by itself, and others wait meanwhile."""
        key = load_or_make_key(self.keys / SERVICE_KEY)
        return CustodianClient(
            self.custodian_url, key, self.custodian_key, ca=self.custodian_ca, patience_s=CUSTODIAN_PATIENCE_S
        )


def gateway_key(folder: Path) -> GatewayKey:
    """Load the gateway's key of a service's folder of keys; made if there is none. Its public half is ohttp.key.pub."""
    key = GatewayKey(load_or_make_private(folder / GATEWAY_KEY, "gateway key"))
    publish_key(folder / GATEWAY_KEY, key.config.public)
    return key


def _url(path: Path, store: _StoreTable) -> str | None:
    """Read the database's URL, which may hold a password, from the file or from a file of its own."""
    if store.url_file is None:
        return store.url
    if store.url is not None:
        raise ServingError(f"{path}: store.url and store.url_file: give one of them")
    return read_secret(path.parent / store.url_file)


def _plan(path: Path) -> PrivacyPlan:
    try:
        return PrivacyPlan.from_json(path.read_bytes())
    except OSError as error:
        raise ServingError(f"plan={path}: cannot be read ({type(error).__name__})") from None
