"""Dockerfile and compose.yaml, without a daemon: what they name exists, nobody is root, no secret is written down."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from typer.main import get_command

from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from serving.cli.main import COMMANDS, app
from serving.process.federation_file import FederationFile
from serving.process.settings import OTHERS, Settings, variable

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
KNOWN = {variable(name) for name in Settings.model_fields} | OTHERS
OURS = [name for name, one in COMPOSE["services"].items() if one.get("build") == "."]


def instructions() -> list[tuple[str, str]]:
    """Instruction and argument, continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def stages() -> list[list[tuple[str, str]]]:
    """By FROM; what is before the first holds for all."""
    found: list[list[tuple[str, str]]] = [[]]
    for name, rest in instructions():
        if name == "FROM":
            found.append([])
        found[-1].append((name, rest))
    return found[1:]


def test_every_instruction_is_one() -> None:
    known = {"ARG", "FROM", "ENV", "WORKDIR", "RUN", "COPY", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL"}
    assert {name for name, _ in instructions()} <= known | {"ENTRYPOINT", "CMD"}
    assert instructions()[0] == ("ARG", "PYTHON_IMAGE=python:3.11-slim")
    assert instructions()[1][0] == "FROM"


def test_what_is_copied_exists_and_is_let_through() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in shlex.split(rest)[:-1]
    ]
    assert set(sources) >= {"data", "recsys", "federation", "serving", "pyproject.toml"}
    for source in sources:
        assert (ROOT / source).exists(), source
    assert set(sources) == allowed


def test_everything_that_the_package_is_built_from_is_copied() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {project["project"]["readme"], *project["project"]["license-files"]}
    needed |= set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    copied = {word for name, rest in instructions() if name == "COPY" for word in shlex.split(rest)}
    assert needed <= copied
    torch = next(one for one in project["project"]["dependencies"] if one.startswith("torch"))
    assert f'ARG TORCH="{torch}"' in DOCKERFILE
    assert "--index-url https://download.pytorch.org/whl/cpu -r torch.txt" in DOCKERFILE
    assert "--require-hashes -r requirements.lock" in DOCKERFILE


def test_the_last_stage_is_small_and_nobody_is_root() -> None:
    first, last = stages()
    assert [rest.split()[0] for stage in (first, last) for name, rest in stage if name == "FROM"] == [
        "${PYTHON_IMAGE}"
    ] * 2
    names = [name for name, _ in last]
    [user] = [rest for name, rest in last if name == "USER"]
    assert user.split(":")[0].isdigit()
    assert int(user.split(":")[0]) >= 1000
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "RUN" not in names[names.index("USER") :]
    assert not [rest for name, rest in last if name == "RUN" and ("pip" in rest or "apt" in rest)]


def test_it_runs_our_program_and_asks_it_how_it_is() -> None:
    last = dict(stages()[-1])
    assert json.loads(last["ENTRYPOINT"]) == ["ownshelf"]
    command, *_ = json.loads(last["CMD"])
    assert command in COMMANDS
    probe = json.loads(last["HEALTHCHECK"].partition("CMD ")[2])
    assert probe[:2] == ["python", "-m"]
    assert (ROOT / f"{probe[2].replace('.', '/')}.py").exists()
    assert last["STOPSIGNAL"] == "SIGTERM"


def environment_of_the_image() -> set[str]:
    return set(re.findall(r"\b(OWNSHELF_\w+)=", DOCKERFILE))


def test_every_variable_is_a_setting() -> None:
    named = environment_of_the_image() | {name for one in OURS for name in COMPOSE["services"][one]["environment"]}
    assert {name for name in named if name.startswith("OWNSHELF_")} == named
    assert named <= KNOWN


@pytest.mark.parametrize("service", OURS)
def test_a_commands_arguments_parse_as_written(service: str) -> None:
    name, *words = COMPOSE["services"][service]["command"]
    command = get_command(app).get_command(None, name)  # type: ignore[attr-defined]
    assert command.make_context(name, words, resilient_parsing=False) is not None


@pytest.mark.parametrize("service", OURS)
def test_our_containers_have_no_rights_and_write_to_volumes_only(service: str) -> None:
    one = COMPOSE["services"][service]
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in one
    assert one.get("user", "10001") not in ("root", "0")


