"""The SDK as a package: its types hold, its bundles are those of the source, no chunk is larger than it may be."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tests.serving.browser.node import BROWSER, node, tool

CORE_KB, DELTA_KB = 16.0, 2.0
IMPORTS = re.compile(r'^(?:import|export) .*\bfrom "([^"]+)"|\bimport\("([^"]+)"\)', re.MULTILINE)


def test_types_hold() -> None:
    node(tool("tsc"), "--project", str(BROWSER / "tsconfig.json"))


def test_a_wrong_type_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.js"
    wrong.write_text(f'import {{ open }} from "{BROWSER}/src/index.js";\nopen({{ consent: "perhaps" }});\n')
    settings = {"extends": str(BROWSER / "tsconfig.json"), "include": [], "files": [str(wrong)]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(["node", tool("tsc"), "-p", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "perhaps" in done.stdout


def test_the_bundles_are_those_of_the_source(tmp_path: Path) -> None:
    node("build.mjs", str(tmp_path / "dist"))
    built, held = files_of(tmp_path / "dist"), files_of(BROWSER / "dist")
    assert built == held, "run: make sdk"


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_chunks_are_within_their_bounds() -> None:
    sizes = json.loads(node("size.mjs", "--json"))
    assert 5 < sizes["index"] <= CORE_KB
    assert sizes["delta"] <= DELTA_KB


def test_the_sdk_needs_nothing_and_loads_nothing_from_elsewhere() -> None:
    package = json.loads((BROWSER / "package.json").read_text())
    assert "dependencies" not in package
    assert list(package["exports"]["."]) == ["types", "default"]
    assert package["type"] == "module"
    assert package["sideEffects"] is False
    for path in (BROWSER / "src").rglob("*.js"):
        for name in map("".join, IMPORTS.findall(path.read_text())):
            assert name.startswith(("./", "../")), f"{path.name} imports {name}"


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    for path in [*(BROWSER / "src").rglob("*.js"), *(BROWSER / "shop").iterdir()]:
        assert len(path.read_text().splitlines()) <= 400, path.name
