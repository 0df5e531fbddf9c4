from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from federation.device.vault.vault import VAULT
from federation.device.vault.vault_key import KEY
from recsys.catalogue.bundle import Bundle
from serving.cli.certs import make_certificates
from serving.cli.device.device import default_home, device_app
from serving.http.app import create_app
from tests.listening import listening
from tests.shop import make_bundle

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture(scope="module")
def address(bundle: Bundle) -> Iterator[str]:
    with listening(create_app([bundle])) as url:
        yield url


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("OWNSHELF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OWNSHELF_PASSPHRASE", raising=False)

    def run(*arguments: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(device_app, arguments, input=typed)

    return run


def result(answer: Result) -> dict[str, Any]:
    assert answer.exit_code == 0, answer.output
    return dict(json.loads(answer.stdout))


def refused(answer: Result) -> str:
    """A mistake is exit code 1 and one line on stderr, nothing on stdout, no traceback."""
    assert answer.exit_code == 1
    assert isinstance(answer.exception, SystemExit)
    assert answer.stdout == ""
    assert answer.stderr.startswith("error: ")
    assert answer.stderr.count("\n") == 1
    return answer.stderr


def test_a_device_from_first_consent_to_erasure(run: Run, address: str, bundle: Bundle, tmp_path: Path) -> None:
    made = result(run("init", "--key-store", "file", "--json"))
    assert made == {"folder": str(tmp_path / "home"), "key_store": "file", "consent": "nothing"}
    assert result(run("observe", "sku-1", "--json"))["recorded"] is False
    assert result(run("consent", "observe", "--json")) == {"consent": "observe"}
    assert result(run("refresh", "--service", address, "--json")) == {
        "fetched": True,
        "bundle_version": bundle.version,
    }
    assert result(run("refresh", "--service", address, "--json"))["fetched"] is False
    trend = result(run("recommend", "--top-k", "5", "--json"))
    assert trend["fallback"] == "trend"
    observed = result(run("observe", "sku-1", "--kind", "purchase", "--time", "2024-02-03T10:00", "--json"))
    assert observed == {"recorded": True, "in_catalogue": True, "note": "recorded"}
    here = result(run("recommend", "--top-k", "5", "--json"))
    assert (here["mode"], here["fallback"], len(here["items"])) == ("device", None, 5)
    assert [item["item_id"] for item in here["items"]] != [item["item_id"] for item in trend["items"]]
    there = result(run("recommend", "--top-k", "5", "--service", address, "--mode", "profile", "--json"))
    assert there["mode"] == "profile"
    shown = result(run("show", "--json"))
    assert shown["events"] == [
        {"time": "2024-02-03T10:00:00+00:00", "item_id": "sku-1", "kind": "purchase", "quantity": 1.0}
        | {"price": 1.25, "available": True}
    ]
    assert result(run("forget", "sku-1", "--json")) == {"removed": 1}
    result(run("observe", "sku-2", "--json"))
    assert "ITEM_ID, --all: give one of the two" in refused(run("forget"))
    assert "give one of the two" in refused(run("forget", "sku-2", "--all"))
    assert result(run("forget", "--all", "--yes", "--json")) == {"removed": 1}
    assert result(run("show", "--json"))["events"] == []
    result(run("erase", "--yes", "--json"))
    assert list((tmp_path / "home").iterdir()) == []
    assert "ownshelf device init" in refused(run("show"))


def test_asking_the_service_says_what_it_gives_up(run: Run, address: str) -> None:
    run("init", "--key-store", "file", "--consent", "observe")
    answer = run("recommend", "--service", address, "--mode", "profile")
    assert "the service saw the profile of this request" in answer.stderr
    run("refresh", "--service", address)
    assert run("recommend").stderr == ""


def test_people_get_lines(run: Run, address: str) -> None:
    assert "consent=observe" in run("init", "--key-store", "file", "--consent", "observe").stdout
    run("refresh", "--service", address)
    assert "the trend: there is no profile yet" in run("recommend").stdout
    assert "not in bundle" in run("observe", "sku-from-elsewhere").stdout
    assert run("observe", "sku-2", "--kind", "like").stdout == "recorded\n"
    lines = run("recommend", "--top-k", "3", "--exclude", "gone").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert "sku-2" in run("show").stdout


def test_a_bundle_at_hand_serves_instead_of_a_catalogue(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    run("init", "--key-store", "file")
    listed = result(run("recommend", "--bundle", str(tmp_path / "b"), "--json"))
    assert listed["bundle_version"] == bundle.version


def test_a_list_is_filtered_spread_and_explained_here(run: Run, tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    run("init", "--key-store", "file", "--consent", "observe")
    run("observe", "sku-1", "--kind", "purchase")
    asked = ("recommend", "--bundle", str(tmp_path / "b"), "--filter", '{"category": "shelf 1"}', "--reasons")
    listed = result(run(*asked, "--top-k", "3", "--diversity", "0.2", "--json"))
    assert {item["category"] for item in listed["items"]} == {"shelf 1"}
    reasons = [item["reason"] for item in listed["items"]]
    assert reasons[0]["text"] in ("because you bought it before", "because you have bought it before")
    assert set(reasons[0]) == {"kind", "item_id", "share", "signals", "text"}
    first = run(*asked).stdout.splitlines()[0]
    assert "sku-1" in first
    assert first.endswith("%)")
    assert "because you " in first


def test_histories_travel_sealed_by_a_typed_or_given_passphrase(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("init", "--key-store", "file", "--consent", "observe")
    run("observe", "sku-1")
    file = tmp_path / "history.ownshelf"
    typed = run("export", str(file), typed="correct horse\ncorrect horse\n")
    assert typed.exit_code == 0
    assert "correct horse" not in typed.output
    assert b"sku-1" not in file.read_bytes()
    other = str(tmp_path / "other")
    run("init", "--home", other, "--key-store", "file")
    monkeypatch.setenv("OWNSHELF_PASSPHRASE", "wrong horse")
    assert "wrong passphrase" in refused(run("import", str(file), "--home", other))
    monkeypatch.setenv("OWNSHELF_PASSPHRASE", "correct horse")
    assert result(run("import", str(file), "--home", other, "--json")) == {"added": 1}
    assert result(run("import", str(file), "--home", other, "--json")) == {"added": 0}


def test_erasing_asks_first(run: Run, tmp_path: Path) -> None:
    run("init", "--key-store", "file")
    assert run("erase", typed="n\n").exit_code == 1
    assert (tmp_path / "home" / VAULT).exists()
    assert run("erase", typed="y\n").exit_code == 0
    assert not (tmp_path / "home" / VAULT).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recommend"], "no catalogue on this device"),
        (["recommend", "--top-k", "0"], "top_k=0: must be 1..1000"),
        (["recommend", "--bundle", "/nowhere"], "not a bundle"),
        (["recommend", "--service", "http://shop.example"], "must be https://"),
        (["recommend", "--filter", "{category: tea}"], "filter='{category: tea}': must be JSON, such as"),
        (["recommend", "--filter", "[" * 100_000], "must be JSON, such as"),
        (["recommend", "--filter", '{"colour": "red"}'], "filter.colour: no such field"),
        (
            ["recommend", "--reasons", "--service", "http://127.0.0.1:9", "--mode", "profile"],
            "--reasons: mode=profile does not use it; it belongs to device",
        ),
        (
            ["recommend", "--filter", "{}", "--service", "http://127.0.0.1:9", "--mode", "profile"],
            "--filter: mode=profile does not use it",
        ),
        (
            ["recommend", "--own-settings", "--service", "http://127.0.0.1:9", "--mode", "profile"],
            "--own-settings: mode=profile does not",
        ),
        (["recommend", "--clusters", "2"], "--clusters: mode=device does not use it; it belongs to cluster"),
        (["recommend", "--candidates", "9"], "--candidates: mode=device does not use it; it belongs to cluster and"),
        (
            ["recommend", "--epsilon", "1", "--service", "http://127.0.0.1:9", "--mode", "cluster"],
            "--epsilon: mode=cluster does not use it; it belongs to noised",
        ),
        (["refresh", "--service", "http://127.0.0.1:9"], "cannot be asked"),
        (["observe", "sku-1", "--kind", "stare"], "kind='stare': must be one of"),
        (["observe", "sku-1", "--time", "yesterday"], "time='yesterday': must be ISO 8601"),
        (["observe", "sku-1", "--quantity", "-1"], "quantity=-1.0: must be > 0"),
        (["consent", "maybe"], "consent='maybe': must be one of"),
        (["import", "/nowhere"], "/nowhere: no such file"),
        (["init", "--home", "/dev/null"], "/dev/null: "),
        (["init"], "holds a vault already"),
        (["init", "--key-store", "cloud"], "key_store='cloud'"),
    ],
)
def test_a_mistake_is_one_line(run: Run, arguments: list[str], message: str) -> None:
    run("init", "--key-store", "file", "--consent", "observe")
    assert message in refused(run(*arguments))


def test_a_wrong_key_and_a_tampered_vault_are_one_line(run: Run, tmp_path: Path) -> None:
    run("init", "--key-store", "file")
    vault, key = tmp_path / "home" / VAULT, tmp_path / "home" / KEY
    content = bytearray(vault.read_bytes())
    content[200] ^= 1
    vault.write_bytes(content)
    assert "tampered with" in refused(run("show"))
    key.write_bytes(bytes(32))
    assert "wrong key" in refused(run("show"))


def test_the_home_is_told_or_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OWNSHELF_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_home() == tmp_path / "ownshelf"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "alice"))
    assert default_home() == tmp_path / "alice" / ".local" / "share" / "ownshelf"


