"""Commands on stdin, a JSON object a line, each carried out in a child of its own that may be killed anywhere."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any


def answer_each(run: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Print what `run` finds of each command, or its `error`; and `killed`, whether SIGKILL ended its child."""
    for line in sys.stdin:
        command = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writing, json.dumps(run(command)).encode())
            except BaseException:  # noqa: BLE001  # a child must end here, whatever happened
                os.write(writing, json.dumps({"error": traceback.format_exc()}).encode())
            os._exit(0)
        os.close(writing)
        _, status = os.waitpid(child, 0)
        with os.fdopen(reading) as answer:
            text = answer.read()
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(json.dumps({"killed": killed} | json.loads(text or "{}")), flush=True)  # noqa: T201
