"""The dashboard as an ordinary Quart app."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

from prometheus_client.exposition import choose_encoder
from quart import Quart, Response, redirect, request
from quart.typing import ResponseReturnValue

from ..core.admin import AdminSettings
from ..errors import AerosError, ControlError, OptionsError
from ..status import ServerStatus
from ..version import __version__
from .guard import COOKIE, Guard
from .history import History
from .metrics import make_registry
from .source import Source

_PAGE = Path(__file__).parent / "page"
_KINDS = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
#: Browsers that watch at a time; each costs a message a second.
_MAX_WATCHERS = 64
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: For balancers and orchestrators, which have no token and learn nothing but yes or no.
_OPEN = ("/healthz", "/readyz")


def make_site(source: Source, history: History, settings: AdminSettings) -> Quart:
    """Return the app."""
    site = Quart("aeros.dashboard", static_folder=None)
    guard = Guard(settings)
    registry = make_registry(source, settings)
    files = {name: (_PAGE / name).read_bytes() for name in _KINDS}
    watchers: set[object] = set()

    @site.before_request
    async def admit() -> ResponseReturnValue | None:
        if request.path in _OPEN:
            return None
        if not guard.own_host(request):
            return _refusal(403, "this dashboard answers to localhost and addresses only")
        if request.method == "GET" and "token" in request.args and guard.is_token(request.args["token"]):
            # Out of the address bar, the history, and whatever is sent on from there.
            answer = redirect(request.path, 303)
            answer.set_cookie(COOKIE, guard.cookie, httponly=True, samesite="Strict", path="/")
            return answer
        if not guard.knows_token(request):
            refusal = _refusal(401, "a token is needed: Authorization: Bearer …, or ?token=… in a browser")
            refusal.headers["WWW-Authenticate"] = 'Bearer realm="aeros"'
            return refusal
        if request.method == "POST":
            if not settings.write:
                return _refusal(403, "read-only: start the server with --admin-write to steer it from here")
            if not guard.same_origin(request):
                return _refusal(403, "commands are taken from this dashboard's own page only")
        return None

    @site.after_request
    async def harden(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @site.get("/")
    async def page() -> Response:
        return Response(files["page.html"], content_type="text/html; charset=utf-8")

    @site.get("/<name>")
    async def part(name: str) -> Response:
        if name not in files:
            return _refusal(404, "there is no such page")
        return Response(files[name], content_type=f"{_KINDS[name]}; charset=utf-8")

    @site.get("/events")
    async def events() -> Response:
        if len(watchers) >= _MAX_WATCHERS:
            return _refusal(503, f"{_MAX_WATCHERS} browsers are watching already")

        async def stream() -> AsyncIterator[bytes]:
            me = object()
            watchers.add(me)
            try:
                about = {"name": settings.name, "version": __version__, "write": settings.write}
                yield _event("hello", about | {"points": list(history.points)})
                while not source.retiring:
                    yield _event("now", _now(await source.status(), history))
                    await asyncio.sleep(1.0)
            finally:
                watchers.discard(me)

        response = Response(stream(), content_type="text/event-stream")
        response.timeout = None
        return response

    @site.get("/status.json")
    async def status() -> Response:
        return _json((await source.status()).to_dict())

    @site.get("/metrics")
    async def metrics() -> Response:
        await source.status()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # In a thread: the app's metrics are read from files.
        return Response(await asyncio.to_thread(encode, registry), content_type=content_type)

    @site.get("/healthz")
    async def healthz() -> Response:
        try:
            await source.ping()
        except ControlError as error:
            return _json({"ok": False, "why": str(error)}, 503)
        return _json({"ok": True})

    @site.get("/readyz")
    async def readyz() -> Response:
        now = await source.status()
        why = not_ready(now, settings.ready_min)
        facts = {"ok": not why, "state": now.state, "ready": now.ready_workers, "wanted": settings.ready_min}
        return _json(facts | ({"why": why} if why else {}), 503 if why else 200)

    @site.post("/reload")
    async def reload() -> Response:
        return await _command(source.reload())

    @site.post("/scale")
    async def scale() -> Response:
        workers = (await _body()).get("workers")
        if not isinstance(workers, int) or isinstance(workers, bool):
            return _refusal(400, 'send {"workers": N}')
        return await _command(source.scale(workers))

    @site.post("/restart")
    async def restart() -> Response:
        slot = (await _body()).get("slot")
        if slot is not None and (not isinstance(slot, int) or isinstance(slot, bool)):
            return _refusal(400, 'send {"slot": N}, or {} for all')
        return await _command(source.restart(slot))

    return site


def not_ready(status: ServerStatus, ready_min: int) -> str:
    """Return why new requests should go elsewhere, "" if they should not."""
    upgrade = status.last_upgrade
    if upgrade is not None and upgrade.ok and upgrade.replaced == status.pid:
        return ""  # it ends because another serves already, at the same addresses
    if status.state in ("draining", "stopping", "stopped"):
        return f"the server is {status.state}"
    if status.ready_workers < ready_min:
        return f"{status.ready_workers} of at least {ready_min} workers are ready"
    return ""


def _now(status: ServerStatus, history: History) -> dict[str, Any]:
    record = status.to_dict()
    for part in (record["totals"], *record["workers"]):
        del part["latency"]
    for worker in record["workers"]:
        worker["rate"] = history.worker_rates.get(worker["pid"], 0.0)
    requests = [request for worker in record["workers"] for request in worker.pop("requests_in_flight")]
    requests.sort(key=lambda request: (request["websocket"], -request["age_s"]))
    return {
        "status": record,
        "requests": requests[:30],
        "point": history.points[-1] if history.points else None,
        "events": list(history.events),
    }


async def _body() -> dict[str, Any]:
    given = await request.get_json(force=True, silent=True)
    return given if isinstance(given, dict) else {}


async def _command(done: Awaitable[dict[str, Any]]) -> Response:
    try:
        return _json({"ok": True} | await done)
    except OptionsError as error:
        return _refusal(400, str(error))
    except AerosError as error:
        return _json({"ok": False, "why": str(error), "traceback": getattr(error, "traceback", "")}, 409)


def _event(kind: str, record: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(record, separators=(',', ':'))}\n\n".encode()


def _json(record: dict[str, Any], code: int = 200) -> Response:
    return Response(json.dumps(record) + "\n", code, content_type="application/json")


def _refusal(code: int, why: str) -> Response:
    return _json({"ok": False, "why": why}, code)
