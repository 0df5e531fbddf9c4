"""What a service costs that does nothing but parse and search: the same body, the same FAISS index, bare ASGI.

`python -m tests.benchmarks.serving_bare BUNDLE INDEX_FOLDER PORT`. No routes, no key, no bounds, no metrics, no item
texts, no exact float32 order: the floor that the real service is compared with.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import uvicorn

from recsys.catalogue.bundle import Bundle
from recsys.catalogue.index_files import open_index
from recsys.model.scoring import queries
from recsys.search.selection import look_at
from serving.http.bodies import profile_vector
from serving.http.resources.ask_bodies import ProfileRequest, parse_ask

K = 20


def bare_app(bundle: Bundle, folder: Path) -> Any:
    """An ASGI application."""
    index = open_index(bundle, folder)
    faiss_index = index.exact if index.approximate is None else index.approximate
    probe = look_at(index.probes[0][1]) if index.approximate is not None else None
    dim, weight = bundle.table.dim, bundle.config.trend_weight
    headers = [(b"content-type", b"application/json")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        asked = parse_ask(body)
        assert isinstance(asked, ProfileRequest)
        assert asked.profile is not None
        wanted = queries(profile_vector(asked.profile, dim), weight)
        scores, items = faiss_index.search(wanted, asked.top_k, params=probe)
        rows = zip(items[0].tolist(), scores[0].tolist(), strict=True)
        answer = b"[" + b",".join([b'{"item":%d,"score":%.6g}' % row for row in rows]) + b"]"
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def main() -> None:
    """Serve until it is stopped."""
    bundle, folder, port = sys.argv[1:]
    app = bare_app(Bundle.load(bundle), Path(folder))
    settings: dict[str, Any] = {
        "server_header": False,
        "proxy_headers": False,
        "ws": "none",
    }  # as serving/process/workers.py
    uvicorn.run(app, port=int(port), log_level="warning", access_log=False, lifespan="off", **settings)


if __name__ == "__main__":
    main()
