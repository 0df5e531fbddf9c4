"""The examples of docs/api.md are run: Python as it stands, curl by a reader of its few options."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import keyring
import pytest
from keyring.backends.fail import Keyring

from recsys.catalogue.bundle import Bundle
from serving.http.app import STATUS, create_app
from serving.http.bodies import MAX_ABS, MAX_EXCLUDE, MAX_ID_CHARS, MAX_TOP_K
from tests.listening import listening
from tests.shop import make_bundle

GUIDE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
WRITTEN = "http://127.0.0.1:8000"


def examples(language: str) -> list[str]:
    """The guide's blocks of one language, those within a list too."""
    return [
        textwrap.dedent(block)
        for block in re.findall(rf"^ *```{language}\n(.*?)^ *```$", GUIDE, re.DOTALL | re.MULTILINE)
    ]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(
        tmp_path_factory.mktemp("bundle") / "b",
        item_ids=["85123A", "22423", "84879"],
        categories=["garden", "kitchen"],
        unavailable=(9,),
    )


@pytest.fixture
def address(bundle: Bundle) -> Iterator[str]:
    with listening(create_app([bundle])) as url:
        yield url


@pytest.fixture
def no_keyring() -> Iterator[None]:
    """The examples must not leave entries in the keyring of whoever runs the tests."""
    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())
    yield
    keyring.set_keyring(before)


@pytest.mark.usefixtures("no_keyring")
def test_the_python_examples_do_what_they_say(
    address: str, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(examples("python")) >= 14
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for example in examples("python"):
            exec(example.replace(WRITTEN, address), names)  # noqa: S102  # our own documentation
        names["service"].close()
    assert names["home"].mode == "device"
    assert names["home"].fallback is None
    assert len(names["home"].items) == 10
    assert names["asked"].mode == "profile"
    assert len(set(names["asked"].item_ids) & set(names["home"].item_ids)) >= 9
    assert len(names["similar"]) == 6
    assert not {"22423", "84879"} & set(names["beside"].item_ids)
    assert names["answer"]["unknown_exclude"] == ["sold-last-year"]
    assert len(names["answer"]["recommendations"]) == 5
    pages = [{item["item_id"] for item in names[page]["recommendations"]} for page in ("first", "second")]
    assert [len(page) for page in pages] == [8, 8]
    assert not pages[0] & pages[1]
    shelf = names["shelf"]["recommendations"]
    assert (shelf[0]["item_id"], shelf[0]["reason"]) == ("84879", "pinned")
    assert max(Counter(item["category"] for item in shelf).values()) <= 5
    assert names["garden"]
    assert all(item["category"] == "garden" and item["price"] <= 20 for item in names["garden"])
    assert "85123A" not in {item["item_id"] for item in names["for_you"]}
    assert set(names["cards"]["recommendations"][0]) == {"item_id", "title", "price", "available", "link", "score"}
    assert "[8, 8, 'invalid_request']" in printed.getvalue()
    assert len(names["newsletter"]) == 6
    assert {item["category"] for item in names["newsletter"]} == {"kitchen"}
    assert names["error"]["details"]["fetch"] == f"/v1/catalogue/{bundle.version}"
    assert "409 bundle_too_old" in printed.getvalue()
    assert len(names["best"]) == 10
    assert "sku-9" not in names["best"]
    assert names["device"].show()["events"] == []
    assert list((tmp_path / "my-laptop").iterdir()) == []


@pytest.mark.usefixtures("no_keyring")
def test_the_device_in_another_language_is_our_device(
    address: str, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from federation.device.device import Device

    [example] = [example for example in examples("python") if "safetensors" in example]
    with httpx.Client(base_url=address, timeout=60) as service:
        names: dict[str, Any] = {"service": service}
        exec(example, names)  # noqa: S102  # our own documentation
    device = Device.create(tmp_path / "home", consent="observe")
    device.refresh(address)
    device.observe("22423", "purchase", 10)
    assert device.recommend(10, repeat=False, now=10).item_ids == names["best"]


def curl(line: str) -> httpx.Response:
    """What curl would send: -s, -H and -d."""
    words = shlex.split(line)
    assert words.pop(0) == "curl"
    url, headers, body, method = "", {}, None, None
    while words:
        word = words.pop(0)
        if word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = words.pop(0)
        elif word == "-X":
            method = words.pop(0)
        elif word != "-s":
            url = word
    return httpx.request(method or ("GET" if body is None else "POST"), url, headers=headers, content=body)


def test_the_curl_examples_do_what_they_say(address: str, bundle: Bundle) -> None:
    lines = [line for example in examples("bash") for line in example.replace(WRITTEN, address).splitlines()]
    asked = [line for line in lines if line.startswith("curl")]
    answers = [curl(line) for line in asked]
    assert [answer.status_code for answer in answers] == [200] * 8 + [422]
    lists = [answer.json() for answer in answers[:8]]
    found = [len(next(v for v in one.values() if isinstance(v, list) and v)) for one in lists if "sequence" not in one]
    assert found == [10, 6, 8, 6, 5, 1, 6]
    assert lines == asked
    assert lists[0]["bundle_version"] == bundle.version


def test_the_javascript_examples_do_what_they_say(address: str, tmp_path: Path) -> None:
    node = shutil.which("node")
    assert node is not None, "Node.js runs the guide's JavaScript: apt-get install nodejs"
    told = "\nconsole.log(JSON.stringify({home, next, similar, beside, shelves, newsletter}));\n"
    program = tmp_path / "guide.mjs"
    program.write_text("".join(examples("js")).replace(WRITTEN, address) + told)
    run = subprocess.run([node, program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    shown = [{item["item_id"] for item in found[name]["recommendations"]} for name in ("home", "next")]
    assert [len(page) for page in shown] == [10, 10]
    assert not shown[0] & shown[1]
    assert len(found["similar"]["similar"]) == 6
    assert len(found["beside"]["recommendations"]) == 5
    categories = [{item["category"] for item in one["recommendations"]} for one in found["shelves"]]
    assert categories == [{"garden"}, {"kitchen"}]
    assert len(found["newsletter"]["recommendations"]) == 6


def test_the_guide_names_every_error_with_its_status() -> None:
    table = GUIDE.partition("## Errors")[2]
    for code, status in STATUS.items():
        assert re.search(rf"\| [\d, ]*{status}[\d, ]* \| [`a-z_, ]*`{code}`", table), code


def test_the_guide_names_every_route_and_bound(bundle: Bundle) -> None:
    for path in create_app([bundle]).openapi()["paths"]:
        assert path in GUIDE
    bounds = GUIDE.rpartition("Bounds:")[2]
    for bound in (MAX_TOP_K, MAX_EXCLUDE, int(MAX_ABS), MAX_ID_CHARS):
        assert f"{bound:,}" in bounds
