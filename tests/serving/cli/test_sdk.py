"""`ownshelf sdk`: the files for a shop's own host, and hashes that pin them."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from typer.testing import CliRunner

from serving.browser.files import browser_files, integrity
from serving.cli.main import app


def test_it_writes_every_file_and_its_hash(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["sdk", str(tmp_path / "static"), "--json"])
    assert done.exit_code == 0, done.output
    hashes = json.loads(done.stdout)["integrity"]
    assert hashes == json.loads((tmp_path / "static" / "integrity.json").read_text())
    static = tmp_path / "static"
    written = {path.relative_to(static).as_posix(): path.read_bytes() for path in static.rglob("*") if path.is_file()}
    assert {name: written[name] for name in browser_files("dist")} == browser_files("dist")
    assert set(hashes) == {name for name in written if name.endswith(".js")}
    for name, value in hashes.items():
        assert value == "sha384-" + base64.b64encode(hashlib.sha384(written[name]).digest()).decode()


def test_the_snippet_pins_each_script_under_its_address(tmp_path: Path) -> None:
    CliRunner().invoke(app, ["sdk", str(tmp_path), "--at", "https://static.shop.example/own"])
    snippet = (tmp_path / "snippet.html").read_text()
    imports = json.loads(snippet.partition('importmap">')[2].partition("</script>")[0])["integrity"]
    index = "https://static.shop.example/own/index.js"
    assert imports[index] == integrity(browser_files("dist")["index.js"])
    assert f'href="{index}" integrity="{imports[index]}"' in snippet
    assert f'from "{index}"' in snippet


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    done = CliRunner().invoke(app, ["sdk", str(tmp_path / "taken")])
    assert done.exit_code == 1
    assert "is a file" in str(done.output) + str(done.exception)
