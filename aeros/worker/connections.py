"""All connections of one worker: how they are made, counted, drained, and in the end cut."""

from __future__ import annotations

import asyncio
from typing import Any

from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.utils import wrap_app

from .figures import Figures


class Connections:
    """Interim: plain Hypercorn TCPServer."""

    def __init__(self, app: Any, config: Config, figures: Figures) -> None:
        self._loop = asyncio.get_running_loop()
        self._app = wrap_app(self._count(app), config.wsgi_max_body_size, "asgi")
        self._config = config
        self._figures = figures
        self._context = WorkerContext(None)
        self.state: dict[str, Any] = {}
        self.cut = 0
        self.tasks: set[asyncio.Task[Any]] = set()

    def make_protocol(self) -> asyncio.Protocol:
        reader = asyncio.StreamReader(limit=2**16, loop=self._loop)
        return asyncio.StreamReaderProtocol(reader, self._callback, loop=self._loop)

    async def _callback(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        self._figures.connection_opened()
        try:
            await TCPServer(self._app, self._loop, self._config, self._context, self.state, reader, writer)
        finally:
            self._figures.connection_closed()

    def _count(self, app):
        async def counted(scope, receive, send):
            if scope["type"] != "http":
                return await app(scope, receive, send)
            status = 0

            async def sending(message):
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            self._figures.request_started()
            try:
                await app(scope, receive, sending)
            finally:
                self._figures.request_finished(status, 0, 0, 0.0)

        return counted

    def begin_drain(self, reason: str) -> None:
        self._loop.create_task(self._context.terminated.set())

    async def drained(self) -> None:
        while self.tasks:
            await asyncio.wait(self.tasks)

    async def abort(self, grace_s: float) -> None:
        self.cut = len(self.tasks)
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=grace_s)

    def reopen_logs(self) -> None:
        pass
