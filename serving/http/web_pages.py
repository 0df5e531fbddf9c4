"""The service's web pages: made of templates, under a content policy that lets their own style and script run alone."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.responses import Response

from recsys.reports.templates import render

PAGES = Path(__file__).with_name("pages")
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True)
class WebPage:
    """A page and the content security policy that it is answered with."""

    content: bytes
    policy: str

    def response(self) -> Response:
        """Answer with it; a browser asks each time whether it is still the same."""
        headers = {"content-security-policy": self.policy, "cache-control": "no-cache"}
        return Response(self.content, 200, headers, HTML)


def web_page(template: str, **values: Any) -> WebPage:
    """Render a template of the folder `pages`."""
    content = render(PAGES, template, **values).encode()
    return WebPage(content, page_policy(content))


def page_policy(page: bytes) -> str:
    """Write the policy under which a page's own script and style run, and nothing else does."""
    text = page.decode()
    allowed = {
        name: " ".join(
            "'sha256-" + base64.b64encode(hashlib.sha256(found.encode()).digest()).decode() + "'"
            for found in re.findall(rf"<{name}>(.*?)</{name}>", text, flags=re.DOTALL)
        )
        or "'none'"
        for name in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {allowed['script']}; style-src {allowed['style']}; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