def test_names_lead_somewhere() -> None:
    services, volumes, secrets = COMPOSE["services"], COMPOSE["volumes"], COMPOSE["secrets"]
    assert set(services) == {"service", "custodian", "database"}
    for one in services.values():
        assert set(one.get("secrets", ())) <= set(secrets)
        assert set(one.get("depends_on", ())) <= set(services)
        for mount in one.get("volumes", ()):
            source = mount.split(":")[0]
            assert source in volumes or source.startswith("./deploy"), mount
    used = {secret for one in services.values() for secret in one.get("secrets", ())}
    assert used == set(secrets)
    assert "healthcheck" in services["database"]
    assert all(one["condition"] == "service_healthy" for one in services["service"]["depends_on"].values())


def test_no_secret_is_written_down_and_their_folder_is_not_committed() -> None:
    def leaves(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [f"{name}={leaf}" for name, one in value.items() for leaf in leaves(one)]
        return [leaf for one in value for leaf in leaves(one)] if isinstance(value, list) else [str(value)]

    for leaf in leaves(COMPOSE["services"]) + DOCKERFILE.splitlines():
        assert not re.search(r"(?i)(password|secret|token|api_key)\w*=(?!/run/secrets/|\w*$)", leaf), leaf
        assert not re.search(r"osk_|opk_|BEGIN [A-Z ]*PRIVATE|://\w+:\w+@", leaf), leaf
    assert all(one["file"].startswith("./deploy/secrets/") for one in COMPOSE["secrets"].values())
    assert "deploy/" in (ROOT / ".gitignore").read_text().splitlines()


def test_no_container_is_given_a_folder_that_holds_anothers_secrets() -> None:
    for name in OURS:
        folders = [mount.split(":")[0] for mount in COMPOSE["services"][name]["volumes"] if mount.startswith("./")]
        assert folders == [f"./deploy/{name}"]


def test_the_federation_file_of_the_containers_is_one(tmp_path: Path) -> None:
    """As docs/operate.md writes it, with the files that it says are there."""
    page = (ROOT / "docs" / "operate.md").read_text()
    [written] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    plan = PrivacyPlan(Clips(1.0, 1.0, 1.0, 1.0), 1.0, 4, 50, 5_000, 1e-6)
    (tmp_path / "plan.json").write_text(plan.to_json())
    (tmp_path / "custodian.key.pub").write_text("ab" * 32)
    (tmp_path / "federation.toml").write_text(written)
    read = FederationFile.read(tmp_path / "federation.toml")
    where = urlsplit(read.custodian_url)
    assert (where.scheme, where.hostname) == ("https", "custodian")
    assert f"--port={where.port}" in COMPOSE["services"]["custodian"]["command"]
    assert str(where.port) == COMPOSE["services"]["custodian"]["environment"]["OWNSHELF_PORT"]
    mounted = {mount.split(":")[1] for mount in COMPOSE["services"]["service"]["volumes"]}
    assert str(read.folder) in mounted
    database = urlsplit(read.url)
    assert database.hostname in COMPOSE["services"]
    user = COMPOSE["services"]["database"]["environment"]["POSTGRES_USER"]
    assert (database.username, database.path) == (user, f"/{user}")


def test_what_is_named_inside_is_mounted_there() -> None:
    for name in OURS:
        one = COMPOSE["services"][name]
        mounts = [mount.split(":")[1] for mount in one["volumes"]]
        mounts += [f"/run/secrets/{secret}" for secret in one["secrets"]]
        named = [word.partition("=")[2] or word for word in one["command"]] + list(one["environment"].values())
        for path in (word for word in named if word.startswith("/")):
            assert any(path == mount or path.startswith(f"{mount}/") for mount in mounts), path


def test_the_published_port_and_the_probed_one_are_those_listened_on() -> None:
    image = dict(re.findall(r"(OWNSHELF_\w+)=(\S+)", DOCKERFILE))
    assert COMPOSE["services"]["service"]["ports"] == [f"{image['OWNSHELF_PORT']}:{image['OWNSHELF_PORT']}"]
    assert dict(instructions())["EXPOSE"] == image["OWNSHELF_PORT"]
    assert image["OWNSHELF_HOST"] == "0.0.0.0"
