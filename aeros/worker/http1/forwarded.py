"""Connections from trusted proxies: each request is served as the client made it (see lane/forwarded)."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, TypeVar

from ..lane.forwarded import Forwarded, with_host
from ..lane.head import Head
from ..report.requests_table import client_label
from .connection import HTTP1Connection

if TYPE_CHECKING:
    from ..lane.exchange import Carrier
    from ..lane.forwarded import Headers
    from ..lane.service import Service


H = TypeVar("H", bound=Head)


class ForwardedConnection(HTTP1Connection):
    """A connection whose client, scheme and mount are those of the request at hand."""

    __slots__ = ("_forwarded", "_peer")

    def __init__(self, service: Service, forwarded: Forwarded) -> None:
        super().__init__(service)
        self._forwarded = forwarded

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._peer = (self.client, self.scheme, self.label)

    def _begin(self, head: Head, rest: bytes) -> None:
        self.client, self.scheme, self.label = self._peer
        self.root_path = self.service.root_path
        head, self.label = as_client_made_it(self._forwarded, self, head, self.label)
        super()._begin(head, rest)

    def _upgrade(self, head: Head, rest: bytes) -> None:
        # What an earlier request of the connection was told to be is not this one's; its scope is made anew.
        self.client, self.scheme, self.label = self._peer
        self.root_path = self.service.root_path
        super()._upgrade(head, rest)


def as_client_made_it(forwarded: Forwarded, carrier: Carrier, head: H, label: bytes) -> tuple[H, bytes]:
    """Make client, scheme and mount of what carries a request those of the client; return its head and label."""
    prefix = ""
    told, headers = forwarded.read(head.headers, carrier.client)
    if told is not None:
        carrier.client = told.client
        label = client_label(told.client)
        if told.scheme is not None:
            carrier.scheme = told.scheme
        if told.host is not None:
            headers = with_host(headers, told.host)
        if told.prefix and head.path.startswith("/"):
            carrier.root_path = prefix = told.prefix
    if headers is not head.headers or prefix:
        head = _changed(head, headers, prefix)
    return head, label


def _changed(head: H, headers: Headers, prefix: str) -> H:
    """Return a head of its own: the parser's may be shared by equal requests."""
    changed = copy.copy(head)
    if headers is not head.headers:
        changed.headers = headers
        changed.text_headers = None
        changed.host = next((value for name, value in headers if name.lower() == b"host"), b"")
    if prefix:
        changed.path = prefix + head.path
        changed.raw_path = prefix.encode() + head.raw_path
    return changed
