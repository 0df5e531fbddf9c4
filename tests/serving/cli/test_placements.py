from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import catalogue_of
from serving.cli.main import app
from serving.cli.placement_preview import preview_page
from tests.vectors.surfaces import NOW, a_bundle, histories, state_of

GOOD = "placements:\n  home: {source: for-you, top_k: 5, filter: {attributes.brand: oak}}\nattributes: [size]\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return a_bundle(tmp_path_factory.mktemp("placements") / "b", mixed=False)


def _run(*arguments: object) -> tuple[int, str]:
    told = CliRunner().invoke(app, [str(argument) for argument in ("placements", *arguments)])
    return told.exit_code, told.output


def test_check_says_what_is_good_and_what_devices_hold(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "p.yaml").write_text(GOOD)
    code, told = _run("check", tmp_path / "p.yaml", "--bundle", bundle.folder, "--json")
    summary = json.loads(told)
    assert code == 0
    assert summary["placements"] == {"home": "for-you"}
    assert summary["attributes"] == ["added_at", "brand", "regular_price", "size"]
    assert summary["bytes_an_item"] is not None
    assert "1 placements are good; devices hold" in _run("check", tmp_path / "p.yaml")[1]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("placements: {home: {source: for-yu}}", "placements.home.source='for-yu': must be one of"),
        ("placements: {home: {source: for-you, filter: {attributes.colour: red}}}", "placements.home.filter"),
        ("placements: [", "is not YAML"),
    ],
)
def test_a_mistake_is_one_line_and_exit_1(tmp_path: Path, bundle: Bundle, content: str, told: str) -> None:
    (tmp_path / "p.yaml").write_text(content)
    code, output = _run("check", tmp_path / "p.yaml", "--bundle", bundle.folder)
    assert code == 1
    assert told in output.replace("\n", "")
    assert "Traceback" not in output


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    code, output = _run("check", tmp_path / "none.yaml")
    assert code == 1
    assert "cannot be read" in output.replace("\n", " ")


def test_the_preview_has_every_placement_for_every_shopper(tmp_path: Path, bundle: Bundle) -> None:
    code, _ = _run("preview", bundle.folder, "--out", tmp_path / "page.html")
    assert code == 0
    page = (tmp_path / "page.html").read_text()
    for name in bundle.placements.every:
        assert f"<h2>{name}</h2>" in page
    assert page.count("a new shopper") >= len(bundle.placements.every)
    assert "<script" not in page


def test_a_title_is_text_in_the_preview_and_ones_own_history_is_shown_to_its_owner(
    tmp_path: Path, bundle: Bundle
) -> None:
    catalogue = catalogue_of(bundle)
    marked = catalogue.shown.with_columns(title=catalogue.shown["title"].str.replace("Thing", "<b>Thing</b>"))
    from dataclasses import replace

    page = preview_page(replace(catalogue, shown=marked), state_of(histories()["long"]), NOW)
    assert "<b>Thing</b>" not in page
    assert "&lt;b&gt;Thing" in page
    assert page.count("this device") > 5


def test_setting_without_a_service_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GOOD)
    code, output = _run("set", tmp_path / "p.yaml", "--service", "http://127.0.0.1:9")
    assert code == 1
    assert "service: cannot be asked" in output
