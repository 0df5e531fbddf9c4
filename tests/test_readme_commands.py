"""The README's commands run as printed, one after the other, in a folder that has nothing but the repository's docs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PRINTED_ADDRESS = "http://127.0.0.1:8000"
ELSEWHERE = ("https://shop.example", "bundles activate previous")
"""Of commands that need a shop on the internet, or a service that was running before: parsed elsewhere, not run."""


def commands() -> list[list[str]]:
    lines = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("ownshelf ")]


@contextmanager
def serving(words: list[str], folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """`ownshelf serve …` as printed but for its port, which is a free one; its address."""
    command = [sys.executable, "-m", "serving.cli.main", *words, "--port", "0", "--json"]
    with subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE) as service:
        try:
            assert service.stdout is not None
            yield json.loads(service.stdout.readline())["url"]
        finally:
            service.terminate()


def test_every_file_that_a_command_names_is_in_the_repository() -> None:
    named = {word for words in commands() for word in words if word.startswith("docs/")}
    assert {"docs/examples/events.csv", "docs/examples/shown.csv", "docs/examples/home.yaml"} <= named
    assert all((ROOT / name).is_file() for name in named)


@pytest.mark.timeout(900)
def test_the_commands_run_as_printed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs" / "examples", tmp_path / "docs" / "examples")
    environment = os.environ | {
        "OWNSHELF_HOME": str(tmp_path / "device"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "PYTHONPATH": str(ROOT),
    }
    program = [sys.executable, "-m", "serving.cli.main"]
    ran = []
    for words in commands():
        line = " ".join(words)
        if any(part in line for part in ELSEWHERE):
            continue
        if words[0] == "serve":
            served = words
            with serving(words, tmp_path, environment):
                pass
        elif PRINTED_ADDRESS in line:
            with serving(served, tmp_path, environment) as url:
                asked = [word.replace(PRINTED_ADDRESS, url) for word in words]
                subprocess.run([*program, *asked], cwd=tmp_path, env=environment, check=True, capture_output=True)
        else:
            done = subprocess.run([*program, *words], cwd=tmp_path, env=environment, capture_output=True, text=True,
                                  check=False)  # fmt: skip
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            if "rehearsal.yaml" in line:
                assert "personal is better than control in articles" in done.stdout
        ran.append(words[0])
    assert len(ran) >= 18
    assert {"ingest", "evaluate", "train", "serve", "device", "keys", "bundles", "replay", "validate", "tune",
            "off-policy", "experiment"} <= set(ran)  # fmt: skip
    assert (tmp_path / "bundle" / "manifest.json").is_file()
    assert (tmp_path / "replayed" / "replay.json").is_file()
