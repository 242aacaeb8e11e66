"""Answers to a handshake other than a WebSocket: the app's own response, and ours. Nothing here reads or writes."""

from __future__ import annotations

from typing import Any

from ..http1.response import CHUNKED, ResponseError, error_response, has_no_body, response_head
from .handshake import VERSION


class Rejection:
    """The response an app answers a handshake with. start: its `websocket.http.response.start`."""

    __slots__ = ("_left", "start", "status")

    def __init__(self, start: dict[str, Any]) -> None:
        self.start = start
        self.status = 0  # known with the head
        self._left = 0

    def head(self, common: bytes) -> bytes:
        """Return the head. Raises ResponseError."""
        start = self.start
        self.status = int(start["status"])
        head, self._left, _ = response_head(
            self.status,
            start.get("headers", ()),
            common,
            method="GET",
            version="1.1",
            keep_alive=False,
            last=False,
        )
        return head

    def part(self, body: bytes, more: bool) -> bytes:
        """Return a part of the body as it is sent. more: it is not the last one. Raises ResponseError."""
        if has_no_body("GET", self.status):
            return b""
        if self._left == CHUNKED:
            return (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        if len(body) > self._left:
            raise ResponseError("Too much data for declared Content-Length")
        self._left -= len(body)
        if not more and self._left:
            raise ResponseError("Too little data for declared Content-Length")
        return body


def refusal(status: int, common: bytes, wrong_version: bool) -> bytes:
    """Return a response that is a status alone. wrong_version: of the protocol; the client is told ours."""
    response = error_response(status, common)
    if status == 400 and wrong_version:
        response = response[:-2] + b"sec-websocket-version: %s\r\n\r\n" % VERSION
    return response


def unavailable(common: bytes) -> bytes:
    """Return a 503 that may be tried again at once."""
    head, _, _ = response_head(
        503,
        [(b"content-length", b"0"), (b"connection", b"close"), (b"retry-after", b"0")],
        common,
        method="GET",
        version="1.1",
        keep_alive=True,
        last=False,
    )
    return head
