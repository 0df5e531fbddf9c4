"""The structure holds: imports point one way, public names resolve, and ARCHITECTURE.md tells the truth.

`python -m tests.test_architecture` rewrites the table of rooms from the folders' own first lines.
"""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("data", "recsys", "federation", "serving")
MAP = ROOT / "ARCHITECTURE.md"
START, END = "<!-- rooms -->\n", "<!-- end of rooms -->"


def modules() -> list[Path]:
    return sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def first_line(path: Path) -> str:
    doc = ast.get_docstring(ast.parse((ROOT / path).read_text()))
    assert doc, f"{path}: no module docstring"
    return doc.partition("\n")[0]


def rooms() -> str:
    """One row a folder: its path, how many modules it has, and what it is."""
    folders = sorted({path.parent for path in modules()})
    lines = ["\n| folder | modules | what it is |\n|---|---|---|"]
    for folder in folders:
        count = sum(path.parent == folder and path.name != "__init__.py" for path in modules())
        lines.append(f"| {folder.as_posix()}/ | {count} | {first_line(folder / '__init__.py')} |")
    return "\n".join(lines) + "\n\n"


def test_the_rooms_of_architecture_are_the_tree() -> None:
    written = MAP.read_text().partition(START)[2].partition(END)[0]
    assert written == rooms(), "run: .venv/bin/python -m tests.test_architecture"


def test_every_step_of_the_walks_exists() -> None:
    steps = re.findall(r"`([a-z_/]+\.py): (\w+)`", MAP.read_text())
    assert len(steps) >= 30
    for file, name in steps:
        top = {node.name for node in ast.parse((ROOT / file).read_text()).body if hasattr(node, "name")}
        assert name in top, f"ARCHITECTURE.md: {file} has no {name}"


def test_every_module_says_what_it_is_in_one_line() -> None:
    for path in modules():
        line = first_line(path)
        assert line.endswith((".", "?", ")")), f"{path}: {line}"


def test_imports_point_one_way() -> None:
    program = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


PLANTED = {
    "serving -> federation -> recsys -> data": ("data/limits.py", "recsys.model.trend"),
    "federation: lab > simulation > one party > learning > protocol > private_sum": (
        "federation/service/hosts/round_lock.py",
        "federation.custodian.rows",
    ),
    "storage imports no other room of federation": ("federation/storage/database.py", "federation.protocol.messages"),
    "maths and messages do no I/O": ("federation/learning/item_step.py", "federation.storage.database"),
    "the private sum and its messages carry bytes, not models": (
        "federation/private_sum/plan.py",
        "recsys.model.items",
    ),
    "no room of a server imports a profile or a device, not even through others": (
        "serving/http/resources/experiment_routes.py",
        "federation.device.device",
    ),
    "a device keeps key files, and no database": ("federation/device/vault/vault.py", "federation.storage.database"),
    "the custodian loads no model": ("federation/custodian/rows.py", "recsys.model.items"),
    "serving: cli > process > http > shelf > state": ("serving/state/counters.py", "serving.http.cursor"),
    "FastAPI and pydantic stay in serving": ("federation/device/lists.py", "pydantic"),
    "no circles": ("recsys/model/trend.py", "recsys.evaluation.metrics"),
}
"""contract → the file that breaks it when it imports what stands beside it."""

CIRCLES = {
    "data": ("data/checked_log.py", "data.log_reading.ingest"),
    "recsys": PLANTED["no circles"],
}
"""house → the file that makes a circle in it."""


def test_every_contract_finds_the_import_that_it_forbids(tmp_path: Path) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert {contract["name"] for contract in contracts} == set(PLANTED)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("samples", "__pycache__"))
    (tmp_path / "data" / "samples").mkdir()
    shutil.copy(ROOT / "data" / "samples" / "__init__.py", tmp_path / "data" / "samples")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, imported in [*PLANTED.values(), *CIRCLES.values()]:
        path = tmp_path / file
        path.write_text(path.read_text() + f"\nimport {imported}\n")
    program = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run(program, cwd=tmp_path, env={"PATH": "", "COLUMNS": "200"}, capture_output=True, text=True)
    words = re.sub(r"\s+", " ", done.stdout)
    for contract in PLANTED:
        assert f"{contract} BROKEN" in words, (contract, done.stdout[:3000], done.stderr)
    for house in CIRCLES:
        assert f"No cycles are allowed in {house}." in words


def test_rooms_are_small_and_no_module_name_stands_twice_in_a_house() -> None:
    for package in PACKAGES:
        own = [path for path in modules() if path.parts[0] == package and path.name != "__init__.py"]
        rooms, names = Counter(path.parent for path in own), Counter(path.name for path in own)
        assert max(rooms.values()) <= 20, rooms.most_common(1)
        assert max(names.values()) == 1, names.most_common(3)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_resolves_and_hides_no_module(package: str) -> None:
    module = importlib.import_module(package)
    for name in getattr(module, "__all__", ()):
        assert getattr(module, name) is not None
        assert not (ROOT / package / f"{name}.py").exists(), f"{package}.{name} is a module too"


def test_packages_load_nothing_heavy_by_themselves() -> None:
    heavy = "('torch', 'polars', 'faiss')"
    program = f"import sys, data, recsys, federation, serving; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", modules(), ids=str)
def test_no_file_is_longer_than_400_lines(path: Path) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= 400


FORBIDDEN = {
    "user_embedding": "profile",
    "item_factors": "item_embeddings",
    "user_factors": "profile",
    "aggregator": "service",
    "hit_rate": "hit@k",
}
"""The field's other words → ours, one word for one thing."""


@pytest.mark.parametrize("path", modules(), ids=str)
def test_one_word_for_one_thing(path: Path) -> None:
    text = (ROOT / path).read_text()
    for other, ours in FORBIDDEN.items():
        assert not re.search(rf"\b{other}s?\b", text), f"{path}: {other}: say {ours}"


# fmt: off
RETIRED = {
    "Arranged", "Asked", "Book", "Chosen", "Coarse", "Compared", "Drawn", "Embeds", "Failed", "Fate", "Fitted",
    "Following", "Found", "Gone", "Holder", "Ingested", "Inside", "Kept", "Knob", "Known", "Left", "Listed", "Logged",
    "Memo", "Mints", "Nested", "Numbered", "Observed", "Opened", "Padded", "Patience", "Pending", "Prepared",
    "Quantized", "Refreshing", "Scored", "Seen", "Shared", "Shelf", "Shown", "Spent", "Stagewise", "Stopped",
    "Summer", "Teams", "Together", "Told", "Torn", "Tuned", "Undone", "Vanished", "Waiting", "Wanted",
}
# fmt: on
"""Participles and pronouns that were types once: a type is a noun of the field that a newcomer can guess."""


def types_of(tree: ast.Module) -> set[str]:
    classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    assigned = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    return classes | {target.id for target in assigned if isinstance(target, ast.Name)}


@pytest.mark.parametrize("path", modules(), ids=str)
def test_no_type_is_a_bare_participle_or_pronoun(path: Path) -> None:
    bare = {name.lstrip("_") for name in types_of(ast.parse((ROOT / path).read_text()))} & RETIRED
    assert not bare, f"{path}: {', '.join(bare)}: say what it is"


def test_a_participle_is_found_as_a_class_and_as_an_alias() -> None:
    assert types_of(ast.parse("class _Shown: ...\nTold = int\nfine: int = 0")) == {"_Shown", "Told"}


if __name__ == "__main__":
    before, _, rest = MAP.read_text().partition(START)
    MAP.write_text(before + START + rooms() + END + rest.partition(END)[2])
