"""The direct path from the connections into a Quart app: no ASGI messages, no second task.

What quart.asgi.ASGIHTTPConnection does between an ASGI server and `Quart.handle_request` is done here between the
connection and `handle_request`; see that class for each step. An app that could notice (its `asgi_app` wrapped, its
`asgi_http_class` replaced) is served by ASGI messages instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

import quart.app
import quart.asgi
from quart import Quart
from quart.asgi import ASGIHTTPConnection
from quart.wrappers import Request, Response
from quart.wrappers.request import Body
from quart.wrappers.response import DataBody, FileBody
from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response as WerkzeugResponse

from ..core.shared.requests_table import SENDING, STREAMING
from ..worker.http1.exchange import HTTP1Carrier, HTTP1Exchange, no_push
from ..worker.http2.exchange import HTTP2Exchange
from ..worker.lane.body_budget import FREE
from ..worker.lane.exchange import Carrier, Exchange
from .file import FileReader, files_are_known
from .line import BODY_STATE, CLIENT_GONE, COUNTED, LaneBody, QuartWebSocket, feeder, tell_gone
from .websocket import is_known

if TYPE_CHECKING:
    from ..worker.http1.large_body import Room
    from ..worker.http2.stream import Stream
    from ..worker.lane.head import Head
    from ..worker.websocket.connection import WebSocketConnection

_TITLES_MAX = 1024
_titles: dict[bytes, str] = {}


def _title(name: bytes) -> str:
    """Return the header name as Quart spells it. Remembered, within bounds: clients choose the names."""
    title = name.decode("latin1").title()
    if len(_titles) < _TITLES_MAX:
        _titles[name] = title
    return title


class DirectPath:
    """Serves one Quart app. `usable()` is asked before each request, as an app may be wrapped at any time."""

    __slots__ = ("_attributes", "_websockets", "app", "plain_files", "plain_requests")

    def __init__(self, app: Quart) -> None:
        self.app = app
        self._attributes = vars(app)
        # Only the class that is known to be what its constructor makes of the arguments is built without it.
        self.plain_requests = _request_can_be_built(app)
        self.plain_files = files_are_known()
        self._websockets = is_known(type(app))

    def usable(self) -> bool:
        return "asgi_app" not in self._attributes and "asgi_http_class" not in self._attributes

    def exchange(self, carrier: HTTP1Carrier, head: Head) -> HTTP1QuartExchange:
        return HTTP1QuartExchange(carrier, head, self)

    def websockets_usable(self) -> bool:
        return self._websockets and "asgi_websocket_class" not in self._attributes and self.usable()

    async def websocket(self, session: WebSocketConnection) -> None:
        """Have the app serve a WebSocket; returns when it has. Exceptions are the app's."""
        await QuartWebSocket(self.app, session).run()

    def stream_exchange(self, stream: Stream, head: Head) -> HTTP2QuartExchange:
        return HTTP2QuartExchange(stream, head, self)


def direct_path(app: Any) -> DirectPath | None:
    """Return the direct path into the app, or None where it must be served by ASGI messages.

    Compared by where the code stands and not by identity: tracing tools replace methods of the class Quart itself.
    """
    if not isinstance(app, Quart):
        return None
    kind = type(app)
    if kind.asgi_http_class is not ASGIHTTPConnection:
        return None
    for method in (kind.__call__, kind.asgi_app):
        if getattr(getattr(method, "__code__", None), "co_filename", None) != quart.app.__file__:
            return None
    for name in ("__call__", "_create_request_from_scope", "handle_request", "handle_messages", "_send_response"):
        code = getattr(getattr(ASGIHTTPConnection, name, None), "__code__", None)
        if code is None or code.co_filename != quart.asgi.__file__:
            return None
    return DirectPath(app)


def _normalised_path(path: str, root_path: str) -> str:
    if path == root_path or not path.startswith(root_path):
        return " "  # never matches: 404, as Quart does it
    return path.removeprefix(root_path)


