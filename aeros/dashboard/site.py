"""The dashboard as an ordinary Quart app."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.exposition import choose_encoder
from quart import Quart, Response, request

from ..core.ipc.dashboard import AdminSettings
from ..core.text import json_text
from ..errors import AerosError, ControlError, OptionsError
from ..status.records import ServerStatus
from ..version import __version__
from .commands import BadBodyError, read_nothing, read_number
from .details import add_details
from .guard import SESSION_S, Guard
from .health import health
from .history import History
from .metrics import make_registry
from .route_rates import RouteRates
from .source import Source
from .watchers import MOST_OF_ONE, Watchers

_PAGE = Path(__file__).parent / "page"
_KINDS = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
#: No page takes longer than this to be read, but for /events.
_RESPONSE_TIMEOUT_S = 20.0
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
_PROBES = ("/healthz", "/readyz")


def make_site(source: Source, history: History, routes: RouteRates, settings: AdminSettings) -> Quart:
    """Return the app."""
    site = Quart("aeros.dashboard", static_folder=None)
    site.config["RESPONSE_TIMEOUT"] = _RESPONSE_TIMEOUT_S
    guard = Guard(settings)
    files = {name: (_PAGE / name).read_bytes() for name in _KINDS}

    @site.before_request
    async def admit() -> Response | None:
        return None if request.path in _PROBES else _refuse(guard, settings, files)

    @site.errorhandler(BadBodyError)
    async def bad_body(error: BadBodyError) -> Response:
        return _refusal(error.status, str(error))

    @site.after_request
    async def harden(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    _add_pages(site, guard, files)
    _add_events(site, source, history, routes, settings)
    _add_figures(site, source, settings)
    _add_probes(site, source, settings)
    _add_commands(site, source)
    add_details(site, source, settings, _json)
    return site


def _refuse(guard: Guard, settings: AdminSettings, files: Mapping[str, bytes]) -> Response | None:
    """Return the refusal of this request, None where it may go on."""
    if not guard.own_host(request):
        return _refusal(403, "this dashboard answers to localhost and addresses only")
    if "token" in request.args:
        return _refusal(401, "a token has no place in an address, where history and logs keep it: open / and enter it")
    if request.path == "/" or request.path[1:] in files:
        return None  # the same for everybody; what it shows it has to ask for
    if not guard.same_origin(request):
        return _refusal(403, "asked by a page that is not this dashboard's own")
    if not guard.admits(request):
        refusal = _refusal(401, "a token is needed: Authorization: Bearer …, or open / in a browser and enter it")
        refusal.headers["WWW-Authenticate"] = 'Bearer realm="aeros"'
        return refusal
    if request.method == "POST" and request.path != "/login" and not settings.write:
        return _refusal(403, "read-only: start the server with --admin-write to steer it from here")
    return None


def _add_pages(site: Quart, guard: Guard, files: Mapping[str, bytes]) -> None:
    @site.get("/")
    async def page() -> Response:
        return Response(files["page.html"], content_type="text/html; charset=utf-8")

    @site.post("/login")
    async def login() -> Response:
        session = guard.new_session(request)
        if not session:
            return _refusal(400, "send the token itself: Authorization: Bearer …")
        return _json({"ok": True, "session": session, "seconds": SESSION_S})

    @site.get("/<name>")
    async def part(name: str) -> Response:
        if name not in files:
            return _refusal(404, "there is no such page")
        return Response(files[name], content_type=f"{_KINDS[name]}; charset=utf-8")


def _add_events(site: Quart, source: Source, history: History, routes: RouteRates, settings: AdminSettings) -> None:
    watchers = Watchers()

    @site.get("/events")
    async def events() -> Response:
        if request.method == "HEAD":
            return Response(b"", content_type="text/event-stream")
        watcher = watchers.admit(request.remote_addr or "")
        if watcher is None:
            refusal = _refusal(503, f"too many are watching already; from one address at most {MOST_OF_ONE}")
            refusal.headers["Retry-After"] = "5"
            return refusal

        async def stream() -> AsyncIterator[bytes]:
            about = {"name": settings.name, "version": __version__, "write": settings.write}
            about |= {"host": socket.gethostname(), "details": settings.details}
            yield watcher.sending(_event("hello", about | {"points": list(history.points)}))
            while not source.retiring:
                yield watcher.sending(
                    _event("now", _now(await source.status(), history) | _of_routes(routes, settings))
                )
                watcher.sent()
                await asyncio.sleep(1.0)

        response = Response(stream(), content_type="text/event-stream")
        response.timeout = None
        return response


def _add_figures(site: Quart, source: Source, settings: AdminSettings) -> None:
    registry = make_registry(source, settings)

    @site.get("/status.json")
    async def status() -> Response:
        return _json((await source.status()).to_dict())

    @site.get("/metrics")
    async def metrics() -> Response:
        await source.status()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # In a thread: the app's metrics are read from files.
        return Response(await asyncio.to_thread(encode, registry), content_type=content_type)


def _add_probes(site: Quart, source: Source, settings: AdminSettings) -> None:
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


def _add_commands(site: Quart, source: Source) -> None:
    @site.post("/reload")
    async def reload() -> Response:
        await read_nothing()
        return await _command(source.reload())

    @site.post("/scale")
    async def scale() -> Response:
        workers = await read_number("workers", 'send {"workers": N}')
        assert workers is not None
        return await _command(source.scale(workers))

    @site.post("/restart")
    async def restart() -> Response:
        slot = await read_number("slot", 'send {"slot": N}, or {} for all', optional=True)
        return await _command(source.restart(slot))


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


def _of_routes(routes: RouteRates, settings: AdminSettings) -> dict[str, Any]:
    return {"routes": routes.table(), "errors": routes.errors if settings.details else []}


def _now(status: ServerStatus, history: History) -> dict[str, Any]:
    record = status.to_dict()
    for part in (record["totals"], *record["workers"]):
        del part["latency"]
    for worker in record["workers"]:
        worker["rate"] = history.worker_rates.get(worker["pid"], 0.0)
        worker["recent"] = history.recent_of(worker["pid"])
    requests = [request for worker in record["workers"] for request in worker.pop("requests_in_flight")]
    requests.sort(key=lambda request: (request["websocket"], -request["age_s"]))
    return {
        "status": record,
        "requests": requests[:30],
        "point": history.points[-1] if history.points else None,
        "events": list(history.events),
        "health": health(status, history.minute()),
        "recent": history.recent(),
    }


async def _command(done: Awaitable[dict[str, Any]]) -> Response:
    try:
        return _json({"ok": True} | await done)
    except OptionsError as error:
        return _refusal(400, str(error))
    except AerosError as error:
        return _json({"ok": False, "why": str(error), "traceback": getattr(error, "traceback", "")}, 409)


def _event(kind: str, record: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json_text(record)}\n\n".encode()


def _json(record: dict[str, Any], code: int = 200) -> Response:
    return Response(json_text(record) + "\n", code, content_type="application/json")


def _refusal(code: int, why: str) -> Response:
    return _json({"ok": False, "why": why}, code)
