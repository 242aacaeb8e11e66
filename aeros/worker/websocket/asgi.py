"""The app's side of a WebSocket: running the app, and its `receive` and `send`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypercorn.utils import UnexpectedMessageError

from ...core.net.client_gone import is_of_gone, tell_gone
from ...core.request_id import enter_request
from ..debugging import copies
from ..lane.app_exit import exit_called
from ..lane.waiters import wait_among
from .connection import WebSocketConnection
from .frames import may_be_sent as code_may_be_sent
from .rejection import Rejection
from .state import CLOSED, CONNECTING, OPEN, REJECTING

if TYPE_CHECKING:
    from ..lane.connections import Connection
    from ..lane.head import Head
    from ..lane.service import Peer, Service


class Channel:
    """`receive` and `send` of one WebSocket. It holds the connection, which knows nothing of it."""

    __slots__ = ("_connected", "_rejection", "_session")

    def __init__(self, session: WebSocketConnection) -> None:
        self._session = session
        self._connected = False
        self._rejection: Rejection | None = None

    async def receive(self) -> dict[str, Any]:
        session = self._session
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        while not session.inbox.queue:
            if session.ending is not None:
                return {"type": "websocket.disconnect", "code": session.ending[0], "reason": session.ending[1]}
            await wait_among(session.readers, session.service.loop)
        payload = session.take()
        if isinstance(payload, str):
            return {"type": "websocket.receive", "text": payload}
        if not payload and session.service.direct is not None:
            # Quart takes an empty one for none, and looks for a text.
            return {"type": "websocket.receive", "bytes": payload, "text": None}
        return {"type": "websocket.receive", "bytes": payload}

    async def send(self, message: dict[str, Any]) -> None:
        session = self._session
        kind = message["type"]
        if kind == "websocket.send" and session.state is OPEN:
            data = message.get("bytes")
            if data is None:
                data = message["text"]
                if not isinstance(data, str):
                    raise TypeError(f"{data} should be a str")
            await session.send_message(data if isinstance(data, str) else bytes(data))
        elif session.deaf or session.state is CLOSED:
            if kind != "websocket.close":  # an app that tidies up has no use for an error
                await tell_gone()
        elif kind == "websocket.accept" and session.state is CONNECTING:
            session.accept(message.get("subprotocol"), message.get("headers", ()))
        elif kind == "websocket.close" and session.state is CONNECTING:
            session.refuse(403)
        elif kind == "websocket.close" and session.state is OPEN:
            code = message.get("code")
            code = 1000 if code is None else int(code)
            if code in (1005, 1006, 1015):  # they stand for what was not sent
                code = 1000
            if not code_may_be_sent(code):
                raise ValueError(f"{code} is not a close code that may be sent: 1000 to 1014, or 3000 to 4999")
            await session.writable()
            if session.state is OPEN:
                session.send_close(code, message.get("reason") or "")
        elif kind == "websocket.http.response.start" and session.state is CONNECTING:
            self._rejection = Rejection(message)
        elif kind == "websocket.http.response.body" and session.state in (CONNECTING, REJECTING) and self._rejection:
            await self._reject(self._rejection, message)
        else:
            raise UnexpectedMessageError(session.state, kind)

    async def _reject(self, rejection: Rejection, message: dict[str, Any]) -> None:
        """Send the app's own answer to the handshake, or a part of it."""
        session = self._session
        body, more = bytes(message.get("body", b"")), message.get("more_body", False)
        data = b""
        if session.state is CONNECTING:
            data = rejection.head(session.service.common.block())
            session.state = REJECTING
        data += rejection.part(body, more)
        if data:
            session.write(data)
        await session.writable()
        if not more and session.state is REJECTING:
            session.answered(rejection.status, rejection.start)


async def run(session: WebSocketConnection) -> None:
    """Have the app serve the WebSocket, and see to what it raises."""
    session.entered = True
    service = session.service
    if service.request_ids:
        # The last one: see request_ids.with_request_id.
        enter_request(session.scope["headers"][-1][1].decode())
    try:
        direct = service.direct
        if direct is not None and direct.websockets_usable():
            await direct.websocket(session)
        else:
            channel = Channel(session)
            await service.app(session.scope, channel.receive, channel.send)
    except SystemExit as error:
        if copies.is_one:
            copies.leave(error)
        await service.config.log.error(exit_called(error, session.scope))
    except Exception as error:
        if not is_of_gone(error):
            await service.config.log.exception("Error in ASGI Framework")
    finally:
        session.app_ended()


def take_over(service: Service, peer: Peer, replaced: Connection, head: Head, early: bytes) -> None:
    """Serve a connection whose client asks for a WebSocket as one. early: what came behind the head."""
    websocket = WebSocketConnection(service, peer, head)
    peer.transport.set_protocol(websocket)
    service.connections.replaced(replaced, websocket)
    websocket.begin(head.host, early, run)
