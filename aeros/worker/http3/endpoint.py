"""A worker's UDP sockets: each datagram finds its connection, or begins one."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicPacketType, encode_quic_version_negotiation, pull_quic_header
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.utils import parse_socket_addr

from ...core.net.certificates import password, readable, unpack
from ...core.net.steering import CID_BYTES
from .connection import Connection, SeatedQuic
from .failures import Failures

if TYPE_CHECKING:
    from ..lane.service import Service

_INITIAL_LEAST = 1200
"""Bytes of a datagram that may begin a connection (RFC 9000 section 14.1)."""

_AGAIN_AFTER_S = 0.2


class Endpoint(asyncio.DatagramProtocol):
    """One socket. configuration: a call, since certificates are renewed."""

    def __init__(
        self,
        service: Service,
        seat: int,
        sock: socket.socket,
        configuration: Callable[[], QuicConfiguration],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.service = service
        self.on_failure = on_failure
        self.context = WorkerContext(None)  # max_requests is the worker's business
        self.address = parse_socket_addr(sock.family, sock.getsockname())
        #: Told why the transport has failed.
        self.on_lost: Callable[[Exception], None] = on_failure
        self._seat = seat
        self._configuration = configuration
        self._connections: dict[bytes, Connection] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if error is not None:
            self.on_lost(error)

    def datagram_received(self, data: bytes, address: Any) -> None:
        try:
            self._take(data, address)
        except Exception as error:  # a datagram that nobody could read: it belongs to no connection
            self.on_failure(error)

    def _take(self, data: bytes, address: Any) -> None:
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=CID_BYTES)
        except ValueError:
            return
        connection = self._connections.get(header.destination_cid)
        if connection is None:
            if len(data) < _INITIAL_LEAST:
                return
            supported = self._configuration().supported_versions
            if header.version is not None and header.version not in supported:
                ids = {"source_cid": header.destination_cid, "destination_cid": header.source_cid}
                self.send(encode_quic_version_negotiation(**ids, supported_versions=supported), address)
                return
            if header.packet_type != QuicPacketType.INITIAL or self.service.connections.draining or not self._has_room:
                return
            connection = self._begin(header.destination_cid)
        connection.feed(data, address)

    @property
    def _has_room(self) -> bool:
        most = self.service.limits.connections
        return most is None or len(self.service.connections.open) < most

    def _begin(self, cid: bytes) -> Connection:
        quic = SeatedQuic(self._seat, configuration=self._configuration(), original_destination_connection_id=cid)
        connection = Connection(self, quic, cid)
        for name in connection.cids:
            self._connections[name] = connection
        return connection

    def named(self, cid: bytes, connection: Connection) -> None:
        self._connections[cid] = connection

    def unnamed(self, cid: bytes) -> None:
        self._connections.pop(cid, None)

    def forget(self, connection: Connection) -> None:
        for cid in connection.cids:
            self._connections.pop(cid, None)

    def send(self, data: bytes, address: Any) -> None:
        if self._transport is not None:
            self._transport.sendto(data, address)


class Endpoints:
    """All of a worker's sockets. One that fails is served again."""

    def __init__(self, service: Service, failures: Failures) -> None:
        self._service = service
        self._failures = failures
        self._made: QuicConfiguration | None = None
        self._record = b""
        self._seat = 0
        self._sockets: list[socket.socket] = []
        self._transports: list[asyncio.DatagramTransport] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def certify(self, record: bytes) -> None:
        """Serve new connections with the certificates in `record`."""
        self._record, self._made = record, None

    def _configuration(self) -> QuicConfiguration:
        if self._made is None:
            made = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=False, connection_id_length=CID_BYTES)
            first = unpack(self._record)[0][0]
            with readable(first["cert"], first["key"]) as (certfile, keyfile):
                made.load_cert_chain(certfile, keyfile, password(self._record))
            self._made = made
        return self._made

    def sit(self, seat: int, sockets: Sequence[socket.socket]) -> None:
        """Take the sockets of a seat, which are ours from now on."""
        self._seat, self._sockets = seat, list(sockets)

    def start(self) -> None:
        """Serve them."""
        for sock in self._sockets:
            endpoint = Endpoint(self._service, self._seat, sock, self._configuration, self._failures.of_connection)
            endpoint.on_lost = functools.partial(self._lost, endpoint, sock)
            self._begin(endpoint, sock)

    def _begin(self, endpoint: Endpoint, sock: socket.socket) -> None:
        task = self._service.loop.create_task(self._serve(endpoint, sock))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, endpoint: Endpoint, sock: socket.socket) -> None:
        try:
            # A duplicate, since a transport that fails closes what it has.
            transport, _ = await self._service.loop.create_datagram_endpoint(lambda: endpoint, sock=sock.dup())
        except OSError as error:
            self._lost(endpoint, sock, error)
            return
        self._transports.append(transport)

    def _lost(self, endpoint: Endpoint, sock: socket.socket, error: Exception) -> None:
        """Its connections know nothing of it: to them datagrams were lost."""
        self._failures.of_socket(error)
        self._service.loop.call_later(_AGAIN_AFTER_S, self._again, endpoint, sock)

    def _again(self, endpoint: Endpoint, sock: socket.socket) -> None:
        if sock.fileno() != -1:
            self._begin(endpoint, sock)

    def close(self) -> None:
        """Nothing is read or sent any more."""
        for transport in self._transports:
            transport.close()
        for sock in self._sockets:
            sock.close()
