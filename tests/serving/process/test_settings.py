from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.main import get_command
from typer.testing import CliRunner

from data.errors import ServingError
from serving.cli.main import app
from serving.process.settings import OTHERS, Settings, read_settings, unknown_variables, variable

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable(name), raising=False)


def test_an_option_counts_before_the_environment_and_that_before_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings({"port": None}).port == 8000
    monkeypatch.setenv("OWNSHELF_PORT", "9001")
    assert read_settings({"port": None}).port == 9001
    assert read_settings({"port": 9002}).port == 9002


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("workers", "4", 4),
        ("open", "true", True),
        ("cors_origins", "https://a.example, https://b.example", ("https://a.example", "https://b.example")),
        ("cors_origins", "", ()),
        ("rate_limit", "100/second", "100/second"),
        ("tls_cert", "/etc/cert.pem", Path("/etc/cert.pem")),
        ("access_log", "all", "all"),
    ],
)
def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: Any) -> None:
    monkeypatch.setenv(variable(name), text)
    assert getattr(read_settings({}), name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("port", "70000"),
        ("port", "many"),
        ("workers", "0"),
        ("open", "perhaps"),
        ("cors_origins", "shop.example"),
        ("rate_limit", "fast"),
        ("max_depth", "1"),
        ("request_timeout_s", "0"),
        ("access_log", "some"),
        ("log_level", "loud"),
        ("recall_floor", "2"),
    ],
)
def test_a_value_that_cannot_be_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(variable(name), text)
    with pytest.raises(ServingError) as refused:
        read_settings({})
    assert "\n" not in str(refused.value)
    assert variable(name) in str(refused.value) or f"{name}=" in str(refused.value)


def test_they_are_frozen_and_reach_worker_processes() -> None:
    settings = read_settings({"port": 9001, "cors_origins": "https://a.example"})
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301  # our own


def test_a_variable_that_nothing_reads_is_named_with_what_may_be_meant() -> None:
    found = unknown_variables({"OWNSHELF_WORKER": "2", "OWNSHELF_HOME": "x", "OWNSHELF_PORT": "1", "PATH": "y"})
    assert found == ["OWNSHELF_WORKER: is no setting; is OWNSHELF_WORKERS meant?"]


def test_every_variable_that_the_code_reads_is_known() -> None:
    import re

    read = set()
    for path in ROOT.glob("serving/**/*.py"):
        read |= set(re.findall(r"\"(OWNSHELF_[A-Z_]+)\"", path.read_text()))
    assert read <= {variable(name) for name in Settings.model_fields} | OTHERS | {"OWNSHELF_"}
    assert read >= OTHERS


def test_every_setting_is_an_option_that_names_its_variable() -> None:
    command = get_command(app)
    serve = command.get_command(None, "serve")  # type: ignore[attr-defined]
    options = {one.name: one for one in serve.params}
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in options[name].opts
        assert variable(name) in options[name].help
        assert field.description in options[name].help
        assert options[name].default is None


def test_a_wrong_variable_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OWNSHELF_CORS_ORIGIN", "https://shop.example")
    answer = CliRunner().invoke(app, ["serve", str(tmp_path)])
    assert "warning: OWNSHELF_CORS_ORIGIN: is no setting; is OWNSHELF_CORS_ORIGINS meant?" in answer.stderr
    assert answer.exit_code == 1


def test_only_one_state_is_given_with_a_federation_file() -> None:
    with pytest.raises(ServingError, match="own store"):
        read_settings({"federation": "f.toml", "state": "here"}).state_url()
    assert read_settings({"state": "postgresql://h/d"}).state_url() == "postgresql://h/d"
    assert str(read_settings({"state": "/srv"}).state_url()).endswith("/srv/state.sqlite")
    assert read_settings({}).state_url() is None


def test_the_guide_has_every_setting_with_its_default() -> None:
    guide = (ROOT / "docs" / "operate.md").read_text()
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, (), False) else f"`{field.default}`"
        assert f"| `--{name.replace('_', '-')}` | `{variable(name)}` | {default} | {field.description} |" in guide
