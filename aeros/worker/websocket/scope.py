"""What the app is told of a handshake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..lane.mount import mount

if TYPE_CHECKING:
    from ..lane.head import Head
    from ..lane.service import Peer, Service


def make_scope(service: Service, peer: Peer, head: Head, subprotocols: list[str]) -> dict[str, Any]:
    """Return the ASGI scope. subprotocols: what the client offers."""
    scope: dict[str, Any] = {
        "type": "websocket",
        "asgi": {"spec_version": "2.4", "version": "3.0"},
        "scheme": "wss" if peer.scheme == "https" else "ws",
        "http_version": head.version,
        "path": head.path,
        "raw_path": head.raw_path,
        "query_string": head.query_string,
        "root_path": peer.root_path,
        "headers": head.headers.copy(),
        "client": peer.client,
        "server": peer.server,
        "state": service.state.copy(),
        "subprotocols": subprotocols.copy(),
        "extensions": {"websocket.http.response": {}},
    }
    if peer.tls is not None:
        scope["extensions"]["tls"] = peer.tls
    if service.forwarded is not None:
        service.forwarded.rewrite(scope)
    mount(scope)
    if service.request_ids:
        from ..lane.request_ids import with_request_id

        scope["headers"] = with_request_id(scope["headers"])
    return scope