def test_every_command_takes_json_and_home() -> None:
    for command in device_app.registered_commands:
        assert command.callback is not None
        assert {"as_json", "home"} <= set(inspect.signature(command.callback).parameters)


def test_every_command_that_asks_a_service_takes_a_private_authority() -> None:
    for command in device_app.registered_commands:
        assert command.callback is not None
        options = set(inspect.signature(command.callback).parameters)
        assert ("service" in options) == ("ca" in options)


def test_a_service_of_a_private_authority_is_asked_under_it_and_refused_without(
    run: Run, bundle: Bundle, tmp_path: Path
) -> None:
    files = make_certificates(tmp_path / "certs")
    run("init", "--key-store", "file", "--consent", "observe")
    tls = {"ssl_certfile": files["service_cert"], "ssl_keyfile": files["service_key"]}
    with listening(create_app([bundle]), **tls) as url:
        for command in (["refresh"], ["recommend", "--mode", "cluster"]):
            assert "cannot be asked" in refused(run(*command, "--service", url))
            answer = result(run(*command, "--service", url, "--ca", str(files["ca"]), "--json"))
            assert answer["bundle_version"] == bundle.version


@pytest.fixture(scope="module")
def coarse(bundle: Bundle) -> Iterator[str]:
    """A service of modes cluster and noised."""
    with listening(create_app([bundle])) as url:
        yield url


