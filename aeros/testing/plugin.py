"""The pytest plugin: the fixture `aeros_server`. It costs a suite that does not use it one small import."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .live_server import LiveServer

_LOG = 20_000


@pytest.fixture
def aeros_server() -> Iterator[Callable[..., LiveServer]]:
    """aeros_server(app, "-w 2", …) → a LiveServer that serves; it ends with the test, and a failure shows its log.

    app: a WebServer, any ASGI app, or "module:app". May be called more than once.
    """
    from .live_server import LiveServer

    with ExitStack() as servers:

        def start(app: Any, *arguments: Any, **options: Any) -> LiveServer:
            return servers.enter_context(LiveServer(app, *arguments, **options))

        yield start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    live = sys.modules.get(f"{__package__}.live_server")
    if report.failed and live is not None:
        for server in live.OPEN:
            report.sections.append((f"Aeros server {server.url}, log", server.log[-_LOG:]))
    return report
