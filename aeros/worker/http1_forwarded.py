"""The fast lane behind trusted proxies: each request is served as the client made it (see forwarded)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .forwarded import Forwarded, with_host
from .http1 import HTTP1Connection
from .http1_parser import Head
from .inflight import client_label

if TYPE_CHECKING:
    from .forwarded import Headers
    from .lane import Lane


class ForwardedConnection(HTTP1Connection):
    """A connection whose client, scheme and mount are those of the request at hand."""

    __slots__ = ("_forwarded", "_peer")

    def __init__(self, lane: Lane, forwarded: Forwarded) -> None:
        super().__init__(lane)
        self._forwarded = forwarded

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._peer = (self.client, self.scheme, self.label)

    def _begin(self, head: Head, rest: bytes) -> None:
        self.client, self.scheme, self.label = self._peer
        self.root_path = self.lane.root_path
        prefix = ""
        told, headers = self._forwarded.read(head.headers, self.client)
        if told is not None:
            self.client = told.client
            self.label = client_label(told.client)
            if told.scheme is not None:
                self.scheme = told.scheme
            if told.host is not None:
                headers = with_host(headers, told.host)
            if told.prefix and head.path.startswith("/"):
                self.root_path = prefix = told.prefix
        if headers is not head.headers or prefix:
            head = _changed(head, headers, prefix)
        super()._begin(head, rest)

    def _upgrade(self, head: Head, rest: bytes) -> None:
        # What an earlier request of the connection was told to be is not this one's; its scope is made anew.
        self.client, self.scheme, self.label = self._peer
        self.root_path = self.lane.root_path
        super()._upgrade(head, rest)


def _changed(head: Head, headers: Headers, prefix: str) -> Head:
    """Return a head of its own: the parser's may be shared by equal requests."""
    changed = Head()
    for name in Head.__slots__:
        setattr(changed, name, getattr(head, name))
    if headers is not head.headers:
        changed.headers = headers
        changed.text_headers = None
        changed.host = next((value for name, value in headers if name.lower() == b"host"), b"")
    if prefix:
        changed.path = prefix + head.path
        changed.raw_path = prefix.encode() + head.raw_path
    return changed