def test_coarse_modes_say_in_one_line_what_they_give_up(run: Run, coarse: str) -> None:
    run("init", "--key-store", "file", "--consent", "observe")
    nobody = run("recommend", "--service", coarse, "--mode", "cluster")
    assert nobody.stderr == "mode=cluster: the service saw that there is nothing to say now, and nothing else\n"
    run("refresh", "--service", coarse)
    run("observe", "sku-1", "--kind", "purchase")
    cluster = run("recommend", "--service", coarse, "--mode", "cluster", "--json")
    assert result(cluster)["mode"] == "cluster"
    assert cluster.stderr == (
        "mode=cluster: the service saw a public cluster id, the same again and again, roughly what is liked, not "
        "the profile; 1 of at most 1 answers in this device's life\n"
    )
    asked = ("recommend", "--service", coarse, "--mode", "noised", "--epsilon", "4", "--period-days", "7")
    for _ in range(2):
        noised = run(*asked, "--json")
        assert result(noised)["mode"] == "noised"
        assert "1 of them in this device's life, together epsilon=4 of at most 32" in noised.stderr
        assert noised.stderr.count("\n") == 1
    shown = result(run("show", "--json"))
    assert (shown["noised_messages"], shown["noised_epsilon"]) == (1, 4.0)
    over = refused(run(*asked[:-4], "--epsilon", "8", "--max-epsilon", "10"))
    assert "epsilon=12 over this device's lifetime: must be at most 10; use mode device or cluster" in over


def test_a_mode_and_a_service_go_together(run: Run, coarse: str) -> None:
    run("init", "--key-store", "file", "--consent", "observe")
    assert "mode=cluster: needs --service" in refused(run("recommend", "--mode", "cluster"))
    for mode in ((), ("--mode", "device")):
        here = run("recommend", "--service", coarse, "--json", *mode)
        assert result(here)["mode"] == "device"
        assert here.stderr == "mode=device: the service saw nothing of the shopper; the list was made here\n"
    assert "mode='guess'" in refused(run("recommend", "--mode", "guess", "--service", coarse))
