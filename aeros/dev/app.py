"""The app as `--dev` serves it: with a line for each request, and with a page for whatever went wrong."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..core.clock import monotonic
from .failure import Failure
from .refresh import Refresh
from .request_line import RequestLines

if TYPE_CHECKING:
    from ..core.ipc.messages import ReloadOutcome

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class DevelopedApp:
    """An ASGI app around the user's. app: None where it could not be loaded, which `failure` then tells."""

    def __init__(self, app: Any, failure: Failure | None = None) -> None:
        self._app = app
        self._failure = failure
        self._lines: RequestLines | None = None
        self._refresh: Refresh | None = None
        self.name = getattr(app, "name", "") or type(app).__name__
        #: Whether there is no app.
        self.failed = failure is not None
        #: The app's own, for whoever runs them.
        self.hooks = getattr(app, "hooks", None)
        _debug(app)

    def configure(self, *, lines: bool, refresh: bool) -> None:
        """lines: show one for each request. refresh: let pages load themselves again."""
        self._lines = RequestLines() if lines else None
        self._refresh = Refresh() if refresh else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif self._failure is not None:
            await receive()
            await send({"type": "websocket.close", "code": 1011, "reason": self._failure.reason[:100]})
        else:
            await self._app(scope, receive, send)

    def after_reload(self, outcome: ReloadOutcome) -> None:
        """The code on the disk cannot be served: say so, instead of answering with what was there before."""
        if not outcome.ok:
            self._failure = Failure(outcome.reason, outcome.traceback)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve in any case; an app whose start-up fails is answered for with a page."""
        asked, answered = False, False

        async def asking() -> Message:
            nonlocal asked
            message = await receive()
            asked = True
            return message

        async def answering(message: Message) -> None:
            nonlocal answered
            if message["type"] == "lifespan.startup.failed":
                self._fail(message.get("message", ""), sys.exc_info()[1])
                message = {"type": "lifespan.startup.complete"}
            answered = True
            await send(message)

        try:
            if self._failure is None:
                await self._app(scope, asking, answering)
                if answered and self._failure is None:
                    return
        except Exception as error:
            if answered:
                raise
            if asked:  # else it knows nothing of lifespans, as ASGI allows
                self._fail("", error)
        await _play(receive, send, asked=asked, answered=answered)

    def _fail(self, reason: str, error: BaseException | None) -> None:
        """reason: what the app has said of it. error: the exception that is being handled."""
        text = "".join(traceback.format_exception(error)) if error is not None else ""
        if error is not None:
            reason = f"{type(error).__name__}: {error}"
        reason, text, _ = getattr(self._app, "startup_failure", lambda: None)() or (reason, text, False)
        if self._failure is None:
            self._failure = Failure(f"start-up: {reason}", text)
            _say(f"aeros: the app's start-up failed: {reason}" + (f"\n{text}" if not self._logs_itself else ""))

    @property
    def _logs_itself(self) -> bool:
        """Quart logs what its start-up raises; a WebServer leaves that to us."""
        return _is_quart(self._app) and not hasattr(self._app, "startup_failure")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._refresh is not None and scope["path"] == self._refresh.path:
            await self._refresh.answer(receive, send)
            return
        begin, status = monotonic(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        answer: Send = watched if self._refresh is None else self._refresh.around(scope, watched)
        try:
            if self._failure is not None:
                await self._failure.answer(scope, answer)
            else:
                await self._app(scope, receive, answer)
        except Exception as error:
            if status:
                raise
            text = "".join(traceback.format_exception(error))
            _say(text)
            await Failure(f"{type(error).__name__}: {error}", text).answer(scope, answer)
        finally:
            if self._lines is not None:
                self._lines.show(scope, status, monotonic() - begin)


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        sys.stderr.write(text.rstrip("\n") + "\n")
        sys.stderr.flush()


def _debug(app: Any) -> None:
    """Switch on the debug mode of Quart, Starlette and FastAPI: a traceback page, templates read anew."""
    if isinstance(getattr(app, "debug", None), bool):
        app.debug = True
    if _is_quart(app):
        from quart.signals import got_request_exception

        # With its debug mode on, Quart makes a page of an exception and logs nothing.
        got_request_exception.connect(_say_exception, app, weak=False)


def _is_quart(app: Any) -> bool:
    return "quart" in sys.modules and isinstance(app, sys.modules["quart"].Quart)


async def _say_exception(app: Any, exception: BaseException, **_: Any) -> None:
    if app.config["PROPAGATE_EXCEPTIONS"] is not False:
        _say("".join(traceback.format_exception(exception)))


async def _play(receive: Receive, send: Send, *, asked: bool, answered: bool) -> None:
    """Be an app that has nothing to do in its lifespan, from where the real one has left it."""
    if not asked:
        await receive()
    if not answered:
        await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
