"""What the documents show is true: the README's example prints what stands beside it, its links and commands exist."""

from __future__ import annotations

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


def test_the_readme_example_prints_its_output_to_the_second_decimal() -> None:
    code, output = re.findall(r"<!-- tested -->\n```python\n(.*?)```\n```\n(.*?)```", README, flags=re.S)[0]
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed, expected = done.stdout.split(), output.split()
    assert len(printed) == len(expected)
    for one, other in zip(printed, expected, strict=True):
        numbers = [[float(number) for number in re.findall(r"\d+\.\d+", word)] for word in (one, other)]
        assert numbers[0] == pytest.approx(numbers[1], abs=0.0151), (one, other)
        assert re.sub(r"\d+\.\d+", "#", one) == re.sub(r"\d+\.\d+", "#", other)


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
