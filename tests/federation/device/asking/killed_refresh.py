"""A device that is killed, kill -9, at a chosen moment of a refresh. Run as a program: a JSON command a line on stdin.

It loads everything once and forks one device a command, which is why it must not touch polars' threads before. The
answers of the service are given with the command's folder: catalogue, delta and changes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx

from federation.device.device import Device
from tests.federation.device.killed_device import Killer
from tests.federation.forking import answer_each


def answers(folder: Path) -> httpx.Client:
    """A service that answers with the files of a folder."""
    told = json.loads((folder / "answers.json").read_text())

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/changes"):
            return httpx.Response(200, content=(folder / "changes").read_bytes())
        if request.url.path.endswith("/current"):
            return httpx.Response(307, headers={"location": told["location"]})
        return httpx.Response(200, content=(folder / "delta").read_bytes(), headers=told["headers"])

    return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://shop.test")


def run(home: Path, service: Path, kill_at: int | None) -> dict[str, object]:
    device = Device.open(home)
    killer = Killer(kill_at)
    for owner, name in ((os, "fsync"), (os, "replace"), (os, "fdopen"), (Path, "unlink")):
        killer.around(owner, name)
    with answers(service) as client:
        device.refresh(client)
    return {"moments": killer.count}


if __name__ == "__main__":
    answer_each(lambda said: run(Path(said["home"]), Path(said["service"]), said["kill_at"]))
