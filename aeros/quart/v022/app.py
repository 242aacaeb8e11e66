"""LeanQuart for Quart 0.22, whose methods it follows and into which it reaches; see lean_quart."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from quart.ctx import AppContext, RequestContext, _sentinel
from quart.globals import _cv_app, _cv_request
from quart.signals import (
    appcontext_popped,
    appcontext_pushed,
    appcontext_tearing_down,
    request_finished,
    request_started,
    request_tearing_down,
)
from quart.wrappers import Request

from ..base import LeanBase, exited, impossible_session


class LeanAppContext(AppContext):
    """Quart's AppContext; sends its signals when somebody listens."""

    async def push(self) -> None:
        self._cv_tokens.append(_cv_app.set(self))
        if appcontext_pushed.receivers:
            await appcontext_pushed.send_async(self.app, _sync_wrapper=self.app.ensure_async)  # type: ignore[arg-type]

    async def pop(self, exc: BaseException | None = _sentinel) -> None:  # type: ignore[assignment]
        try:
            if len(self._cv_tokens) == 1:
                if exc is _sentinel:
                    exc = sys.exc_info()[1]
                await self.app.do_teardown_appcontext(exc)
        finally:
            ctx = _cv_app.get()
            _cv_app.reset(self._cv_tokens.pop())
            if ctx is not self:
                raise AssertionError(f"Popped wrong app context. ({ctx!r} instead of {self!r})")
        if appcontext_popped.receivers:
            await appcontext_popped.send_async(self.app, _sync_wrapper=self.app.ensure_async)  # type: ignore[arg-type]


class LeanRequestContext(RequestContext):
    """Quart's RequestContext; opens no session where there can be none."""

    async def push(self) -> None:
        token = _cv_request.set(self)
        app = self.app
        app_ctx = _cv_app.get(None)
        if app_ctx is None or app_ctx.app is not app:
            app_ctx = app.app_context()
            await app_ctx.push()
        else:
            app_ctx = None
        self._cv_tokens.append((token, app_ctx))
        if self.session is None:
            self.session = impossible_session(app)
            if self.session is None:
                interface = app.session_interface
                self.session = await app.ensure_async(interface.open_session)(app, self.request_websocket)
                if self.session is None:
                    self.session = await interface.make_null_session(app)
        if self.url_adapter is not None:
            self.match_request()

    async def pop(self, exc: BaseException | None = _sentinel) -> None:  # type: ignore[assignment]
        tokens = self._cv_tokens
        try:
            if len(tokens) == 1:
                if exc is _sentinel:
                    exc = sys.exc_info()[1]
                await self.app.do_teardown_request(exc, self)
                request = self.request_websocket
                if type(request) is Request:
                    if request._files:  # all that Request.close looks at
                        await request.close()
                else:
                    request_close = getattr(request, "close", None)
                    if request_close is not None:
                        await request_close()
        finally:
            ctx = _cv_request.get()
            token, app_ctx = tokens.pop()
            _cv_request.reset(token)
            if app_ctx is not None:
                await app_ctx.pop(exc)
            if ctx is not self:
                raise AssertionError(f"Popped wrong request context. ({ctx!r} instead of {self!r})")


