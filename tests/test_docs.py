"""What the documents show is true: the README's example prints what stands beside it, its links and commands exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
DOCS = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundle that README's second line trains."""
    folder = tmp_path_factory.mktemp("reader")
    [line] = re.findall(r"^ownshelf (train sample:online-retail --out bundle)", README, flags=re.M)
    program = [sys.executable, "-m", "serving.cli.main", *line.split()]
    done = subprocess.run(program, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def environment() -> dict[str, str]:
    """What a reader's shell has, with this checkout's packages."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}


def run_example(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readmes_list_is_what_stands_beside_it(trained: Path) -> None:
    [(code, output)] = re.findall(r"<!-- tested -->\n```python\n(.*?)```\n```\n(.*?)```", README, flags=re.S)
    assert run_example(code, trained) == output


def test_the_page_of_the_device_runs_as_printed(trained: Path) -> None:
    page = (ROOT / "docs" / "device.md").read_text()
    [code] = re.findall(r"<!-- tested -->\n```python\n(.*?)```", page, flags=re.S)
    printed = run_example(code.replace("my-device", "another-device"), trained)
    assert len(printed.splitlines()) == 3


@pytest.mark.parametrize("path", DOCS, ids=str)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    text = (ROOT / path).read_text()
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (ROOT / path.parent / target).exists(), f"{path}: {target}"


def test_every_command_in_the_readme_exists() -> None:
    from serving.cli.main import COMMANDS

    named = set(re.findall(r"^(?:\.venv/bin/)?ownshelf ([a-z-]+)", README, flags=re.M))
    assert named
    assert named <= set(COMMANDS)


def test_the_readmes_commands_parse_as_printed() -> None:
    from typer.main import get_command

    from serving.cli.main import app

    for line in re.findall(r"^(?:\.venv/bin/)?ownshelf (.*)$", README, flags=re.M):
        command, words = get_command(app), shlex.split(line, comments=True)
        while isinstance(command, TyperGroup):
            command = command.get_command(typer.Context(command), words.pop(0))
        assert command is not None, line
        command.make_context(line, words)


@pytest.mark.parametrize("path", DOCS, ids=str)
def test_documents_speak_of_the_project_alone(path: Path) -> None:
    text = (ROOT / path).read_text()
    assert not re.search(r"/work/|/tmp/|/root/|/home/", text)