class QuartDelivery(Exchange):
    """The delivery to a Quart app, by a Request object and a Response object."""

    __slots__ = ()

    _direct: DirectPath
    _request: Request | None

    def __init__(self, carrier: Carrier, head: Head, direct: DirectPath) -> None:
        super().__init__(carrier, head)
        self._direct = direct
        self._body: Any = None
        # Without a body it is made when it is needed: many that wait in overload never get to the app.
        self._request = self._make_request() if self.has_body() else None

    def _make_request(self) -> Request:
        head = self.head
        carrier = self.carrier
        app = self._direct.app
        text = head.text_headers
        if text is None:
            text = head.text_headers = [
                (_titles.get(name) or _title(name), value.decode("latin1")) for name, value in head.headers
            ]
        headers = Headers()
        client = carrier.client
        headers._list = [("Remote-Addr", client[0] if client else "<local>"), *text]
        if head.version == "1.0":
            headers.setdefault("Host", app.config["SERVER_NAME"] or "")
        path = head.path
        root_path = self.scope["root_path"]
        if root_path:
            path = _normalised_path(path, root_path)
        kind = app.request_class
        config = app.config
        maximum = config["MAX_CONTENT_LENGTH"]
        if kind is Request and self._direct.plain_requests:
            return self._build(path, headers, root_path, maximum)
        request = kind(
            head.method,
            carrier.scheme,
            path,
            head.query_string,
            headers,
            root_path,
            head.version,
            max_content_length=maximum,
            body_timeout=config["BODY_TIMEOUT"],
            send_push_promise=self.pusher(),
            scope=cast(Any, self.scope),
        )
        if type(request.body) is Body:
            self._body = request.body = LaneBody(carrier, request.content_length, maximum)
        else:
            self._body = feeder(request.body, self)
            carrier.resume_reading()  # nobody will tell when the handler asks for it
        return request

    def _build(self, path: str, headers: Headers, root_path: str, maximum: int | None) -> Request:
        """Make what `Request(...)` would, attribute by attribute; _request_can_be_built keeps the two the same."""
        head = self.head
        length = head.content_length if head.sized else None
        body = self._body = LaneBody(self.carrier, length, maximum)
        request = Request.__new__(Request)
        request.__dict__ = {
            "method": head.method,
            "scheme": self.carrier.scheme,
            "server": self.carrier.server,
            "root_path": root_path,
            "path": "/" + path.lstrip("/"),
            "query_string": head.query_string,
            "headers": headers,
            "remote_addr": headers._list[0][1],
            "http_version": head.version,
            "scope": self.scope,
            "body_timeout": self._direct.app.config["BODY_TIMEOUT"],
            "content_length": length,
            "body": body,
            "_cached_json": {False: Ellipsis, True: Ellipsis},
            "_form": None,
            "_files": None,
            "_parsing_lock": asyncio.Lock(),
            "_send_push_promise": self.pusher(),
        }
        return request

    # The request body

    def feed(self, data: bytes) -> None:
        self.bytes_in += len(data)
        self._body.append(data)
        self._keep()

    def _keep(self) -> None:
        """Have the budget know what is kept for a handler that awaits the whole."""
        body = self._body
        # A body class of the app's own may keep what it gets wherever it likes.
        if type(body) is LaneBody and (size := body.awaited()) > FREE and (bodies := self.carrier.bodies) is not None:
            bodies.keep(self, size)

    def end_of_body(self) -> None:
        if self._body is not None:
            self._body.set_complete()
            if self.weight and (bodies := self.carrier.bodies) is not None:
                bodies.complete(self)

    def buffered(self) -> int:
        if self.weight and (bodies := self.carrier.bodies) is not None and not bodies.admits(self):
            return self.weight
        return self._body.buffered() if isinstance(self._body, COUNTED) else 0

    def room(self, left: int) -> Room | None:
        return self._body.room(left) if type(self._body) is LaneBody else None

    def landed(self, count: int) -> None:
        self.bytes_in += count
        self._body.landed(count)
        self._keep()

    def route(self) -> str | None:
        rule = getattr(self._request, "url_rule", None)
        return str(rule.rule) if rule is not None else None

    def disconnect(self) -> None:
        if not self.disconnected:
            self.disconnected = True
            if self._body is not None:
                tell_gone(self._body)
            self.cancel()

    # The response

    async def serve(self) -> None:
        if self.disconnected:
            return  # before there was a first step to cancel
        app = self._direct.app
        request = self._request
        if request is None:
            request = self._make_request()
            request.body.set_complete()
            if self.carrier.service.notes_routes:
                self._request = request
        try:
            response: Any = await app.handle_request(request)
        except CLIENT_GONE:
            return
        except Exception as error:
            response = await quart.asgi._handle_exception(app, error)
        if CLIENT_GONE and self.disconnected:
            return  # the handler went on although it was cancelled; Quart then does not even begin with the body
        if isinstance(response, Response) and response.timeout != Ellipsis:
            timeout = cast("float | None", response.timeout)
        else:
            timeout = app.config["RESPONSE_TIMEOUT"]
        body = response.response
        headers = response.headers._list if type(response.headers) is Headers else list(response.headers)
        if type(body) is DataBody:
            data = body.data
            if body.begin or body.end != len(data):
                data = data[body.begin : body.end]
            self.send_whole(response.status_code, headers, data)
            if self.carrier.write_paused:
                self._now(SENDING)
                try:
                    async with asyncio.timeout(timeout):
                        await self.carrier.writable()
                except TimeoutError:
                    return
        else:
            try:
                async with asyncio.timeout(timeout):
                    await self._stream(response, headers)
            except TimeoutError:
                return
        if not self.disconnected:
            await self.end()

    def _now(self, stage: float) -> None:
        table = self.carrier.service.table
        if table is not None:
            table.stage(self, stage)

    async def _stream(self, response: Any, headers: list[tuple[str, str]]) -> None:
        carrier = self.carrier
        self._now(STREAMING)
        if type(response.response) is FileBody and self._direct.plain_files:
            await self._send_file(response, headers)
            return
        self.start_response(response.status_code, headers)
        # The head waits for the first of the body, but not beyond this turn of the loop.
        carrier.service.loop.call_soon(self.flush)
        if isinstance(response, WerkzeugResponse):
            for data in response.response:
                self.send_body(data.encode() if isinstance(data, str) else data, True)
                if carrier.write_paused:
                    await carrier.writable()
        else:
            async with response.response as response_body:
                async for data in cast("AsyncIterator[str | bytes]", response_body):
                    self.send_body(data.encode() if isinstance(data, str) else data, True)
                    if carrier.write_paused:
                        await carrier.writable()
        self.send_body(b"", False)

    async def _send_file(self, response: Response, headers: list[tuple[str, str]]) -> None:
        carrier = self.carrier
        reader = FileReader(cast(FileBody, response.response), carrier.service.loop)
        try:
            data = await reader.read()
            self.start_response(response.status_code, headers)
            while not reader.done and self.head.method != "HEAD":
                self.send_body(data, True)
                if carrier.write_paused:
                    await carrier.writable()
                data = await reader.read()
            self.send_body(data, False)
            if carrier.write_paused:
                await carrier.writable()
        finally:
            reader.close()


