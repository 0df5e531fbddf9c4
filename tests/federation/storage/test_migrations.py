from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from data.errors import FederationError
from federation.custodian.custodian import Custodian
from federation.custodian.policy import ExperimentTerms
from federation.custodian.schema import SCHEMA as CUSTODIAN
from federation.private_sum.signing import SigningKey
from federation.protocol.messages import Task
from federation.service.experiment_schema import SCHEMA as EXPERIMENTS
from federation.service.experiment_store import ExperimentStore
from federation.service.round_schema import SCHEMA as ROUNDS
from federation.service.round_store import CoordinatorStore
from federation.storage.activations import activations
from federation.storage.database import open_engine, sqlite_url
from federation.storage.migrations import Schema, add_column, prepare
from serving.state.api_keys import ApiKeys
from serving.state.schema import SCHEMA as STATE
from serving.state.stores import Stores
from tests.federation.service.a_lineage import PLAN

DUMPS = Path(__file__).parent / "schemas"
"""Databases of a service and a custodian as version 1 wrote them, with rows in every table."""

OF_A_SERVICE = (ROUNDS, EXPERIMENTS, STATE)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    url = sqlite_url(tmp_path / "store.sqlite")
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    engine = open_engine(url)
    yield engine
    engine.dispose()


def url_of(engine: sa.Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def load(engine: sa.Engine, name: str) -> None:
    """Fill an empty database from a dump."""
    statements = (DUMPS / f"{name}.{engine.dialect.name}.sql").read_text().split(";\n")
    with engine.begin() as connection:
        for statement in filter(None, map(str.strip, statements)):
            connection.exec_driver_sql(statement)


def rows(engine: sa.Engine, tables: list[sa.Table]) -> dict[str, list[Any]]:
    with engine.connect() as connection:
        return {table.name: sorted(map(tuple, connection.execute(sa.select(table))), key=repr) for table in tables}


def structure(engine: sa.Engine) -> dict[str, Any]:
    """Columns (without their order: a migration can only add at the end), keys, indexes and unique constraints."""
    tables = sa.inspect(engine)
    return {
        name: (
            {column["name"]: (str(column["type"]), column["nullable"]) for column in tables.get_columns(name)},
            tables.get_pk_constraint(name)["constrained_columns"],
            sorted((index["name"], tuple(index["column_names"])) for index in tables.get_indexes(name)),
            sorted(tuple(one["column_names"]) for one in tables.get_unique_constraints(name)),
        )
        for name in tables.get_table_names()
    }


def version(engine: sa.Engine, name: str) -> int:
    with engine.connect() as connection:
        stored = connection.exec_driver_sql(f"SELECT version FROM schema_versions WHERE name = '{name}'")
        return int(stored.scalar_one())


def note_of(connection: sa.Connection) -> None:
    """Lead the tests' own schema to version 2: a column that existing rows get a value of, and a trace of each run."""
    add_column(connection, "things", sa.Column("note", sa.String(8), nullable=False, server_default="none"))
    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS migrated (at INTEGER)")
    connection.exec_driver_sql("INSERT INTO migrated VALUES (2)")


def things(*migrations: Any, with_note: bool = True) -> Schema:
    note = [sa.Column("note", sa.String(8), nullable=False, server_default="none")] if with_note else []
    metadata = sa.MetaData()
    sa.Table("things", metadata, sa.Column("id", sa.Integer, primary_key=True), *note)
    return Schema("things", metadata, migrations)


FIRST = things(with_note=False)
SECOND = things(note_of)


@pytest.mark.parametrize(("dump", "schemas"), [("service_v1", OF_A_SERVICE), ("custodian_v1", (CUSTODIAN,))])
def test_a_database_of_version_1_becomes_what_a_fresh_one_is_and_keeps_its_rows(
    engine: sa.Engine, dump: str, schemas: tuple[Schema, ...]
) -> None:
    load(engine, dump)
    old = sa.MetaData()
    old.reflect(engine)
    before = rows(engine, old.sorted_tables)
    assert all(before.values())
    for schema in schemas:
        prepare(engine, schema)
    assert structure(engine) == structure_of_fresh(engine, schemas)
    moved = ("activations", "bundle_activations")
    kept = [
        table for table in old.sorted_tables if sa.inspect(engine).has_table(table.name) and table.name not in moved
    ]
    assert rows(engine, kept) == {table.name: before[table.name] for table in kept}
    assert [version(engine, schema.name) for schema in schemas] == [schema.version for schema in schemas]


@pytest.mark.parametrize("order", [OF_A_SERVICE, OF_A_SERVICE[::-1]], ids=["rounds first", "state first"])
def test_activations_of_bundles_and_of_releases_become_rows_of_one_table(
    engine: sa.Engine, order: tuple[Schema, ...]
) -> None:
    load(engine, "service_v1")
    for schema in (*order, *order):
        prepare(engine, schema)
    assert rows(engine, [activations])["activations"] == [
        ("", 1, "c32d811062ce8d9d", 1_800_000_000),
        ("", 2, "5809d31d0a2097fc", 1_800_000_000),
        ("shop", 1, "c32d811062ce8d9d", 1_800_000_000),
    ]
    assert not sa.inspect(engine).has_table("bundle_activations")


def structure_of_fresh(like: sa.Engine, schemas: tuple[Schema, ...]) -> dict[str, Any]:
    """The structure of new tables, in a database of the same kind."""
    with like.begin() as connection:
        if like.dialect.name == "postgresql":
            connection.exec_driver_sql("CREATE SCHEMA fresh")
    url = sqlite_url(Path(str(like.url.database)).with_name("fresh.sqlite"))
    if like.dialect.name == "postgresql":
        url = f"{url_of(like)}&options=-csearch_path%3Dfresh"
    fresh = open_engine(url)
    for schema in schemas:
        prepare(fresh, schema)
    made = structure(fresh)
    fresh.dispose()
    return made


def test_the_stores_of_a_service_read_what_version_1_wrote(engine: sa.Engine) -> None:
    load(engine, "service_v1")
    rounds, experiments, shop = CoordinatorStore(engine), ExperimentStore(engine), Stores(engine)
    assert [(one.number, one.state) for one in rounds.rounds(9)] == [(1, "open"), (0, "published")]
    assert rounds.sums("training-0-00610ae7")[0].counted == 4
    active = rounds.releases.active()
    assert active is not None
    assert (active.version, active.steps) == ("5809d31d0a2097fc", 1)
    assert [(one.state, one.counted) for one in experiments.windows.of("shop", "personal-home")] == [
        ("summed", 4),
        ("open", 0),
    ]
    assert [change.item_id for change in shop.items.changes("shop")] == ["sku-1", "sku-2"]
    assert shop.bundles.all("shop")[0].version == "c32d811062ce8d9d"
    assert len(ApiKeys(engine).all("shop")) == 2


def test_a_custodian_goes_on_with_what_version_1_counted(engine: sa.Engine, tmp_path: Path) -> None:
    """The budget that was spent stays spent."""
    load(engine, "custodian_v1")
    with engine.begin() as connection:
        signed = (
            connection.exec_driver_sql("SELECT task FROM custodian_rounds ORDER BY deadline DESC").scalars().first()
        )
        assert signed is not None
        task = Task.from_bytes(signed)
        key = SigningKey.from_private(bytes(range(32)))
        connection.execute(sa.text("UPDATE custodian SET public_key = :key"), {"key": key.public})
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "signing.key").write_text(key.private.hex())
    (tmp_path / "home" / "signing.key").chmod(0o600)
    terms = ExperimentTerms(max_epsilon=float("inf"), min_reports=3, max_windows=5)
    custodian = Custodian.open(tmp_path / "home", PLAN, task.deadline, url_of(engine), terms)
    spent = custodian.totals()
    assert (spent.rounds_answered, spent.windows_answered) == (2, 1)
    custodian.shut()


