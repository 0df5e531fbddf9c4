from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from federation.device.device import Device
from recsys.catalogue.catalogue import encode_catalogue
from recsys.catalogue.delta import encode_delta
from tests.shop import make_bundle, service

ROOT = Path(__file__).parents[4]
NOW = 1_700_000_000_000_000


def test_a_device_killed_at_any_moment_of_a_refresh_is_usable_and_refreshes_again(tmp_path: Path) -> None:
    """Killed, it has the old catalogue with its changes, or the new one with its own; nothing between, nothing lost."""
    old, new = make_bundle(tmp_path / "old"), make_bundle(tmp_path / "new", seed=1)
    before, after = service(old), service(new, old)
    for client, item in ((before, "sku-3"), (after, "sku-4")):
        client.put("/v1/items", json={"items": [{"item_id": item, "available": False}]}).raise_for_status()
    start = Device.create(tmp_path / "start", consent="observe", key_store="file")
    start.refresh(before)
    start.observe("sku-9", "purchase", NOW)

    told = tmp_path / "told"
    told.mkdir()
    delta = encode_delta(encode_catalogue(old), encode_catalogue(new))
    whole = after.get(f"/v1/catalogue/{new.version}")
    (told / "delta").write_bytes(delta)
    (told / "changes").write_bytes(after.get(f"/v1/catalogue/{new.version}/changes").content)
    headers = {"etag": whole.headers["etag"], "ownshelf-delta-from": old.version}
    (told / "answers.json").write_text(
        json.dumps({"location": f"{new.version}?since={old.version}", "headers": headers})
    )

    program = subprocess.Popen(
        [sys.executable, "-m", "tests.federation.device.asking.killed_refresh"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with program:
        assert program.stdin is not None
        assert program.stdout is not None

        def refresh(name: str, kill_at: int | None) -> tuple[Path, dict[str, object]]:
            home = tmp_path / name
            shutil.copytree(tmp_path / "start", home)
            command = {"home": str(home), "service": str(told), "kill_at": kill_at}
            program.stdin.write(json.dumps(command) + "\n")
            program.stdin.flush()
            return home, json.loads(program.stdout.readline())

        whole_run, found = refresh("whole", None)
        assert found.get("error") is None
        moments = int(str(found["moments"]))
        assert moments >= 12  # three files, each written, synced and renamed
        held = set()
        for moment in range(moments):
            home, outcome = refresh(f"killed-{moment}", moment)
            assert outcome["killed"], outcome
            device = Device.open(home)
            catalogue = device.catalogue
            assert catalogue is not None
            held.add((catalogue.bundle_version, tuple(catalogue.unavailable.tolist())))
            assert [event.item_id for event in device.state.events] == ["sku-9"]
            assert len(device.recommend(5, now=NOW).items) == 5
            device.refresh(after)
            assert device.catalogue is not None
            assert device.catalogue.bundle_version == new.version
            assert device.catalogue.unavailable.tolist() == [4]
            assert list(home.glob(".c*")) == []
            assert len(list(home.glob("catalogue-*"))) == len(list(home.glob("changes-*"))) == 1
        program.stdin.close()
    assert held == {(old.version, (3,)), (new.version, (4,))}
    assert Device.open(whole_run).catalogue_hash == bytes.fromhex(whole.headers["etag"].strip('"'))
