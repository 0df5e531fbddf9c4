"""`ownshelf demo` ends in a shop to click through, until it is interrupted."""

from __future__ import annotations

import io
import re
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from serving.cli import demo
from tests.shop import make_bundle


def test_the_shop_is_open_until_it_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, visited = io.StringIO(), []

    def wait() -> None:
        (address,) = re.findall(r"http://[^\s/]+/shop", said.getvalue())
        visited.append(httpx.get(address).text)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_wait", wait)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    demo._keep_shop(Console(file=said, width=200), make_bundle(tmp_path / "bundle").folder)
    assert "Hearth" in visited[0]
    (address,) = re.findall(r"http://[^\s/]+", said.getvalue())
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)
