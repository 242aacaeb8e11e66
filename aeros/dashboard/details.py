"""What the page shows beside figures: the log and stacks of workers, which --admin-details off keeps back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quart import Quart, Response, request

from ..core.ipc.dashboard import AdminSettings
from ..errors import AerosError
from .source import Source

OFF = "exceptions, the log and stacks are not shown: the server was started with --admin-details off"
#: So many events of the log to who asks first.
_LINES = 200


def add_details(
    site: Quart, source: Source, settings: AdminSettings, answer: Callable[[dict[str, Any], int], Response]
) -> None:
    """answer: makes a JSON response of a record and a code."""

    @site.get("/log.json")
    async def log() -> Response:
        if not settings.details:
            return answer({"ok": False, "why": OFF}, 403)
        after = request.args.get("after", "")
        try:
            found = await source.log(int(after) if after.isdecimal() and len(after) < 16 else None, _LINES)
        except AerosError as error:
            return answer({"ok": False, "why": str(error)}, 503)
        return answer({"ok": True} | found, 200)

    @site.get("/stack.json")
    async def stack() -> Response:
        if not settings.details:
            return answer({"ok": False, "why": OFF}, 403)
        slot = request.args.get("slot", "")
        if not slot.isdecimal() or len(slot) > 6:
            return answer({"ok": False, "why": "say which: /stack.json?slot=0"}, 400)
        try:
            return answer({"ok": True, "text": await source.stack(int(slot))}, 200)
        except AerosError as error:
            return answer({"ok": False, "why": str(error)}, 409)
