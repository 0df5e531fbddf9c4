"""A device that is killed, kill -9, at a chosen moment of a refresh. Run as a program: a JSON command a line on stdin.

It loads everything once and forks one device a command, which is why it must not touch polars' threads before. The
answers of the service are given with the command's folder: catalogue, delta and changes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import httpx

from federation.device import Device
from tests.federation.killed_device import Killer


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


def main() -> None:
    for line in sys.stdin:
        command = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                found = run(Path(command["home"]), Path(command["service"]), command["kill_at"])
                os.write(writing, json.dumps(found).encode())
            except BaseException:  # noqa: BLE001  # a child must end here, whatever happened
                os.write(writing, json.dumps({"error": traceback.format_exc()}).encode())
            os._exit(0)
        os.close(writing)
        _, status = os.waitpid(child, 0)
        with os.fdopen(reading) as answer:
            text = answer.read()
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(json.dumps({"killed": killed} | json.loads(text or "{}")), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