def test_an_older_database_is_migrated_and_its_rows_get_the_default(engine: sa.Engine) -> None:
    prepare(engine, FIRST)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO things VALUES (7)")
    prepare(engine, SECOND)
    assert rows(engine, [SECOND.metadata.tables["things"]]) == {"things": [(7, "none")]}
    assert version(engine, "things") == 2


def test_a_fresh_database_is_made_whole_and_not_migrated(engine: sa.Engine) -> None:
    prepare(engine, SECOND)
    assert not sa.inspect(engine).has_table("migrated")
    assert version(engine, "things") == 2


def test_a_newer_database_is_refused_in_one_line_and_left_as_it_is(engine: sa.Engine) -> None:
    prepare(engine, SECOND)
    before = structure(engine)
    with pytest.raises(FederationError, match="things has schema version 2: must be at most 1") as refusal:
        prepare(engine, FIRST)
    assert "\n" not in str(refusal.value)
    assert structure(engine) == before
    assert version(engine, "things") == 2


@pytest.mark.parametrize("schema", [*OF_A_SERVICE, CUSTODIAN], ids=lambda schema: schema.name)
def test_every_store_refuses_a_newer_database(schema: Schema, tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "store.sqlite"))
    prepare(engine, schema)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE schema_versions SET version = 99")
    opening: dict[str, Callable[[], object]] = {
        "rounds": lambda: CoordinatorStore(engine),
        "experiments": lambda: ExperimentStore(engine),
        "state": lambda: Stores(engine),
        "custodian": lambda: Custodian.open(tmp_path / "home", PLAN, 0, url_of(engine)),
    }
    with pytest.raises(FederationError, match=f"{schema.name} has schema version 99"):
        opening[schema.name]()
    engine.dispose()


def test_a_migration_that_fails_leaves_the_old_version_whole(engine: sa.Engine) -> None:
    def broken(connection: sa.Connection) -> None:
        connection.exec_driver_sql("INSERT INTO things VALUES (8, 'late')")
        raise OSError("disk full")

    prepare(engine, FIRST)
    before = structure(engine)
    with pytest.raises(OSError, match="disk full"):
        prepare(engine, things(note_of, broken))
    assert structure(engine) == before
    assert rows(engine, [FIRST.metadata.tables["things"]]) == {"things": []}
    prepare(engine, SECOND)
    assert version(engine, "things") == 2


PROGRAM = """
import sys
from federation.storage.activations import activations
from federation.storage.database import open_engine
from federation.storage.migrations import prepare
from tests.federation.storage.test_migrations import SECOND
engine = open_engine(sys.argv[1])
sys.stdin.readline()
prepare(engine, SECOND)
"""


@pytest.mark.parametrize("old", [False, True], ids=["empty", "of version 1"])
def test_of_several_processes_that_start_at_once_one_makes_or_migrates(engine: sa.Engine, old: bool) -> None:
    if old:
        prepare(engine, FIRST)
    command = [sys.executable, "-c", PROGRAM, url_of(engine)]
    starting = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    with ThreadPoolExecutor(len(starting)) as threads:
        errors = list(threads.map(lambda process: process.communicate("go\n")[1], starting))
    assert [process.returncode for process in starting] == [0] * 4, errors
    assert version(engine, "things") == 2
    with engine.connect() as connection:
        if old:
            assert connection.exec_driver_sql("SELECT at FROM migrated").scalars().all() == [2]
        else:
            assert not sa.inspect(connection).has_table("migrated")
