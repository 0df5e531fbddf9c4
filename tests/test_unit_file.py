"""The unit for systemd says only what `ownshelf serve` takes, and waits as long as a stop may take."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

from serving.process.settings import Settings

UNIT = Path(__file__).parents[1] / "docs" / "examples" / "ownshelf.service"


def test_the_unit_starts_what_there_is_and_lets_it_drain() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    service = unit["Service"]
    program, command, bundle, *options = shlex.split(service["ExecStart"])
    assert (Path(program).name, command) == ("ownshelf", "serve")
    assert Path(bundle).is_absolute()
    given = {}
    for option in options:
        name, _, value = option.removeprefix("--").partition("=")
        given[name.replace("-", "_")] = value or True
    assert set(given) <= set(Settings.model_fields)
    settings = Settings(**given)  # type: ignore[arg-type]
    assert settings.require_keys
    assert settings.workers > 1
    assert float(service["TimeoutStopSec"]) > settings.drain_s + settings.stop_timeout_s
