"""What went wrong, as an answer: a page for browsers, JSON for everything else."""

from __future__ import annotations

import html
import json
from collections.abc import Awaitable, Callable
from typing import Any

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>
body{{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;background:#fff;color:#222}}
h1{{font-size:1.3rem;color:#b00020;overflow-wrap:anywhere}}
pre{{background:#f4f4f6;padding:1rem;overflow:auto;font-size:.9rem;border-left:4px solid #b00020}}
@media(prefers-color-scheme:dark){{body{{background:#1b1b1f;color:#ddd}}pre{{background:#26262c}}h1{{color:#ff7b85}}}}
</style></head><body><h1>{title}</h1>
<pre>{traceback}</pre>
<p>Aeros is in development mode. Save the mended file and ask again.</p></body></html>
"""


class Failure:
    """reason: one line. traceback: the lines that explain it, maybe none."""

    def __init__(self, reason: str, traceback: str = "") -> None:
        self.reason = reason
        self.traceback = traceback

    async def answer(self, scope: dict[str, Any], send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        """Send it as the response to a request."""
        kind, body = ("text/html", self._page()) if _wants_html(scope) else ("application/json", self._json())
        headers = [
            (b"content-type", f"{kind}; charset=utf-8".encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 500, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _page(self) -> bytes:
        return _PAGE.format(
            title=html.escape(self.reason), traceback=html.escape(self.traceback or self.reason)
        ).encode("utf-8", "replace")

    def _json(self) -> bytes:
        lines = self.traceback.rstrip("\n").split("\n") if self.traceback else []
        return json.dumps({"error": self.reason, "traceback": lines}, indent=2).encode() + b"\n"


def _wants_html(scope: dict[str, Any]) -> bool:
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])