class HTTP2QuartExchange(QuartDelivery, HTTP2Exchange):
    """An exchange over HTTP/2 with a Quart app."""

    __slots__ = ()


class HTTP1QuartExchange(QuartDelivery, HTTP1Exchange):
    """An exchange over HTTP/1.x with a Quart app."""

    __slots__ = ()


def _request_can_be_built(app: Quart) -> bool:
    """Tell whether QuartDelivery._build makes what this Quart and Werkzeug make, by comparing the two once."""
    from ..worker.http1.parser import HeadParser

    class Probe:
        scheme, client, server, service = "http", ("127.0.0.1", 1), ("127.0.0.1", 2), None

    exchange = HTTP1QuartExchange.__new__(HTTP1QuartExchange)
    exchange.head = HeadParser().parse(b"POST //a%20b?c=d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
    exchange.carrier = cast(Any, Probe())
    exchange._direct = DirectPath.__new__(DirectPath)
    exchange._direct.app = app
    exchange.scope = {"server": Probe.server}
    headers = Headers([("Remote-Addr", "127.0.0.1"), ("Host", "x"), ("Content-Length", "3")])
    built = vars(exchange._build(exchange.head.path, headers, "/r", 5))
    made = vars(
        Request(
            "POST",
            "http",
            exchange.head.path,
            b"c=d",
            headers,
            "/r",
            "1.1",
            max_content_length=5,
            body_timeout=app.config["BODY_TIMEOUT"],
            send_push_promise=no_push,
            scope=cast(Any, exchange.scope),
        )
    )
    loose = {"body", "_parsing_lock"}  # objects without equality; their classes are what counts
    return (
        built.keys() == made.keys()
        and all(built[key] == made[key] for key in made.keys() - loose)
        and type(made["body"]) is Body
        and type(made["_parsing_lock"]) is asyncio.Lock
        and vars(made["body"]).keys() == BODY_STATE
        and made["body"]._max_content_length == built["body"]._max_content_length
    )


__all__ = ["DirectPath", "HTTP1QuartExchange", "QuartDelivery", "direct_path"]