class LeanQuart(LeanBase):
    """The overrides."""

    def app_context(self) -> AppContext:
        """As Quart.app_context."""
        return LeanAppContext(self)

    def request_context(self, request: Request) -> RequestContext:
        """As Quart.request_context."""
        return LeanRequestContext(self, request)

    async def handle_request(self, request: Request) -> Any:
        """As Quart.handle_request."""
        context = self.request_context(request)
        if type(context) is not LeanRequestContext:
            return await self._handle_in(context, request)
        await context.push()
        try:
            try:
                result = await self.full_dispatch_request(context)
            except asyncio.CancelledError:
                raise
            except SystemExit as error:
                result = await self.handle_exception(exited(error))
            except Exception as error:
                result = await self.handle_exception(error)
            finally:
                if request.scope.get("_quart._preserve_context", False):
                    self._preserved_context = context.copy()
        except BaseException as error:
            await context.auto_pop(error)
            raise
        await context.auto_pop(None)
        return result

    async def _handle_in(self, context: RequestContext, request: Request) -> Any:
        async with context as request_context:
            try:
                return await self.full_dispatch_request(request_context)
            except asyncio.CancelledError:
                raise
            except SystemExit as error:
                return await self.handle_exception(exited(error))
            except Exception as error:
                return await self.handle_exception(error)
            finally:
                if request.scope.get("_quart._preserve_context", False):
                    self._preserved_context = request_context.copy()

    async def full_dispatch_request(self, request_context: RequestContext | None = None) -> Any:
        """As Quart.full_dispatch_request."""
        try:
            if request_started.receivers:
                await request_started.send_async(self, _sync_wrapper=self.ensure_async)  # type: ignore[arg-type]
            result = await self.preprocess_request(request_context)
            if result is None:
                result = await self.dispatch_request(request_context)
        except Exception as error:
            result = await self.handle_user_exception(error)
        return await self.finalize_request(result, request_context)

    async def preprocess_request(self, request_context: RequestContext | None = None) -> Any:
        """As Quart.preprocess_request."""
        if not self.before_request_funcs and not self.url_value_preprocessors:
            return None
        return await super().preprocess_request(request_context)

    async def dispatch_request(self, request_context: RequestContext | None = None) -> Any:
        """As Quart.dispatch_request."""
        if request_context is None:
            return await super().dispatch_request(request_context)
        request = request_context.request
        if request.routing_exception is not None:
            self.raise_routing_exception(request)
        rule = request.url_rule
        if request.method == "OPTIONS" and rule.provide_automatic_options:  # type: ignore[union-attr]
            return await self.make_default_options_response()
        handler = self.view_functions[rule.endpoint]  # type: ignore[union-attr]
        return await self.ensure_async(handler)(**request.view_args)  # type: ignore[arg-type]

    async def finalize_request(
        self,
        result: Any,
        request_context: RequestContext | None = None,
        from_error_handler: bool = False,
    ) -> Any:
        """As Quart.finalize_request."""
        response = await self.make_response(result)
        try:
            response = await self.process_response(response, request_context)
            if request_finished.receivers:
                await request_finished.send_async(
                    self,
                    _sync_wrapper=self.ensure_async,  # type: ignore[arg-type]
                    response=response,
                )
        except Exception:
            if not from_error_handler:
                raise
            self.logger.exception("Request finalizing errored")
        return response

    async def process_response(self, response: Any, request_context: RequestContext | None = None) -> Any:
        """As Quart.process_response."""
        if request_context is None or request_context._after_request_functions or self.after_request_funcs:
            return await super().process_response(response, request_context)
        session = request_context.session
        if not self.session_interface.is_null_session(session):
            await self.ensure_async(self.session_interface.save_session)(self, session, response)
        return response

    async def do_teardown_request(
        self, exc: BaseException | None, request_context: RequestContext | None = None
    ) -> None:
        """As Quart.do_teardown_request."""
        if self.teardown_request_funcs:
            await super().do_teardown_request(exc, request_context)
        elif request_tearing_down.receivers:
            await request_tearing_down.send_async(self, _sync_wrapper=self.ensure_async, exc=exc)  # type: ignore[arg-type]

    async def do_teardown_appcontext(self, exc: BaseException | None) -> None:
        """As Quart.do_teardown_appcontext."""
        for function in self.teardown_appcontext_funcs:
            await self.ensure_async(function)(exc)
        if appcontext_tearing_down.receivers:
            await appcontext_tearing_down.send_async(self, _sync_wrapper=self.ensure_async, exc=exc)  # type: ignore[arg-type]
