"""In-process servers for the conformance tests: the lane, the hand-over class, and Hypercorn as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import uvloop
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.utils import wrap_app

from aeros.quart.direct import direct_path
from aeros.worker.assembly import http1_factory, make_service
from aeros.worker.hypercorn.connection import hypercorn_protocol_factory
from aeros.worker.lane.connections import Connections
from aeros.worker.lane.service import Service

T = TypeVar("T")

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


def run(coroutine: Coroutine[Any, Any, T], loop: str = "uvloop", *, debug: bool | None = None) -> T:
    """debug: the loop's debug mode; None for that of the interpreter."""
    with asyncio.Runner(loop_factory=LOOPS[loop], debug=debug) as runner:
        return runner.run(coroutine)


def quiet_config(**settings: Any) -> Config:
    config = Config()
    config.errorlog = None
    config.accesslog = None
    for name, value in settings.items():
        setattr(config, name, value)
    return config


class Served:
    """A server that runs. port: where. service: None with the reference."""

    def __init__(self, port: int, service: Service | None) -> None:
        self.port = port
        self.service = service
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def connections(self) -> Connections:
        assert self.service is not None
        return self.service.connections

    async def connect(self, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **kwargs)
        self._writers.append(writer)
        return reader, writer

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)

    async def exchange(self, *parts: bytes, half_close: bool = False, quiet: float = 0.3) -> tuple[bytes, bool]:
        """Send the parts and return (all that came back, whether the server closed)."""
        reader, writer = await self.connect()
        received = bytearray()
        try:
            for index, part in enumerate(parts):
                if index:
                    with contextlib.suppress(TimeoutError):
                        received += await asyncio.wait_for(reader.read(1 << 20), 0.05)
                writer.write(part)
            if half_close:
                await asyncio.sleep(quiet / 6)  # longer with more patience: to Hypercorn it is a client that went
                writer.write_eof()
            while True:
                data = await asyncio.wait_for(reader.read(1 << 20), quiet)
                if not data:
                    return bytes(received), True
                received += data
        except TimeoutError:
            return bytes(received), False
        except ConnectionError:
            return bytes(received), True
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def served(
    app: Any,
    path: str = "lane",
    config: Config | None = None,
    context: ssl.SSLContext | None = None,
    **service_arguments: Any,
) -> AsyncIterator[Served]:
    """Serve `app` by the lane ("lane"), the hand-over class ("hypercorn"), or Hypercorn alone ("reference")."""
    loop = asyncio.get_running_loop()
    config = config or quiet_config()
    service: Service | None = None
    if path == "reference":
        wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
        worker = WorkerContext(None)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(BaseExceptionGroup, asyncio.CancelledError):
                await TCPServer(wrapped, loop, config, worker, {}, reader, writer)

        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    else:
        service = make_service(app, config, loop=loop, direct=direct_path, **service_arguments)
        factory: Callable[[], asyncio.Protocol] = {
            "lane": http1_factory,
            "hypercorn": hypercorn_protocol_factory,
        }[path](service)  # type: ignore[operator]
        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=context)
    running = Served(server.sockets[0].getsockname()[1], service)
    try:
        yield running
    finally:
        server.close()
        await running.close()
        if service is not None:
            service.connections.begin_drain("stop")
            service.connections.abort()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(service.connections.drained(), 1)


async def eventually(condition: Callable[[], bool], deadline: float = 3.0) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline
    while not condition():
        if loop.time() > end:
            raise AssertionError("did not happen in time")
        await asyncio.sleep(0.005)


def normal(data: bytes) -> bytes:
    """Return `data` without what may differ between two runs of one server."""
    data = re.sub(rb"date: [^\r]*GMT", b"date: D", data)
    # The lane names itself and gives each status its reason; Hypercorn does neither.
    data = re.sub(rb"server: hypercorn-h\w+", b"server: aeros", data)
    return re.sub(rb"(HTTP/1\.1 \d\d\d )[^\r\n]*", rb"\1", data)


App = Callable[[Any, Any, Any], Awaitable[None]]
