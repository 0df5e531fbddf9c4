"""The structure holds: imports point one way, public names resolve, and ARCHITECTURE.md tells the truth.

`python -m tests.test_architecture` rewrites the file map from the modules' own first lines.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("data", "recsys", "federation", "serving")
MAP = ROOT / "ARCHITECTURE.md"
START, END = "<!-- file map -->\n", "<!-- end of file map -->"


def modules() -> list[Path]:
    return sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def first_line(path: Path) -> str:
    doc = ast.get_docstring(ast.parse((ROOT / path).read_text()))
    assert doc, f"{path}: no module docstring"
    return doc.partition("\n")[0]


def file_map() -> str:
    lines = []
    for package in PACKAGES:
        own = [path for path in modules() if path.parts[0] == package]
        lines.append(
            f"\n**{package}/** {first_line(Path(package) / '__init__.py')}\n\n| file | what it is |\n|---|---|"
        )
        lines += [f"| {path.as_posix()} | {first_line(path)} |" for path in own if path.name != "__init__.py"]
    return "\n".join(lines) + "\n"


def test_the_file_map_of_architecture_is_the_tree() -> None:
    written = MAP.read_text().partition(START)[2].partition(END)[0]
    assert written == file_map(), "run: .venv/bin/python -m tests.test_architecture"


def test_imports_point_one_way() -> None:
    program = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


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


if __name__ == "__main__":
    before, _, rest = MAP.read_text().partition(START)
    MAP.write_text(before + START + file_map() + END + rest.partition(END)[2])
